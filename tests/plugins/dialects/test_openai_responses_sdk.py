"""OpenAI's SDK asking for responses, unchanged, before a hub with four kinds of providers behind it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from houses import provider
from openai.types.responses import ParsedResponse
from plain_reading import ANSWERED
from pydantic import BaseModel

from llmhub_core.contracts import SEALED, seal_id
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

TRAFFIC = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[3] / ".." / "shared" / "traffic"))
TALKS = Path(__file__).parents[2] / "conversations"
SPEAKS = 'speaks = ["openai_responses", "openai_responses_count"]'
FORMATS = {
    "openai_responses": ("openai_compatible", SPEAKS),
    "openai_chat": ("openai_compatible", 'speaks = ["openai_chat"]'),
    "anthropic": ("anthropic", ""),
    "gemini": ("gemini", ""),
}
BEHIND = pytest.mark.parametrize("behind", FORMATS)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


@asynccontextmanager
async def asked(upstream: FakeUpstream, retries: int = 0) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK before a hub whose providers, one for each wire format, are all `upstream`."""
    config = "[routing]\nbreaker_failures = 1000\n"
    for name, (kind, more) in FORMATS.items():
        config += provider(name, upstream.url, kind=kind).replace("[[providers.keys]]", more + "\n[[providers.keys]]")
    async with House(config) as house:
        client = openai.AsyncOpenAI(base_url=house.url + "/v1", api_key="test", max_retries=retries)
        try:
            yield client
        finally:
            await client.close()


async def say(client: openai.AsyncOpenAI, stream: bool, **body: Any) -> ParsedResponse[Any]:
    """An answer, read whole or gathered by the SDK's accumulator, which refuses an inconsistent stream."""
    if not stream:
        whole: ParsedResponse[Any] = await client.responses.parse(**body)
        return whole
    async with client.responses.stream(**body) as events:
        last: Any = None
        async for event in events:
            last = event
        final: ParsedResponse[Any] = last.response
        return final


def corpus(request: ReceivedRequest) -> Answer | None:
    """The provider's answer in the corpus of talks; the talk is the model's name."""
    if request.path.endswith("/responses"):
        name, talk, streamed = "openai_responses", request.json["model"], request.json.get("stream")
    elif request.path.endswith("/chat/completions"):
        name, talk, streamed = "openai_chat", request.json["model"], request.json.get("stream")
    elif request.path.endswith("/messages"):
        name, talk, streamed = "anthropic", request.json["model"], request.json.get("stream")
    else:
        talk, _, verb = request.path.rpartition("/")[2].partition(":")
        name, streamed = "gemini", verb.startswith("stream")
    if streamed:
        return sse_answer((TALKS / talk / f"{name}.stream.txt").read_bytes(), piece=11)
    return json_answer(json.loads((TALKS / talk / f"{name}.answer.json").read_bytes()))


def data(*values: Any) -> str:
    """A stream of events that are only data."""
    return "".join(f"data: {v if isinstance(v, str) else json.dumps(v)}\n\n" for v in values)


ENDS = {"length": "max_output_tokens", "max_tokens": "max_output_tokens", "MAX_TOKENS": "max_output_tokens"}
ENDS |= dict.fromkeys(("content_filter", "refusal", "SAFETY"), "content_filter")
ENDS |= {"max_output_tokens": "max_output_tokens"}


@STREAM
@BEHIND
async def test_every_talk_reads_the_same(upstream: FakeUpstream, behind: str, stream: bool) -> None:
    upstream.on(corpus)
    async with asked(upstream) as client:
        for path in sorted(TALKS.glob("*/openai_responses.request.json")):
            talk, body = path.parent.name, json.loads(path.read_bytes())
            recorded = json.loads((path.parent / f"{behind}.answer.json").read_bytes())
            expected = ANSWERED[behind](recorded)
            response = await say(client, stream, **{**body, "model": f"{behind}/{talk}"})
            assert response.output_text == expected["text"], talk
            calls = [item for item in response.output if item.type == "function_call"]
            assert [(call.name, json.loads(call.arguments)) for call in calls] == expected["calls"]
            thoughts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
            assert "".join(thoughts) == expected["thoughts"]
            usage = response.usage
            assert usage is not None
            assert (usage.input_tokens, usage.output_tokens) == (expected["input"], expected["output"])
            assert usage.input_tokens_details.cached_tokens == expected["cached"]
            details = response.incomplete_details
            assert (details and details.reason) == ENDS.get(expected["native"]), talk
            assert response.status == ("incomplete" if details else "completed")


