"""Signatures and what stands beside contents: carried through answers, opened in requests."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import jsonschema
import pytest
from llmhub_plugins.dialects.gemini.signatures import SKIP_VALIDATION, opened, sealed
from speaking_gemini import (
    ANSWER,
    ANSWERS,
    TRAFFIC,
    answer_of,
    candidate,
    chunks,
    decoded,
    dialect,
    encoded,
    foreign,
    named,
    read,
    said,
    streamed,
    turn,
    user,
    where,
    whole,
    with_traffic,
    written,
)

from llmhub_core.contracts import (
    SEALED,
    Event,
    Failed,
    Finished,
    Message,
    PartDelta,
    PartEnded,
    PartStarted,
    Reasoning,
    Started,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    fold,
    seal,
    seal_id,
    unfold,
)


def test_a_seal_opens_to_what_was_sealed() -> None:
    word = sealed("anthropic", "EqoB+/=")
    assert word is not None
    assert opened(word) == ("EqoB+/=", None, "anthropic")
    # Google's SDK holds bytes and writes base64 anew.
    assert opened(base64.urlsafe_b64encode(base64.urlsafe_b64decode(word)).decode()) == ("EqoB+/=", None, "anthropic")
    assert opened(sealed("anthropic", None, "Emw")) == (None, "Emw", "anthropic")
    assert opened(sealed("openai_chat", None)) == (None, None, "openai_chat")
    assert opened(seal("anthropic", ["no object"])) == (None, None, "anthropic")


def test_what_is_no_seal_is_geminis_own() -> None:
    assert sealed("gemini", "c2ln") == "c2ln"
    assert opened("c2ln") == ("c2ln", None, "gemini")
    assert opened(None) == (None, None, "gemini")
    assert opened(seal("gemini", {"signature": "c2ln"})) == ("c2ln", None, "gemini")
    assert opened(SEALED.decode() + "damaged") == (None, None, "gemini")
    for word in (SKIP_VALIDATION, base64.b64encode(SKIP_VALIDATION.encode()).decode()):
        assert opened(word) == (None, None, None)


def test_what_has_no_origin_or_is_too_long_is_left_off() -> None:
    assert sealed("", "of nobody") is None
    noise = random.Random(1).randbytes(60_000).hex()  # which no packing makes much shorter
    assert sealed("anthropic", noise) is None


def test_parts_of_a_request_are_opened() -> None:
    thought = {"text": "Hm", "thought": True, "thoughtSignature": seal("anthropic", {"signature": "s"})}
    hidden = {"text": "", "thought": True, "thought_signature": seal("anthropic", {"redacted": "r"})}
    calls = [
        {
            "functionCall": {"id": seal_id("c1", "x", {}), "name": "f"},
            "thoughtSignature": seal("x", {"signature": "t"}),
        },
        {"functionCall": {"id": "c2", "name": "f"}, "thoughtSignature": SKIP_VALIDATION},
    ]
    answered = {"functionResponse": {"id": seal_id("c1", "x", {}), "name": "f", "response": {"result": "ok"}}}
    request = read({"contents": [{"role": "model", "parts": [thought, hidden, *calls]}, {"parts": [answered]}]})
    assert request.messages[0].content == (
        Reasoning("Hm", "s", None, "anthropic"),
        Reasoning("", None, "r", "anthropic"),
        ToolCall("c1", "f", "{}", signature="t", origin="x"),
        ToolCall("c2", "f", "{}"),
    )
    assert request.messages[1].content == (ToolResult("c1", (Text("ok"),), name="f"),)
    old = written(request)["contents"][0]["parts"]
    assert old == [{"functionCall": {"name": "f", "args": {}, "id": f"c{number}"}} for number in (1, 2)]
    new = written(request, "gemini-3-flash")["contents"][0]["parts"]
    assert [part.get("thoughtSignature") for part in new] == [SKIP_VALIDATION, None]
    assert dialect.encode_request(request, "gemini-3-flash").adapted == ("reasoning=dropped",)


def test_geminis_signatures_come_back_through_callers_of_other_formats() -> None:
    request = dialect.encode_request(
        foreign(
            user(),
            Message(
                "assistant", (Reasoning("Hm", "s1", origin="gemini"), ToolCall("c", "f", "{}", {}, "s2", "gemini"))
            ),
        ),
        "gemini-3-flash",
    )
    assert request.adapted == ()
    assert json.loads(request.body)["contents"][1]["parts"] == [
        {"text": "Hm", "thought": True, "thoughtSignature": "s1"},
        {"functionCall": {"name": "f", "args": {}, "id": "c"}, "thoughtSignature": "s2"},
    ]


@pytest.mark.parametrize("contents", ["one", "a chunk each"])
def test_thoughts_in_pieces_are_whole_again(contents: str) -> None:
    """A stream tells another family's thought text by text, and its seal at the end."""
    mark = seal("anthropic", {"signature": "s"})
    parts = [
        {"text": "One ", "thought": True},
        {"text": "two", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": mark},
        {"text": "", "thought": True, "thoughtSignature": seal("anthropic", {"redacted": "r"})},
        {"text": "Yes"},
    ]
    groups = [parts] if contents == "one" else [[part] for part in parts]
    request = read({"contents": [{"role": "model", "parts": group} for group in groups]})
    assert request.messages == (
        Message(
            "assistant",
            (Reasoning("One two", "s", None, "anthropic"), Reasoning("", None, "r", "anthropic"), Text("Yes")),
        ),
    )


def test_contents_of_the_model_are_one_turn_and_signed_parts_stay_apart() -> None:
    def model(*parts: dict[str, Any]) -> dict[str, Any]:
        return {"role": "model", "parts": list(parts)}

    request = read(
        {
            "contents": [
                model({"text": "Hm ", "thought": True}),
                model({"text": "hm", "thought": True}),
                model({"text": "", "thought": True, "thoughtSignature": "s"}),
                model({"text": "a"}),
                model({"text": "b"}, {"text": "c"}),
                model({"text": "", "thoughtSignature": "t"}),
                model(),
            ]
        }
    )
    (message,) = request.messages
    assert message.content == (
        Reasoning("Hm hm", origin="gemini"),
        Reasoning("", "s", origin="gemini"),
        Text("ab"),
        Text("c"),
        Text("", {"gemini": {"thoughtSignature": "t"}}),
    )
    assert turn({"text": "a"}, {"text": "b"}, role="model").messages[0].content == (Text("a"), Text("b"))


# Answers.


@pytest.mark.parametrize("framing", ["json", "sse", "json_array"])
def test_every_familys_signature_is_told(framing: str) -> None:
    events: list[Event] = [
        Started("r", "m"),
        PartStarted(0, "reasoning", origin="anthropic"),
        PartEnded(0, redacted="Emw"),
        PartStarted(1, "reasoning", origin="openai_chat"),
        PartDelta(1, "Hm"),
        PartEnded(1),
        PartStarted(2, "reasoning", origin="gemini"),
        PartDelta(2, "Ha"),
        PartEnded(2, signature="c2ln"),
        PartStarted(3, "tool_call", "c1", "f", origin="anthropic"),
        PartEnded(3, signature="own"),
        PartStarted(4, "tool_call", "c2", "f"),
        PartEnded(4),
        Finished("tool_calls"),
    ]
    found = chunks(encoded(events, framing), framing)
    contents = [{"role": "model", "parts": chunk["candidates"][0]["content"]["parts"]} for chunk in found]
    (message,) = read({"contents": contents}).messages
    assert tuple(part for part in message.content if part != Text("")) == (
        Reasoning("", None, "Emw", "anthropic"),
        Reasoning("Hm", None, None, "openai_chat"),
        *([Reasoning("Ha", "c2ln", None, "gemini")] if framing == "json" else geminis_own("Ha", "c2ln")),
        ToolCall("c1", "f", "{}", signature="own", origin="anthropic"),
        ToolCall("c2", "f", "{}"),
    )


def geminis_own(text: str, signature: str) -> list[Reasoning]:
    """As Gemini itself streams it, and wants it back: a signature in a part of its own."""
    return [Reasoning(text, origin="gemini"), Reasoning("", signature, origin="gemini")]


def test_each_choice_has_a_first_call() -> None:
    events: list[Event] = [Started("r", "m")]
    for index, choice in enumerate((0, 0, 1)):
        events += [PartStarted(index, "tool_call", f"c{index}", "f", choice), PartEnded(index)]
    (document,) = chunks(encoded([*events, Finished("tool_calls", 0), Finished("tool_calls", 1)], "json"), "json")
    signed = [["thoughtSignature" in part for part in one["content"]["parts"]] for one in document["candidates"]]
    assert signed == [[True, False], [True]]


def test_geminis_own_calls_get_nothing_that_stands_in() -> None:
    events = decoded(json.dumps(candidate({"functionCall": {"name": "f"}}, finish="STOP")).encode(), False)
    assert b"thoughtSignature" not in encoded(events, "json")


BESIDE = {
    "groundingMetadata": {"webSearchQueries": ["a"]},
    "citationMetadata": {"citations": [{"uri": "u"}]},
    "urlContextMetadata": {"urlMetadata": []},
    "finishMessage": "Done.",
    "avgLogprobs": -0.5,
}


@pytest.mark.parametrize("framing", ["json", "sse", "json_array"])
@pytest.mark.parametrize("parts", [[], [{"text": "a"}], [{"functionCall": {"name": "f", "args": {}}}]])
def test_what_stands_beside_survives_with_and_without_a_part(parts: list[Any], framing: str) -> None:
    document = {
        **candidate(*parts, finish="STOP", **BESIDE),
        "promptFeedback": {"safetyRatings": []},
        "modelStatus": {"modelStage": "STABLE"},
        "usageMetadata": {"promptTokenCount": 3, "toolUsePromptTokenCount": 4, "serviceTier": "standard"},
    }
    events = decoded(json.dumps(document).encode(), False)
    if not parts:
        (finished,) = [event for event in events if isinstance(event, Finished)]
        assert finished.extras["gemini"]["candidate"] == BESIDE
    for again in (events, list(unfold(fold(events)))):
        last = chunks(encoded(again, framing), framing)[-1]
        assert {name: last["candidates"][0][name] for name in BESIDE} == BESIDE
        assert {name: last[name] for name in ("promptFeedback", "modelStatus", "usageMetadata")} == {
            name: document[name] for name in ("promptFeedback", "modelStatus", "usageMetadata")
        }


def test_what_chunks_tell_piece_by_piece_is_put_together() -> None:
    def probabilities(*tokens: str) -> dict[str, Any]:
        return {"logprobsResult": {"chosenCandidates": [{"token": token} for token in tokens]}}

    answer = fold(
        streamed(
            candidate({"text": "a"}, **probabilities("a"), citationMetadata={"citations": [{"uri": "1"}]}),
            candidate(
                {"text": "b"}, **probabilities("b"), citationMetadata={"citations": [{"uri": "1"}, {"uri": "2"}]}
            ),
            candidate({"text": "c"}, finish="STOP", groundingMetadata={"a": 1}, avgLogprobs=-1),
        )
    )
    told = answer.parts[-1].extras["gemini"]["candidate"]
    assert told["logprobsResult"] == {"chosenCandidates": [{"token": "a"}, {"token": "b"}]}
    assert told["citationMetadata"] == {"citations": [{"uri": "1"}, {"uri": "2"}]}
    assert (told["groundingMetadata"], told["avgLogprobs"]) == ({"a": 1}, -1)


USAGE = {
    "promptTokenCount": 10,
    "cachedContentTokenCount": 4,
    "toolUsePromptTokenCount": 5,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 25,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}, {"modality": "TEXT", "tokenCount": 4}],
    "toolUsePromptTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
    "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}],
}


