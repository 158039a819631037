"""How a batch of records goes into SQLite with as little work as there can be.

For each row a statement costs much, and each value that is bound costs something: so many rows go in one statement,
and what nearly all records say stands in the statement itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from llmhub_plugins.stores.sql.rows import COLUMNS, attempts_text, decisions_text, row_of
from llmhub_plugins.stores.sql.tables import records
from sqlalchemy.dialects import sqlite

from llmhub_core.contracts import Record

TOGETHER = 20
"""Rows in one statement; more make it no cheaper."""

PLAIN: dict[str, Any] = {
    "outcome": "served",
    "status": 200,
    "code": "",
    "source": "",
    "cache_write_tokens": 0,
    "cache_write_1h_tokens": 0,
    "audio_input_tokens": 0,
    "audio_output_tokens": 0,
    "server_tool_calls": 0,
    "usage_estimated": False,
    "client_request_id": "",
    "left_out": [],
    "adapted": [],
    "tags": {},
}
"""What a plain record says in these fields: nobody thought it worth mention."""

_LITERALS = {
    name: f"'{value}'" if isinstance(value, str | list | dict) else f"{value:d}" for name, value in PLAIN.items()
}
_APART = ("stream", "cost", "attempts")
_NO_COST = -(2**63)
"""Goes for None, and 0 and 1 for False and True: over these the driver takes three times as long."""
_TOLD = tuple(name for name in COLUMNS if name not in PLAIN and name not in (*_APART, "decisions"))

_usual = attrgetter(*PLAIN)
_USUALLY = tuple(PLAIN.values())
_told = attrgetter(*_TOLD)


class _Statements:
    """One kind of row: `columns` in the order of its values, `values` as SQL writes them, ? for one that is bound."""

    def __init__(self, columns: Sequence[str], values: Sequence[str]) -> None:
        quote = sqlite.dialect().identifier_preparer.quote
        head = f"INSERT INTO {records.name} ({', '.join(quote(name) for name in columns)}) VALUES "  # noqa: S608 — our own names
        row, end = f"({', '.join(values)})", " ON CONFLICT (id) DO NOTHING"
        self.one = head + row + end
        self._many = head + ", ".join([row] * TOGETHER) + end
        self._width = sum("?" in value for value in values)

    def insert(self, cursor: sqlite3.Cursor, values: list[Any]) -> int:
        """`values` of many rows, one row after the other; says how many rows were not there yet."""
        new, width = 0, self._width
        whole = len(values) - len(values) % (width * TOGETHER)
        for begin in range(0, whole, width * TOGETHER):
            new += cursor.execute(self._many, values[begin : begin + width * TOGETHER]).rowcount
        for begin in range(whole, len(values), width):
            new += cursor.execute(self.one, values[begin : begin + width]).rowcount
        return new


_ANY = _Statements(COLUMNS, ["?"] * len(COLUMNS))
_COLUMNS = (*_TOLD, *_APART, *PLAIN)
_VALUES = (*("?" for _ in _TOLD), "?", f"NULLIF(?, {_NO_COST})", "?", *_LITERALS.values())
_PLAIN = _Statements((*_COLUMNS, "decisions"), (*_VALUES, "'[]'"))
_DECIDED = _Statements((*_COLUMNS, "decisions"), (*_VALUES, "?"))
"""Plain but for a choice among candidates."""


def insert(cursor: sqlite3.Cursor, batch: Sequence[Record]) -> int:
    """How many of them were not there yet."""
    plain: list[Any] = []
    decided: list[Any] = []
    other: list[Any] = []
    for record in batch:
        if _usual(record) == _USUALLY:
            cost, rows = record.cost, plain
            if record.decisions:
                rows = decided
            rows += _told(record)
            rows += (1 if record.stream else 0, _NO_COST if cost is None else cost, attempts_text(record))
            if record.decisions:
                rows.append(decisions_text(record))
        else:
            other += row_of(record)
    return _PLAIN.insert(cursor, plain) + _DECIDED.insert(cursor, decided) + _ANY.insert(cursor, other)


def insert_singly(cursor: sqlite3.Cursor, batch: Sequence[Record]) -> Iterator[Record]:
    """Those that were not there yet."""
    for record in batch:
        if cursor.execute(_ANY.one, row_of(record)).rowcount:
            yield record
