"""The Chat dialect against recorded traffic: read, cut anywhere, written again, never another content."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from llmhub_plugins.dialects.openai_chat import OpenAIChat

from llmhub_core.contracts import (
    ChatRequest,
    ChatResponse,
    Event,
    PartDelta,
    PartEnded,
    PartStarted,
    RequestHead,
    UpstreamGarbled,
    Where,
    fold,
    read_frame,
)

TRAFFIC = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[3] / ".." / "shared" / "traffic"))
HERE = Where({}, {})
CHAT = OpenAIChat(OpenAIChat.Settings())


def cases() -> list[Any]:
    paths = sorted(TRAFFIC.glob("*/chat.completions/*.json"))
    if not paths:
        return [pytest.param(None, marks=pytest.mark.skip(f"no recorded traffic at {TRAFFIC}"))]
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in paths]


CASES = cases()


def those(wanted: Callable[[dict[str, Any]], bool]) -> list[Any]:
    return [case for case in CASES if case.values[0] is None or wanted(case.values[0])]


REQUESTS = those(lambda case: not case["request"].get("synthesised"))
ANSWERS = those(lambda case: case["response"]["status"] == 200 and case["response"].get("text") is None)
STREAMS = those(lambda case: bool(case["response"].get("stream")))
ERRORS = those(lambda case: case["response"]["status"] >= 400)


# Requests.


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    """A Chat body without the differences that mean nothing to a server."""
    body = without_nulls(body)
    body["model"] = "another-model"
    if body.get("stream"):
        body["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}
    else:
        body.pop("stream", None)
    if "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    if body.get("n") == 1:
        del body["n"]
    if body.get("tools") == []:
        del body["tools"]
    for tool in body.get("tools", ()):
        tool.setdefault("type", "function")
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, list) and len(content) == 1 and set(content[0]) == {"type", "text"}:
            message["content"] = content[0]["text"]
        if message["role"] == "assistant" and not message.get("content"):
            message.pop("content", None)
    return body


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_says_the_same_after_reading_and_writing(case: dict[str, Any]) -> None:
    asked = case["request"]["body"]
    body = json.dumps(asked).encode()
    head = CHAT.read_head(body, HERE)
    assert (head.model, head.stream) == (asked["model"], asked.get("stream") or False)
    written = CHAT.encode_request(CHAT.decode_request(body, head, HERE), "another-model")
    assert written.adapted == ()
    assert meaning(json.loads(written.body)) == meaning(asked)


# Answers.


def expected(case: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What each choice of a recorded answer says, read from its JSON alone."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks(case):
        if chunk.get("error"):
            break
        for choice in chunk.get("choices") or ():
            said = choices.setdefault(
                choice["index"], {"text": "", "thoughts": "", "refusal": "", "calls": {}, "finish": None}
            )
            if said["finish"]:
                continue
            piece = choice.get("delta", choice.get("message")) or {}
            content = piece.get("content") or ""
            if isinstance(content, list):
                said["text"] += "".join(part["text"] for part in content if part["type"] == "text")
                for part in content:
                    said["thoughts"] += "".join(more["text"] for more in part.get("thinking", ()))
            else:
                said["text"] += content
            said["thoughts"] += piece.get("reasoning_content") or piece.get("reasoning") or ""
            said["refusal"] += piece.get("refusal") or ""
            for place, call in enumerate(piece.get("tool_calls") or ()):
                kept = said["calls"].setdefault(call.get("index", place), ["", "", ""])
                kept[0] = kept[0] or call.get("id") or ""
                kept[1] = kept[1] or call["function"].get("name") or ""
                kept[2] += call["function"].get("arguments") or ""
            if piece.get("function_call"):
                said["calls"][0] = ["", piece["function_call"]["name"], piece["function_call"]["arguments"]]
            said["finish"] = choice.get("finish_reason")
    return choices


def chunks(case: dict[str, Any]) -> list[dict[str, Any]]:
    response = case["response"]
    if response.get("stream") is None:
        return [response["body"]]
    lines = response["stream"].replace("\r\n", "\n").split("\n")
    read = []
    for line in lines:
        if line.startswith("data: {"):
            try:
                read.append(json.loads(line[6:]))
            except ValueError:
                break  # cut off on purpose
    return read


def usage_said(case: dict[str, Any]) -> dict[str, Any] | None:
    said = [chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") for chunk in chunks(case)]
    return next((usage for usage in reversed(said) if usage), None)


def finish_meant(said: dict[str, Any]) -> str:
    known = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
    known |= {"content_filter": "content_filter"}
    return "tool_calls" if said["calls"] and said["finish"] == "stop" else known.get(said["finish"], "stop")


def raw(case: dict[str, Any]) -> bytes:
    response = case["response"]
    stream: str | None = response.get("stream")
    return stream.encode() if stream is not None else json.dumps(response["body"]).encode()


def events_of(case: dict[str, Any], pieces: Sequence[bytes]) -> list[Event]:
    decoder = CHAT.response_decoder(stream=case["response"].get("stream") is not None)
    events: list[Event] = []
    for piece in pieces:
        events += decoder.feed(piece)
    events += decoder.close()
    return events


def cut(data: bytes, seed: int) -> list[bytes]:
    draw = random.Random(seed)
    places = sorted(draw.randrange(len(data) + 1) for _ in range(len(data) // 40 + 1))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def check_order(events: Sequence[Event]) -> None:
    """Parts of a choice follow one another, and every delta belongs to an open one."""
    open_parts: dict[int, int] = {}
    for event in events:
        if isinstance(event, PartStarted):
            assert event.choice not in open_parts.values()
            open_parts[event.index] = event.choice
        elif isinstance(event, PartDelta):
            assert event.index in open_parts
        elif isinstance(event, PartEnded):
            del open_parts[event.index]
    assert not open_parts or any(type(event).__name__ == "Failed" for event in events)


def content_of(response: ChatResponse, choice: int, with_ids: bool = True) -> dict[str, Any]:
    def text(kind: str) -> str:
        return "".join(part.text for part in response.parts if part.kind == kind and part.choice == choice)

    calls = [part for part in response.parts if part.kind == "tool_call" and part.choice == choice]
    finished = response.finished.get(choice)
    return {
        "text": text("text"),
        "thoughts": text("reasoning"),
        "refusal": text("refusal"),
        "calls": [((call.id if with_ids else ""), call.name, call.text) for call in calls],
        "finish": finished.reason if finished else None,
    }


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_is_read_wherever_it_is_cut(case: dict[str, Any]) -> None:
    data = raw(case)
    events = events_of(case, [data])
    check_order(events)
    ids = [event for event in events if isinstance(event, PartStarted) and event.kind == "tool_call"]
    assert all(event.id for event in ids)
    if "legacy_functions" not in case["features"]:  # there the id is invented each time
        for pieces in (cut(data, 1), cut(data, 2), [data[place : place + 1] for place in range(len(data))]):
            assert str(events_of(case, pieces)) == str(events)

    response, wanted = fold(events), expected(case)
    broken = {"error_in_stream", "truncated_stream"} & set(case["features"])
    if broken:
        assert response.failed is not None
        assert isinstance(response.failed, UpstreamGarbled) == ("truncated_stream" in broken)
    else:
        assert response.failed is None
        assert set(response.finished) == set(wanted)
    for choice, said in wanted.items():
        got = content_of(response, choice, with_ids="legacy_functions" not in case["features"])
        assert got["calls"] == [tuple(call) for call in said["calls"].values()]
        assert [got["text"], got["thoughts"], got["refusal"]] == [said["text"], said["thoughts"], said["refusal"]]
        assert got["finish"] == (None if broken else finish_meant(said))
        if not broken:
            assert response.finished[choice].native == said["finish"]


@pytest.mark.parametrize("case", ANSWERS)
def test_usage_is_what_the_provider_said(case: dict[str, Any]) -> None:
    usage, said = fold(events_of(case, [raw(case)])).usage, usage_said(case)
    if said is None:
        assert usage is None
        return
    assert usage is not None
    given, written = said.get("prompt_tokens_details") or {}, said.get("completion_tokens_details") or {}
    if case["provider"] == "mistral" and given.get("audio_tokens"):
        assert usage.input_tokens == said["prompt_tokens"] + given["audio_tokens"]
    else:
        assert usage.input_tokens == said["prompt_tokens"]
    if case["provider"] == "vercel-gateway":  # whose total leaves out Gemini's thoughts
        assert usage.total_tokens == said["total_tokens"] + (written.get("reasoning_tokens") or 0)
    else:
        assert usage.total_tokens == said["total_tokens"]  # which has xAI's reasoning in it
    cached = given.get("cached_tokens") or said.get("prompt_cache_hit_tokens") or 0
    assert usage.cached_tokens == min(cached, usage.input_tokens)  # Azure's Grok caches more than it was given
    assert usage.reasoning_tokens == (written.get("reasoning_tokens") or 0)
    assert usage.audio_output_tokens == (written.get("audio_tokens") or 0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ANSWERS)
def test_what_is_written_again_says_the_same(case: dict[str, Any], stream: bool) -> None:
    events = events_of(case, [raw(case)])
    if any(type(event).__name__ == "Failed" for event in events):
        return
    encoder = CHAT.response_encoder(ChatRequest("openai_chat", "asked", (), stream=stream))
    written = b"".join(encoder.write(event) for event in events) + encoder.close()
    validate(written, stream)
    decoder = CHAT.response_decoder(stream)
    again, first = fold([*decoder.feed(written), *decoder.close()]), fold(events)
    assert (again.id, again.model or "asked") == (first.id, first.model or "asked")
    # OpenAI's usage has no place for the calls of a provider's own tools.
    assert again.usage == (first.usage and msgspec.structs.replace(first.usage, server_tool_calls=0))
    assert first.created == 0 or again.created == first.created
    assert again.failed is None
    assert set(again.finished) == set(first.finished)
    for choice in first.finished:
        assert content_of(again, choice) == content_of(first, choice)


@cache
def schema(root: str) -> Any:
    whole = json.loads((TRAFFIC / "specs" / "openai.schema.json").read_text())
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{root}", "$defs": whole["$defs"]})


def validate(written: bytes, stream: bool) -> None:
    """What is sent fits OpenAI's own description, but for annotations and tiers of other providers passed through."""
    if not stream:
        check_schema("CreateChatCompletionResponse", json.loads(written))
        return
    frames = [read_frame(frame + b"\n\n")[1] for frame in written.split(b"\n\n") if frame]
    assert frames.pop() == b"[DONE]"
    for frame in frames:
        check_schema("CreateChatCompletionStreamResponse", json.loads(frame))


