"""A recorded request, sent as it is to the hub, without any SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from recordings import Case


def body_for(case: Case, model: str) -> dict[str, Any]:
    return dict(case.asked) if case.dialect == "gemini" else {**case.asked, "model": model}


def path_for(case: Case, model: str) -> str:
    """The recorded path, with the hub's name for the model where it stands in the path."""
    if case.dialect != "gemini":
        return case.path
    head, _, rest = case.path.rpartition("/models/")
    return f"{head}/models/{model}:{rest.partition(':')[2]}"


def headers_of(case: Case) -> dict[str, str]:
    said = {name: value for name, value in case.headers.items() if name.startswith("anthropic-")}
    return {"content-type": "application/json", **said}


@dataclass
class Arrived:
    """An answer as far as it came; `ended` tells whether it ended as HTTP has it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    ended: bool = False


async def send(raw: aiohttp.ClientSession, case: Case, model: str) -> Arrived:
    body = json.dumps(body_for(case, model), ensure_ascii=False).encode()
    async with raw.post(path_for(case, model), data=body, headers=headers_of(case)) as answer:
        arrived = Arrived(answer.status, answer.headers)
        try:
            async for piece in answer.content.iter_any():
                arrived.body += piece
            arrived.ended = True
        except aiohttp.ClientPayloadError:
            pass
        return arrived
