"""How a fault on purpose is staged: answers as a failing provider would give them, for the real paths to deal with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import HubError, UpstreamGarbled, UpstreamUnreachable
from llmhub_core.contracts.provider import Call, ProviderAnswer
from llmhub_core.gateway.wire_answer import DIED, timed_out
from llmhub_core.gateway.wire_http import BROKE_OFF
from llmhub_core.hub.fault_lab import Fault

JSON = "application/json"
EVENTS = "text/event-stream"

BEGUN = 1024
"""Bytes of a stream that pass before it is broken off; a shorter one loses the second half of its last piece."""

STATUSES: Mapping[str, tuple[int, str, str]] = {
    "rate_limited": (429, "rate_limit_exceeded", "Rate limit reached (fault lab)."),
    "unauthorized": (401, "invalid_api_key", "Incorrect API key provided (fault lab)."),
    "server_error": (500, "internal_error", "The server had an error (fault lab)."),
    "overloaded": (529, "overloaded", "Overloaded (fault lab)."),
}
"""Status, code and text of the errors, which the provider's own format then writes."""

Ask = Callable[[], Awaitable[ProviderAnswer]]


async def stage(fault: Fault, dialect: Dialect[Any], call: Call, stream: bool, ask: Ask) -> ProviderAnswer:
    """The answer to `call` with the fault in it; `ask` has the provider answer really, where the fault needs that.
    `dialect` is the format that the provider speaks, and `stream` whether a stream was asked for."""
    kind = fault.kind
    if kind in STATUSES:
        return _refusal(fault, dialect)
    if kind == "timeout":
        await _until_late(call)
    if kind == "reset":
        raise UpstreamUnreachable(DIED)
    if kind == "garbage":
        return Staged(200, EVENTS if stream else JSON, b"data: {<html>\n\n" if stream else b"<html>502 Bad Gat")
    answer = await ask()
    if not 200 <= answer.status < 300:
        return answer
    return Slow(answer, fault.seconds, call) if kind == "slow" else Broken(answer)


async def _until_late(call: Call) -> None:
    """Nothing comes, for as long as anybody waits."""
    limits = [each for each in (call.timeouts.first_token, call.timeouts.total) if each is not None]
    await asyncio.sleep(min(limits, default=3600.0))
    raise timed_out()


def _refusal(fault: Fault, dialect: Dialect[Any]) -> Staged:
    status, code, text = STATUSES[fault.kind]
    body = dialect.encode_error(HubError(text, code=code, status=status, source="provider"), "req_fault_lab")
    headers = {"retry-after": f"{fault.seconds:.0f}"} if fault.kind == "rate_limited" else {}
    return Staged(status, JSON, body, headers)


class Staged:
    """An answer that no provider gave."""

    def __init__(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.content_type = kind
        self.headers: Mapping[str, str] = {"content-type": kind, **(headers or {})}
        self._body = body

    async def chunk(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def read(self, limit: int) -> bytes:
        return await self.chunk()

    def abort(self) -> None:
        self._body = b""


class Slow:
    """A provider's own answer that takes its time before the first byte; too long, if nobody waits for so long."""

    def __init__(self, answer: ProviderAnswer, seconds: float, call: Call) -> None:
        self.status = answer.status
        self.content_type = answer.content_type
        self.headers = answer.headers
        self._answer = answer
        self._seconds = seconds
        self._call = call

    async def _wait(self) -> None:
        seconds, self._seconds = self._seconds, 0.0
        limit = self._call.timeouts.first_token
        if limit is not None and seconds >= limit:
            await asyncio.sleep(limit)
            self.abort()
            raise timed_out()
        await asyncio.sleep(seconds)

    async def chunk(self) -> bytes:
        if self._seconds:
            await self._wait()
        return await self._answer.chunk()

    async def read(self, limit: int) -> bytes:
        await self._wait()
        return await self._answer.read(limit)

    def abort(self) -> None:
        self._answer.abort()


class Broken:
    """A provider's own answer whose connection breaks in the middle."""

    def __init__(self, answer: ProviderAnswer) -> None:
        self.status = answer.status
        self.content_type = answer.content_type
        self.headers = answer.headers
        self._answer = answer
        self._given = 0
        self._next = b""
        self._over = False

    async def chunk(self) -> bytes:
        if self._over:
            self.abort()
            raise UpstreamGarbled(BROKE_OFF)
        piece = self._next or await self._answer.chunk()
        self._next = await self._answer.chunk() if piece else b""
        if not self._next or self._given + len(piece) > BEGUN:
            self._over = True
            piece = piece[: max(len(piece) // 2, BEGUN - self._given)] if self._next else piece[: len(piece) // 2]
        self._given += len(piece)
        return piece or await self.chunk()

    async def read(self, limit: int) -> bytes:
        await self._answer.read(limit)
        self.abort()
        raise UpstreamGarbled(BROKE_OFF)

    def abort(self) -> None:
        self._answer.abort()
