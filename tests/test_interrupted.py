"""The caller hangs up; the provider dies in the middle; the hub is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from houses import CHAT, COMPLETION, STREAM, ask, one_provider

from llmhub_core.hub.journal import read_entries
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer


async def gone_within(upstream: FakeUpstream, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await upstream.gone.wait()


async def test_a_caller_who_leaves_a_stream_stops_the_provider_and_leaves_a_record(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer("".join(STREAM), stall_after=len(STREAM[0] + STREAM[1])))
    async with House(one_provider(upstream.url)) as house:
        response = await client.post(house.url + "/v1/chat/completions", json=CHAT | {"stream": True})
        await response.content.readany()
        response.close()
        await gone_within(upstream, 1)
        (record,) = await house.records()
        assert (record.outcome, record.status) == ("cancelled", 499)
        assert record.attempts[0].reason == "client_closed"
        assert record.usage_estimated
        assert record.output_tokens > 0


async def test_a_caller_who_leaves_before_the_answer_stops_the_provider(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION, delay_first=30))
    token = mint()
    limits = f'[[tokens]]\nname = "t"\nhash = "{digest(token)}"\nlimits = {{ concurrency = 1, tpm = 5000 }}\n'
    async with House(one_provider(upstream.url) + limits) as house:
        headers = {"authorization": f"Bearer {token}"}
        task = asyncio.create_task(ask(client, house.url, headers=headers))
        await upstream.wait_for(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gone_within(upstream, 1)
        (record,) = await house.records()
        assert record.outcome == "cancelled"
        assert (record.input_tokens, record.output_tokens) == (0, 0)  # no provider said a word
        caller = house.hub.tokens.find(token)
        assert caller is not None
        for level in await house.hub.quota.levels(caller.limits):
            assert level.reserved == 0
        upstream.script(json_answer(COMPLETION))
        assert (await ask(client, house.url, headers=headers)).status == 200


async def test_a_provider_that_dies_mid_sentence_is_no_success(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    text = "".join(STREAM)
    for cut in range(1, len(text) - len(STREAM[-1]), 97):
        upstream.script(sse_answer(text, cut_after=cut))
        async with House(one_provider(upstream.url)) as house:
            response = await client.post(house.url + "/v1/chat/completions", json=CHAT | {"stream": True})
            if response.status == 200:
                try:
                    body = await response.read()
                except aiohttp.ClientPayloadError:
                    body = b""
                    response.close()
                assert not body.endswith(b"[DONE]\n\n"), cut
            else:
                assert response.status in (502, 503)
            (record,) = await house.records()
            assert record.outcome == "failed"


@pytest.mark.parametrize("end", ["\n\n", ""])
async def test_a_providers_error_in_the_middle_of_a_stream_goes_on_without_the_key_that_it_repeats(
    upstream: FakeUpstream, client: aiohttp.ClientSession, end: str
) -> None:
    def answer(request: ReceivedRequest) -> Answer:
        error = {"message": f"The key {request.headers['authorization']} is out of credit", "code": "out_of_credit"}
        return sse_answer([*STREAM[:3], f"data: {json.dumps({'error': error})}{end}"], delay=0.05)

    upstream.on(answer)
    async with House(one_provider(upstream.url)) as house:
        said = b""
        async with client.post(house.url + "/v1/chat/completions", json=CHAT | {"stream": True}) as response:
            assert response.status == 200
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async for piece in response.content.iter_any():
                    said += piece
        assert b"is out of credit" in said
        assert upstream.requests[0].headers["authorization"].removeprefix("Bearer ").encode() not in said
        (record,) = await house.records()
        assert record.outcome == "failed"


async def test_a_slow_reader_does_not_fill_the_memory(upstream: FakeUpstream) -> None:
    event = "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 60_000}}]}) + "\n\n"
    upstream.script(Answer(200, {"Content-Type": "text/event-stream"}, chunks=[event.encode()] * 400))
    async with House(one_provider(upstream.url)) as house:
        host, port = house.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        body = json.dumps(CHAT | {"stream": True}).encode()
        writer.write(
            b"POST /v1/chat HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            + f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await reader.readexactly(100)
        await asyncio.sleep(0.5)  # nothing is read meanwhile: the hub has to stop reading, too
        assert house.hub.in_flight == 1
        writer.transport.abort()
        (record,) = await house.records()
        assert record.outcome == "cancelled"
        assert record.output_tokens > 0
        await gone_within(upstream, 2)


def start_hub(folder: Path, config: str, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    """A hub in a process of its own; returns when it listens."""
    (folder / "config.toml").write_text(config)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmhub_core", "serve", "--config", str(folder / "config.toml"), "--port", str(port),
         "--data-dir", str(folder / "data")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, line.split("listens on ")[1].split()[0]


async def test_kill_9_loses_no_request(upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Killed in the middle of load, again and again: what a provider answered is there exactly once."""
    served = 0

    def answer(request: object) -> Answer:
        nonlocal served
        served += 1
        return json_answer(COMPLETION, delay_first=0.002)

    upstream.on(answer)
    ids: set[str] = set()

    async def load(url: str) -> None:
        while True:
            try:
                answered = await ask(client, url)
            except (aiohttp.ClientError, OSError):
                return
            assert answered.status == 200
            assert answered.headers["x-request-id"] not in ids
            ids.add(answered.headers["x-request-id"])

    for _ in range(4):
        process, url = await asyncio.to_thread(start_hub, tmp_path, one_provider(upstream.url))
        try:
            callers = [asyncio.create_task(load(url)) for _ in range(6)]
            await upstream.wait_for(len(upstream.requests) + 60)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        await asyncio.gather(*callers)

    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        records = await house.records()
    found = [record.id for record in records]
    assert len(found) == len(set(found))
    assert ids <= set(found)
    assert len(found) >= served  # each call to the provider belongs to a record …
    unknown = [record for record in records if record.outcome == "unknown"]
    assert len(found) - len(ids) <= 6 * 4 * 2  # … and what the callers never heard of was in flight when it ended
    assert all(record.usage_estimated for record in unknown)


