"""The wire format ``gemini`` against recorded traffic: requests, answers and errors, both ways."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from speaking_gemini import (
    ANSWERS,
    CASES,
    answer_of,
    decoded,
    dialect,
    encoded,
    named,
    normal,
    read,
    where,
    with_traffic,
)

from llmhub_core.contracts import (
    ChatResponse,
    Event,
    Failed,
    PartStarted,
    RequestHead,
    UpstreamDenied,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    fold,
)


@with_traffic
@pytest.mark.parametrize("case", [case for case in CASES if not case["request"].get("synthesised")], ids=named)
def test_recorded_requests_come_out_as_they_went_in(case: dict[str, Any]) -> None:
    body = case["request"]["body"]
    stream = "stream" in case["request"]["path"]
    request = read(body, where(stream))
    encoded_request = dialect.encode_request(request, "gemini-2.5-flash")
    assert encoded_request.adapted == ()
    assert normal(json.loads(encoded_request.body)) == normal(body)
    assert read(json.loads(encoded_request.body), where(stream)) == request


def documents(raw: bytes) -> list[dict[str, Any]]:
    """The chunks of a recorded answer, told apart without the code under test."""
    text = raw.decode()
    if text.lstrip()[:1] in ("[", "{"):
        found = json.loads(text)
        return found if isinstance(found, list) else [found]
    frames = text.replace("\r\n", "\n").split("\n\n")
    return [json.loads(frame.removeprefix("data:")) for frame in frames if frame.startswith("data:")]


def masked(events: list[Event]) -> list[Event]:
    """Invented ids are random; everything else must be equal."""
    return [replace(event, id="*") if isinstance(event, PartStarted) and event.id else event for event in events]


@with_traffic
@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_recorded_answers_do_not_depend_on_the_reads(case: dict[str, Any]) -> None:
    raw, stream = answer_of(case)
    expected = [plain(event) for event in masked(decoded(raw, stream))]
    draw = random.Random(case["id"])
    for cuts in (1, draw, draw):
        assert [plain(event) for event in masked(decoded(raw, stream, cuts))] == expected


def plain(event: Event) -> object:
    """Errors are equal if they say the same."""
    return (type(event.error), event.error.message) if isinstance(event, Failed) else event


@with_traffic
@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_recorded_answers_say_what_their_chunks_say(case: dict[str, Any]) -> None:
    raw, stream = answer_of(case)
    answer = fold(decoded(raw, stream))
    found = documents(raw)
    candidates = [entry for chunk in found for entry in chunk.get("candidates", []) if not entry.get("index")]
    parts = [part for entry in candidates for part in (entry.get("content") or {}).get("parts", [])]
    finishes = [entry["finishReason"] for entry in candidates if entry.get("finishReason")]
    blocked = any((chunk.get("promptFeedback") or {}).get("blockReason") for chunk in found)
    if any("error" in chunk for chunk in found):
        assert isinstance(answer.failed, UpstreamOverloaded)
        return
    is_answer = not stream and found[0].keys() & {"candidates", "promptFeedback", "usageMetadata"}
    if not (finishes or blocked or is_answer):
        assert isinstance(answer.failed, UpstreamGarbled)
        return
    assert answer.failed is None
    assert answer.text == "".join(part.get("text", "") for part in parts if not part.get("thought"))
    thoughts = "".join(part.text for part in answer.parts if part.kind == "reasoning" and part.choice == 0)
    assert thoughts == "".join(part.get("text", "") for part in parts if part.get("thought"))
    names = [part["functionCall"]["name"] for part in parts if part.get("functionCall", {}).get("name")]
    assert [call.name for call in answer.tool_calls] == names
    arguments = [part["functionCall"].get("args", {}) for part in parts if "functionCall" in part]
    if "partial_args" in case["features"]:
        arguments = [{"location": "Boston"}, {"location": "San Francisco"}]
    assert [json.loads(call.text) for call in answer.tool_calls] == arguments
    signatures = [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
    kept = [
        part.signature
        if part.kind in ("reasoning", "tool_call")
        else part.extras.get("gemini", {}).get("thoughtSignature")
        for part in answer.parts
        if part.choice == 0
    ]
    assert all(part.origin == "gemini" for part in answer.parts if part.signature)
    assert [signature for signature in kept if signature] == signatures
    if blocked:
        assert answer.finished[0].reason == "content_filter"
    else:
        native = finishes[-1] if finishes else ""
        assert answer.finished[0].native == native
        assert answer.finished[0].reason == expected_reason(native or "STOP", bool(names))
    usages = [chunk["usageMetadata"] for chunk in found if "promptTokenCount" in chunk.get("usageMetadata", {})]
    if usages:
        last = usages[-1]
        assert answer.usage is not None
        assert answer.usage.input_tokens == last["promptTokenCount"] + last.get("toolUsePromptTokenCount", 0)
        thought = last.get("thoughtsTokenCount", 0)
        assert answer.usage.output_tokens == last.get("candidatesTokenCount", 0) + thought
        assert answer.usage.reasoning_tokens == thought
        assert answer.usage.cached_tokens == last.get("cachedContentTokenCount", 0)
    else:
        assert answer.usage is None


def expected_reason(native: str, called: bool) -> str:
    if native == "STOP":
        return "tool_calls" if called else "stop"
    known = {"MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter"}
    return known.get(native, "content_filter" if native == "MODEL_ARMOR" else "stop")


def essence(answer: ChatResponse) -> object:
    """Without invented ids, and with neighbouring texts as one: a chunk's borders mean nothing."""
    parts: list[list[Any]] = []
    for part in answer.parts:
        if parts and part.kind == parts[-1][0] == "text" and part.choice == parts[-1][1]:
            parts[-1][2] += part.text
            parts[-1][4].append(dict(part.extras))
            continue
        sealed = [part.signature, part.origin]
        parts.append([part.kind, part.choice, part.text, part.name, [dict(part.extras)], sealed])
    for flowed in parts:
        notes = [extras["gemini"] for extras in flowed[4] if extras]
        flowed[4] = sorted(json.dumps(note, sort_keys=True) for note in notes if note)
    ends = {choice: (one.reason, one.extras) for choice, one in answer.finished.items()}
    return answer.id, answer.model, parts, ends, answer.usage


