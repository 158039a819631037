"""One log line a finished exchange, to the logger `llmhub.access`.

A line holds who asked for what, who served it, how it ended and what it took: never a body, a header or a secret.
What callers may choose (model names, tags) is cut and escaped, so that one exchange is always one line.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from llmhub_core.contracts import Observer, Record, hookimpl

log = logging.getLogger("llmhub.access")

LONGEST = 200
"""Characters of a text that are kept; longer ones end in …"""

_BARE = re.compile(r"[A-Za-z0-9._:/@#+*-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogSettings:
    """How the lines look."""

    format: Literal["text", "json"] = field(
        default="text", metadata={"help": "Lines of key=value pairs, or one JSON object a line."}
    )


class AccessLog(Observer):
    """Writes at level INFO and has no file of its own: where lines go is the logging configuration's business."""

    name = "access_log"
    Settings = AccessLogSettings

    def __init__(self, settings: AccessLogSettings) -> None:
        super().__init__(settings)
        self._line = _as_json if settings.format == "json" else _as_text

    def finished(self, record: Record) -> None:
        if log.isEnabledFor(logging.INFO):
            log.info("%s", self._line(facts(record)))


def facts(record: Record) -> dict[str, Any]:
    """What a line tells, in its order; None for what is not known or never happened.

    `at` is when the request arrived (UTC), `cost_usd` is in USD.
    """
    return {
        "at": datetime.fromtimestamp(record.arrived_at, UTC).isoformat(timespec="milliseconds"),
        "id": record.id,
        "client_id": record.client_request_id or None,
        "caller": record.caller,
        "dialect": record.dialect,
        "model": record.model,
        "route": record.route or None,
        "served_by": f"{record.provider}/{record.served_model}#{record.key}" if record.provider else None,
        "stream": record.stream,
        "outcome": record.outcome,
        "status": record.status,
        "code": record.code or None,
        "source": record.source or None,
        "attempts": len(record.attempts),
        "first_byte_ms": record.first_byte_ms,
        "total_ms": record.total_ms,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cached_tokens": record.cached_tokens,
        "estimated": record.usage_estimated,
        "cost_usd": None if record.cost is None else record.cost / 1e9,
        "tags": {_cut(name): _cut(value) for name, value in record.tags.items()},
    }


def _as_json(facts: dict[str, Any]) -> str:
    return _dumped({name: _cut(value) for name, value in facts.items()})


def _as_text(facts: dict[str, Any]) -> str:
    tags = facts.pop("tags")
    pairs = [*facts.items(), *((f"tag.{name}", value) for name, value in tags.items())]
    return " ".join(f"{_text(name)}={_text(value)}" for name, value in pairs)


def _text(value: Any) -> str:
    """Bare where nothing in it could be misread, else as a JSON string; a dash for what is not there."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    text = str(_cut(value))
    return text if _BARE.fullmatch(text) and text != "-" else _dumped(text)


def _cut(value: Any) -> Any:
    return f"{value[:LONGEST]}…" if isinstance(value, str) and len(value) > LONGEST else value


def _dumped(value: Any) -> str:
    # ASCII only: line ends of every alphabet, direction marks and half surrogates come out as escapes.
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")


@hookimpl
def register_observers() -> Iterable[type[Observer]]:
    """The access log."""
    return [AccessLog]
