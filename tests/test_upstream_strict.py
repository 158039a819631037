"""Answers that are not, that are cut, and that come in pieces."""

from __future__ import annotations

import asyncio
import gzip
import inspect

import pytest
from upstream_server import (
    BODY,
    CHUNKED,
    OK,
    WHOLE,
    Server,
    answering,
    call,
    client,
    everything,
    on_both_loops,
    serving,
    settle,
)

from llmhub_core.contracts.errors import UpstreamGarbled, UpstreamUnreachable

GARBLED = {
    "garbage": b"\x00\xff\xfe garbage\r\n\r\n",
    "html": b"<html>hello</html>",
    "tls": b"\x15\x03\x01\x00\x02\x02\x46",
    "blank first": b"\r\n" + OK + BODY,
    "http/0.9": b"HTTP/0.9 200 OK\r\n" + BODY,
    "http/2.0": b"HTTP/2.0 200 OK\r\n" + BODY,
    "rtsp": b"RTSP/1.0 200 OK\r\n" + BODY,
    "lower case": b"http/1.1 200 OK\r\n" + BODY,
    "status 99": b"HTTP/1.1 99 Odd\r\n" + BODY,
    "status 000": b"HTTP/1.1 000 Odd\r\n" + BODY,
    "status 777": b"HTTP/1.1 777 Odd\r\n" + BODY,
    "status 1000": b"HTTP/1.1 1000 Odd\r\n" + BODY,
    "status 2x0": b"HTTP/1.1 2x0 Odd\r\n" + BODY,
    "101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
    "101 bare": b"HTTP/1.1 101 Switching\r\n\r\nabc",
    "100 with body": b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nhi" + OK + BODY,
    "interim then http/2": b"HTTP/1.1 103 Early\r\n\r\nHTTP/2.0 200 OK\r\n" + BODY,
    "cl and te": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "te and cl": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\n" + b"Content-Length: 3\r\n\r\nhi!",
    "length list": OK + b"Content-Length: 2, 3\r\n\r\nhi",
    "length +2": OK + b"Content-Length: +2\r\n\r\nhi",
    "length -2": OK + b"Content-Length: -2\r\n\r\nhi",
    "length huge": OK + b"Content-Length: 99999999999999999999999\r\n\r\nhi",
    "te gzip": OK + b"Transfer-Encoding: gzip\r\n\r\nhi",
    "te gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "te twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "te chunked, gzip": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "te in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "bare cr": OK + b"A: b\rC: d\r\n" + BODY,
    "nul": OK + b"A: b\x00c\r\n" + BODY,
    "fold": OK + b"A: b\r\n c\r\n" + BODY,
    "space before colon": OK + b"A : b\r\n" + BODY,
    "no colon": OK + b"Abc\r\n" + BODY,
    "large header": OK + b"A: " + b"x" * 70_000 + b"\r\n" + BODY,
    "endless header": OK + b"A: " + b"x" * 300_000,
    "large reason": b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n" + BODY,
    "many headers": OK + b"A: 1\r\n" * 201 + BODY,
    "unknown coding": OK + b"Content-Encoding: br\r\n" + BODY,
    "two codings": OK + b"Content-Encoding: gzip, gzip\r\n" + BODY,
    "not gzip": OK + b"Content-Encoding: gzip\r\n" + BODY,
}
BAD_CHUNKS = {
    "size": b"zz\r\nhi\r\n0\r\n\r\n",
    "negative": b"-1\r\nhi\r\n0\r\n\r\n",
    "hex prefix": b"0x2\r\nhi\r\n0\r\n\r\n",
    "space": b"2 \r\nhi\r\n0\r\n\r\n",
    "bare lf": b"2\nhi\n0\n\n",
    "empty": b"\r\nhi\r\n0\r\n\r\n",
    "overflow": b"fffffffffffffffff\r\nhi\r\n",
    "longer": b"2\r\nhiXX\r\n0\r\n\r\n",
    "endless extension": b"2;" + b"x" * 400_000,
    "trailer flood": b"2\r\nhi\r\n0\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    "endless trailer": b"2\r\nhi\r\n0\r\nA: " + b"x" * 400_000,
    "length in trailer": b"2\r\nhi\r\n0\r\nContent-Length: 2\r\n\r\n",
}
GARBLED |= {f"chunk: {name}": OK + b"Transfer-Encoding: chunked\r\n\r\n" + body for name, body in BAD_CHUNKS.items()}


