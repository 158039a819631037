"""Arguments of a call that arrive value by value (`partialArgs`, documented for Gemini 3 with
``streamFunctionCallArguments``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_MOST_ITEMS = 100_000

Step = str | int


class PartialArguments:
    """The arguments of one call. Strings may come in several pieces; everything else comes whole."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}
        self._unfinished: set[tuple[Step, ...]] = set()

    def add(self, piece: Mapping[str, Any]) -> None:
        """One entry of `partialArgs`; what cannot be placed is passed over."""
        steps = _steps(piece.get("jsonPath"))
        if not steps:
            return
        if "stringValue" in piece:
            value: Any = piece["stringValue"]
        elif "numberValue" in piece:
            value = piece["numberValue"]
        elif "boolValue" in piece:
            value = piece["boolValue"]
        elif "nullValue" in piece:
            value = None
        else:
            return
        if steps in self._unfinished and isinstance(value, str):
            before = _get(self.value, steps)
            value = before + value if isinstance(before, str) else value
        _set(self.value, steps, value)
        if piece.get("willContinue") is True:
            self._unfinished.add(steps)
        else:
            self._unfinished.discard(steps)


def _steps(path: object) -> tuple[Step, ...]:
    """``$.foo.bar[0]['a b']`` as ("foo", "bar", 0, "a b")."""
    if not isinstance(path, str) or not path.startswith("$"):
        return ()
    steps: list[Step] = []
    for dotted, index, single, double in _STEP.findall(path):
        steps.append(int(index) if index else dotted or re.sub(r"\\(.)", r"\1", single or double))
    return tuple(steps)


def _get(root: Any, steps: tuple[Step, ...]) -> Any:
    for step in steps:
        try:
            root = root[step]
        except (LookupError, TypeError):
            return None
    return root


def _set(root: dict[str, Any], steps: tuple[Step, ...], value: Any) -> None:
    """Objects and arrays on the way are made by the kind of the step that goes into them."""
    place: Any = root
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        fresh: Any = value if last else ([] if isinstance(steps[number + 1], int) else {})
        if isinstance(step, int):
            if not isinstance(place, list) or step > _MOST_ITEMS:
                return
            place.extend([None] * (step + 1 - len(place)))
        elif not isinstance(place, dict):
            return
        if last or not isinstance(_get(place, (step,)), type(fresh)):
            place[step] = fresh
        place = place[step]
