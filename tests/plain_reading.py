"""What requests and answers say, read from their JSON in a few plain lines a dialect.

A second opinion beside the dialects' own readers: a mistake that a dialect makes both in reading and in writing
would not be seen without it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

# What a request says, read from its JSON: turns with their pieces, calls by number, tools, wishes.


class Numbers(dict[str, int]):
    """Calls by the order in which they appear: ids may be exchanged, pairs may not."""

    def __missing__(self, call_id: str) -> int:
        self[call_id] = len(self)
        return self[call_id]


def blocks(content: Any) -> list[dict[str, Any]]:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def plain(text: str) -> Any:
    """A tool's result: text, or the value where the text is JSON; a wrapper of Gemini's taken off."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return plain_value(value) if isinstance(value, dict) else value


def asked_in_openai_chat(body: dict[str, Any]) -> dict[str, Any]:
    calls, turns, system = Numbers(), [], []
    for message in body["messages"]:
        pieces: list[Any] = []
        for block in blocks(message.get("content")):
            if block["type"] == "text":
                pieces.append(("text", block["text"]))
            else:
                url = block["image_url"]["url"]
                head, _, data = url.partition(";base64,")
                pieces.append(("image", head.removeprefix("data:"), data) if data else ("link", url))
        for call in message.get("tool_calls", ()):
            function = call["function"]
            pieces.append(("call", calls[call["id"]], function["name"], json.loads(function["arguments"])))
        if message["role"] in ("system", "developer"):
            system += [text for _, text in pieces]
        elif message["role"] == "tool":
            text = "".join(text for _, text in pieces)
            turns.append(("tool", [("result", calls[message["tool_call_id"]], plain(text))]))
        else:
            turns.append((message["role"], pieces))
    choice = body.get("tool_choice")
    return {
        "system": "\n".join(system),
        "turns": merged(turns),
        "tools": [
            (tool["function"]["name"], tool["function"].get("description"), tool["function"].get("parameters"))
            for tool in body.get("tools", ())
        ],
        "choice": choice["function"]["name"] if isinstance(choice, dict) else choice,
        "max": body.get("max_completion_tokens", body.get("max_tokens")),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "stop": [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop"),
        "thinks": "reasoning_effort" in body,
        "model": body["model"],
    }


def asked_in_openai_responses(body: dict[str, Any]) -> dict[str, Any]:
    calls, turns, system = Numbers(), [], [body["instructions"]] if "instructions" in body else []
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind, pieces = item.get("type", "message"), list[Any]()
        if kind == "function_call":
            turns.append(("assistant", [("call", calls[item["call_id"]], item["name"], json.loads(item["arguments"]))]))
        elif kind == "function_call_output":
            text = "".join(part["text"] for part in blocks(item["output"]))
            turns.append(("tool", [("result", calls[item["call_id"]], plain(text))]))
        for block in blocks(item["content"]) if kind == "message" else ():
            if "image_url" in block:
                head, _, data = block["image_url"].partition(";base64,")
                pieces.append(("image", head.removeprefix("data:"), data) if data else ("link", block["image_url"]))
            else:
                pieces.append(("text", block["text"]))
        if kind == "message" and item["role"] in ("system", "developer"):
            system += [text for _, text in pieces]
        elif pieces:
            turns.append((item["role"], pieces))
    choice = body.get("tool_choice")
    return {
        "system": "\n".join(system),
        "turns": merged(turns),
        "tools": [(tool["name"], tool.get("description"), tool.get("parameters")) for tool in body.get("tools", ())],
        "choice": choice["name"] if isinstance(choice, dict) else choice,
        "max": body.get("max_output_tokens"),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "stop": None,
        "thinks": bool(body.get("reasoning")),
        "model": body["model"],
    }


def asked_in_anthropic(body: dict[str, Any]) -> dict[str, Any]:
    calls, turns = Numbers(), []
    for message in body["messages"]:
        for block in blocks(message["content"]):
            role = message["role"]
            piece: Any
            if block["type"] == "text":
                piece = ("text", block["text"])
            elif block["type"] == "image":
                source = block["source"]
                inline = source["type"] == "base64"
                piece = ("image", source["media_type"], source["data"]) if inline else ("link", source["url"])
            elif block["type"] == "tool_use":
                piece = ("call", calls[block["id"]], block["name"], block["input"])
            else:
                role, text = "tool", "".join(part["text"] for part in blocks(block.get("content")))
                piece = ("error" if block.get("is_error") else "result", calls[block["tool_use_id"]], plain(text))
            turns.append((role, [piece]))
    choice = body.get("tool_choice", {})
    return {
        "system": "\n".join(block["text"] for block in blocks(body.get("system"))),
        "turns": merged(turns),
        "tools": [(tool["name"], tool.get("description"), tool["input_schema"]) for tool in body.get("tools", ())],
        "choice": choice.get("name") or {"any": "required"}.get(choice.get("type"), choice.get("type")),
        "max": body["max_tokens"],
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "stop": body.get("stop_sequences"),
        "thinks": body.get("thinking", {"type": "disabled"})["type"] != "disabled",
        "model": body["model"],
    }


def asked_in_gemini(body: dict[str, Any]) -> dict[str, Any]:
    turns: list[Any] = []
    calls, waiting, asked = Numbers(), list[tuple[str, int]](), 0
    for content in body["contents"]:
        for part in content["parts"]:
            role = "assistant" if content.get("role") == "model" else "user"
            piece: Any
            if call := part.get("functionCall"):
                number = calls[call.get("id", f"without id {asked}")]
                asked += 1
                waiting.append((call["name"], number))
                piece = ("call", number, call["name"], call.get("args", {}))
            elif result := part.get("functionResponse"):
                role, name, said = "tool", result["name"], result["response"]
                at = [number for waits, number in waiting if waits == name]
                number = calls[result["id"]] if "id" in result else at[0]
                waiting.remove((name, number))
                kind = "error" if "error" in said else "result"
                piece = (kind, number, plain_value(said))
            elif data := part.get("inlineData"):
                piece = ("image", data["mimeType"], data["data"])
            elif file := part.get("fileData"):
                piece = ("link", file["fileUri"])
            else:
                piece = ("text", part["text"])
            turns.append((role, [piece]))
    tools = [tool for group in body.get("tools", ()) for tool in group.get("functionDeclarations", ())]
    config, mode = body.get("generationConfig", {}), body.get("toolConfig", {}).get("functionCallingConfig", {})
    named = mode.get("allowedFunctionNames")
    return {
        "system": "\n".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", ())),
        "turns": merged(turns),
        "tools": [
            (tool["name"], tool.get("description"), tool.get("parametersJsonSchema", tool.get("parameters")))
            for tool in tools
        ],
        "choice": named[0] if named else {"ANY": "required"}.get(mode.get("mode"), mode.get("mode")),
        "max": config.get("maxOutputTokens"),
        "temperature": config.get("temperature"),
        "top_p": config.get("topP"),
        "stop": config.get("stopSequences"),
        "thinks": "thinkingConfig" in config,
        "model": None,
    }


def plain_value(response: dict[str, Any]) -> Any:
    """Gemini wraps what is no object: in `output`, as its documentation asks, or under another single name."""
    if len(response) == 1 and (inner := [response[name] for name in ("output", "result", "error") if name in response]):
        return plain(inner[0]) if isinstance(inner[0], str) else inner[0]
    return response


def merged(turns: list[tuple[str, list[Any]]]) -> list[tuple[str, list[Any]]]:
    """Neighbouring turns of one role as one: some dialects do not allow two in a row."""
    result: list[tuple[str, list[Any]]] = []
    for role, pieces in turns:
        if result and result[-1][0] == role:
            result[-1][1].extend(pieces)
        else:
            result.append((role, list(pieces)))
    return result


ASKED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "openai_chat": asked_in_openai_chat,
    "openai_responses": asked_in_openai_responses,
    "anthropic": asked_in_anthropic,
    "gemini": asked_in_gemini,
}


