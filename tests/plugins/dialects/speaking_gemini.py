"""What the tests of the wire format ``gemini`` share: requests said, answers told, traffic that was recorded."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from llmhub_plugins.dialects.gemini import Gemini

from llmhub_core.contracts import (
    ChatRequest,
    ChatResponse,
    Event,
    Finished,
    Message,
    NoSettings,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    Text,
    Usage,
    Used,
    Where,
    fold,
)

TRAFFIC = Path(os.environ.get("LLMHUB_TRAFFIC") or Path(__file__).parents[3] / ".." / "shared" / "traffic")
FOLDERS = [f"{place}/{verb}" for place in ("gemini", "vertex") for verb in ("generateContent", "streamGenerateContent")]
CASES = [json.loads(path.read_text()) for folder in FOLDERS for path in sorted((TRAFFIC / folder).glob("*.json"))]

dialect = Gemini(NoSettings())


def where(stream: bool = False, model: str = "gemini-2.5-flash", **query: str) -> Where:
    verb = "streamGenerateContent" if stream else "generateContent"
    return Where({"model": model, "verb": verb}, query)


def read(body: Mapping[str, Any], at: Where | None = None) -> ChatRequest:
    raw, at = json.dumps(body).encode(), at or where()
    return dialect.decode_request(raw, dialect.read_head(raw, at), at)


def said(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def turn(*parts: Mapping[str, Any], role: str = "user") -> ChatRequest:
    return read({"contents": [{"role": role, "parts": list(parts)}]})


def foreign(*messages: Message, **changes: Any) -> ChatRequest:
    return ChatRequest("openai_chat", "public", messages, **changes)


def written(request: ChatRequest, model: str = "gemini-2.5-flash") -> dict[str, Any]:
    body: dict[str, Any] = json.loads(dialect.encode_request(request, model).body)
    return body


def user(text: str = "Hi") -> Message:
    return Message("user", (Text(text),))


def decoded(raw: bytes, stream: bool, cuts: random.Random | int | None = None) -> list[Event]:
    decoder = dialect.response_decoder(stream)
    events: list[Event] = []
    position = 0
    while position < len(raw):
        size = len(raw) if cuts is None else cuts if isinstance(cuts, int) else cuts.randint(1, 64)
        events += decoder.feed(raw[position : position + size])
        position += size
    return [*events, *decoder.close()]


def whole(document: object) -> ChatResponse:
    return fold(decoded(json.dumps(document).encode(), False))


def streamed(*chunks: object) -> list[Event]:
    return decoded(b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks), True)


def candidate(*parts: object, finish: str | None = None, **more: Any) -> dict[str, Any]:
    ending = {"finishReason": finish} if finish else {}
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **ending, **more}]}


ERROR = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}


def encoded(events: list[Event], framing: str) -> bytes:
    request = ChatRequest("gemini", "public", (user(),), stream=framing != "json", framing=framing)  # type: ignore[arg-type]
    encoder = dialect.response_encoder(request)
    return b"".join(encoder.write(event) for event in events) + encoder.close()


def chunks(raw: bytes, framing: str) -> list[dict[str, Any]]:
    if framing == "json":
        return [json.loads(raw)]
    if framing == "json_array":
        found: list[dict[str, Any]] = json.loads(raw)
        return found
    frames = raw.split(b"\r\n\r\n")
    assert frames[-1] == b""
    assert all(frame.startswith(b"data: ") for frame in frames[:-1])
    return [json.loads(frame[6:]) for frame in frames[:-1]]


ANSWER: list[Event] = [
    Started("", "served"),
    PartStarted(0, "reasoning", origin="anthropic"),
    PartDelta(0, "Hm"),
    PartEnded(0, signature="of another family"),
    PartStarted(1, "text"),
    PartDelta(1, "Grüß "),
    PartDelta(1, "Gott\n"),
    PartEnded(1, extras={"gemini": {"thoughtSignature": "c2ln"}}),
    PartStarted(2, "tool_call", "toolu_1", "add"),
    PartDelta(2, '{"a":'),
    PartDelta(2, "1}"),
    PartEnded(2),
    PartStarted(3, "tool_call", "toolu_2", "now"),
    PartEnded(3),
    PartStarted(4, "tool_call", "toolu_3", "bad"),
    PartDelta(4, '{"a":'),
    PartEnded(4),
    PartStarted(5, "opaque", extras={"anthropic": {"type": "search"}}),
    PartEnded(5),
    PartStarted(6, "refusal"),
    PartDelta(6, "No."),
    PartEnded(6),
    Used(Usage(20, 12, cached_tokens=5, reasoning_tokens=2)),
    Finished("tool_calls", 0, "tool_use"),
]


with_traffic = pytest.mark.skipif(not CASES, reason=f"no recorded traffic at {TRAFFIC}")


def named(case: Any) -> str:
    return case["id"] if isinstance(case, dict) else "none"


STAND_IN = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""What clients put where another model's call has no signature: base64 of the word that Google documents."""

