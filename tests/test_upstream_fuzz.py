"""Whatever a provider sends, in whatever pieces: an answer or an UpstreamError, soon, and nothing left behind."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise

import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmhub_core.contracts.errors import UpstreamError, UpstreamTimeout
from llmhub_core.contracts.provider import Call, Timeouts
from llmhub_core.gateway.upstream import Upstream

GZIPPED = gzip.compress(b"hello")
SEEDS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 500 Oh\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(GZIPPED), GZIPPED),
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + GZIPPED[10:-8],
]
WORDS = [
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200 OK", b"304 x", b"101 x", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b":", b" ", b"\0",
    b"0", b"5", b"ffffffffffffffff", b";", b"Content-Length: ", b"Transfer-Encoding: chunked",
    b"Content-Encoding: gzip", b"Connection: close", b"Upgrade: x", b"Set-Cookie: a=b", b"hello", b"\xff",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound answer, or two, with a few spans replaced."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 8)))
        data[at:until] = draw(st.one_of(st.binary(max_size=4), st.sampled_from(WORDS)))
    return bytes(data)


ANSWERS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join), damaged())


class Bench:
    """One loop, one pool and one scripted provider for all examples of a test."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.runner = asyncio.Runner(loop_factory=new_loop)
        self.pieces: list[bytes] = []
        self.close = True
        self.seen: list[dict[str, object]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.runner.run(self.begin())

    async def begin(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.seen.append(context))
        self.server = await asyncio.start_server(self.meet, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"
        self.up = Upstream(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), per_host=2)

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer, *(old for old in self.writers if not old.is_closing())]
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in self.pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                if self.close:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, RuntimeError):
            pass  # the client left; uvloop calls writing then a RuntimeError
        finally:
            writer.close()

    async def ask(self, method: str, patience: float) -> tuple[object, ...]:
        limits = Timeouts(connect=2, first_token=patience, stall=patience)
        call = Call(self.url, {"authorization": "Bearer sk-canary"}, b"", method, limits)
        async with asyncio.timeout(3):  # else it hangs
            try:
                answer = await self.up.fetch(call)
            except UpstreamError as error:
                assert error.__context__ is None
                assert "canary" not in repr(error)
                return (type(error), error.code)
        assert 200 <= answer.status <= 599
        return (answer.status, tuple(answer.headers.items()), answer.body)

    async def end(self) -> None:
        await self.up.stop()
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.02)
        assert all(host._count == 0 for host in self.up._hosts.values())


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"], scope="module")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request.param)
    yield bench
    bench.runner.run(bench.end())
    bench.runner.close()
    assert bench.seen == []


def ask(bench: Bench, pieces: list[bytes], close: bool, method: str, patience: float = 0.05) -> tuple[object, ...]:
    bench.pieces, bench.close = pieces, close
    outcome: Awaitable[tuple[object, ...]] = bench.ask(method, patience)
    return bench.runner.run(outcome)  # type: ignore[arg-type]


ORDINARY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@ORDINARY
@given(answer=ANSWERS, cuts=st.lists(st.integers(0, 300), max_size=6), method=st.sampled_from(["GET", "POST", "HEAD"]))
@example(answer=SEEDS[0], cuts=[], method="GET")
@example(answer=b"", cuts=[], method="GET")
def test_anything_ends_well_and_pieces_do_not_matter(bench: Bench, answer: bytes, cuts: list[int], method: str) -> None:
    at = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    whole = ask(bench, [answer], True, method)
    pieces = ask(bench, [answer[a:b] for a, b in pairwise(at)], True, method)
    assert pieces == whole or UpstreamTimeout in (whole[0], pieces[0])
    assert bench.up.open_connections <= 2


@settings(ORDINARY, max_examples=100)
@given(answer=ANSWERS)
def test_a_provider_that_keeps_the_connection(bench: Bench, answer: bytes) -> None:
    """Reuse after whatever it was must never give one call's answer to the next."""
    ask(bench, [answer], False, "POST")
    sound = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsound"
    assert ask(bench, [sound], False, "POST", patience=2)[-1] == b"sound"