# What an answer says, read from its JSON.


def answered_in_openai_chat(body: dict[str, Any]) -> dict[str, Any]:
    (choice,), usage = body["choices"], body["usage"]
    message, details = choice["message"], usage["prompt_tokens_details"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return {
        "text": message["content"] or "",
        "calls": [(call["name"], json.loads(call["arguments"])) for call in calls],
        "thoughts": message.get("reasoning_content", ""),
        "native": choice["finish_reason"],
        "input": usage["prompt_tokens"],
        "cached": details["cached_tokens"],
        "written": details.get("cache_write_tokens", 0),
        "output": usage["completion_tokens"],
        "total": usage["total_tokens"],
    }


def answered_in_openai_responses(body: dict[str, Any]) -> dict[str, Any]:
    output, usage = body["output"], body["usage"]
    details = usage["input_tokens_details"]
    content = [part for item in output if item["type"] == "message" for part in item["content"]]
    calls = [item for item in output if item["type"] == "function_call"]
    thoughts = [part for item in output if item["type"] == "reasoning" for part in item["summary"]]
    return {
        "text": "".join(part["text"] for part in content if part["type"] == "output_text"),
        "calls": [(call["name"], json.loads(call["arguments"])) for call in calls],
        "thoughts": "".join(part["text"] for part in thoughts),
        "native": (body["incomplete_details"] or {}).get("reason", body["status"]),
        "input": usage["input_tokens"],
        "cached": details["cached_tokens"],
        "written": details["cache_write_tokens"],
        "output": usage["output_tokens"],
        "total": usage["total_tokens"],
    }


def answered_in_anthropic(body: dict[str, Any]) -> dict[str, Any]:
    content, usage = body["content"], body["usage"]
    read, wrote = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
    return {
        "text": "".join(block["text"] for block in content if block["type"] == "text"),
        "calls": [(block["name"], block["input"]) for block in content if block["type"] == "tool_use"],
        "thoughts": "".join(block["thinking"] for block in content if block["type"] == "thinking"),
        "native": body["stop_reason"],
        "input": usage["input_tokens"] + read + wrote,
        "cached": read,
        "written": wrote,
        "output": usage["output_tokens"],
        "total": usage["input_tokens"] + read + wrote + usage["output_tokens"],
    }


def answered_in_gemini(body: dict[str, Any]) -> dict[str, Any]:
    (candidate,), usage = body["candidates"], body["usageMetadata"]
    parts = candidate["content"]["parts"]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    thoughts = usage.get("thoughtsTokenCount", 0)
    return {
        "text": "".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
        "calls": [(call["name"], call.get("args", {})) for call in calls],
        "thoughts": "".join(part["text"] for part in parts if part.get("thought")),
        "native": candidate["finishReason"],
        "input": usage["promptTokenCount"],
        "cached": usage.get("cachedContentTokenCount", 0),
        "output": usage["candidatesTokenCount"] + thoughts,
        "total": usage["totalTokenCount"],
    }


ANSWERED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "openai_chat": answered_in_openai_chat,
    "openai_responses": answered_in_openai_responses,
    "anthropic": answered_in_anthropic,
    "gemini": answered_in_gemini,
}
