"""The Responses dialect against recorded traffic: read, cut anywhere, written again, never another content."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from llmhub_plugins.dialects.openai_chat import OpenAIChat
from llmhub_plugins.dialects.openai_responses import OpenAIResponses, OpenAIResponsesCount
from openai._models import construct_type
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from llmhub_core.contracts import (
    ChatRequest,
    Event,
    UpstreamError,
    Usage,
    Where,
    fold,
    read_frame,
)
from llmhub_core.testing.conversations import decode, encode, frames_of

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")

TRAFFIC = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[3] / ".." / "shared" / "traffic"))
HERE = Where({}, {})
RESPONSES = OpenAIResponses(OpenAIResponses.Settings())
CHAT = OpenAIChat(OpenAIChat.Settings())
COUNT = OpenAIResponsesCount(OpenAIResponsesCount.Settings())


def cases() -> list[Any]:
    paths = sorted(TRAFFIC.glob("*/responses/*.json"))
    if not paths:
        return [pytest.param(None, marks=pytest.mark.skip(f"no recorded traffic at {TRAFFIC}"))]
    return [pytest.param(json.loads(path.read_text("utf-8")), id=path.stem) for path in paths]


CASES = cases()


def those(wanted: Callable[[dict[str, Any]], bool]) -> list[Any]:
    return [case for case in CASES if case.values[0] is None or wanted(case.values[0])]


def is_answer(case: dict[str, Any]) -> bool:
    features = set(case["features"])
    return case["response"]["status"] == 200 and not features & {"error_in_stream", "truncated_stream", "status_queued"}


REQUESTS = those(lambda case: not case["request"].get("synthesised"))
ANSWERS = those(is_answer)
STREAMS = those(lambda case: is_answer(case) and bool(case["response"].get("stream")))
ERRORS = those(lambda case: case["response"]["status"] >= 400)
BROKEN = those(lambda case: "error_in_stream" in case["features"])


# Requests.


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    """A body without the differences that mean nothing to a server."""
    body = {**without_nulls(body), "model": "another-model"}
    if isinstance(body["input"], str):
        body["input"] = [{"role": "user", "content": body["input"]}]
    for name in ("stream", "background"):
        if not body.get(name):
            body.pop(name, None)
    for name in ("tools", "text", "reasoning"):
        if name in body and not body[name]:
            del body[name]
    for item in body["input"]:
        if item.get("type") == "message":
            del item["type"]
        if item.get("type") == "reasoning":
            item.setdefault("summary", [])
    return body


MEMORY = ("previous_response_id", "conversation", "prompt", "background")


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_says_the_same_after_reading_and_writing(case: dict[str, Any]) -> None:
    asked = case["request"]["body"]
    body = json.dumps(asked).encode()
    head = RESPONSES.read_head(body, HERE)
    assert (head.model, head.stream) == (asked["model"], asked.get("stream") or False)
    request = RESPONSES.decode_request(body, head, HERE)
    needs_memory = {name for name in MEMORY if asked.get(name)}
    assert needs_memory <= set(request.needs)
    assert request.needs == () or needs_memory or "item_reference" in body.decode()
    written = RESPONSES.encode_request(request, "another-model")
    assert written.adapted == ()
    assert meaning(json.loads(written.body)) == meaning(asked)


# Answers.


def raw(case: dict[str, Any]) -> bytes:
    response = case["response"]
    stream: str | None = response.get("stream")
    return stream.encode() if stream is not None else json.dumps(response["body"]).encode()


def final(case: dict[str, Any]) -> dict[str, Any]:
    """The recorded answer as it was at its end."""
    if case["response"].get("stream") is None:
        body: dict[str, Any] = case["response"]["body"]
        return body
    said = [json.loads(line[6:]) for line in case["response"]["stream"].split("\n") if line.startswith("data: {")]
    ended: dict[str, Any] = said[-1]["response"]
    return ended


def request_of(stream: bool) -> ChatRequest:
    body = json.dumps({"model": "m", "input": "hello", "stream": stream}).encode()
    return RESPONSES.decode_request(body, RESPONSES.read_head(body, HERE), HERE)


def events_of(case: dict[str, Any], size: int | random.Random = 1 << 30) -> list[Event]:
    return decode(RESPONSES.response_decoder(case["response"].get("stream") is not None), raw(case), size)


DEFAULTS: dict[str, Any] = {"annotations": [], "logprobs": [], "content": [], "encrypted_content": "", "phase": ""}


def items(response: dict[str, Any], ids: bool = True) -> list[Any]:
    """Output without members that say nothing, and statuses, of which some servers leave out some."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: plain(inner)
                for name, inner in value.items()
                if inner is not None and not (name in DEFAULTS and inner == DEFAULTS[name])
            }
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    said = [{name: value for name, value in plain(item).items() if name != "status"} for item in response["output"]]
    for item in said:
        if not ids:
            del item["id"]
        if "encrypted_content" in item:  # OpenAI encrypts anew for the last event
            item["encrypted_content"] = True
    return said


