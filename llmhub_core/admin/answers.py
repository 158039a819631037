"""What a call answers, written down: as JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from llmhub_core.admin.lists import Format
from llmhub_core.admin.slices import unhurried
from llmhub_core.contracts.metadata_store import MetadataStore


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as it is sent."""

    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        return web.Response(
            body=self.body, content_type=self.content_type, charset="utf-8", headers=self.headers or None
        )


async def asked_and_written(store: MetadataStore, ask: Callable[..., Awaitable[Any]], *asked: Any) -> Written:
    """What `ask` answers to the last of `asked`, which says in which format. For the page process."""
    return await written(await ask(store, *asked), getattr(asked[-1], "format", "json"))


async def written(answer: Any, wanted: Format) -> Written:
    if wanted == "csv":
        return await _csv(answer)
    return Written(msgspec.json.encode(answer))


async def _csv(answer: Any) -> Written:
    """The items of a list, one a line. What a spreadsheet would take for a formula is kept from being one."""
    items = [msgspec.to_builtins(item) async for item in unhurried(answer.items)]
    text = io.StringIO()
    writer = csv.writer(text)
    groups = list(getattr(answer, "by", ()))
    names = [name for name in (items[0] if items else {}) if not (groups and name == "group")]
    writer.writerow([*groups, *names])
    async for item in unhurried(items):
        of = item["group"] if groups else ()
        writer.writerow([_cell(value) for value in (*of, *(item[name] for name in names))])
    headers = {"content-disposition": 'attachment; filename="llm-hub.csv"'}
    if getattr(answer, "next", None):
        headers["x-next-cursor"] = answer.next
    return Written(text.getvalue().encode(), "text/csv", headers)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return "" if value is None else str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
