"""Root keys that a program gives: the hook for a key management service, a hardware module or a password manager.

``cmd:PROGRAM ARGUMENTS`` in ``[secrets] keys`` is run when the hub starts, without a shell, and what it prints is the
root key. So the key rests nowhere beside the hub: the program asks a service to unwrap it, and the service may refuse.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from llmhub_core.hub.vault.secret import LARGEST_FILE, Secret

PREFIX = "cmd:"

PATIENCE = 30.0
"""Seconds."""

_MOST_SAID = 200


def is_program(reference: str) -> bool:
    return reference.strip().startswith(PREFIX)


def words_of(reference: str) -> list[str]:
    """The program and its arguments; ValueError with half a sentence if there is none."""
    try:
        words = shlex.split(reference.strip().removeprefix(PREFIX))
    except ValueError:
        raise ValueError("has quotes that do not end") from None
    if not words:
        raise ValueError("must have a program after cmd:")
    return words


def origin_of(reference: str) -> str:
    """Without the arguments, which may tell more than everybody should know."""
    return f"{PREFIX}{words_of(reference)[0]}"


def ask(reference: str, base: Path) -> Secret:
    """What the program prints, without white space around it. Paths begin in the folder `base`. LookupError with half a
    sentence if it does not answer; what it says on stderr when it fails is part of that, for nothing else tells why."""
    try:
        words = words_of(reference)
        done = subprocess.run(  # noqa: S603 — the operator's own words, and no shell
            words, cwd=base, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except ValueError as error:
        raise LookupError(error.args[0]) from None
    except OSError as error:
        raise LookupError(f"names a program that cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise LookupError(f"names a program that gave no key within {PATIENCE:.0f} seconds") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:_MOST_SAID]
        raise LookupError(f"names a program that ended with {done.returncode}" + (f": {said}" if said else ""))
    if len(done.stdout) > LARGEST_FILE:
        raise LookupError(f"names a program that printed more than {LARGEST_FILE // 1024} KiB, which is no key")
    try:
        text = done.stdout.decode().strip()
    except UnicodeDecodeError:
        raise LookupError("names a program that printed something else than text in UTF-8") from None
    if not text:
        raise LookupError("names a program that printed nothing")
    return Secret(text)