@STREAM
@BEHIND
async def test_an_answer_repeats_what_was_asked(upstream: FakeUpstream, behind: str, stream: bool) -> None:
    if behind == "openai_responses":
        pytest.skip("passes as the provider wrote it")
    upstream.on(corpus)
    tools = [{"type": "function", "name": "get_tides", "parameters": {"type": "object", "properties": {}}}]
    async with asked(upstream) as client:
        response = await client.responses.create(
            model=f"{behind}/plain",
            input="Hello",
            instructions="Be brief.",
            metadata={"ticket": "7"},
            temperature=0.5,
            max_output_tokens=99,
            tools=tools,  # type: ignore[arg-type]
            tool_choice={"type": "function", "name": "get_tides"},
            text={"verbosity": "low"},
            reasoning={"effort": "low"},
            prompt_cache_key="key",
            stream=stream,
        )
        if stream:
            events = [event async for event in response]
            assert [event.sequence_number for event in events] == list(range(len(events)))
            assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
            response = events[-1].response
    said = response.model_dump()
    assert (said["instructions"], said["metadata"], said["temperature"]) == ("Be brief.", {"ticket": "7"}, 0.5)
    assert (said["max_output_tokens"], said["prompt_cache_key"], said["store"]) == (99, "key", False)
    assert said["tools"][0]["name"] == "get_tides"
    assert said["tool_choice"] == {"type": "function", "name": "get_tides"}
    assert (said["text"]["verbosity"], said["text"]["format"]["type"]) == ("low", "text")
    assert said["reasoning"]["effort"] == "low"


class Boat(BaseModel):
    name: str
    length: float


BOAT = '{"name": "Ada", "length": 9.5}'
CHAT_BOAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": BOAT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
GEMINI_BOAT = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": BOAT}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
    "modelVersion": "m", "responseId": "r",
}  # fmt: skip


@STREAM
@pytest.mark.parametrize(("behind", "answer"), [("openai_chat", CHAT_BOAT), ("gemini", GEMINI_BOAT)])
async def test_a_schema_comes_back_as_an_object(
    upstream: FakeUpstream, behind: str, answer: dict[str, Any], stream: bool
) -> None:
    if stream and behind == "openai_chat":
        choice = {"index": 0, "delta": {"role": "assistant", "content": BOAT}, "finish_reason": "stop"}
        upstream.script(sse_answer(data({**answer, "choices": [choice]}, "[DONE]")))
    else:
        upstream.script(sse_answer(data(answer)) if stream else json_answer(answer))
    async with asked(upstream) as client:
        response = await say(client, stream, model=f"{behind}/m", input="Which boat?", text_format=Boat)
    assert response.output_parsed == Boat(name="Ada", length=9.5)
    sent = upstream.requests[0].json
    if behind == "openai_chat":
        assert sent["response_format"]["json_schema"]["strict"] is True
        assert sent["response_format"]["json_schema"]["schema"]["required"] == ["name", "length"]


CHAT_REFUSAL = {
    **CHAT_BOAT,
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": None, "refusal": "No."}, "finish_reason": "stop"}
    ],
}


async def test_a_refusal_is_one(upstream: FakeUpstream) -> None:
    upstream.script(json_answer(CHAT_REFUSAL))
    async with asked(upstream) as client:
        response = await say(client, False, model="openai_chat/m", input="?", text_format=Boat)
    (part,) = response.output[0].content  # type: ignore[union-attr]
    assert (part.type, part.refusal) == ("refusal", "No.")  # type: ignore[union-attr]
    assert response.output_parsed is None


