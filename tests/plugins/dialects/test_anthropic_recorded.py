"""The anthropic dialect against recorded traffic: every case read, written back, and read again."""

from __future__ import annotations

import json
import os
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings

from llmhub_core.contracts import ChatRequest, Event, Message, Text, Usage, Where, fold, read_frame

TRAFFIC = Path(
    os.environ.get("LLMHUB_TRAFFIC") or Path(__file__).resolve().parents[3] / ".." / "shared" / "traffic"
).resolve()
FOLDERS = ("anthropic/messages", "vertex/anthropic.rawPredict", "vertex/anthropic.streamRawPredict")
CASES = [json.loads(path.read_text()) for folder in FOLDERS for path in sorted((TRAFFIC / folder).glob("*.json"))]
pytestmark = pytest.mark.skipif(not CASES, reason="the recorded traffic is not beside this checkout")

DIALECT = Anthropic(AnthropicSettings())
NOWHERE = Where({}, {})
Json = dict[str, Any]


def ids(case: Json) -> str:
    return str(case["id"])


REQUESTS = [case for case in CASES if not case["request"].get("synthesised") and case["request"]["body"]]
ANSWERS = [case for case in CASES if case["response"]["status"] == 200]
STREAMS = [case for case in ANSWERS if case["response"]["stream"]]
BROKEN = {
    "anthropic-msg-54c2929a": "overloaded",  # an error event
    "anthropic-msg-df38664a": "upstream_protocol_error",  # cut inside an event
    "anthropic-msg-55950562": "upstream_protocol_error",  # a second message_start in the middle of a tool call
}
GOOD_STREAMS = [case for case in STREAMS if case["id"] not in BROKEN]
WHOLE = [case for case in ANSWERS if case["response"]["body"]]
FINISHED = GOOD_STREAMS + WHOLE


# Requests.


def meaning(body: Json) -> Json:
    """A request in one of the spellings that the API documents as meaning the same."""
    body = {name: value for name, value in body.items() if value is not None and value != []}
    if not body.get("stream"):
        body.pop("stream", None)
    if body.get("system"):
        body["system"] = blocks(body["system"])
    turns: list[Json] = []
    for turn in body["messages"]:
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += blocks(turn["content"])
        else:
            turns.append({**turn, "content": blocks(turn["content"])})
    body["messages"] = turns
    if "tools" in body:
        body["tools"] = [
            {
                name: value
                for name, value in tool.items()
                if (name, value) not in (("type", "custom"), ("strict", False))
            }
            for tool in body["tools"]
        ]
    if "tool_choice" in body and not body["tool_choice"].get("disable_parallel_tool_use"):
        body["tool_choice"] = {k: v for k, v in body["tool_choice"].items() if k != "disable_parallel_tool_use"}
    if "output_format" in body:
        body["output_config"] = {**body.get("output_config", {}), "format": body.pop("output_format")}
    return body


def blocks(content: Any) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    found = []
    for block in content:
        block = {name: value for name, value in block.items() if value is not None}
        if block["type"] == "tool_result":
            block["content"] = blocks(block.get("content", ""))
            if not block.get("is_error"):
                block.pop("is_error", None)
        if block != {"type": "text", "text": ""}:
            found.append(block)
    return found


def read(body: bytes) -> ChatRequest:
    return DIALECT.decode_request(body, DIALECT.read_head(body, NOWHERE), NOWHERE)


@pytest.mark.parametrize("case", REQUESTS, ids=ids)
def test_a_request_written_back_means_the_same(case: Json) -> None:
    body = case["request"]["body"]
    sent = {"model": "m", **body}  # at Vertex the model is in the path
    request = read(json.dumps(sent).encode())
    written = DIALECT.encode_request(request, "another-model")
    assert meaning(json.loads(written.body)) == meaning({**sent, "model": "another-model"})
    assert written.adapted == ()
    assert read(DIALECT.encode_request(request, sent["model"]).body) == request


# Answers.


def decode(data: bytes, stream: bool, cuts: list[int] | None = None) -> list[Event]:
    decoder = DIALECT.response_decoder(stream)
    edges = [0, *sorted(cuts or []), len(data)]
    events = [event for at, end in pairwise(edges) for event in decoder.feed(data[at:end])]
    return events + list(decoder.close())


def raw_answer(case: Json) -> tuple[bytes, bool]:
    response = case["response"]
    if response["stream"]:
        return response["stream"].encode(), True
    return json.dumps(response["body"]).encode(), False


