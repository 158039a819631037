"""What an answer says, read from its JSON in a few plain lines a dialect: whole, or as the values of a stream.

Nothing of the product is used here. The same reading is made of the recording and of what an SDK hands out, so
whatever differs was changed on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Said:
    """The first choice of an answer. `tokens` are totals: (input, of it from a cache, output, of it thoughts);
    None where the provider told none. `finish` is the provider's own word."""

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str | None = None
    tokens: tuple[int, int, int, int] | None = None


def values(stream: bytes) -> list[Json]:
    """The JSON of every ``data:`` line."""
    lines = (line for line in re.split(rb"\r\n|\n|\r", stream) if line.startswith(b"data:"))
    return [json.loads(line[5:]) for line in lines if line[5:].strip() != b"[DONE]"]


def arguments(text: str) -> Any:
    """A call's arguments; the text itself where it is no JSON (an answer may end in the middle of it)."""
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return text


# Chat Completions.


def chat_said(pieces: Iterable[Json]) -> Said:
    """Of a whole answer (one piece) or of the chunks of a stream. A refusal counts as text."""
    said, calls = Said(), dict[int, list[str]]()
    for piece in pieces:
        if usage := piece.get("usage"):
            said.tokens = chat_tokens(usage)
        for choice in piece.get("choices") or ():
            if choice["index"] == 0:
                _hear_choice(said, calls, choice)
    said.calls += [(name, arguments(text)) for name, text in calls.values()]
    return said


def _hear_choice(said: Said, calls: dict[int, list[str]], choice: Json) -> None:
    message = choice.get("delta") or choice.get("message") or {}
    said.text += (message.get("content") or "") + (message.get("refusal") or "")
    said.thoughts += message.get("reasoning_content") or ""
    old = message.get("function_call")
    for place, call in enumerate(message.get("tool_calls") or ([{"function": old}] if old else [])):
        kept = calls.setdefault(call.get("index") or place, ["", ""])
        kept[0] += call["function"].get("name") or ""
        kept[1] += call["function"].get("arguments") or ""
    said.finish = choice.get("finish_reason") or said.finish


def chat_tokens(usage: Json) -> tuple[int, int, int, int]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return usage["prompt_tokens"], cached, usage["completion_tokens"], thoughts


# Anthropic Messages.


def message_said(message: Json) -> Said:
    """Of a whole message. What the provider's own tools did is no text and no call."""
    said = Said(finish=message.get("stop_reason"), tokens=message_tokens(message.get("usage") or {}))
    for block in message["content"]:
        if block["type"] == "text":
            said.text += block["text"]
        elif block["type"] == "thinking":
            said.thoughts += block["thinking"]
        elif block["type"] == "tool_use":
            said.calls.append((block["name"], block["input"]))
    return said


def message_stream_said(events: Iterable[Json]) -> Said:
    message: Json = {"content": []}
    inputs = dict[int, str]()
    for event in events:
        kind, delta = event["type"], event.get("delta") or {}
        if kind == "message_start":
            message |= {**event["message"], "content": []}
        elif kind == "content_block_start":
            message["content"].append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            block = message["content"][event["index"]]
            for name in ("text", "thinking"):
                if name in delta:
                    block[name] += delta[name]
            if "partial_json" in delta:
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
        elif kind == "message_delta":
            message["stop_reason"] = delta.get("stop_reason")
            told = {name: value for name, value in (event.get("usage") or {}).items() if value}
            message["usage"] = {**(message.get("usage") or {}), **told}
    for index, text in inputs.items():
        message["content"][index]["input"] = arguments(text)
    return message_said(message)


def message_tokens(usage: Json) -> tuple[int, int, int, int] | None:
    if not usage:
        return None
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    thoughts = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return (usage.get("input_tokens") or 0) + read + written, read, usage.get("output_tokens") or 0, thoughts


# Gemini.


def gemini_said(chunks: Iterable[Json]) -> Said:
    """Of a whole answer (one chunk) or of the chunks of a stream."""
    said, usage = Said(), Json()
    for chunk in chunks:
        told = chunk.get("usageMetadata") or {}
        usage = told if "promptTokenCount" in told else usage  # each counts everything so far, the last is right
        blocked = (chunk.get("promptFeedback") or {}).get("blockReason")
        said.finish = said.finish or blocked
        for candidate in chunk.get("candidates") or ():
            if not candidate.get("index"):
                _hear_parts(said, (candidate.get("content") or {}).get("parts") or ())
                said.finish = candidate.get("finishReason") or said.finish
    if usage:
        said.tokens = gemini_tokens(usage)
    return said


def _hear_parts(said: Said, parts: Iterable[Json]) -> None:
    for part in parts:
        if part.get("thought"):
            said.thoughts += part.get("text") or ""
        elif call := part.get("functionCall"):
            if "name" in call:
                said.calls.append((call["name"], call.get("args") or {}))
            for piece in call.get("partialArgs") or ():  # the recorded ones are texts at the top
                kept, name = said.calls[-1][1], piece["jsonPath"].removeprefix("$.")
                kept[name] = kept.get(name, "") + piece["stringValue"]
        else:
            said.text += part.get("text") or ""


def gemini_tokens(usage: Json) -> tuple[int, int, int, int]:
    thoughts = usage.get("thoughtsTokenCount") or 0
    return (
        (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
        usage.get("cachedContentTokenCount") or 0,
        (usage.get("candidatesTokenCount") or 0) + thoughts,
        thoughts,
    )


# All of them.


def said_in(dialect: str, body: bytes, streamed: bool) -> Said:
    """What a recorded answer says."""
    if streamed:
        readers: Mapping[str, Callable[[Iterable[Json]], Said]] = {
            "openai_chat": chat_said,
            "anthropic": message_stream_said,
            "gemini": gemini_said,
        }
        return readers[dialect](values(body))
    value = json.loads(body)
    if dialect == "anthropic":
        return message_said(value)
    if dialect == "openai_chat":
        return chat_said([value])
    return gemini_said(value if isinstance(value, list) else [value])
