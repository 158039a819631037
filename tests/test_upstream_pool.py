"""Pooled connections, limits of time, and leaving early."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import suppress

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


async def test_stale_connection_is_replaced_once() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        writer.write(WHOLE)
        if server.met == 1:
            await server.take(reader)  # and close without an answer

    async with serving(script) as server, client() as up:
        await up.fetch(call(server, b"one"))
        assert (await up.fetch(call(server, b"two"))).body == b"hello world"
        assert server.met == 2
        assert server.bodies == [b"one", b"two", b"two"]


async def test_stale_connection_is_replaced_only_once() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.met == 1:
            await server.take(reader)
            writer.write(WHOLE)
        await server.take(reader)

    async with serving(script) as server, client(per_host=1) as up:
        await up.fetch(call(server))
        with pytest.raises(UpstreamUnreachable) as caught:
            await up.fetch(call(server))
        assert caught.value.code == "upstream_unreachable"
        assert (server.met, len(server.bodies)) == (2, 3)
        await settle(lambda: up.open_connections == 0)


async def test_no_second_try_after_the_first_byte() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        writer.write(WHOLE)
        await server.take(reader)
        writer.write(b"H")

    async with serving(script) as server, client() as up:
        await up.fetch(call(server))
        with pytest.raises(UpstreamUnreachable):
            await up.fetch(call(server))
        assert server.met == 1


async def test_closed_idle_connection_is_not_used() -> None:
    async with serving(answering(WHOLE, keep=False)) as server, client() as up:
        for n in range(1, 5):
            await up.fetch(call(server))
            assert server.met == n
            assert len(server.bodies) == n
            if n % 2:
                await settle(lambda: up.open_connections == 0)


@pytest.mark.parametrize("extra", [WHOLE, b"x", b"\r\n", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
@pytest.mark.parametrize("answer", [WHOLE, CHUNKED], ids=["whole", "chunked"])
@pytest.mark.parametrize("pause", [False, True])
async def test_more_than_was_asked_for(answer: bytes, extra: bytes, pause: bool) -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.take(reader):
            mine = b"%d" % len(server.bodies)
            writer.write(answer.replace(b"world", b"worl" + mine))
            if pause:
                await asyncio.sleep(0.01)
            writer.write(extra)

    async with serving(script) as server, client() as up:
        for n in range(1, 4):
            assert (await up.fetch(call(server))).body == b"hello worl%d" % n
            if pause:
                await asyncio.sleep(0.02)
            assert up.idle_connections == 0
        assert server.met == 3


async def test_early_answer_before_the_body_is_read() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await writer.drain()

    async with serving(script) as server, client() as up:
        for _ in range(5):
            answer = await up.fetch(call(server, b"x" * 20_000_000))
            assert (answer.status, answer.body) == (413, b"big")
            assert up.idle_connections == 0


async def test_cancelled_at_every_step() -> None:
    """However many turns of the loop a call was given, leaving it frees its place and its connection."""
    async with serving(answering(WHOLE, CHUNKED)) as server, client(per_host=1) as up:
        for steps in range(60):
            task = asyncio.create_task(up.fetch(call(server)))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await up.fetch(call(server))).body == b"hello world"
        assert [host._count for host in up._hosts.values()] == [1]


async def test_early_answer_on_a_connection_kept_open() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WHOLE)
        await asyncio.sleep(0.5)

    async with serving(script) as server, client() as up:
        assert (await up.fetch(call(server, b"x" * 20_000_000))).status == 200
        assert up.idle_connections == 0


async def test_lifo_and_idle_limit() -> None:
    async with serving(answering(WHOLE)) as server, client(idle=0.2) as up:
        await asyncio.gather(*(up.fetch(call(server)) for _ in range(5)))
        assert (server.met, up.idle_connections) == (5, 5)
        for _ in range(5):
            await asyncio.sleep(0.06)
            await up.fetch(call(server))
        assert up.idle_connections == 1
        assert server.met == 5
        await settle(lambda: up.open_connections == 0)
        assert up.idle_connections == 0


async def test_limit_and_order() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.take(reader):
            await asyncio.sleep(0.005)
            writer.write(WHOLE)
            if len(server.bodies) % 3 == 0:
                return

    async with serving(script) as server, client(per_host=2) as up:
        tasks = []
        for n in range(20):
            tasks.append(asyncio.create_task(up.fetch(call(server, b"%d" % n))))
            await asyncio.sleep(0)
        tasks[7].cancel()
        await settle(lambda: len(server.bodies) >= 4)
        assert up.open_connections <= 2
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results.pop(7), asyncio.CancelledError)
        assert all(not isinstance(result, BaseException) for result in results)
        firsts = list(dict.fromkeys(int(body) for body in server.bodies))
        assert sorted(firsts) == [n for n in range(20) if n != 7]
        assert all(abs(n - place) <= 3 for place, n in enumerate(firsts))


async def test_waiting_in_line_counts_as_connecting() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        await server.take(reader)

    async with serving(script) as server, client(per_host=1) as up:
        first = asyncio.create_task(up.fetch(call(server)))
        await settle(lambda: len(server.bodies) == 1)
        with pytest.raises(UpstreamTimeout) as caught:
            await up.fetch(call(server, timeouts=Timeouts(connect=0.1)))
        assert caught.value.code == "upstream_timeout"
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        late = asyncio.create_task(up.fetch(call(server)))  # the place was freed
        await settle(lambda: server.met == 2)
        late.cancel()
        with suppress(asyncio.CancelledError):
            await late


async def test_cancel_storm_leaves_no_place_taken() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.take(reader):
            await asyncio.sleep(0.001)
            writer.write(WHOLE)
            if len(server.bodies) % 7 == 0:
                return

    async with serving(script) as server, client(per_host=3) as up:
        for round_ in range(40):
            tasks = [asyncio.create_task(up.fetch(call(server))) for _ in range(12)]
            for n, task in enumerate(tasks):
                if n % 3 != round_ % 3:
                    asyncio.get_running_loop().call_later(0.0003 * (n + round_ % 5), task.cancel)
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert not isinstance(result, Exception), result
            assert up.open_connections <= 3
        await asyncio.gather(*(up.fetch(call(server)) for _ in range(6)))
        assert all(host._count == len(host.idle) for host in up._hosts.values())


async def test_stop_ends_what_runs_and_what_waits() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        await server.take(reader)

    async with serving(script) as server, client(per_host=2) as up:
        tasks = [asyncio.create_task(up.fetch(call(server))) for _ in range(5)]
        await settle(lambda: len(server.bodies) == 2)
        await up.stop()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, UpstreamUnreachable)
        with pytest.raises(UpstreamUnreachable):
            await up.open(call(server))


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
        resp = await up.open(call(server, timeouts=Timeouts(first_token=0.15)))
        assert time.monotonic() - began < 0.1
        with pytest.raises(UpstreamTimeout):
            await resp.chunk()
        assert 0.14 <= time.monotonic() - began <= 0.5


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


async def test_slow_drip_is_fine() -> None:
    async with (
        serving(dripping(*(CHUNKED[i : i + 1] for i in range(len(CHUNKED))), every=0.005)) as server,
        client() as up,
    ):
        assert (await up.fetch(call(server, timeouts=Timeouts(stall=0.15)))).body == b"hello world"


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