async def test_sigterm_lets_running_streams_finish(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    resume = asyncio.Event()
    upstream.script(sse_answer("".join(STREAM), stall_after=len(STREAM[0] + STREAM[1]), resume=resume))
    process, url = await asyncio.to_thread(start_hub, tmp_path, one_provider(upstream.url))
    try:
        response = await client.post(url + "/v1/chat/completions", json=CHAT | {"stream": True})
        first = await response.content.readany()
        process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 5
        while True:  # no new connections any more
            try:
                _, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
                writer.close()
            except OSError:
                break
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        resume.set()
        rest = await response.read()
        assert (first + rest).endswith(b"data: [DONE]\n\n")
        assert await asyncio.to_thread(process.wait, 10) == 0
        assert list((tmp_path / "data" / "journal").glob("*.log")) == []  # all shipped
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()


async def test_two_hubs_do_not_share_a_folder(upstream: FakeUpstream, tmp_path: Path) -> None:
    config = one_provider(upstream.url)
    async with House(config, folder=tmp_path):
        command = [sys.executable, "-m", "llmhub_core", "serve", "--config", str(tmp_path / "config.toml")]
        command += ["--port", "0", "--data-dir", str(tmp_path / "data")]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1
        assert "Another llm-hub runs on the data folder" in done.stderr
        assert "Traceback" not in done.stderr


async def test_a_journal_that_cannot_be_written_refuses_before_anything_is_called(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        journal = house.hub.ledger._journal
        whole, journal._fd = journal._fd, os.open("/dev/full", os.O_WRONLY)
        refused = await ask(client, house.url)
        assert refused.status == 503
        assert (await refused.json())["error"]["code"] == "meter_full"
        assert upstream.requests == []
        async with client.get(house.url + "/readyz") as ready:
            assert ready.status == 503
        os.close(journal._fd)
        journal._fd = whole
        assert (await ask(client, house.url)).status == 200
        assert [record.outcome for record in await house.records()] == ["refused", "served"]


async def test_records_wait_in_the_journal_while_the_database_is_away(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        store = house.hub.store
        append = store.append_from

        async def away(journal: str, records: object) -> None:
            raise OSError("the database is away")

        store.append_from = away  # type: ignore[method-assign]
        for _ in range(5):
            assert (await ask(client, house.url)).status == 200
        await house.hub.idle()
        entries = [
            json.loads(entry)
            for segment in sorted((tmp_path / "data" / "journal").glob("*.log"))
            for entry in read_entries(segment)
        ]
        assert sum(entry["type"] == "outcome" for entry in entries) == 5
        store.append_from = append  # type: ignore[method-assign]
        assert len(await house.records()) == 5