def check_schema(root: str, value: dict[str, Any]) -> None:
    ours = [error for error in schema(root).iter_errors(value) if not {"annotations", "service_tier"} & set(error.path)]
    assert not ours, ours[0].message


@pytest.mark.parametrize(
    "case", [case for case in ANSWERS if not case.values[0] or case.values[0]["response"].get("stream")]
)
def test_frames_tell_usage_and_end_in_passing(case: dict[str, Any]) -> None:
    """The verbatim lane learns of usage and finish what the decoder does, from telling frames alone."""
    head = RequestHead("m", stream=True, framing="sse", asked_usage=False)
    usage, finishes, complete, hidden = None, [], False, 0
    for frame in case["response"]["stream"].replace("\r\n", "\n").split("\n\n"):
        data = read_frame(frame.encode() + b"\n\n")[1]
        if not CHAT.telling.search(frame.encode()) or not data:
            continue
        try:
            info = CHAT.inspect_frame(data, head)
        except ValueError:
            assert "truncated_stream" in case["features"]
            break
        usage, complete = info.usage or usage, complete or info.complete
        finishes += [info.finish] if info.finish else []
        hidden += info.hidden
        if info.hidden:
            assert not json.loads(data).get("choices")
    response = fold(events_of(case, [raw(case)]))
    assert usage == response.usage
    assert {finished.native for finished in response.finished.values()} <= set(finishes)
    assert complete == ("[DONE]" in case["response"]["stream"])
    assert hidden == ("usage_chunk_empty_choices" in case["features"])


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.values[0] or case.values[0]["response"]["status"] >= 400]
)
def test_error_answers_are_understood(case: dict[str, Any]) -> None:
    response = case["response"]
    body = response["text"].encode() if response.get("text") is not None else json.dumps(response["body"]).encode()
    error = CHAT.decode_error(response["status"], response["headers"], body)
    kind, code = {
        400: ("UpstreamRefused", None),
        401: ("UpstreamDenied", "no_upstream_available"),
        404: ("UpstreamModelMissing", "model_not_found"),
        429: ("UpstreamLimited", "rate_limit_exceeded"),
        500: ("UpstreamOverloaded", "overloaded"),
        503: ("UpstreamOverloaded", "overloaded"),
    }[response["status"]]
    assert type(error).__name__ == kind
    assert code is None or error.code == code
    assert error.provider_status == response["status"]
    assert error.detail
    said = response["body"]["error"] if response.get("body") else {}
    if kind == "UpstreamRefused":
        assert error.param == said.get("param")
        assert error.message == said["message"][:500]
    check_schema("ErrorResponse", json.loads(CHAT.encode_error(error, "req-1")))