@pytest.mark.parametrize("name", GARBLED)
async def test_garbled(name: str) -> None:
    async with serving(answering(GARBLED[name])) as server, client() as up:
        with pytest.raises(UpstreamGarbled) as caught:
            await up.fetch(call(server))
        assert (caught.value.status, caught.value.code) == (502, "upstream_protocol_error")
        assert caught.value.__context__ is None
        assert server.met == 1
        if name != "not gzip":  # there the framing was sound
            assert up.idle_connections == 0
            await settle(lambda: up.open_connections == 0)


async def test_200_headers_are_enough() -> None:
    async with serving(answering(OK + b"A: 1\r\n" * 199 + BODY)) as server, client() as up:
        assert (await up.fetch(call(server))).body == b"hi"


def sliced(answer: bytes, at: int, cut: bool):  # type: ignore[no-untyped-def]
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await server.take(reader):
            return
        writer.write(answer[:at])
        await writer.drain()
        if not cut:
            await asyncio.sleep(0.002)
            writer.write(answer[at:])
            await server.take(reader)

    return script


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED], ids=["whole", "chunked"])
async def test_cut_at_every_byte(answer: bytes) -> None:
    ends = answer.index(b"\r\n\r\n") + 4
    for at in range(len(answer)):
        async with serving(sliced(answer, at, True)) as server, client() as up:
            outcome = await everything(up, call(server))
            if at < ends:
                assert outcome == (UpstreamUnreachable, "upstream_unreachable"), at
            else:
                assert outcome[-2:] == (UpstreamGarbled, "upstream_protocol_error"), at
                assert b"hello world".startswith(outcome[2]), at  # type: ignore[arg-type]
            assert server.met == 1


GZIPPED = gzip.compress(b"hello world")
SPLIT = {
    "whole": WHOLE,
    "chunked": CHUNKED,
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
    "gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIPPED) + GZIPPED,
    "garbled": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\nzz\r\n\r\n",
    "te and cl": GARBLED["te and cl"],
    "http/2.0": GARBLED["http/2.0"],
}


@pytest.mark.parametrize("name", SPLIT)
async def test_split_at_every_byte(name: str) -> None:
    answer = SPLIT[name]
    outcomes = set()
    for at in range(len(answer) + 1):
        async with serving(sliced(answer, at, False)) as server, client() as up:
            outcomes.add(await everything(up, call(server)))
    assert len(outcomes) == 1
    assert (b"hello world" in outcomes.pop()) == (name not in ("te and cl", "http/2.0"))


async def test_head_end_across_reads_before_a_large_body() -> None:
    body = b"x" * 200_000
    answer = OK + b"Content-Length: 200000\r\n\r\n" + body
    for back in range(5):
        async with serving(sliced(answer, len(answer) - len(body) - back, False)) as server, client() as up:
            assert (await up.fetch(call(server))).body == body


async def test_byte_by_byte() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.take(reader):
            for i in range(len(CHUNKED)):
                writer.write(CHUNKED[i : i + 1])
                await asyncio.sleep(0)

    async with serving(script) as server, client() as up:
        for _ in range(3):
            assert (await up.fetch(call(server))).body == b"hello world"
        assert server.met == 1


async def test_reset_in_the_middle() -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        writer.write(WHOLE[:-3])
        await asyncio.sleep(0.05)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: close with a reset
        writer.transport.abort()

    async with serving(script) as server, client() as up:
        resp = await up.open(call(server))
        assert await resp.chunk() == b"hello wo"
        for _ in range(2):
            with pytest.raises(UpstreamGarbled, match="broke off"):
                await resp.chunk()


for _name, _test in list(globals().items()):
    if _name.startswith("test_") and inspect.iscoroutinefunction(_test):
        globals()[_name] = on_both_loops(_test)
