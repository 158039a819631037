"""Recorded answers of every family between the Responses dialect and the others: nothing said is lost or changed."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openai._models import construct_type
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from llmhub_core.contracts import ChatRequest, ChatResponse, Dialect, Event, Where, fold, read_frame, unseal_id
from llmhub_core.testing.conversations import decode, encode, frames_of

TRAFFIC = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[3] / ".." / "shared" / "traffic"))
FOLDERS = {
    "openai_responses": ("*/responses",),
    "openai_chat": ("openai/chat.completions", "deepseek/chat.completions", "mistral/chat.completions"),
    "anthropic": ("anthropic/messages",),
    "gemini": ("gemini/generateContent", "gemini/streamGenerateContent"),
}
OTHERS = ("openai_chat", "anthropic", "gemini")
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


@cache
def dialect(name: str) -> Dialect:
    kinds = importlib.import_module(f"llmhub_plugins.dialects.{name}").register_dialects()
    kind = next(kind for kind in kinds if kind.name == name)
    made: Dialect = kind(kind.Settings())
    return made


def answers(name: str) -> Iterator[tuple[str, list[Event]]]:
    """Every whole and good answer in a dialect, as its reader tells it."""
    for path in sorted(path for folder in FOLDERS[name] for path in TRAFFIC.glob(folder + "/*.json")):
        case = json.loads(path.read_text("utf-8"))
        said = case["response"]
        if said["status"] != 200 or (said.get("stream") is None and not isinstance(said.get("body"), dict)):
            continue
        if said.get("abort") or "stream_json_array" in case["features"]:
            continue
        stream = said.get("stream")
        data = json.dumps(said["body"]).encode() if stream is None else stream.encode()
        events = decode(dialect(name).response_decoder(stream is not None), data)
        if fold(events).failed is None:
            yield path.stem, events


def asked(name: str, stream: bool) -> ChatRequest:
    """The simplest request in a dialect."""
    where = Where({}, {})
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 99}
    if name == "gemini":
        body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
        verb = "streamGenerateContent" if stream else "generateContent"
        where = Where({"model": "m", "verb": verb}, {"alt": "sse"} if stream else {})
    elif name == "openai_responses":
        body = {"model": "m", "input": "Hi"}
    if name != "gemini":
        body["stream"] = stream
    if name == "openai_chat" and stream:
        body["stream_options"] = {"include_usage": True}
    data = json.dumps(body).encode()
    request: ChatRequest = dialect(name).decode_request(data, dialect(name).read_head(data, where), where)
    return request


def meaning(response: ChatResponse, to: str) -> dict[str, Any]:
    """What must be the same in any dialect. Where calls came, all call that the reason."""
    parts = [part for part in response.parts if part.choice == 0]
    calls = [(unseal_id(part.id)[0], part.name, value(part.text)) for part in parts if part.kind == "tool_call"]
    finish = response.finished[0].reason
    if to == "gemini" or calls:
        calls = [("", *call[1:]) for call in calls]  # old Gemini models have no ids
    spoken = "".join(part.text for part in parts if part.kind in ("text", "refusal"))
    usage = response.usage
    refused = any(part.kind == "refusal" for part in parts)  # told by the reason where there is no such content
    return {
        "text": spoken,
        "calls": calls,
        "thoughts": "".join(part.text for part in parts if part.kind == "reasoning"),
        "blocked": finish in ("content_filter", "refusal") or (to == "anthropic" and refused),
        "cut": finish == "length",
        "tokens": None if usage is None else (usage.input_tokens, usage.output_tokens, usage.cached_tokens),
    }


def value(arguments: str) -> Any:
    try:
        said = json.loads(arguments or "{}")
    except ValueError:
        return arguments  # cut off by the limit of tokens
    if isinstance(said, dict) and said.keys() in ({"INVALID_JSON"}, {"_raw"}):
        return next(iter(said.values()))  # the same, where only an object can stand
    return said


@STREAM
@pytest.mark.parametrize("behind", OTHERS)
def test_answers_of_others_are_read_by_the_sdk(behind: str, stream: bool) -> None:
    count = 0
    mine = dialect("openai_responses")
    for name, events in answers(behind):
        told = fold(events)
        if any(part.choice for part in told.parts):
            continue  # this dialect has one choice
        written = encode(mine.response_encoder(asked("openai_responses", stream)), events)
        if stream:
            accumulate(written)
        again = fold(decode(mine.response_decoder(stream), written))
        assert again.failed is None, name
        assert meaning(again, behind) == meaning(told, behind), name
        count += 1
    if not TRAFFIC.is_dir():
        pytest.skip(f"no recorded traffic at {TRAFFIC}")
    assert count >= 40


def accumulate(stream: bytes) -> None:
    """Through OpenAI's own accumulator, which raises at what does not fit together."""
    state = ResponseStreamState[Any](text_format=omit, input_tools=omit)
    for frame in frames_of(stream):
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=json.loads(read_frame(frame)[1])))


@STREAM
@pytest.mark.parametrize("front", OTHERS)
def test_recorded_responses_are_said_in_other_dialects(front: str, stream: bool) -> None:
    count = 0
    other = dialect(front)
    for name, events in answers("openai_responses"):
        told = fold(events)
        written = encode(other.response_encoder(asked(front, stream)), events)
        again = fold(decode(other.response_decoder(stream), written))
        assert again.failed is None, name
        expected = meaning(told, front)
        if expected["tokens"] is None and front == "anthropic":
            expected["tokens"] = (0, 0, 0)  # its callers are always given numbers
        assert meaning(again, front) == expected, name
        count += 1
    if not TRAFFIC.is_dir():
        pytest.skip(f"no recorded traffic at {TRAFFIC}")
    assert count >= 60
