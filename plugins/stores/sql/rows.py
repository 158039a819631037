"""Records to rows and back. Knows no database."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from llmhub_core.contracts import Attempt, Decision, Record

JSON_COLUMNS = ("attempts", "left_out", "adapted", "tags", "decisions")
SCALAR_COLUMNS = tuple(name for name in Record.__struct_fields__ if name not in JSON_COLUMNS)
COLUMNS = SCALAR_COLUMNS + JSON_COLUMNS
"""The order of a row's values, which is that of the table's columns."""

_LARGEST = 2**53 - 1  # leaves room for the sums of many

Row = tuple[Any, ...]

_scalars = attrgetter(*SCALAR_COLUMNS)
_encode = msgspec.json.Encoder().encode
_attempts = msgspec.json.Decoder(list[Attempt]).decode
_times = msgspec.json.Decoder(tuple[float, float | None]).decode
_left_out = msgspec.json.Decoder(list[tuple[str, str]]).decode
_adapted = msgspec.json.Decoder(list[str]).decode
_decisions = msgspec.json.Decoder(list[Decision]).decode
_tags = msgspec.json.Decoder(dict[str, str]).decode


def row_of(record: Record) -> Row:
    """The values of `COLUMNS`. UnicodeEncodeError for text that is not text (see `storable`)."""
    return (
        *_scalars(record),
        attempts_text(record),
        _encode(record.left_out).decode() if record.left_out else "[]",
        _encode(record.adapted).decode() if record.adapted else "[]",
        _encode(record.tags).decode() if record.tags else "{}",
        decisions_text(record),
    )


def record_of(row: Sequence[Any]) -> Record:
    values = dict(zip(COLUMNS, row, strict=True))
    attempts = values["attempts"]
    values["attempts"] = _attempts(attempts) if attempts.startswith(("[{", "[]")) else []
    values["left_out"] = _left_out(values["left_out"])
    values["adapted"] = _adapted(values["adapted"])
    values["tags"] = _tags(values["tags"])
    values["decisions"] = _decisions(values["decisions"])
    record = Record(**values)
    if not record.attempts and attempts != "[]":
        started, ended = _times(attempts)
        record.attempts.append(_only_attempt(record, started, ended))
    return record


def attempts_text(record: Record) -> str:
    """JSON: a list of attempts; or, where the only one went well, when it started and ended. The rest of that one
    stands in the record, and most records are so."""
    attempts = record.attempts
    if not attempts:
        return "[]"
    only = attempts[0]
    if only.reason == "ok" and len(attempts) == 1 and only == _only_attempt(record, only.started_ms, only.ended_ms):
        return _encode((only.started_ms, only.ended_ms)).decode()
    return _encode(attempts).decode()


def decisions_text(record: Record) -> str:
    """JSON."""
    return _encode(record.decisions).decode() if record.decisions else "[]"


def _only_attempt(record: Record, started: float, ended: float | None) -> Attempt:
    return Attempt(
        record.provider, record.served_model, record.key, started, "ok", record.status, record.first_byte_ms, ended
    )


def storable(record: Record) -> Record:
    """`record` with what no database takes made harmless: half characters, NUL, numbers beyond 64 bits or none at
    all. Some provider sends such a thing one day, and one bad record must not dam up all that come after it."""
    return msgspec.structs.replace(record, **{name: _storable(getattr(record, name)) for name in COLUMNS})


def storable_text(value: str) -> str:
    return value.encode("utf-8", "replace").decode().replace("\0", "�")


def _storable(value: Any) -> Any:
    match value:
        case bool() | None:
            return value
        case str():
            return storable_text(value)
        case int():
            return max(-_LARGEST, min(_LARGEST, value))
        case float():
            return value if math.isfinite(value) else 0.0
        case dict():
            return {_storable(key): _storable(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(_storable(each) for each in value)
        case Attempt() | Decision():
            return msgspec.structs.replace(
                value, **{name: _storable(getattr(value, name)) for name in value.__struct_fields__}
            )
        case _:
            return value