def expected(case: Json) -> Json:
    """Blocks, stop and usage of an answer, computed from its JSON without the dialect."""
    response = case["response"]
    if response["body"]:
        return {**response["body"], "content": [dict(block) for block in response["body"]["content"]]}
    message: Json = {}
    for data in re.findall(r"^data: ?(.*)$", response["stream"], re.MULTILINE):
        event = json.loads(data)
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            kind = delta.pop("type")
            if kind == "input_json_delta":
                block["json"] += delta["partial_json"]
            elif kind == "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            elif kind == "compaction_delta":
                block.update(delta)
            else:
                (name, more) = next(iter(delta.items()))
                block[name] = more if name == "signature" else block.get(name, "") + more
        elif event["type"] == "message_delta":
            message.update(event["delta"])
            message["usage"].update({k: v for k, v in event["usage"].items() if v is not None})
    for block in message["content"]:
        if text := block.pop("json", ""):
            block["input"] = json.loads(text) if message["stop_reason"] != "max_tokens" else text
    return message


def check(events: list[Event], message: Json) -> None:
    """The fold of `events` says what `message` says."""
    answer = fold(events)
    assert answer.failed is None
    assert (answer.id, answer.model) == (message["id"], message["model"])
    assert len(answer.parts) == len(message["content"])
    for part, block in zip(answer.parts, message["content"], strict=True):
        block = {name: value for name, value in block.items() if value is not None and value != []}
        own = part.extras.get("anthropic", {})
        if block["type"] == "text":
            assert (part.kind, part.text, own.get("citations")) == ("text", block["text"], block.get("citations"))
        elif block["type"] == "tool_use":
            assert (part.kind, part.id, part.name) == ("tool_call", block["id"], block["name"])
            assert part.text == block["input"] or json.loads(part.text) == block["input"]
            assert own.get("caller") == block.get("caller")
        elif block["type"] == "thinking":
            assert (part.kind, part.text) == ("reasoning", block["thinking"])
            assert part.signature == (block.get("signature") or None)
        elif block["type"] == "redacted_thinking":
            assert (part.kind, part.redacted) == ("reasoning", block["data"])
        else:
            assert part.kind == "opaque"
            assert {name: value for name, value in own.items() if value is not None} == block
    assert answer.finished[0].native == message["stop_reason"]
    assert answer.finished[0].stop_text == message["stop_sequence"]
    usage = message["usage"]
    cached, written = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
    assert answer.usage is not None
    assert answer.usage.input_tokens == usage["input_tokens"] + cached + written
    assert (answer.usage.cached_tokens, answer.usage.cache_write_tokens) == (cached, written)
    assert answer.usage.output_tokens == usage["output_tokens"]
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
    assert answer.usage.reasoning_tokens == thought


@pytest.mark.parametrize("case", FINISHED, ids=ids)
def test_an_answer_is_read_as_it_was_sent(case: Json) -> None:
    check(decode(*raw_answer(case)), expected(case))


@pytest.mark.parametrize("case", STREAMS, ids=ids)
def test_reads_of_any_size_give_the_same_events(case: Json) -> None:
    data, _ = raw_answer(case)
    whole = fold_without_invented(decode(data, True))
    assert fold_without_invented(decode(data, True, list(range(1, len(data))))) == whole
    dice = random.Random(case["id"])
    for _ in range(5):
        cuts = [dice.randrange(len(data)) for _ in range(dice.randrange(1, 60))]
        assert fold_without_invented(decode(data, True, cuts)) == whole
    crlf = data.replace(b"\n", b"\r\n")
    assert fold_without_invented(decode(crlf, True)) == whole


def fold_without_invented(events: list[Event]) -> Any:
    answer = fold(events)
    if answer.failed is not None:
        return answer.parts, type(answer.failed), answer.failed.message
    return answer


@pytest.mark.parametrize("case", GOOD_STREAMS, ids=ids)
def test_a_stream_cut_before_its_end_fails(case: Json) -> None:
    data = case["response"]["stream"].encode()
    end = data.index(b"event: message_delta")
    for cut in random.Random(case["id"]).sample(range(end), 20):
        answer = fold(decode(data[:cut], True))
        assert answer.failed is not None
        assert answer.failed.code == "upstream_protocol_error"
        assert not answer.finished


def test_broken_recordings_fail() -> None:
    kinds = {
        case["id"]: answer.failed.code
        for case in STREAMS
        if case not in GOOD_STREAMS and (answer := fold(decode(*raw_answer(case)))).failed is not None
    }
    assert kinds == BROKEN


# Written for a caller.


def encode(events: list[Event], stream: bool) -> bytes:
    request = ChatRequest("anthropic", "public", (Message("user", (Text("hi"),)),), stream=stream)
    encoder = DIALECT.response_encoder(request)
    return b"".join(map(encoder.write, events)) + encoder.close()


