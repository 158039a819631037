"""The four wire formats as a provider speaks them, in as few lines as will do.

Nothing of the product is used here: what is written stands in the providers' own references and in recorded traffic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]

SIGNATURE = "d2hhdCBvbmx5IGl0cyBvd24gcHJvdmlkZXIgY2FuIG9wZW4sIGEgc2lnbmF0dXJlIG9mIDcyIGJ5dGVzLCBhcyBvcGFxdWUh"
"""What only its own provider can open."""

OWN_TOOLS = ("get_weather",)


@dataclass(frozen=True)
class Tokens:
    """Totals: `cached` are among the input, `reasoning` among the output."""

    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: Json

    @property
    def text(self) -> str:
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Saying:
    """What to answer; `finish` in OpenAI's words. `number` makes the answer's id; `request` is what was asked."""

    text: str
    tokens: Tokens
    number: int = 1
    request: Json = field(default_factory=dict)
    thoughts: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"


@dataclass(frozen=True)
class Asked:
    """What a scene has to know of a request: the results of tools, each with the arguments of its call, and the
    tool that must be called (one that the tests did not bring, if there is a choice). `text` is the whole request."""

    results: tuple[tuple[Json, str], ...]
    must_call: str | None
    text: str = ""


class WireFormat(Protocol):
    path: re.Pattern[str]

    def read(self, body: Json) -> Asked: ...

    def whole(self, saying: Saying) -> Json: ...

    def stream(self, saying: Saying) -> Iterator[str]: ...


def pieces(text: str, size: int = 5) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


def one_of(names: list[str]) -> str:
    return next((name for name in names if name not in OWN_TOOLS), names[0])


def joined(content: Any) -> str:
    """The text of a content that may be a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def data(value: Json, end: str = "\n\n") -> str:
    return "data: " + json.dumps(value, ensure_ascii=False) + end


def event(value: Json) -> str:
    return f"event: {value['type']}\n{data(value)}"


