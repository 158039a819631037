"""A head like the one before is known again, and nothing but whole requests, however they arrive."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable

import pytest
from houses import one_provider

from llmhub_core.gateway import server
from llmhub_core.gateway.known_head import KnownHead
from llmhub_core.hub.tokens import digest
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream

TOKEN = "lh-first"
OTHER = "lh-second"

ECHO = f"""
[auth]
api = "token"

[[providers]]
name = "echo"
kind = "echo"

[[tokens]]
name = "first"
hash = "{digest(TOKEN)}"

[[tokens]]
name = "second"
hash = "{digest(OTHER)}"
models = ["other"]
"""


def body(text: str) -> bytes:
    return json.dumps({"model": "echo/echo", "messages": [{"role": "user", "content": text}]}).encode()


def asking(text: str, token: str = TOKEN, path: str = "/v1/chat/completions", more: str = "") -> bytes:
    said = body(text)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(said)}\r\nAccept: application/json\r\n\r\n"
    )
    return head.encode() + said


class Line:
    """One connection to the hub, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes, pause: float = 0.02) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(pause)

    async def answer(self) -> tuple[int, dict[str, object]]:
        async with asyncio.timeout(10):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            if " 100 " in head:
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")
            )
            return int(head.split()[1]), json.loads(await self._reader.readexactly(length))

    async def said(self) -> str:
        status, answer = await self.answer()
        assert status == 200, answer
        return answer["choices"][0]["message"]["content"]  # type: ignore[index, no-any-return]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with House(ECHO) as house:
        yield house


@pytest.fixture
async def line(house: House) -> AsyncIterator[Line]:
    host, port = house.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield Line(reader, writer)
    writer.close()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[KnownHead]:
    """The heads that were known again."""
    seen: list[KnownHead] = []
    take: Callable[..., bool] = server._Handler._take

    def watched(self: object, head: KnownHead, data: bytes, start: int) -> bool:
        taken = take(self, head, data, start)
        if taken:
            seen.append(head)
        return taken

    monkeypatch.setattr(server._Handler, "_take", watched)
    return seen


async def warm(line: Line) -> None:
    for text in ("one", "two"):
        await line.send(asking(text), pause=0)
        assert text in await line.said()


async def test_the_third_request_of_a_connection_needs_no_parser(line: Line, known: list[KnownHead]) -> None:
    await warm(line)
    assert not known
    for text in ("three", "a longer fourth one", "5"):
        await line.send(asking(text))
        assert text in await line.said()
    assert len(known) == 3


@pytest.mark.parametrize("cut", [1, 40, -1, -20])
async def test_a_body_that_comes_later_is_waited_for(line: Line, known: list[KnownHead], cut: int) -> None:
    await warm(line)
    asked = asking("in pieces")
    head = asked.index(b"\r\n\r\n") + 4
    at = head + cut if cut > 0 else len(asked) + cut
    await line.send(asked[:head], asked[head:at], asked[at:])
    assert "in pieces" in await line.said()
    await line.send(asked)
    assert "in pieces" in await line.said()
    assert len(known) == 2


async def test_half_a_head_goes_to_the_parser_and_whole_ones_are_known_again_after_it(
    line: Line, known: list[KnownHead]
) -> None:
    await warm(line)
    asked = asking("half a head")
    await line.send(asked[:50], asked[50:])
    assert "half a head" in await line.said()
    await line.send(asking("after"))
    assert "after" in await line.said()
    assert not known  # nobody can say where a request began any more, so the parser keeps the connection


async def test_requests_in_a_pipeline_are_answered_in_their_order(line: Line) -> None:
    await warm(line)
    await line.send(asking("a") + asking("bb") + asking("ccc"), asking("dddd"))
    for text in ("a", "bb", "ccc", "dddd"):
        assert text in await line.said()


async def test_the_next_request_may_come_with_the_rest_of_a_body(line: Line, known: list[KnownHead]) -> None:
    await warm(line)
    asked = asking("first of two")
    head = asked.index(b"\r\n\r\n") + 4
    await line.send(asked[: head + 5], asked[head + 5 :] + asking("second of two"))
    assert "first of two" in await line.said()
    assert "second of two" in await line.said()
    assert len(known) == 1


