"""Where a setting's value comes from: default, file and line, variable, or what was stored while the hub ran."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from llmhub_core.hub.settings import Loaded
from llmhub_core.hub.settings_words import KeyPath

if TYPE_CHECKING:
    from llmhub_core.hub.settings_positions import Positions


@dataclass(frozen=True, slots=True)
class Origin:
    """`where` is ``config.toml:12`` or the name of a variable; "" where there is none."""

    kind: Literal["default", "file", "environment", "stored"]
    where: str = ""


DEFAULT = Origin("default")


class Origins:
    """Of everything that was loaded. Lines are looked up only when they are asked for."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def of(self, path: KeyPath) -> Origin:
        """Of a table or a value; the default's if nothing was said."""
        variable = self._loaded.variables.get(path[:2])
        if variable:
            return Origin("environment", variable)
        if not said(self._loaded.document, path):
            return DEFAULT
        if self._loaded.path is None:
            return Origin("environment")  # providers that were found by their keys
        line, _ = _positions(self._loaded.text).find(path, "key")
        return Origin("file", f"{self._loaded.path.name}:{line}")


def said(document: Any, path: KeyPath) -> bool:
    """Whether the document has something at `path`."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(document, list) or step >= len(document):
                return False
        elif not isinstance(document, dict) or step not in document:
            return False
        document = document[step]
    return True


@lru_cache(maxsize=1)
def _positions(text: bytes) -> Positions:
    from llmhub_core.hub.settings_positions import Positions

    return Positions(text)