class OpenAIChat:
    path = re.compile(r"/chat/completions$")

    def read(self, body: Json) -> Asked:
        arguments, results = dict[str, Json](), list[tuple[Json, str]]()
        for message in body["messages"]:
            for call in message.get("tool_calls") or ():
                arguments[call["id"]] = json.loads(call["function"]["arguments"])
            if message["role"] == "tool":
                results.append((arguments[message["tool_call_id"]], joined(message["content"])))
        choice = body.get("tool_choice")
        if isinstance(choice, dict):
            return Asked(tuple(results), choice["function"]["name"])
        must = one_of([tool["function"]["name"] for tool in body["tools"]]) if choice == "required" else None
        return Asked(tuple(results), must)

    def whole(self, saying: Saying) -> Json:
        message: Json = {"role": "assistant", "content": saying.text or None, "refusal": None, "annotations": []}
        if saying.thoughts:
            message["reasoning_content"] = saying.thoughts
        if saying.calls:
            message["tool_calls"] = [self._call(call, call.text) for call in saying.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": saying.finish}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(saying.tokens)}

    def stream(self, saying: Saying) -> Iterator[str]:
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in pieces(saying.thoughts):
            yield self._chunk({"reasoning_content": piece})
        for piece in pieces(saying.text):
            yield self._chunk({"content": piece})
        for index, call in enumerate(saying.calls):
            yield self._chunk({"tool_calls": [{"index": index, **self._call(call, "")}]})
            for piece in pieces(call.text):
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield self._chunk({}, saying.finish)
        yield data({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage(saying.tokens)})
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data({**self._head("chat.completion.chunk"), "choices": [choice], "usage": None})

    def _head(self, kind: str) -> Json:
        return {"id": "chatcmpl-1", "object": kind, "created": 1771234567, "model": "gpt-played"}

    def _call(self, call: Call, arguments: str) -> Json:
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _usage(self, tokens: Tokens) -> Json:
        return {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {"cached_tokens": tokens.cached},
            "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        }


class OpenAIResponses:
    path = re.compile(r"/responses$")

    def read(self, body: Json) -> Asked:
        arguments, results = dict[str, Json](), list[tuple[Json, str]]()
        for item in body["input"] if isinstance(body["input"], list) else ():
            if item.get("type") == "function_call":
                arguments[item["call_id"]] = json.loads(item["arguments"])
            elif item.get("type") == "function_call_output":
                results.append((arguments[item["call_id"]], joined(item["output"])))
        choice = body.get("tool_choice")
        if isinstance(choice, dict):
            return Asked(tuple(results), choice["name"])
        must = one_of([tool["name"] for tool in body["tools"]]) if choice == "required" else None
        return Asked(tuple(results), must)

    def whole(self, saying: Saying) -> Json:
        return self._response(saying, self._items(saying), ended=True)

    def stream(self, saying: Saying) -> Iterator[str]:
        for number, value in enumerate(self._events(saying)):
            yield event({**value, "sequence_number": number})

    def _events(self, saying: Saying) -> Iterator[Json]:
        begun = self._response(saying, [], ended=False)
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        items = self._items(saying)
        for place, item in enumerate(items):
            where = {"output_index": place, "item_id": item["id"]}
            if item["type"] == "message":
                yield from self._message(item, {**where, "content_index": 0})
            elif item["type"] == "function_call":
                yield self._item("added", place, {**item, "arguments": "", "status": "in_progress"})
                for piece in pieces(item["arguments"]):
                    yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
                yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]}
            else:
                yield from self._reasoning(item, {**where, "summary_index": 0})
            yield self._item("done", place, item)
        end = "response.completed" if saying.finish in ("stop", "tool_calls") else "response.incomplete"
        yield {"type": end, "response": self._response(saying, items, ended=True)}

    def _message(self, item: Json, where: Json) -> Iterator[Json]:
        part = item["content"][0]
        yield self._item("added", where["output_index"], {**item, "content": [], "status": "in_progress"})
        yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **where, "part": part}

    def _reasoning(self, item: Json, where: Json) -> Iterator[Json]:
        part = item["summary"][0]
        yield self._item("added", where["output_index"], {**item, "summary": []})
        yield {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **where, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **where, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **where, "part": part}

    def _item(self, what: str, place: int, item: Json) -> Json:
        return {"type": f"response.output_item.{what}", "output_index": place, "item": item}

    def _items(self, saying: Saying) -> list[Json]:
        items: list[Json] = []
        if saying.thoughts:
            summary = [{"type": "summary_text", "text": saying.thoughts}]
            items.append({"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": SIGNATURE})
        if saying.text:
            part = {"type": "output_text", "text": saying.text, "annotations": [], "logprobs": []}
            message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [part], "status": "completed"}
            items.append(message)
        for number, call in enumerate(saying.calls):
            named = {"id": f"fc_{number}", "type": "function_call", "call_id": call.id, "name": call.name}
            items.append({**named, "arguments": call.text, "status": "completed"})
        return items

    def _response(self, saying: Saying, items: list[Json], ended: bool) -> Json:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        reason = reasons.get(saying.finish) if ended else None
        tokens = saying.tokens
        usage = {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        }
        repeated = ("text", "tools", "tool_choice", "reasoning", "store", "metadata")
        known = {name: saying.request[name] for name in repeated if saying.request.get(name) is not None}
        return {
            "id": "resp_1", "object": "response", "created_at": 1771234567, "model": "gpt-played", "error": None,
            "status": ("incomplete" if reason else "completed") if ended else "in_progress",
            "incomplete_details": {"reason": reason} if reason else None,
            "output": items, "usage": usage if ended else None,
            "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True,
            "previous_response_id": None, "reasoning": {"effort": None, "summary": None}, "store": False,
            "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_p": 1.0, "truncation": "disabled", **known,
        }  # fmt: skip