# Thoughts that only another family can open.


@STREAM
async def test_signed_thoughts_return_to_whoever_signed_them(upstream: FakeUpstream, stream: bool) -> None:
    upstream.on(corpus)
    question = {"role": "user", "content": "How fast?"}
    async with asked(upstream) as client:
        first = await say(client, stream, model="anthropic/reasoning", input=[question], reasoning={"effort": "low"})
        history = [question, *(item.model_dump(exclude_none=True) for item in first.output)]
        history.append({"role": "user", "content": "Are you sure?"})
        await say(client, stream, model="anthropic/reasoning", input=history)
        await say(client, stream, model="openai_responses/reasoning", input=history)
        await say(client, stream, model="openai_chat/plain", input=history)
    thinking = json.loads((TALKS / "reasoning" / "anthropic.answer.json").read_bytes())["content"][0]
    back = upstream.requests[1].json["messages"][1]["content"]
    assert [block for block in back if block["type"] == "thinking"] == [thinking]
    for request in upstream.requests[1:]:
        assert SEALED not in request.body
    assert [item.get("type", "message") for item in upstream.requests[2].json["input"]] == ["message"] * 3
    assert "reasoning_content" not in upstream.requests[3].json["messages"][1]


@STREAM
async def test_encrypted_thoughts_return_under_the_id_of_their_item(upstream: FakeUpstream, stream: bool) -> None:
    upstream.on(corpus)
    answer = json.loads((TALKS / "reasoning" / "openai_responses.answer.json").read_bytes())
    async with asked(upstream) as client:
        url = str(client.base_url)
        body: dict[str, Any] = {"model": "openai_responses/reasoning", "max_tokens": 5000, "stream": stream}
        async with anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1/"), api_key="test", max_retries=0) as other:
            turns: list[Any] = [{"role": "user", "content": "How fast?"}]
            if stream:
                del body["stream"]
                async with other.messages.stream(**body, messages=turns) as events:
                    message = await events.get_final_message()
            else:
                message = await other.messages.create(**body, messages=turns)
            turns.append({"role": "assistant", "content": [block.model_dump() for block in message.content]})
            turns.append({"role": "user", "content": "Are you sure?"})
            await other.messages.create(model="openai_responses/reasoning", max_tokens=5000, messages=turns)
    sent = upstream.requests[1].json
    assert sent["input"][1] == answer["output"][0]
    assert sent["store"] is False