REPEATED = ("tools", "tool_choice", "text", "reasoning", "metadata")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_says_the_same_after_reading_and_writing(case: dict[str, Any], stream: bool) -> None:
    recorded, events = final(case), events_of(case)
    written = encode(RESPONSES.response_encoder(request_of(stream)), events)
    again = accumulated(written) if stream else json.loads(written)
    ids = case["provider"] != "openrouter"  # whose last event has other ids than those before
    assert items(again, ids) == items(recorded, ids)
    for name in ("id", "model", "created_at", "incomplete_details", "instructions"):
        assert again.get(name) == recorded.get(name), name
    for name in (
        "tools",
        "tool_choice",
        "text",
        "reasoning",
        "metadata",
        "temperature",
        "top_p",
        "service_tier",
        "parallel_tool_calls",
        "store",
    ):
        if recorded.get(name) is not None:
            assert again[name] == recorded[name], name
    for name in ("input_tokens", "output_tokens", "total_tokens") if recorded.get("usage") else ():
        assert again["usage"][name] == recorded["usage"][name]


def accumulated(stream: bytes) -> dict[str, Any]:
    """The last object of a stream, after OpenAI's own accumulator took every event."""
    state, last = ResponseStreamState[Any](text_format=omit, input_tools=omit), dict[str, Any]()
    for number, frame in enumerate(frames_of(stream)):
        name, data = read_frame(frame)
        value = json.loads(data)
        assert (value["type"], value["sequence_number"]) == (name, number)
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=value))
        last = value
    assert last["type"] in ("response.completed", "response.incomplete")
    found: dict[str, Any] = last["response"]
    return found


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_may_be_cut_anywhere(case: dict[str, Any]) -> None:
    at_once = fold(events_of(case))
    assert at_once.failed is None
    for seed in range(3):
        assert fold(events_of(case, random.Random(seed))) == at_once


@pytest.mark.parametrize("case", STREAMS)
def test_the_pieces_of_a_stream_are_its_answer(case: dict[str, Any]) -> None:
    recorded, response = final(case), fold(events_of(case))
    texts = [p.get("text") for item in recorded["output"] for p in item.get("content") or () if "text" in p]
    if all(item["type"] != "reasoning" or not item.get("content") for item in recorded["output"]):
        assert response.text == "".join(texts)
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in of_kind(recorded, "function_call")]
    assert [(call.id, call.name, call.text) for call in response.tool_calls] == calls
    thoughts = ["\n\n".join(part["text"] for part in item["summary"]) for item in of_kind(recorded, "reasoning")]
    said = [part.text for part in response.parts if part.kind == "reasoning"]
    assert all(thought in ("", told) for thought, told in zip(thoughts, said, strict=True))


def of_kind(response: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in response["output"] if item["type"] == kind]


@pytest.mark.parametrize("case", STREAMS)
def test_passing_frames_tell_what_the_decoder_reads(case: dict[str, Any]) -> None:
    body = json.dumps(case["request"]["body"]).encode()
    head, usage, complete, finish = RESPONSES.read_head(body, HERE), Usage(), False, None
    for frame in frames_of(raw(case)):
        if RESPONSES.tells(frame):
            assert RESPONSES.telling.search(frame)
            info = RESPONSES.inspect_frame(read_frame(frame)[1], head)
            usage, complete = usage.updated(info.usage or Usage()), complete or info.complete
            finish = info.finish or finish
    response = fold(events_of(case))
    assert (usage, complete, finish) == (response.usage, True, response.finished[0].native)


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_in_a_stream_is_one(case: dict[str, Any]) -> None:
    error = fold(events_of(case)).failed
    assert isinstance(error, UpstreamError)
    assert error.status == 429
    assert error.provider_code in ("insufficient_quota", "rate_limit_exceeded")


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_told_as_it_is_meant(case: dict[str, Any]) -> None:
    response = case["response"]
    error = RESPONSES.decode_error(response["status"], response["headers"], raw(case))
    assert error.provider_status == response["status"]