@with_traffic
@pytest.mark.parametrize("framing", ["json", "sse", "json_array"])
@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_recorded_answers_survive_being_written_again(case: dict[str, Any], framing: str) -> None:
    raw, stream = answer_of(case)
    events = decoded(raw, stream)
    if isinstance(events[-1], Failed):
        assert b"finishReason" not in encoded(events, framing)
        return
    again = decoded(encoded(events, framing), framing != "json")
    first, second = fold(events), fold(again)
    if not first.id:
        first.id, first.model = second.id, second.model
    assert second.failed is None
    assert essence(second) == essence(first)


@with_traffic
@pytest.mark.parametrize("case", [case for case in CASES if case["response"]["status"] != 200], ids=named)
def test_recorded_errors(case: dict[str, Any]) -> None:
    raw, _ = answer_of(case)
    status = case["response"]["status"]
    error = dialect.decode_error(status, case["response"]["headers"], raw)
    kinds = {403: UpstreamDenied, 404: UpstreamModelMissing, 429: UpstreamLimited, 504: UpstreamTimeout}
    kind: type[Exception] = kinds.get(status, UpstreamOverloaded if status >= 500 else UpstreamRefused)
    assert type(error) is (UpstreamDenied if b"API_KEY_INVALID" in raw else kind)
    if status == 429:
        assert error.retry_after == 48
    assert error.detail


@with_traffic
@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_recorded_frames_tell_the_same_in_passing(case: dict[str, Any]) -> None:
    raw, stream = answer_of(case)
    events = decoded(raw, stream)
    head = RequestHead("m", stream)
    if isinstance(events[-1], Failed):
        return
    answer = fold(events)
    bodies = [json.dumps(document).encode() for document in documents(raw)]
    infos = [dialect.inspect_frame(body, head) for body in bodies if dialect.telling.search(body)]
    if not answer.finished[0].native:
        assert not stream
        return
    assert [info.finish for info in infos if info.finish][-1] == answer.finished[0].native
    assert any(info.complete for info in infos)
    usages = [info.usage for info in infos if info.usage is not None]
    if usages:
        assert usages[-1] == answer.usage
    assert dialect.inspect_answer(json.dumps(documents(raw)).encode(), head).complete