def test_usage_is_the_same_streamed_whole_and_in_passing() -> None:
    expected = Usage(15, 10, cached_tokens=4, reasoning_tokens=3, audio_input_tokens=8, audio_output_tokens=1)
    document = {**candidate({"text": "a"}, finish="STOP"), "usageMetadata": USAGE}
    raw = json.dumps(document).encode()
    head = dialect.read_head(json.dumps(said("Hi")).encode(), where())
    assert whole(document).usage == expected
    assert fold(streamed(candidate({"text": "a"}), document)).usage == expected
    assert dialect.inspect_answer(raw, head).usage == dialect.inspect_frame(raw, head).usage == expected
    for framing in ("json", "sse", "json_array"):
        assert chunks(encoded(decoded(raw, False), framing), framing)[-1]["usageMetadata"] == USAGE


def test_usage_that_was_changed_on_the_way_is_counted_anew() -> None:
    answer = whole({**candidate({"text": "a"}, finish="STOP"), "usageMetadata": USAGE})
    answer.usage = Usage(1, 2)
    (document,) = chunks(encoded(list(unfold(answer)), "json"), "json")
    assert document["usageMetadata"] == {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}


# The published description.


def validator() -> Any:
    schema = json.loads((TRAFFIC / "specs" / "gemini.schema.json").read_text())
    return jsonschema.Draft202012Validator({**schema, "$ref": "#/$defs/GenerateContentResponse"})


@with_traffic
@pytest.mark.parametrize("framing", ["json", "sse"])
def test_answers_of_other_formats_are_as_described(framing: str) -> None:
    check = validator()
    for chunk in chunks(encoded(ANSWER, framing), framing):
        check.validate(chunk)


@with_traffic
@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_recorded_answers_written_again_are_as_described_if_they_were(case: dict[str, Any]) -> None:
    check = validator()
    raw, stream = answer_of(case)
    events = decoded(raw, stream)
    if isinstance(events[-1], Failed):
        return
    body = case["response"]["body"]
    was_good = body is not None and check.is_valid(body)
    for chunk in chunks(encoded(events, "json"), "json") if was_good else ():
        check.validate(chunk)