# What we write, against OpenAI's own description of it.


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    path = TRAFFIC / "specs" / "openai.schema.json"
    if not path.is_file():
        pytest.skip(f"no schemas at {path}")
    # Two of its alternatives for a message fit one and the same message, which "one of" forbids.
    schema: dict[str, Any] = json.loads(path.read_text("utf-8").replace('"oneOf"', '"anyOf"'))
    return schema


def checked(spec: dict[str, Any], name: str) -> Any:
    return jsonschema.Draft202012Validator({"$defs": spec["$defs"], "$ref": f"#/$defs/{name}"})


TALKS = Path(__file__).parents[2] / "conversations"


@pytest.mark.parametrize("talk", sorted(path.parent.name for path in TALKS.glob("*/openai_responses.request.json")))
def test_what_is_written_is_what_openai_describes(spec: dict[str, Any], talk: str) -> None:
    asked = (TALKS / talk / "openai_responses.request.json").read_bytes()
    head = RESPONSES.read_head(asked, HERE)
    request = RESPONSES.decode_request(asked, head, HERE)
    foreign = (TALKS / talk / "openai_chat.request.json").read_bytes()
    written = RESPONSES.encode_request(CHAT.decode_request(foreign, CHAT.read_head(foreign, HERE), HERE), "m")
    checked(spec, "CreateResponse").validate(json.loads(written.body))
    told = decode(RESPONSES.response_decoder(True), (TALKS / talk / "openai_responses.stream.txt").read_bytes())
    # As another dialect's reader would tell it: what OpenAI sends departs from what it describes.
    events = [replace(event, extras={}) if hasattr(event, "extras") else event for event in told]
    whole = json.loads(encode(RESPONSES.response_encoder(request), events))
    checked(spec, "Response").validate(whole)
    streaming = RESPONSES.decode_request(asked, msgspec.structs.replace(head, stream=True), HERE)
    stream = encode(RESPONSES.response_encoder(streaming), events)
    names = {**EVENTS, "response.completed": "ResponseCompletedEvent", "response.incomplete": "ResponseIncompleteEvent"}
    for frame in frames_of(stream):
        name, data = read_frame(frame)
        said = json.loads(data)
        if "response" in said and said["response"]["usage"] is None:
            del said["response"]["usage"]  # OpenAI sends null before the end, which its description does not have
        checked(spec, names[name]).validate(said)


EVENTS = {
    "response.created": "ResponseCreatedEvent",
    "response.in_progress": "ResponseInProgressEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.content_part.added": "ResponseContentPartAddedEvent",
    "response.content_part.done": "ResponseContentPartDoneEvent",
    "response.output_text.delta": "ResponseTextDeltaEvent",
    "response.output_text.done": "ResponseTextDoneEvent",
    "response.refusal.delta": "ResponseRefusalDeltaEvent",
    "response.refusal.done": "ResponseRefusalDoneEvent",
    "response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDeltaEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneEvent",
    "response.reasoning_summary_part.added": "ResponseReasoningSummaryPartAddedEvent",
    "response.reasoning_summary_part.done": "ResponseReasoningSummaryPartDoneEvent",
    "response.reasoning_summary_text.delta": "ResponseReasoningSummaryTextDeltaEvent",
    "response.reasoning_summary_text.done": "ResponseReasoningSummaryTextDoneEvent",
}


def test_tokens_are_counted_as_recorded() -> None:
    paths = sorted(TRAFFIC.glob("openai/responses.input_tokens/*.json"))
    if not paths:
        pytest.skip(f"no recorded traffic at {TRAFFIC}")
    case = json.loads(paths[0].read_text("utf-8"))
    body = json.dumps(case["request"]["body"]).encode()
    head = COUNT.read_head(body, HERE)
    request = COUNT.decode_request(body, head, HERE)
    assert json.loads(COUNT.encode_request(request, head.model).body) == case["request"]["body"]
    counted = decode_count(raw(case))
    assert json.loads(encode(COUNT.response_encoder(request), counted)) == case["response"]["body"]
    assert COUNT.inspect_answer(raw(case), head).complete


def decode_count(body: bytes) -> list[Event]:
    decoder = COUNT.response_decoder(False)
    return [*decoder.feed(body), *decoder.close()]
