"""Pooled connections: reuse, staleness, limits, order, early answers."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress

import pytest
from upstream_server import (
    CHUNKED,
    WHOLE,
    Server,
    answering,
    call,
    client,
    dripping,
    on_both_loops,
    serving,
    settle,
)

from llmhub_core.contracts.errors import UpstreamTimeout, UpstreamUnreachable
from llmhub_core.contracts.provider import Timeouts


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
                await settle(lambda: up.idle_connections == 0)
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


async def test_cancelled_just_when_the_pooled_connection_died() -> None:
    async with serving(answering(WHOLE, b"")) as server, client(per_host=1) as up:
        await up.fetch(call(server))
        task = asyncio.create_task(up.fetch(call(server)))
        await settle(lambda: len(server.bodies) == 2)
        (conn,) = up.standing
        conn.eof_received()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert [host._count for host in up._hosts.values()] == [0]


async def test_one_reader_only() -> None:
    async with serving(dripping(WHOLE[:-3], every=0)) as server, client() as up:
        resp = await up.open(call(server))
        assert await resp.chunk() == b"hello wo"
        first = asyncio.create_task(resp.chunk())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await resp.chunk()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


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


for _name, _test in list(globals().items()):
    if _name.startswith("test_") and inspect.iscoroutinefunction(_test):
        globals()[_name] = on_both_loops(_test)