@STREAM
async def test_a_signed_call_holds_its_signature(upstream: FakeUpstream, stream: bool) -> None:
    call = {"functionCall": {"name": "get_tides", "args": {"harbour": "Porto"}}, "thoughtSignature": "c2lnbmVk"}
    told = {**GEMINI_BOAT, "candidates": [{"content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}]}
    upstream.script(
        sse_answer(data(told)) if stream else json_answer(told),
        sse_answer(data(GEMINI_BOAT)) if stream else json_answer(GEMINI_BOAT),
    )
    tools: Any = [{"type": "function", "name": "get_tides", "parameters": {"type": "object"}, "strict": False}]
    question = {"role": "user", "content": "Tides?"}
    async with asked(upstream) as client:
        first = await say(client, stream, model="gemini/g", input=[question], tools=tools)
        (item,) = first.output
        assert item.type == "function_call"
        assert json.loads(item.arguments) == {"harbour": "Porto"}
        result = {"type": "function_call_output", "call_id": item.call_id, "output": "high at noon"}
        asked_back = {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        await say(client, stream, model="gemini/g", input=[question, asked_back, result], tools=tools)
    parts = upstream.requests[1].json["contents"][1]["parts"]
    assert [part["thoughtSignature"] for part in parts] == ["c2lnbmVk"]
    assert SEALED not in upstream.requests[1].body


# Tools of free text, which others have as functions.


@STREAM
async def test_a_custom_tool_works_everywhere(upstream: FakeUpstream, stream: bool) -> None:
    arguments = json.dumps({"input": "*** Begin “patch”\n+ line"})
    function = {"name": "apply_patch", "arguments": arguments}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    key = "delta" if stream else "message"
    answer = {**CHAT_BOAT, "choices": [{"index": 0, key: said, "finish_reason": "tool_calls"}]}
    called = sse_answer(data(answer, "[DONE]")) if stream else json_answer(answer)
    upstream.script(called, json_answer(CHAT_BOAT))
    patch: Any = {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {"type": "text"}}
    async with asked(upstream) as client:
        first: Any = await client.responses.create(
            model="openai_chat/m", input="Patch it.", tools=[patch], stream=stream
        )
        if stream:
            first = [event async for event in first][-1].response
        (item,) = first.output
        assert (item.type, item.input, item.call_id) == ("custom_tool_call", "*** Begin “patch”\n+ line", "call_1")  # type: ignore[union-attr]
        history: Any = [
            {"role": "user", "content": "Patch it."},
            item.model_dump(exclude_none=True),
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"},
        ]
        raw = await client.responses.with_raw_response.create(model="openai_chat/m", input=history, tools=[patch])
    assert raw.headers["x-llmhub-adapted"] == "tools[0].custom=dropped"
    sent = upstream.requests[1].json
    assert sent["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert json.loads(sent["messages"][1]["tool_calls"][0]["function"]["arguments"]) == json.loads(arguments)
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "done"}


# What goes wrong.

ERRORS = {
    400: openai.BadRequestError, 401: openai.InternalServerError, 404: openai.NotFoundError,
    429: openai.RateLimitError, 500: openai.InternalServerError, 529: openai.InternalServerError,
}  # fmt: skip


@STREAM
@BEHIND
@pytest.mark.parametrize("status", ERRORS)
async def test_the_sdk_raises_what_it_would(upstream: FakeUpstream, behind: str, status: int, stream: bool) -> None:
    said = {"error": {"message": "It is so.", "type": "x", "code": None if behind != "gemini" else status}}
    upstream.on(lambda request: json_answer(said, status))
    async with asked(upstream) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await say(client, stream, model=f"{behind}/m", input="Hello")
    assert type(raised.value) is ERRORS[status]
    body = raised.value.body
    assert isinstance(body, dict)
    assert body.keys() >= {"message", "type", "param", "code", "source"}
    assert "sk-" not in str(body)


@BEHIND
async def test_a_stream_that_breaks_off_raises(upstream: FakeUpstream, behind: str) -> None:
    stream = (TALKS / "long_text" / f"{behind}.stream.txt").read_bytes()
    upstream.script(sse_answer(stream[: len(stream) * 2 // 3]))
    async with asked(upstream) as client:
        with pytest.raises(openai.APIError, match=r"broke off|not an answer"):
            await say(client, True, model=f"{behind}/m", input="Hello")


@pytest.mark.parametrize("cut", ["event: resp", "event: response.output_text.delta\n", "", "data: {"])
async def test_the_hubs_own_error_in_a_passing_stream_raises(upstream: FakeUpstream, cut: str) -> None:
    """Nobody counts the events that pass, so the hub's has the number 0: the SDK raises all the same."""
    frames = (TALKS / "long_text" / "openai_responses.stream.txt").read_text().split("\n\n")[:9]
    upstream.script(sse_answer("\n\n".join([*frames, cut])))
    seen: list[Any] = []
    async with asked(upstream) as client:
        events = await client.responses.create(model="openai_responses/m", input="Hello", stream=True)
        with pytest.raises(openai.APIError, match=r"broke off|not an answer") as raised:
            async for event in events:
                seen.append(event)
    assert [event.sequence_number for event in seen] == list(range(9))
    body = raised.value.body
    assert isinstance(body, dict)
    assert (body["code"], body["source"]) == ("upstream_protocol_error", "network")


@pytest.mark.parametrize("front", ["/v1/responses", "/v1/chat/completions"])
async def test_a_provider_that_fails_at_once_is_left_for_the_next(upstream: FakeUpstream, front: str) -> None:
    """The start of an answer waits for something to show, whether it is translated or passes."""
    created = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}
    failed = {"type": "error", "error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "x"}}
    events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in (created, failed)]
    upstream.script(sse_answer(events), sse_answer((TALKS / "plain" / "openai_responses.stream.txt").read_bytes()))
    keys = provider("main", upstream.url, keys=2).replace("[[providers.keys]]", SPEAKS + "\n[[providers.keys]]", 1)
    async with House(keys) as house:
        body = {"model": "main/m", "input": "Hi", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with aiohttp.ClientSession() as session, session.post(house.url + front, json=body) as answer:
            text = b""
            with suppress(aiohttp.ClientError):
                async for chunk in answer.content.iter_any():
                    text += chunk
    assert len(upstream.requests) == 2
    assert b"rate_limit_exceeded" not in text
    assert (b"[DONE]" if "chat" in front else b"response.completed") in text


async def test_a_failure_in_a_stream_is_told_twice(upstream: FakeUpstream) -> None:
    """As OpenAI does: an event at which SDKs raise, and the object that others wait for."""
    begun = (TALKS / "long_text" / "anthropic.stream.txt").read_bytes().partition(b"event: message_delta")[0]
    broken = begun + b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Busy"}}\n\n'
    upstream.script(sse_answer(broken))
    async with asked(upstream) as client:
        answer = await client.responses.with_raw_response.create(model="anthropic/m", input="Hello", stream=True)
        text = b""
        with suppress(Exception):  # the connection breaks, so that nobody takes this for an end
            async for chunk in answer.http_response.aiter_bytes():
                text += chunk
    events = [json.loads(line[6:]) for line in text.decode().split("\n") if line.startswith("data: ")]
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert events[-2]["code"] == events[-2]["error"]["code"] == "overloaded"


STORED: Any = [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "Go on."}]
MEMORY: list[tuple[str, Any, str]] = [
    ("previous_response_id", "resp_1", "previous_response_id"),
    ("conversation", "conv_1", "conversation"),
    ("background", True, "background"),
    ("prompt", {"id": "pmpt_1"}, "prompt"),
    ("input", STORED, "input[0]"),
]


@pytest.mark.parametrize(("field", "value", "param"), MEMORY)
async def test_what_needs_a_memory_passes_or_is_refused(
    upstream: FakeUpstream, field: str, value: Any, param: str
) -> None:
    upstream.on(corpus)
    async with asked(upstream) as client:
        for behind in ("anthropic", "openai_chat", "gemini"):
            with pytest.raises(openai.BadRequestError, match="can only be honoured by a provider") as refused:
                await client.responses.create(model=f"{behind}/plain", input="Hi", extra_body={field: value})
            assert (refused.value.code, refused.value.param) == ("unsupported_parameter", param)
        await client.responses.create(model="openai_responses/plain", input="Hi", extra_body={field: value})
    (request,) = upstream.requests
    assert request.json[field] == value


@pytest.mark.parametrize(("field", "value", "param"), MEMORY)
async def test_what_needs_a_memory_survives_being_read_and_written(
    upstream: FakeUpstream, field: str, value: Any, param: str
) -> None:
    """A seal in the body makes the hub read the request, whoever is asked."""
    upstream.on(corpus)
    call = {"type": "function_call", "call_id": seal_id("call_1", "gemini", {"signature": "s"}), "name": "f"}
    items = [*(value if field == "input" else []), {**call, "arguments": "{}"}]
    body = {"input": items} if field == "input" else {"input": items, field: value}
    async with asked(upstream) as client:
        await client.responses.create(model="openai_responses/plain", extra_body=body)
    (request,) = upstream.requests
    assert request.json["input"][-1]["call_id"] == "call_1"
    assert request.json[field] == (request.json["input"] if field == "input" else value)
    assert (request.json["input"][0] == STORED[0]) is (field == "input")


async def test_what_only_one_provider_remembers_goes_to_that_one(upstream: FakeUpstream) -> None:
    """Whatever the order of the candidates is, and even where the request is strict."""
    upstream.on(corpus)
    config = provider("chat", upstream.url)
    config += provider("own", upstream.url).replace("[[providers.keys]]", SPEAKS + "\n[[providers.keys]]")
    for first, second in ((1, 1), (1, 2)):
        deployments = [{"chat": first, "own": second}[name] for name in ("chat", "own")]
        config += f'[[routes]]\nmodel = "m{second}"\nstrategy = "priority"\ndeployments = ['
        config += ", ".join(
            f'{{ provider = "{name}", model = "plain", priority = {priority} }}'
            for name, priority in zip(("chat", "own"), deployments, strict=True)
        )
        config += "]\n"
    async with House(config) as house:
        client = openai.AsyncOpenAI(base_url=house.url + "/v1", api_key="test", max_retries=0)
        for model in ("m1", "m1", "m2"):
            await client.responses.create(model=model, input="Hi", previous_response_id="resp_1")
        await client.close()
    assert [request.path for request in upstream.requests] == ["/v1/responses"] * 3


async def test_a_hosted_tool_is_refused_elsewhere(upstream: FakeUpstream) -> None:
    async with asked(upstream) as client:
        with pytest.raises(openai.BadRequestError, match="web_search"):
            await client.responses.create(model="anthropic/m", input="Hi", tools=[{"type": "web_search"}])


# On the way through, nothing is touched but the model.


@STREAM
async def test_a_response_passes_byte_for_byte(upstream: FakeUpstream, stream: bool) -> None:
    told = (TALKS / "unicode" / f"openai_responses.{'stream.txt' if stream else 'answer.json'}").read_bytes()
    upstream.script(sse_answer(told, piece=3) if stream else Answer(200, {"content-type": "application/json"}, told))
    async with asked(upstream) as client:
        answer = await client.responses.with_raw_response.create(
            model="openai_responses/m", input="Hi", stream=stream, extra_body={"x_odd": 1.50}
        )
        assert await answer.http_response.aread() == told
    assert upstream.requests[0].json == {"model": "m", "input": "Hi", "x_odd": 1.5, "stream": stream}


def recorded() -> list[dict[str, Any]]:
    """Every good answer of OpenAI's, Azure's, xAI's, DeepSeek's and OpenRouter's, with what was asked."""
    cases = [json.loads(path.read_text("utf-8")) for path in sorted(TRAFFIC.glob("*/responses/*.json"))]
    return [case for case in cases if case["response"]["status"] == 200 and "error_in_stream" not in case["features"]]


async def test_recorded_traffic_passes_byte_for_byte(upstream: FakeUpstream) -> None:
    cases = recorded()
    if not cases:
        pytest.skip(f"no recorded traffic at {TRAFFIC}")
    async with asked(upstream) as client, aiohttp.ClientSession(str(client.base_url)) as session:
        for case in cases:
            stream = case["response"].get("stream")
            told = (stream or json.dumps(case["response"]["body"], ensure_ascii=False)).encode()
            kind = "application/json" if stream is None else "text/event-stream"
            upstream.script(Answer(200, {"content-type": kind}, told, piece=997))
            body = case["request"]["body"]
            request = {**body, "model": "openai_responses/m", "stream": stream is not None}
            async with session.post("responses", json=request) as answer:
                assert (answer.status, await answer.read()) == (200, told), case["id"]
            assert upstream.requests[-1].json == {**request, "model": "m"}


async def test_tokens_are_counted_by_whoever_can(upstream: FakeUpstream) -> None:
    upstream.script(json_answer({"object": "response.input_tokens", "input_tokens": 16}))
    async with asked(upstream) as client:
        counted = await client.responses.input_tokens.count(model="openai_responses/m", input="Hi")
        assert counted.input_tokens == 16
        assert upstream.requests[0].path.endswith("/responses/input_tokens")
        estimated = await client.responses.input_tokens.count(model="openai_chat/m", input="Hi")
        assert estimated.input_tokens > 0
    assert len(upstream.requests) == 1
