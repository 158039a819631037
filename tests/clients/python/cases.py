"""Answers cases from standard input, one JSON object a line, on standard output; what the clients share."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

Json = dict[str, Any]
TOOL_TEXT = "Weather at a place right now."


class Weather(BaseModel):
    """What the weather is."""

    city: str
    celsius: float


def prompt(case: Json) -> str:
    return f"Scene: {case['scene']}. What is the weather?"


def weather_at(city: str) -> str:
    """The tool itself: what it answers is told again by the scene `loop`."""
    return {"Lisbon": "24 degrees", "Porto": "19 degrees"}.get(city, "no such town")


def answer_cases(verbs: Mapping[str, Callable[[Json], Any]], own: tuple[type[Exception], ...]) -> None:
    """Run ``verbs[case["do"]](case)`` for each case; `own` are the client's own errors."""
    # The only thing on standard output are results: clients may print as they like.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        case = json.loads(line)
        try:
            result = verbs[case["do"]](case)
        except Exception as error:
            result = {"error": _told(error, own)}
        results.write(json.dumps(result) + "\n")
        results.flush()


def _told(error: Exception, own: tuple[type[Exception], ...]) -> Json:
    return {
        "classes": [each.__name__ for each in type(error).__mro__],
        "own": isinstance(error, own),
        "status": _status(error),
        "message": str(error),
        "stack": traceback.format_exc(),
    }


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of the error, or of the one that it came from."""
    while error is not None:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None