def arguments(text: str) -> str:
    """Arguments in one spelling; those that were cut at max_tokens stand as text in a whole answer's object."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return str(value.get("INVALID_JSON") or json.dumps(value))


def frames(data: bytes) -> list[Json]:
    parsed = []
    for raw in data.split(b"\n\n")[:-1]:
        event, payload = read_frame(raw + b"\n\n")
        parsed.append(json.loads(payload))
        assert event == parsed[-1]["type"]
    return parsed


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("case", FINISHED, ids=ids)
def test_what_is_written_reads_as_the_original(case: Json, streamed: bool) -> None:
    events = decode(*raw_answer(case))
    written = encode(events, streamed)
    first, again = fold(events), fold(decode(written, streamed))
    for part in [*first.parts, *again.parts]:
        if part.kind == "tool_call":
            part.text = arguments(part.text)
    assert again == first


SCHEMA = json.loads((TRAFFIC / "specs/anthropic.schema.json").read_text()) if CASES else {}


def valid(value: Json, *roots: str) -> None:
    problems = [
        next(Draft202012Validator({"$ref": f"#/$defs/{root}", "$defs": SCHEMA["$defs"]}).iter_errors(value), None)
        for root in roots
    ]
    assert None in problems, problems


@pytest.mark.parametrize("case", FINISHED, ids=ids)
def test_what_is_written_keeps_the_published_types(case: Json) -> None:
    events = decode(*raw_answer(case))
    for frame in frames(encode(events, True)):
        if frame.get("content_block", {}).get("type") == "fallback":
            continue  # the recorded block itself lacks a member that the types require
        valid(frame, "RawMessageStreamEvent", "BetaRawMessageStreamEvent")
    if "fallback" not in case["features"]:
        valid(json.loads(encode(events, False)), "Message", "BetaMessage")


@pytest.mark.parametrize("case", FINISHED, ids=ids)
def test_events_come_in_the_documented_order(case: Json) -> None:
    kinds = frames(encode(decode(*raw_answer(case)), True))
    names = " ".join(frame["type"] for frame in kinds)
    block = r"content_block_start (content_block_delta )*content_block_stop "
    assert re.fullmatch(rf"message_start ({block})*message_delta message_stop", names)
    indexes = [frame["index"] for frame in kinds if frame["type"] == "content_block_start"]
    assert indexes == list(range(len(indexes)))


# The verbatim lane.


@pytest.mark.parametrize("case", FINISHED, ids=ids)
def test_reading_in_passing_agrees_with_reading_all(case: Json) -> None:
    data, streamed = raw_answer(case)
    answer = fold(decode(data, streamed))
    head = DIALECT.read_head(b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}', NOWHERE)
    if not streamed:
        info = DIALECT.inspect_answer(data, head)
        assert (info.usage, info.finish, info.complete) == (answer.usage, answer.finished[0].native, True)
        return
    usage, finish, complete, told = Usage(), None, False, 0
    for raw in data.split(b"\n\n"):
        if not DIALECT.telling.search(raw):
            continue
        told += 1
        info = DIALECT.inspect_frame(read_frame(raw + b"\n\n")[1], head)
        assert info.error is None
        usage = usage.updated(info.usage) if info.usage else usage
        finish, complete = info.finish or finish, complete or info.complete
    assert told == 3
    assert (usage, finish, complete) == (answer.usage, answer.finished[0].native, True)


# Judged by the provider's own SDK.


async def test_the_sdk_gathers_every_written_stream_and_answer(aiohttp_server: Any) -> None:
    current: list[bytes] = []

    async def messages(http_request: web.Request) -> web.StreamResponse:
        streamed = (await http_request.json()).get("stream", False)
        if not streamed:
            return web.Response(body=current[0], content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(http_request)
        for at in range(0, len(current[0]), 997):
            await response.write(current[0][at : at + 997])
        return response

    app = web.Application()
    app.router.add_post("/v1/messages", messages)
    server = await aiohttp_server(app)
    call: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    client = anthropic.AsyncAnthropic(api_key="k", base_url=str(server.make_url("")), max_retries=0)
    async with client:
        for case in FINISHED:
            events = decode(*raw_answer(case))
            want = expected(case)
            current[:] = [encode(events, True)]
            async with client.messages.stream(**call) as stream:
                gathered = await stream.get_final_message()
            current[:] = [encode(events, False)]
            whole = await client.messages.create(**call)
            for message in (gathered, whole):
                assert message.stop_reason == want["stop_reason"], case["id"]
                assert message.usage.output_tokens == want["usage"]["output_tokens"]
                assert message.usage.input_tokens == want["usage"]["input_tokens"]
                assert [block.type for block in message.content] == [block["type"] for block in want["content"]]
                for got, block in zip(message.content, want["content"], strict=True):
                    for name in ("text", "thinking", "id", "name", "data"):
                        assert getattr(got, name, None) == block.get(name), (case["id"], name)
                    if block["type"] == "tool_use" and want["stop_reason"] != "max_tokens":
                        assert got.input == block["input"]
                    if block.get("signature"):
                        assert got.signature == block["signature"]


def test_there_is_enough_traffic_to_mean_something() -> None:
    assert len(REQUESTS) > 60
    assert len(GOOD_STREAMS) > 35
    assert len(WHOLE) > 35