async def test_a_connection_that_asked_for_another_kind_of_path_goes_on(line: Line, known: list[KnownHead]) -> None:
    await line.send(asking("a"))
    assert (await line.answer())[0] == 200
    await line.send(asking("a", path="/v1beta/models/echo:generateContent"))
    assert (await line.answer())[0] == 400, "a body of another format, on a path that the router finds"
    for text in "bcd":
        await line.send(asking(text))
        assert (await line.answer())[0] == 200
    assert not known


async def test_another_token_in_the_same_head_is_another_caller(line: Line) -> None:
    await warm(line)
    await line.send(asking("known"))
    assert await line.said()
    await line.send(asking("not allowed", OTHER))
    status, answer = await line.answer()
    assert (status, answer["error"]["code"]) == (403, "model_not_allowed")  # type: ignore[index]
    await line.send(asking("unknown", "lh-third"))
    assert (await line.answer())[0] == 401


async def test_a_token_taken_away_is_refused_though_its_head_is_known(house: House, line: Line) -> None:
    await warm(line)
    await line.send(asking("known"))
    assert await line.said()
    house.hub.tokens = type(house.hub.tokens)(())
    await line.send(asking("gone"))
    assert (await line.answer())[0] == 401


@pytest.mark.parametrize(
    "more", ["Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n", "Bad Name: x\r\n", "Expect: 100-continue\r\n"]
)
async def test_a_head_with_anything_more_is_read_anew(line: Line, known: list[KnownHead], more: str) -> None:
    await warm(line)
    await line.send(asking("smuggled", more=more))
    status = (await line.answer())[0]
    assert not known
    assert status == 400 or more.startswith("Expect")


@pytest.mark.parametrize("length", [b"+7", b"-1", b"7 ", b" ", b"0x7", b"1_0", b"99999999999", "٣".encode()])
async def test_a_length_that_is_no_number_is_not_known(line: Line, known: list[KnownHead], length: bytes) -> None:
    await warm(line)
    asked = asking("length")
    start = asked.index(b"Content-Length: ") + 16
    await line.send(asked[:start] + length + asked[asked.index(b"\r\n", start) :])
    assert not known


async def test_a_caller_who_leaves_in_the_middle_of_a_body_leaves_nothing_behind(house: House, line: Line) -> None:
    await warm(line)
    asked = asking("half")
    await line.send(asked[:-3])
    line.writer.close()
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await house.hub.idle()
        await house.hub.settled()


async def test_a_connection_that_was_used_for_something_else_goes_on(line: Line, known: list[KnownHead]) -> None:
    for _ in range(2):
        await line.send(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert (await line.answer())[0] == 200
        for text in ("one", "two", "three", "four"):
            await line.send(asking(text))
            assert text in await line.said()
    assert not known  # aiohttp has it for good


async def test_a_connection_may_turn_to_something_else(line: Line, known: list[KnownHead]) -> None:
    await warm(line)
    await line.send(asking("three"))
    assert "three" in await line.said()
    await line.send(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
    assert (await line.answer())[0] == 200
    for text in ("four", "five", "six"):
        await line.send(asking(text))
        assert text in await line.said()
    assert len(known) == 1


async def test_a_body_beyond_the_limit_is_refused_though_its_head_is_known(upstream: FakeUpstream) -> None:
    small = one_provider(upstream.url) + '\n[server]\nmax_body = "2 KiB"\n'
    async with House(small) as house:
        host, port = house.url.removeprefix("http://").split(":")
        line = Line(*await asyncio.open_connection(host, int(port)))
        for _ in range(3):
            await line.send(asking("x"))
            await line.answer()
        await line.send(asking("y" * 3000))
        assert (await line.answer())[0] == 413
        line.writer.close()


async def test_however_the_bytes_are_cut_the_answers_are_the_same(house: House) -> None:
    host, port = house.url.removeprefix("http://").split(":")
    for seed in range(60):
        dice = random.Random(seed)
        texts = dice.choices(["a", "b" * 300, "c" * 70_000], k=dice.randint(1, 6))
        stream = b"".join(asking(text) for text in texts)
        cuts = sorted(dice.sample(range(len(stream)), dice.randint(0, 5)))
        line = Line(*await asyncio.open_connection(host, int(port)))
        await warm(line)
        pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        sending = asyncio.create_task(line.send(*pieces, pause=0.002))
        for text in texts:
            assert text in await line.said(), seed
        await sending
        line.writer.close()
