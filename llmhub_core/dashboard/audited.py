"""What an act changed, as people read it: the audit keeps two whole tables, before and after, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def differences(before: str, after: str) -> list[tuple[str, str, str]]:
    """What an act changed, of two tables as the audit keeps them: name, what it was, what it is."""
    was, now = _flat(before), _flat(after)
    names = [*was, *(name for name in now if name not in was)]
    return [(name, was.get(name, ""), now.get(name, "")) for name in names if was.get(name) != now.get(name)]


def _flat(text: str) -> dict[str, str]:
    """A table's values by their whole names; what is no table has none."""
    try:
        table = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {"": text}
    return dict(_values(table, ""))


def _values(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _values(each, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for place, each in enumerate(value):
            yield f"{name}[{place}]", _value(each)
    elif value not in ("", None, []):
        yield name, _value(value)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.12g}" if isinstance(value, float) else str(value)
