"""config.toml to Settings, with every mistake found at once and told by file, line and column."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmhub_core.contracts import SettingsError
from llmhub_core.hub import settings_rules
from llmhub_core.hub.settings import Known, Loaded, Settings
from llmhub_core.hub.settings_environment import Overridden, discover, override
from llmhub_core.hub.settings_reader import Reader
from llmhub_core.hub.settings_words import KeyPath, Problem, in_words

if TYPE_CHECKING:
    from llmhub_core.hub.settings_positions import Positions

__all__ = ["LARGEST_FILE", "Known", "Loaded", "load"]

LARGEST_FILE = 1024 * 1024
"""Bytes."""

_TOML_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def load(path: Path | None, environ: Mapping[str, str], known: Known) -> Loaded:
    """Read the configuration: variables before the file before defaults.

    Without a `path`, the file is LLMHUB_CONFIG or else ./config.toml; without either, providers are taken
    from the environment. Raises SettingsError with all problems. Opens nothing but the file and the files
    that secrets lie in.
    """
    path = path or _usual_path(environ)
    if path is None:
        discovered = discover(environ, known)
        text, document, found, notes = b"", discovered.document, discovered.found, discovered.warnings
    else:
        text = _read(path)
        document, found, notes = _parse(path, text), [], []
    overridden = override(document, environ)
    base = path.absolute().parent if path else Path.cwd()
    place = _Places(path, text, overridden)

    reader = Reader(known)
    settings = reader.settings(overridden.document)
    problems = [*reader.problems, *settings_rules.problems(settings, known, environ, base)]
    if problems or overridden.problems:
        raise SettingsError([*place.lines(problems), *overridden.problems])
    settings = _with_secret_key(settings, environ)
    warnings = [*place.lines(settings_rules.warnings(settings, environ, base)), *notes]
    return Loaded(settings, path, warnings, found, overridden.document, text, overridden.origins)


def _usual_path(environ: Mapping[str, str]) -> Path | None:
    if environ.get("LLMHUB_CONFIG"):
        return Path(environ["LLMHUB_CONFIG"])
    path = Path("config.toml")
    return path if path.exists() else None


def _with_secret_key(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """LLMHUB_SECRET_KEY is used unless the settings say otherwise."""
    if settings.secrets.keys or not environ.get("LLMHUB_SECRET_KEY", "").strip():
        return settings
    return dataclasses.replace(settings, secrets=dataclasses.replace(settings.secrets, keys=("env:LLMHUB_SECRET_KEY",)))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise SettingsError([f"{path}: cannot be read: {reason}"]) from None
    if len(text) > LARGEST_FILE:
        raise SettingsError([f"{path}: is larger than 1 MiB, which no configuration is"])
    return text.removeprefix(b"\xef\xbb\xbf")  # some editors begin with a byte order mark


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except UnicodeDecodeError as error:
        before = text[: error.start].decode().split("\n")
        raise SettingsError(
            [f"{path}:{len(before)}:{len(before[-1]) + 1}: is not UTF-8; save the file as UTF-8"]
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([_syntax_error(path, text, str(error))]) from None
    except RecursionError:
        raise SettingsError([f"{path}: is nested too deeply"]) from None


def _syntax_error(path: Path, text: bytes, message: str) -> str:
    found = _TOML_POSITION.fullmatch(message)
    if found is None:
        return f"{path}: is not TOML: {message}"
    lines = text.decode().split("\n")
    line, column = found[2] or len(lines), found[3] or len(lines[-1]) + 1
    return f"{path}:{line}:{column}: is not TOML: {found[1]}"


class _Places:
    """Puts file, line and column (or the variable) in front of problems."""

    def __init__(self, path: Path | None, text: bytes, overridden: Overridden) -> None:
        self._path = path
        self._text = text
        self._origins = overridden.origins

    def lines(self, problems: Iterable[Problem]) -> list[str]:
        """In the order of the file, those of variables last, none twice."""
        lines: dict[str, tuple[bool, int, int]] = {}
        positions: Positions | None = None
        for problem in problems:
            words = f"{in_words(problem.path)}: {problem.text}" if problem.path else problem.text
            variable = self._variable(problem.path)
            if variable or self._path is None:
                lines.setdefault(f"{variable or 'environment'}: {words}", (True, 0, 0))
                continue
            if positions is None:
                from llmhub_core.hub.settings_positions import Positions

                positions = Positions(self._text)
            line, column = positions.find(problem.path, problem.at)
            lines.setdefault(f"{self._path}:{line}:{column}: {words}", (False, line, column))
        return sorted(lines, key=lines.__getitem__)

    def _variable(self, path: KeyPath) -> str:
        return self._origins.get(path[:2], "")
