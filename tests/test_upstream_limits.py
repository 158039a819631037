"""Limits of time, leaving early, and slow consumers of the client that calls providers."""

from __future__ import annotations

import asyncio
import inspect
import time

import pytest
from upstream_server import (
    CHUNKED,
    OK,
    QUICK,
    WHOLE,
    Server,
    answering,
    call,
    client,
    dripping,
    late,
    on_both_loops,
    serving,
    settle,
    silent,
)

from llmhub_core.contracts.errors import UpstreamTimeout, UpstreamUnreachable
from llmhub_core.contracts.provider import Call, Timeouts


async def test_no_answer_in_time() -> None:
    async with serving(silent) as server, client() as up:
        await late(up, call(server, timeouts=Timeouts(first_token=0.15)), 0.14, 0.5)
        await asyncio.wait_for(server.closed.wait(), 0.2)


async def test_header_drip_is_not_an_answer() -> None:
    pieces = [OK, *(b"X-%d: 1\r\n" % n for n in range(100))]
    async with serving(dripping(*pieces, every=0.02)) as server, client() as up:
        await late(up, call(server, timeouts=Timeouts(first_token=0.15)), 0.14, 0.5)


async def test_first_byte_of_body_counts() -> None:
    async with serving(dripping(WHOLE[:-11], every=0.02)) as server, client() as up:
        began = time.monotonic()
        resp = await up.open(call(server, timeouts=Timeouts(first_token=0.4)))
        assert time.monotonic() - began < 0.35
        with pytest.raises(UpstreamTimeout):
            await resp.chunk()
        assert 0.39 <= time.monotonic() - began <= 0.75


async def test_stall() -> None:
    async with serving(dripping(WHOLE[:-10], b"e", every=0.15)) as server, client() as up:
        await late(up, call(server, timeouts=Timeouts(first_token=5, stall=0.2)), 0.33, 0.7)


async def test_stall_is_not_fooled_by_chunk_extensions() -> None:
    pieces = [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;", *[b"x"] * 100]
    async with serving(dripping(*pieces, every=0.02)) as server, client() as up:
        await late(up, call(server, timeouts=Timeouts(first_token=5, stall=0.15)), 0.14, 0.5)


async def test_total() -> None:
    pieces = [OK + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 1000]
    async with serving(dripping(*pieces, every=0.01)) as server, client() as up:
        await late(up, call(server, timeouts=Timeouts(total=0.2)), 0.19, 0.6)


async def test_total_ends_a_stream_that_never_keeps_us_waiting() -> None:
    async with serving(dripping(*[OK + b"\r\n", *[b"x" * 1000] * 1000], every=0.001)) as server, client() as up:
        resp = await up.open(call(server, timeouts=Timeouts(total=0.1)))
        with pytest.raises(UpstreamTimeout):
            for _ in range(20):
                assert await resp.chunk()
                await asyncio.sleep(0.03)


async def test_slow_drip_is_fine() -> None:
    async with (
        serving(dripping(*(CHUNKED[i : i + 1] for i in range(len(CHUNKED))), every=0.006)) as server,
        client() as up,
    ):
        assert (await up.fetch(call(server, timeouts=Timeouts(stall=0.25)))).body == b"hello world"


async def test_no_limits_and_timers_do_not_pile_up() -> None:
    none = Timeouts(connect=None, first_token=None, stall=None, total=None)
    async with serving(answering(WHOLE)) as server, client() as up:
        for timeouts in (none, QUICK, none, Timeouts(first_token=0.05, stall=0.05)):
            assert (await up.fetch(call(server, timeouts=timeouts))).status == 200
        await asyncio.sleep(0.15)  # the last call's deadline passes over an idle connection
        assert up.idle_connections == 1
        assert (await up.fetch(call(server, timeouts=none))).status == 200
        assert server.met == 1


async def test_nobody_there() -> None:
    async with serving(answering(WHOLE)) as server:
        pass
    async with client() as up:
        with pytest.raises(UpstreamUnreachable) as caught:
            await up.open(call(server))
        assert caught.value.code == "upstream_unreachable"
        assert caught.value.__context__ is None
        assert "127.0.0.1" not in caught.value.message


async def test_closed_without_a_word() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    async with serving(script) as server, client() as up:
        with pytest.raises(UpstreamUnreachable):
            await up.open(call(server))
        assert server.met == 1


async def test_name_that_does_not_resolve() -> None:
    async with client() as up:
        for host in ("nowhere.invalid", "x" * 64 + ".invalid"):
            with pytest.raises(UpstreamUnreachable) as caught:
                await up.open(Call(f"http://{host}/", {}, b""))
            assert caught.value.code == "upstream_dns"
            assert caught.value.__context__ is None
            assert "invalid" not in caught.value.message


@pytest.mark.parametrize("answer", [b"", OK, WHOLE[:-3]], ids=["nothing", "half a head", "half a body"])
async def test_cancel_closes_at_once(answer: bytes) -> None:
    async with serving(dripping(answer, every=0)) as server, client() as up:

        async def run() -> None:
            await up.fetch(call(server))

        task = asyncio.create_task(run())
        await settle(lambda: len(server.bodies) == 1)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed.wait(), 0.2)
        assert (up.open_connections, up.idle_connections) == (0, 0)


async def test_abort() -> None:
    async with serving(dripping(WHOLE[:-3], every=0)) as server, client() as up:
        resp = await up.open(call(server))
        assert await resp.chunk() == b"hello wo"
        resp.abort()
        resp.abort()
        await asyncio.wait_for(server.closed.wait(), 0.2)
        with pytest.raises(UpstreamUnreachable):
            await resp.chunk()


async def test_slow_consumer_holds_the_provider_back() -> None:
    size = 64 * 1024 * 1024
    sent = 0

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while await server.take(reader):
            sent = 0
            writer.write(OK + b"Content-Length: %d\r\n\r\n" % size)
            while sent < size:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536

    async with serving(script) as server, client() as up:
        # The consumer's own slowness is no stall.
        resp = await up.open(call(server, timeouts=Timeouts(stall=0.2)))
        await asyncio.sleep(0.4)
        assert sent < 24 * 1024 * 1024  # what the kernel's buffers hold, and ours
        assert resp._size <= 768 * 1024
        got = most = 0
        while piece := await resp.chunk():
            got += len(piece)
            most = max(most, len(piece))
        assert got == size
        assert most <= 768 * 1024
        assert up.idle_connections == 1
        assert len(await (await up.open(call(server))).read(size)) == size
        assert server.met == 1


async def test_paused_answer_that_is_already_whole() -> None:
    body = b"x" * 400_000
    answer = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with serving(answering(answer)) as server, client() as up:
        for _ in range(3):
            resp = await up.open(call(server))
            await asyncio.sleep(0.02)
            assert await resp.read(len(body)) == body
        assert server.met == 1


for _name, _test in list(globals().items()):
    if _name.startswith("test_") and inspect.iscoroutinefunction(_test):
        globals()[_name] = on_both_loops(_test)
