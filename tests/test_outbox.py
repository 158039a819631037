"""What a turn of the loop says goes out together, behind the journal, in order, and nothing of it is left lying."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable

import aiohttp
import pytest
from houses import CHAT, COMPLETION, one_provider, raw_request

from llmhub_core.contracts.errors import HubError
from llmhub_core.gateway.outbox import Outbox
from llmhub_core.testing.answers import json_answer
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream

ECHO = '[[providers]]\nname = "echo"\nkind = "echo"\n'


class Line:
    def __init__(self, said: list[str], closed: bool = False) -> None:
        self.closed = closed
        self.failed: HubError | None = None
        self._said = said

    def write(self, head: bytes, body: bytes) -> None:
        self._said.append((head + body).decode())

    def fail(self, error: HubError) -> None:
        self.failed = error


class Caller(asyncio.Transport):
    def __init__(self, said: list[str], closing: bool = False) -> None:
        super().__init__()
        self._said, self._closing = said, closing

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self._said.append(data.decode())


def journal(said: list[str], works: bool = True) -> Callable[[], bool]:
    def flush() -> bool:
        said.append("journal")
        return works

    return flush


async def test_everything_of_a_turn_goes_out_together_behind_the_journal() -> None:
    said: list[str] = []
    outbox = Outbox(journal(said))
    outbox.answer(Caller(said), b"answer")
    outbox.call(Line(said), b"head ", b"body")
    outbox.call(Line(said), b"head ", b"of another")
    assert said == []
    await asyncio.sleep(0)
    assert said == ["journal", "head body", "head of another", "answer"]
    outbox.flush()
    assert len(said) == 4, "there was nothing more"
    outbox.answer(Caller(said), b"later")
    await asyncio.sleep(0)
    assert said[4:] == ["journal", "later"]


async def test_who_went_away_in_the_same_turn_is_passed_over() -> None:
    said: list[str] = []
    outbox, gone = Outbox(), Line(said, closed=True)
    outbox.call(gone, b"never", b"")
    outbox.answer(Caller(said, closing=True), b"never")
    outbox.answer(Caller(said), b"to one who stayed")
    outbox.flush()
    assert (said, gone.failed) == (["to one who stayed"], None)


async def test_nothing_is_asked_that_could_not_be_noted() -> None:
    said: list[str] = []
    outbox, one, two = Outbox(journal(said, works=False)), Line(said), Line(said)
    for line in (one, two):
        outbox.call(line, b"never", b"")
    outbox.answer(Caller(said), b"what was served is answered")
    outbox.flush()
    assert said == ["journal", "what was served is answered"]
    assert [line.failed and line.failed.code for line in (one, two)] == ["meter_full"] * 2
    assert one.failed is not two.failed


async def test_a_turn_is_one_write_of_the_journal(
    upstream: FakeUpstream, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        writes: list[bytes] = []
        really = os.write

        def watched(fd: int, data: bytes) -> int:
            if b'"intent"' in data:
                writes.append(data)
            return really(fd, data)

        monkeypatch.setattr(os, "write", watched)

        async def ask() -> int:
            async with client.post(house.url + "/v1/chat", json=CHAT) as answer:
                return answer.status

        assert set(await asyncio.gather(*(ask() for _ in range(40)))) == {200}
        noted = sum(data.count(b'"intent"') for data in writes)
        assert noted == 40 == len(upstream.requests)
        assert len(writes) < 40
        assert len(await house.records()) == 40


def asking(text: str, stream: bool = False, path: str = "/v1/chat/completions", last: bool = False) -> bytes:
    said = [{"role": "user", "content": text}]
    body = json.dumps({"model": "echo/echo", "stream": stream, "messages": said}).encode()
    close = "Connection: close\r\n" if last else ""
    head = f"POST {path} HTTP/1.1\r\nHost: hub\r\n{close}Content-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("times", [1, 3])
async def test_answers_of_a_pipeline_keep_their_order_whatever_their_kind(times: int) -> None:
    health = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
    async with House(ECHO) as house:
        asked = (asking("whole") + asking("streamed", stream=True)) * times
        asked += asking("before health") + health + asking("", path="/v1/none") + asking("last", last=True)
        said = (await raw_request(house.url, asked)).decode()
        places = []
        for _ in range(times):
            places += ["whole", "streamed", "[DONE]"]
        places += ["before health", '"ok"', "HTTP/1.1 404", "last"]
        at = 0
        for word in places:
            at = said.find(word, at) + 1
            assert at, f"{word} is missing or out of order in {said}"


async def test_what_was_not_sent_yet_when_the_server_stops_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[bytes] = []
    answer = Outbox.answer

    def watched(outbox: Outbox, transport: asyncio.Transport, data: bytes) -> None:
        put.append(data)
        answer(outbox, transport, data)

    async with House(ECHO) as house:
        host, port = house.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        monkeypatch.setattr(Outbox, "answer", watched)
        monkeypatch.setattr(Outbox, "_flush_soon", lambda _: None)  # as if the turn went on until the end
        writer.write(asking("the very last"))
        async with asyncio.timeout(20):
            while not put:  # noqa: ASYNC110 — nobody tells
                await asyncio.sleep(0.005)
    async with asyncio.timeout(20):
        said = (await reader.read()).decode()
    writer.close()
    assert "the very last" in said
