"""Plain values as TOML: tables, arrays of tables, one setting a line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def written(document: Mapping[str, Any]) -> str:
    """`document` holds tables and arrays of tables at its top."""
    parts = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            parts.append(_table(f"[{_key(name)}]", value))
        else:
            parts += [_table(f"[[{_key(name)}]]", each) for each in value]
    return "\n".join(parts)


def _table(head: str, table: Mapping[str, Any]) -> str:
    lines = [head]
    for name, value in table.items():
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            rows = "".join(f"  {_inline(each)},\n" for each in value)
            lines.append(f"{_key(name)} = [\n{rows}]")
        else:
            lines.append(f"{_key(name)} = {_inline(value)}")
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_inline(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return '""'
    return str(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