class Anthropic:
    path = re.compile(r"/messages$")

    def read(self, body: Json) -> Asked:
        arguments, results = dict[str, Json](), list[tuple[Json, str]]()
        for message in body["messages"]:
            for block in message["content"] if isinstance(message["content"], list) else ():
                if block["type"] == "tool_use":
                    arguments[block["id"]] = block["input"]
                elif block["type"] == "tool_result":
                    results.append((arguments[block["tool_use_id"]], joined(block["content"])))
        choice = body.get("tool_choice") or {}
        must = one_of([tool["name"] for tool in body["tools"]]) if choice.get("type") == "any" else choice.get("name")
        return Asked(tuple(results), must)

    def whole(self, saying: Saying) -> Json:
        head = self._head(saying)
        usage = {**head["usage"], **self._output(saying.tokens)}
        return {**head, "content": self._blocks(saying), "stop_reason": self._stop_reason(saying), "usage": usage}

    def stream(self, saying: Saying) -> Iterator[str]:
        yield event({"type": "message_start", "message": self._head(saying)})
        yield event({"type": "ping"})
        for index, block in enumerate(self._blocks(saying)):
            empty = {name: type(value)() for name, value in block.items() if name in ("text", "thinking", "signature")}
            if block["type"] == "tool_use":
                empty["input"] = {}
            yield event({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
            for delta in self._deltas(block):
                yield event({"type": "content_block_delta", "index": index, "delta": delta})
            yield event({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": self._stop_reason(saying), "stop_sequence": None}
        yield event({"type": "message_delta", "delta": delta, "usage": self._output(saying.tokens)})
        yield event({"type": "message_stop"})

    def _deltas(self, block: Json) -> Iterator[Json]:
        if block["type"] == "text":
            yield from ({"type": "text_delta", "text": piece} for piece in pieces(block["text"]))
        elif block["type"] == "thinking":
            yield from ({"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"]))
            yield {"type": "signature_delta", "signature": block["signature"]}
        else:
            text = json.dumps(block["input"], ensure_ascii=False)
            yield from ({"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(text)))

    def _blocks(self, saying: Saying) -> list[Json]:
        blocks: list[Json] = []
        if saying.thoughts:
            blocks.append({"type": "thinking", "thinking": saying.thoughts, "signature": SIGNATURE})
        if saying.text:
            blocks.append({"type": "text", "text": saying.text})
        return blocks + [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in saying.calls
        ]

    def _head(self, saying: Saying) -> Json:
        tokens = saying.tokens
        usage = {
            "input_tokens": tokens.input - tokens.cached,
            "cache_read_input_tokens": tokens.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
        head = {"id": f"msg_{saying.number}", "type": "message", "role": "assistant", "model": "claude-played"}
        return {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}

    def _output(self, tokens: Tokens) -> Json:
        return {"output_tokens": tokens.output, "output_tokens_details": {"thinking_tokens": tokens.reasoning}}

    def _stop_reason(self, saying: Saying) -> str:
        words = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
        return words.get(saying.finish, "end_turn")


class Gemini:
    path = re.compile(r":(streamG|g)enerateContent$")

    def read(self, body: Json) -> Asked:
        arguments, results = dict[str, Json](), list[tuple[Json, str]]()
        waiting: list[Json] = []
        for part in (part for content in body["contents"] for part in content["parts"]):
            if call := part.get("functionCall"):
                arguments[call.get("id", "")] = call.get("args", {})
                waiting.append(call.get("args", {}))
            elif result := part.get("functionResponse"):
                first = waiting.pop(0)
                told = result["response"]
                text = told["result"] if set(told) == {"result"} else json.dumps(told, ensure_ascii=False)
                results.append((arguments[result["id"]] if result.get("id") else first, text))
        config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        if config.get("mode") != "ANY":
            return Asked(tuple(results), None)
        names = [each["name"] for tool in body["tools"] for each in tool["functionDeclarations"]]
        return Asked(tuple(results), one_of(config.get("allowedFunctionNames") or names))

    def whole(self, saying: Saying) -> Json:
        return self._chunk(saying, self._parts(saying), ended=True)

    def stream(self, saying: Saying) -> Iterator[str]:
        for part in self._parts(saying):
            texts = list(pieces(part["text"], 11)) if "text" in part else [None]
            for place, text in enumerate(texts):
                last = place == len(texts) - 1
                kept = {name: value for name, value in part.items() if last or name != "thoughtSignature"}
                yield data(self._chunk(saying, [kept if text is None else {**kept, "text": text}]), "\r\n\r\n")
        yield data(self._chunk(saying, [{"text": ""}], ended=True), "\r\n\r\n")

    def _parts(self, saying: Saying) -> list[Json]:
        parts: list[Json] = []
        if saying.thoughts:
            parts.append({"text": saying.thoughts, "thought": True})
        if saying.text:
            parts.append({"text": saying.text})
        parts += [{"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}} for call in saying.calls]
        if saying.thoughts and saying.calls:
            parts[-len(saying.calls)]["thoughtSignature"] = SIGNATURE
        return parts

    def _chunk(self, saying: Saying, parts: list[Json], ended: bool = False) -> Json:
        candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if ended:
            words = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
            candidate["finishReason"] = words.get(saying.finish, "STOP")
        tokens = saying.tokens
        usage = {
            "promptTokenCount": tokens.input,
            "cachedContentTokenCount": tokens.cached,
            "candidatesTokenCount": tokens.output - tokens.reasoning,
            "thoughtsTokenCount": tokens.reasoning,
            "totalTokenCount": tokens.input + tokens.output,
        }
        return {
            "candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-played", "responseId": "r1",
        }  # fmt: skip


WIRE_FORMATS: dict[str, WireFormat] = {
    "openai_chat": OpenAIChat(),
    "openai_responses": OpenAIResponses(),
    "anthropic": Anthropic(),
    "gemini": Gemini(),
}
"""By the dialect's name in the hub."""
