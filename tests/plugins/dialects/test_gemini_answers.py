"""Gemini's answers read as events, and events written as its answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from llmhub_plugins.dialects.gemini.framing import ObjectSplitter
from speaking_gemini import (
    ANSWER,
    ERROR,
    candidate,
    chunks,
    decoded,
    dialect,
    encoded,
    read,
    said,
    streamed,
    whole,
)

from llmhub_core.contracts import (
    Event,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    UpstreamGarbled,
    UpstreamOverloaded,
    Usage,
    fold,
    unseal,
)


def test_texts_flow_together_and_a_signature_seals() -> None:
    events = streamed(
        {**candidate({"text": "I am"}), "responseId": "r", "modelVersion": "m", "usageMetadata": {"trafficType": "X"}},
        candidate({"text": " here"}, {"text": "", "thoughtSignature": "c2ln"}),
        candidate({"text": "Hm", "thought": True}, {"text": ""}, finish="STOP", groundingMetadata={"a": 1}),
    )
    assert events == [
        Started("r", "m"),
        PartStarted(0, "text"),
        PartDelta(0, "I am"),
        PartDelta(0, " here"),
        PartEnded(0, extras={"gemini": {"thoughtSignature": "c2ln"}}),
        PartStarted(1, "reasoning", origin="gemini"),
        PartDelta(1, "Hm"),
        PartEnded(1, extras={"gemini": {"candidate": {"groundingMetadata": {"a": 1}}}}),
        Finished("stop", 0, "STOP"),
    ]


def test_parallel_calls_have_ids_of_their_own() -> None:
    events = streamed(
        candidate({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"}),
        candidate({"functionCall": {"name": "f"}}, {"functionCall": {"name": "g", "id": "given"}}, finish="STOP"),
    )
    answer = fold(events)
    assert [(call.name, call.text) for call in answer.tool_calls] == [("f", '{"a":1}'), ("f", "{}"), ("g", "{}")]
    assert len({call.id for call in answer.tool_calls}) == 3
    assert answer.tool_calls[2].id == "given"
    assert [(call.signature, call.origin) for call in answer.tool_calls] == [("s", "gemini"), (None, ""), (None, "")]
    assert answer.finished[0].reason == "tool_calls"


def test_arguments_that_come_in_pieces() -> None:
    def piece(path: str, more: bool = False, **value: Any) -> dict[str, Any]:
        parts = [{"jsonPath": path, **value, "willContinue": more}]
        return candidate({"functionCall": {"partialArgs": parts, "willContinue": True}})

    answer = fold(
        streamed(
            candidate({"functionCall": {"name": "f", "willContinue": True}}),
            piece("$.city", True, stringValue="Bos"),
            piece("$.city", stringValue="ton"),
            piece("$.city", stringValue="Rome"),
            piece("$.list[1].deep", numberValue=3),
            piece("$['odd key'].x", boolValue=False),
            piece("$.gone", nullValue="NULL_VALUE"),
            piece("nonsense", stringValue="x"),
            piece("$.list[999999999]", stringValue="x"),
            candidate({"functionCall": {}}),
            candidate({"functionCall": {"name": "g", "willContinue": True}}),
            candidate({"functionCall": {"args": {"a": 1}}}),
            candidate({"text": ""}, finish="STOP"),
        )
    )
    assert [(call.name, json.loads(call.text)) for call in answer.tool_calls] == [
        ("f", {"city": "Rome", "list": [None, {"deep": 3}], "odd key": {"x": False}, "gone": None}),
        ("g", {"a": 1}),
    ]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
        ("NEVER_SEEN", "stop"),
    ],
)
def test_finish_reasons(finish: str, reason: str) -> None:
    assert whole(candidate({"text": "x"}, finish=finish)).finished[0] == Finished(reason, 0, finish)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("document", "finished"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, Finished("content_filter", 0, "SAFETY")),
        ({"candidates": [{"finishReason": "RECITATION"}]}, Finished("content_filter", 0, "RECITATION")),
        ({"candidates": [{"content": {}, "finishReason": "MAX_TOKENS"}]}, Finished("length", 0, "MAX_TOKENS")),
        ({"candidates": [{"content": {"parts": [{"text": "x"}]}}]}, Finished("stop", 0, "")),
        ({"usageMetadata": {"promptTokenCount": 1}}, Finished("stop", 0, "")),
    ],
)
def test_holes_of_whole_answers(document: dict[str, Any], finished: Finished) -> None:
    answer = whole(document)
    assert replace(answer.finished[0], extras={}) == finished
    assert answer.failed is None


def test_usage_is_the_last_and_in_the_hubs_arithmetic() -> None:
    metadata = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 25,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}, {"modality": "TEXT", "tokenCount": 4}],
    }
    answer = fold(
        streamed(
            {**candidate({"text": "a"}), "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 99}},
            {**candidate({"text": "b"}, finish="STOP"), "usageMetadata": metadata},
        )
    )
    assert answer.usage == Usage(15, 10, cached_tokens=4, reasoning_tokens=3, audio_input_tokens=6)


def test_a_count_of_thoughts_alone_takes_nothing_away() -> None:
    events = streamed(
        {**candidate({"text": "a"}), "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2}},
        {**candidate({"text": "b"}, finish="STOP"), "usageMetadata": {"thoughtsTokenCount": 5}},
    )
    assert fold(events).usage == Usage(10, 7, reasoning_tokens=5)


def test_candidates_may_interleave() -> None:
    def piece(index: int, text: str, **more: Any) -> dict[str, Any]:
        return {"candidates": [{"index": index, "content": {"parts": [{"text": text}]}, **more}]}

    stop = {"finishReason": "STOP"}
    events = streamed(piece(0, "a"), piece(1, "x"), piece(0, "b", **stop), piece(1, "y", **stop))
    answer = fold(events)
    assert [(part.choice, part.text) for part in answer.parts] == [(0, "ab"), (1, "xy")]
    assert set(answer.finished) == {0, 1}
    assert isinstance(streamed(piece(0, "a", **stop), piece(1, "x"))[-1], Failed)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b": ping\n\n",
        b"<html>busy</html>",
        b'data: {"candidates":[{"content":{"parts":[{"text":"x"}]}}]}\r\n\r\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"ST',
        b'data: {"candidates": nonsense}\n\n',
        b"data: []\n\ndata: 3\n\n",
        b'[{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}',
        b'[{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"',
    ],
)
def test_a_stream_without_its_end_is_an_error(raw: bytes) -> None:
    for cuts in (None, 1):
        last = decoded(raw, True, cuts)[-1]
        assert isinstance(last, Failed)
        assert isinstance(last.error, UpstreamGarbled)


def test_an_array_read_whole_is_a_stream_all_the_same() -> None:
    good = [candidate({"text": "a"}), candidate({"text": "b"}, finish="STOP")]
    assert whole(good).text == "ab"
    assert isinstance(whole(good[:1]).failed, UpstreamGarbled)


@pytest.mark.parametrize("raw", [b"", b"busy", b"{}", b'{"this": 1}', b"[]", b"3", b'{"candidates": ['])
def test_a_document_that_is_no_answer_is_an_error(raw: bytes) -> None:
    last = decoded(raw, False)[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, UpstreamGarbled)


@pytest.mark.parametrize(
    "raw",
    [
        b"data: " + json.dumps({"error": ERROR}).encode() + b"\r\n\r\n",
        json.dumps({"error": ERROR}, indent=2).encode(),
        b"\r\n " + json.dumps([{"error": ERROR}], indent=2).encode(),
        b'[{"candidates":[{"content":{"parts":[{"text":"}"}]}}]}\n,\r\n' + json.dumps({"error": ERROR}).encode() + b"]",
        b'data: {"usageMetadata":{}}\r\n\r\n' + json.dumps({"error": ERROR}, indent=2).encode() + b"\n\n",
    ],
)
def test_errors_inside_a_stream(raw: bytes) -> None:
    for cuts in (None, 1, 7):
        events = decoded(raw, True, cuts)
        assert isinstance(events[-1], Failed)
        assert isinstance(events[-1].error, UpstreamOverloaded)
        assert events[-1].error.provider_code == "UNAVAILABLE"


def test_nothing_odd_makes_the_decoder_fall() -> None:
    odd = candidate(
        3,
        {},
        {"text": None},
        {"functionCall": {}},
        {"functionCall": 3},
        {"somethingNew": {}},
        {"text": "x", "new": 1},
        finish="STOP",
        index="first",
    )
    answer = whole({**odd, "usageMetadata": 3, "promptFeedback": 3, "createTime": "never", "responseId": 3})
    assert answer.text == "x"
    assert answer.failed is None
    assert whole({"candidates": [3, None]}).finished == {0: Finished("stop")}


def test_splitting_is_linear_and_bounded() -> None:
    splitter = ObjectSplitter()
    assert splitter.feed(b'[{"a": "\\') == []
    assert splitter.feed(b'"}{"}') == [b'{"a": "\\"}{"}']
    assert splitter.feed(b',\r\n{"b": {"c": 1}} , {}') == [b'{"b": {"c": 1}}', b"{}"]
    last = decoded(b'[{"a": "' + b"x" * (9 * 1024 * 1024), True, 1024 * 1024)[-1]
    assert isinstance(last, Failed)


@pytest.mark.parametrize("framing", ["json", "sse", "json_array"])
def test_an_answer_of_another_dialect(framing: str) -> None:
    found = chunks(encoded(ANSWER, framing), framing)
    parts = [part for chunk in found for part in chunk["candidates"][0]["content"]["parts"]]
    told = [part for part in parts if part.get("text") != ""]
    assert [part["functionCall"] for part in told if "functionCall" in part] == [
        {"name": "add", "args": {"a": 1}, "id": "toolu_1"},
        {"name": "now", "args": {}, "id": "toolu_2"},
        {"name": "bad", "args": {"_raw": '{"a":'}, "id": "toolu_3"},
    ]
    texts = [part["text"] for part in told if "text" in part and not part.get("thought")]
    assert "".join(texts) == "Grüß Gott\nNo."
    assert [part["text"] for part in told if part.get("thought")] == ["Hm"]
    assert "of another family" not in json.dumps(found)
    signed = [part for part in parts if "thoughtSignature" in part]
    assert [bool(part.get("thought")) for part in signed] == [True, False, False]
    assert unseal(signed[0]["thoughtSignature"]) == ("anthropic", {"signature": "of another family"})
    assert signed[1]["thoughtSignature"] == "c2ln"
    assert signed[2]["functionCall"]["name"] == "add"  # of parallel calls the first alone
    assert signed[2]["thoughtSignature"] == "skip_thought_signature_validator"
    last = found[-1]
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"] == {
        "promptTokenCount": 20,
        "candidatesTokenCount": 10,
        "totalTokenCount": 32,
        "thoughtsTokenCount": 2,
        "cachedContentTokenCount": 5,
    }
    assert {(chunk["modelVersion"], bool(chunk["responseId"])) for chunk in found} == {("served", True)}
    assert len({chunk["responseId"] for chunk in found}) == 1


@pytest.mark.parametrize("framing", ["sse", "json_array"])
def test_a_text_is_a_chunk(framing: str) -> None:
    encoder = dialect.response_encoder(replace(read(said("Hi")), stream=True, framing=framing))  # type: ignore[arg-type]
    assert encoder.write(Started("r", "m")) + encoder.write(PartStarted(0, "text")) == b""
    assert b'"text":"Hello"' in encoder.write(PartDelta(0, "Hello"))


@pytest.mark.parametrize(
    ("events", "framing", "ending"),
    [
        ([Started("r", "m"), PartStarted(0, "text"), PartDelta(0, "a")], "sse", b"}\r\n\r\n"),
        ([Started("r", "m"), PartStarted(0, "text"), PartDelta(0, "a")], "json_array", b"}]"),
        ([], "json_array", b"[{"),
    ],
)
def test_a_failure_ends_the_stream_without_a_finish(events: list[Event], framing: str, ending: bytes) -> None:
    raw = encoded([*events, Failed(UpstreamGarbled("It broke off."))], framing)
    found = chunks(raw, framing)
    assert found[-1]["error"]["code"] == 502
    assert found[-1]["error"]["source"] == "network"
    assert b"finishReason" not in raw
    assert raw.endswith(ending) or raw.startswith(ending)


def test_encoders_stand_odd_events() -> None:
    odd: list[Event] = [PartDelta(4, "x"), PartEnded(4), Started("r", "m")]
    assert encoded(odd, "sse") == b""
    assert encoded(odd, "json_array") == b"[]"
    first = chunks(encoded([PartStarted(0, "text"), PartDelta(0, "a")], "sse"), "sse")[0]
    assert first["modelVersion"] == "public"


@pytest.mark.parametrize("framing", ["json", "sse", "json_array"])
def test_a_blocked_prompt_stays_one(framing: str) -> None:
    events = decoded(b'{"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r"}', False)
    assert chunks(encoded(events, framing), framing)[-1]["promptFeedback"] == {"blockReason": "SAFETY"}
    filtered = chunks(encoded([Started("r", "m"), Finished("content_filter")], framing), framing)
    assert filtered[-1]["candidates"][0]["finishReason"] == "SAFETY"