_OPAQUE = {"args", "response", "properties", "responseJsonSchema", "parametersJsonSchema"}


def normal(value: Any, key: str = "") -> Any:
    """What two requests have in common that mean the same: one spelling, no empty wishes, lists for single
    objects, tools in one list, the model's turns in one content, nothing that stands in for a signature."""
    if isinstance(value, dict):
        if key in _OPAQUE:
            return value
        members: dict[str, Any] = {}
        for name, entry in value.items():
            head, *rest = name.split("_")
            spelled = head + "".join(word.capitalize() for word in rest)
            entry = normal(entry, spelled)
            if spelled in ("contents", "parts", "tools", "functionDeclarations") and isinstance(entry, dict):
                entry = [entry]
            if spelled == "contents":
                entry = _one_content_a_turn(entry)
            if entry is not None and entry != STAND_IN:
                members[spelled] = entry
        return _meaning(members)
    if isinstance(value, list):
        return [normal(entry) for entry in value]
    return value


def _one_content_a_turn(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for content in contents:
        if turns and content.get("role") == turns[-1].get("role") == "model":
            turns[-1] = {**turns[-1], "parts": turns[-1]["parts"] + content["parts"]}
        else:
            turns.append(content)
    return turns


def lower_types(schema: Any) -> Any:
    """Models from 2.0 on take JSON Schema for what the older form says with types in capitals."""
    if isinstance(schema, dict):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else lower_types(value)
            for name, value in schema.items()
        }
    return [lower_types(value) for value in schema] if isinstance(schema, list) else schema


def _meaning(members: dict[str, Any]) -> dict[str, Any]:
    for name, standard in (("parameters", "parametersJsonSchema"), ("responseSchema", "responseJsonSchema")):
        if name in members and "propertyOrdering" not in json.dumps(members[name]):
            members[standard] = lower_types(members.pop(name))
    for name in ("generationConfig", "toolConfig", "args"):
        if members.get(name) == {}:
            del members[name]
    if "parts" in members and "role" in members:
        members["role"] = "model" if members["role"] == "model" else "user"
    elif "parts" in members and "name" not in members:
        members["role"] = "user"
    if "mode" in members:
        members["mode"] = members["mode"].upper()
    if "thinkingLevel" in members:
        members["thinkingLevel"] = members["thinkingLevel"].upper()
    if members.get("candidateCount") == 1:
        del members["candidateCount"]
    if "tools" in members:
        flat: list[Any] = []
        for tool in members["tools"]:
            flat += [{name: one} for name, many in tool.items() for one in (many if isinstance(many, list) else [many])]
        members["tools"] = sorted(flat, key=lambda tool: json.dumps(tool, sort_keys=True))
    return members


def answer_of(case: dict[str, Any]) -> tuple[bytes, bool]:
    response = case["response"]
    if response["body"] is not None:
        return json.dumps(response["body"]).encode(), False
    return (response["stream"] or response.get("text") or "").encode(), True


ANSWERS = [case for case in CASES if case["response"]["status"] == 200]
