"""The official SDK before what the wire format ``gemini`` writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from speaking_gemini import (
    ANSWER,
    ANSWERS,
    answer_of,
    decoded,
    dialect,
    encoded,
    read,
    said,
    with_traffic,
)

from llmhub_core.contracts import (
    Failed,
    ModelCard,
    QuotaExceeded,
    UpstreamGarbled,
    fold,
)

# The official SDK.


@asynccontextmanager
async def sdk(bodies: Mapping[str, bytes], status: int = 200) -> AsyncIterator[Any]:
    """The SDK before a local server that answers with the body of the model's name, in two pieces."""
    genai = pytest.importorskip("google.genai")

    async def answer(request: web.Request) -> web.StreamResponse:
        body = bodies.get(request.path.rpartition("/")[2].partition(":")[0], b"")
        kind = "text/event-stream" if request.query.get("alt") == "sse" else "application/json"
        response = web.StreamResponse(status=status, headers={"content-type": kind})
        await response.prepare(request)
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            await response.write(piece)
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    client = genai.Client(api_key="test", http_options=genai.types.HttpOptions(base_url=f"http://{host}:{port}"))
    try:
        yield client.aio
    finally:
        await client.aio.aclose()
        client.close()
        await runner.cleanup()


@with_traffic
@pytest.mark.filterwarnings("ignore:.* is not a valid")
async def test_the_sdk_reads_every_recorded_answer_as_we_write_it() -> None:
    told = {case["id"]: decoded(*answer_of(case)) for case in ANSWERS}
    told = {name: events for name, events in told.items() if not isinstance(events[-1], Failed)}
    bodies = {
        f"{name}-{framing}": encoded(events, framing) for name, events in told.items() for framing in ("sse", "json")
    }
    async with sdk(bodies) as client:
        for name, events in told.items():
            expected = fold(events)
            calls = [(call.name, json.loads(call.text)) for call in expected.tool_calls if call.choice == 0]
            stream = await client.models.generate_content_stream(model=f"{name}-sse", contents="Hi")
            seen = [chunk async for chunk in stream]
            answer = await client.models.generate_content(model=f"{name}-json", contents="Hi")
            for parts in ([part for chunk in seen for part in first_parts(chunk)], first_parts(answer)):
                assert "".join(part.text or "" for part in parts if not part.thought) == expected.text, name
                called = [part.function_call for part in parts if part.function_call]
                assert [(call.name, call.args or {}) for call in called] == calls, name
            if answer.candidates:
                native = expected.finished[0].native
                word = "STOP" if native in ("", "FAKE_ENUM") else native  # what is no word of the format ends plainly
                assert answer.candidates[0].finish_reason == seen[-1].candidates[0].finish_reason == word, name
            else:
                assert expected.finished[0].reason == "content_filter"
                assert answer.prompt_feedback.block_reason == seen[-1].prompt_feedback.block_reason
            for usage in (answer.usage_metadata, seen[-1].usage_metadata):
                if expected.usage is None:
                    assert usage is None
                    continue
                tools = usage.tool_use_prompt_token_count or 0
                assert (usage.prompt_token_count or 0) + tools == expected.usage.input_tokens
                thoughts = usage.thoughts_token_count or 0
                assert (usage.candidates_token_count or 0) + thoughts == expected.usage.output_tokens
                assert thoughts == expected.usage.reasoning_tokens
                assert (usage.cached_content_token_count or 0) == expected.usage.cached_tokens


def first_parts(answer: Any) -> list[Any]:
    first = [entry for entry in answer.candidates or [] if not entry.index and entry.content]
    return [part for entry in first for part in entry.content.parts or []]


async def test_the_sdk_reads_an_answer_of_another_dialect_in_a_chat() -> None:
    async with sdk({"m": encoded(ANSWER, "sse")}) as client:
        chat = client.chats.create(model="m")
        seen = [chunk async for chunk in await chat.send_message_stream("Hi")]
        assert [call.name for chunk in seen for call in chunk.function_calls or []] == ["add", "now", "bad"]
        assert seen[-1].candidates[0].finish_reason == "STOP"
        # What the SDK holds for an invalid answer would be missing in the curated history.
        assert chat.get_history(curated=True) == chat.get_history()
        assert len(chat.get_history()) == 1 + len(seen)


async def test_the_sdk_raises_on_our_errors() -> None:
    errors = pytest.importorskip("google.genai.errors")
    refusal = QuotaExceeded("Wait.", retry_after=3)
    async with sdk({"m": dialect.encode_error(refusal, "r")}, 429) as client:
        with pytest.raises(errors.ClientError) as caught:
            await client.models.generate_content(model="m", contents="Hi")
        assert (caught.value.code, caught.value.status, caught.value.message) == (429, "RESOURCE_EXHAUSTED", "Wait.")
    encoder = dialect.response_encoder(replace(read(said("Hi")), framing="sse"))
    begun = b"".join(encoder.write(event) for event in ANSWER[:7])
    broken = UpstreamGarbled("It broke off.")
    async with sdk({"m": begun + dialect.encode_stream_error(broken, "r")}) as client:
        with pytest.raises(errors.ServerError) as stopped:
            async for _ in await client.models.generate_content_stream(model="m", contents="Hi"):
                pass
        assert (stopped.value.code, stopped.value.message) == (502, "It broke off.")


async def test_the_sdk_lists_our_models() -> None:
    cards = [ModelCard("fast", 0, "llm-hub"), ModelCard("openai/gpt-4o", 0, "openai")]
    async with sdk({"models": dialect.encode_models(cards)}) as client:
        listed = [model async for model in await client.models.list(config={"page_size": 5})]
    assert [model.name for model in listed] == ["models/fast", "models/openai/gpt-4o"]
    assert "generateContent" in listed[0].supported_actions
    assert json.loads(dialect.encode_model(cards[0]))["name"] == "models/fast"
