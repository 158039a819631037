"""The fake upstream: every fault that it promises is what a client really meets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def connect(upstream: FakeUpstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(upstream.url.rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port)


async def raw_request(upstream: FakeUpstream, head: bytes = b"GET / HTTP/1.1\r\n\r\n") -> bytes:
    """Every byte that comes back until the connection ends."""
    reader, writer = await connect(upstream)
    writer.write(head)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_request_is_kept_as_it_came(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer({"ok": "ü"}, headers={"X-Seen": "1"}))
    url = f"{upstream.url}/v1beta/models/a%2Fb:go?alt=sse&key=k%20y&empty="
    async with client.post(url, json={"model": "m"}, headers={"X-Api-Key": "k"}) as answer:
        assert (answer.status, await answer.json(), answer.headers["x-seen"]) == (200, {"ok": "ü"}, "1")
    (request,) = upstream.requests
    assert (request.method, request.path) == ("POST", "/v1beta/models/a%2Fb:go")
    assert request.query == {"alt": "sse", "key": "k y", "empty": ""}
    assert request.headers["x-api-key"] == "k"
    assert request.json == {"model": "m"}


async def test_the_script_is_followed_and_its_last_answer_repeats(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(1, status=429), json_answer(2))
    said = [(answer.status, await answer.json()) for answer in [await client.get(upstream.url) for _ in range(3)]]
    assert said == [(429, 1), (200, 2), (200, 2)]


async def test_without_a_script_every_request_fails_visibly(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{upstream.url}/here") as answer:
        assert answer.status == 500
        assert "/here" in (await answer.json())["error"]["message"]


async def test_on_chooses_by_the_request_before_the_script(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    def by_key(request: ReceivedRequest) -> Answer | None:
        return json_answer("no", status=401) if request.headers.get("authorization") == "bad" else None

    upstream.script(json_answer("yes"))
    upstream.on(by_key)
    assert (await client.get(upstream.url, headers={"authorization": "bad"})).status == 401
    assert (await client.get(upstream.url, headers={"authorization": "good"})).status == 200


async def test_a_mistake_in_on_is_raised_where_the_test_sees_it() -> None:
    with pytest.raises(KeyError):
        async with FakeUpstream() as upstream:
            upstream.on(lambda request: dict[str, Answer]()["no such answer"])
            assert await raw_request(upstream) == b""


async def test_connections_are_kept_alive_and_counted(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(1))
    for _ in range(3):
        async with client.get(upstream.url) as answer:
            await answer.read()
    assert [request.connection for request in upstream.requests] == [0, 0, 0]
    assert (upstream.connections, upstream.open_connections) == (1, 1)
    await client.close()
    await upstream.until(lambda: upstream.open_connections == 0)
    assert not upstream.gone.is_set()


async def test_two_requests_in_one_write_are_two_requests(upstream: FakeUpstream) -> None:
    upstream.script(json_answer(1), json_answer(2))
    text = await raw_request(
        upstream, b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /b HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert [(request.path, request.body) for request in upstream.requests] == [("/a", b"xyz"), ("/b", b"")]
    assert text.count(b"HTTP/1.1 200 OK") == 2


async def test_a_stream_is_one_chunk_an_event(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer("data: 1\n\ndata: 2\r\n\r\ndata: rest"))
    async with client.get(upstream.url) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert await answer.read() == b"data: 1\n\ndata: 2\r\n\r\ndata: rest"
    text = await raw_request(upstream, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert text.endswith(b"9\r\ndata: 1\n\n\r\nb\r\ndata: 2\r\n\r\n\r\na\r\ndata: rest\r\n0\r\n\r\n")


async def test_frames_given_one_by_one_are_sent_one_by_one() -> None:
    assert sse_answer(["data: 1\n\n", b"data: 2\n\n"]).chunks == [b"data: 1\n\n", b"data: 2\n\n"]


@pytest.mark.parametrize("how", [{}, {"close_delimited": True}])
async def test_pieces_reach_a_reader_one_by_one(upstream: FakeUpstream, how: dict[str, Any]) -> None:
    upstream.script(sse_answer("data: a long enough event\n\n", piece=3, **how))
    reader, writer = await connect(upstream)
    writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    reads = []
    while data := await reader.read(1000):
        reads.append(data)
    writer.close()
    await writer.wait_closed()
    assert b"a long enough event" in b"".join(reads)
    # The system may join two pieces, but never all of them.
    assert {len(data) for data in reads[:-1]} <= {3, 6, 9}


async def test_close_delimited_ends_with_the_connection(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(Answer(body=b"to the end", close_delimited=True))
    async with client.get(upstream.url) as answer:
        assert "content-length" not in answer.headers
        assert await answer.read() == b"to the end"
    await upstream.until(lambda: upstream.open_connections == 0)
    assert not upstream.gone.is_set()


async def test_hang_up_closes_a_connection_that_was_promised_to_stay(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(Answer(body=b"whole", hang_up=True))
    async with client.get(upstream.url) as answer:
        assert answer.headers.get("connection", "") != "close"
        assert await answer.read() == b"whole"
    await upstream.until(lambda: upstream.open_connections == 0)


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (Answer(body=b"0123456789", cut_after=4, reset=False), 4),
        (Answer(body=b"0123456789", cut_after=0, reset=False), 0),
        (Answer(body=b"0123456789", cut_after=4, piece=3, reset=False), 4),
        (Answer(chunks=[b"012", b"3456", b"789"], cut_after=4, reset=False), 4),
        (Answer(chunks=[b"012", b"3456", b"789"], cut_after=3, reset=False), 3),
        (Answer(chunks=[b"012", b"3456", b"789"], cut_after=10, reset=False), 10),
        (Answer(chunks=[b"012", b"3456", b"789"], cut_after=5, piece=2, reset=False), 5),
        (Answer(chunks=[b"012", b"3456", b"789"], cut_after=99, reset=False), 10),
    ],
)
async def test_a_cut_is_after_so_many_bytes_of_the_body(
    upstream: FakeUpstream, client: aiohttp.ClientSession, answer: Answer, size: int
) -> None:
    upstream.script(answer)
    got = b""
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(upstream.url) as response:
            async for data in response.content.iter_any():
                got += data
        await response.read()
    assert got == b"0123456789"[:size]


async def test_a_cut_is_a_reset_if_not_told_otherwise(upstream: FakeUpstream) -> None:
    upstream.script(Answer(body=b"0123456789", cut_after=4))
    reader, writer = await connect(upstream)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()


async def test_garbage_is_sent_as_it_is(upstream: FakeUpstream) -> None:
    upstream.script(Answer(raw=b"\x00\x16 what?"))
    assert await raw_request(upstream) == b"\x00\x16 what?"
    upstream.script(Answer(raw=b"", cut_after=0, reset=False))
    assert await raw_request(upstream) == b""


async def test_a_lying_length_is_left_alone(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(Answer(headers={"content-length": "50"}, body=b"short", hang_up=True))
    with pytest.raises(aiohttp.ClientPayloadError):
        await (await client.get(upstream.url)).read()


async def test_a_status_without_a_name(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer({}, status=529))
    assert (await client.get(upstream.url)).status == 529


async def test_a_stall_lasts_until_the_client_hangs_up(upstream: FakeUpstream) -> None:
    upstream.script(Answer(body=b"0123456789", stall_after=4))
    reader, writer = await connect(upstream)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await reader.readuntil(b"0123")).endswith(b"\r\n\r\n0123")
    assert upstream.gone.times == []
    before = asyncio.get_running_loop().time()
    writer.close()
    await writer.wait_closed()
    await asyncio.wait_for(upstream.gone.wait(), 5)
    assert upstream.gone.at is not None
    assert upstream.gone.at >= before
    await upstream.until(lambda: upstream.open_connections == 0)


async def test_a_stall_ends_when_it_is_told_to(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    resume = asyncio.Event()
    upstream.script(Answer(chunks=[b"0123", b"456789"], stall_after=6, resume=resume))
    async with client.get(upstream.url) as answer:
        assert await answer.content.readexactly(6) == b"012345"
        resume.set()
        assert await answer.content.read() == b"6789"
    assert not upstream.gone.is_set()


async def test_a_client_that_leaves_before_the_first_byte_is_noted(upstream: FakeUpstream) -> None:
    upstream.script(Answer(delay_first=600))
    _, writer = await connect(upstream)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await upstream.wait_for(1)
    writer.close()
    await writer.wait_closed()
    await asyncio.wait_for(upstream.gone.wait(), 5)


async def test_a_client_that_never_reads_holds_the_answer_back(upstream: FakeUpstream) -> None:
    upstream.script(Answer(body=bytes(50_000_000)))
    _, writer = await connect(upstream)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await upstream.wait_for(1)
    writer.transport.abort()
    await asyncio.wait_for(upstream.gone.wait(), 5)


async def test_leaving_drops_every_connection_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with FakeUpstream() as upstream:
        upstream.script(Answer(body=b"0123456789", stall_after=4))
        reader, writer = await connect(upstream)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"0123")
        idle_reader, idle = await connect(upstream)
        await upstream.until(lambda: upstream.open_connections == 2)
    assert await reader.read() == await idle_reader.read() == b""
    assert asyncio.all_tasks() == before
    for open_writer in (writer, idle):
        open_writer.close()
        await open_writer.wait_closed()


async def test_waiting_for_what_never_comes_ends(upstream: FakeUpstream) -> None:
    with pytest.raises(TimeoutError):
        await upstream.wait_for(1, within=0.01)
