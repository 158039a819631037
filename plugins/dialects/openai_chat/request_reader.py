"""A caller's body as a ChatRequest.

The types of all that is named here were checked by head.read_head; what has a known kind in an unknown shape
becomes Opaque and so stays whole on its way to a Chat server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

from llmhub_plugins.dialects.openai.media import audio_type, read_file_data, read_url
from llmhub_plugins.dialects.openai_chat.sealing import unseal_call, with_thoughts
from llmhub_plugins.dialects.openai_chat.tools import read_call, read_choice, read_tools
from llmhub_plugins.dialects.openai_chat.words import FUNCTION, NAME, as_extras

from llmhub_core.contracts import (
    AnswerFormat,
    Audio,
    BadRequest,
    ChatRequest,
    ContentPart,
    Effort,
    File,
    Image,
    Inline,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    RequestHead,
    Sampling,
    Stored,
    Text,
    ToolCall,
    ToolResult,
    load_json,
    unseal_id,
)

_EFFORTS = frozenset(get_args(Effort))
# What says nothing is no loss to anybody: clients send these without a thought.
_NOTHINGS: tuple[tuple[str, Any], ...] = (
    ("logit_bias", {}),
    ("metadata", {}),
    ("modalities", ["text"]),
    ("service_tier", "auto"),
)
_OWN_TYPES = frozenset({"text", "json_object", "json_schema"})


def decode_request(body: bytes, head: RequestHead) -> ChatRequest:
    """The whole request; BadRequest with `param` for what is malformed."""
    try:
        fields: dict[str, Any] = load_json(body)
    except ValueError:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    # Each reader takes out of `fields` what it understood; the rest are extras. null means: not said.
    fields = {name: value for name, value in fields.items() if value is not None}
    for name in ("model", "stream", "max_tokens", "max_completion_tokens"):
        fields.pop(name, None)
    messages = _messages(fields.pop("messages"))
    # The old way knows one call at a time, so other dialects must be told.
    one_call = "functions" in fields
    tools = read_tools(fields)
    sampling = _sampling(fields, head, one_call)
    _leave_stream_options(fields)
    for name, nothing in _NOTHINGS:
        if fields.get(name) == nothing:
            del fields[name]
    return ChatRequest(
        dialect=NAME,
        model=head.model,
        messages=messages,
        tools=tools,
        sampling=sampling,
        stream=head.stream,
        framing=head.framing,
        asked_usage=head.asked_usage,
        extras=fields,
    )


# Messages.


def _messages(raw: list[dict[str, Any]]) -> tuple[Message, ...]:
    messages: list[Message] = []
    called: dict[str, str] = {}  # function → the id that we gave its latest call, for the old way
    for index, fields in enumerate(raw):
        role = fields["role"]
        path = f"messages[{index}]"
        if role == "assistant":
            messages.append(_assistant(dict(fields), path, called, index))
        elif role == "tool":
            messages.append(_tool_result(dict(fields), path))
        elif role == "function":
            messages.append(_function_result(fields, path, called))
        else:
            rest = {name: value for name, value in fields.items() if name not in ("role", "content", "name")}
            content = _content(fields["content"], path)
            messages.append(Message(role, content, name=fields.get("name"), extras=as_extras(rest)))
    return tuple(messages)


def _assistant(fields: dict[str, Any], path: str, called: dict[str, str], index: int) -> Message:
    del fields["role"]
    parts: list[ContentPart] = []
    for name in ("reasoning_content", "reasoning"):
        thoughts = fields.get(name)
        # Some clients send both names with the same text: the second stays an extra.
        if isinstance(thoughts, str) and thoughts and not parts:
            said = {} if name == "reasoning_content" else {"field": name}
            parts.append(Reasoning(thoughts, origin=NAME, extras=as_extras(said)))
            del fields[name]
    thoughts_said = parts[0].text if parts and isinstance(parts[0], Reasoning) else ""
    calls = [read_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(fields.pop("tool_calls", None) or ())]
    function = fields.pop("function_call", None)
    if function is not None:
        called[function["name"]] = id = f"call_function_{index}"
        calls.append(ToolCall(id, function["name"], function.get("arguments") or "", extras=FUNCTION))
    content = fields.pop("content", None)
    spoken = _content(content, path) if content or (content is not None and not calls) else ()
    calls, sealed = _unsealed(calls)
    if sealed and all(thought.text in thoughts_said for _, thought in sealed):
        parts = []  # they are the very thoughts that were sealed, in the clear
    parts += with_thoughts(spoken, sealed)
    audio = fields.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("id"), str):
        # What was said then lies at the provider alone: left out, the model would not know what it said.
        parts.append(Audio(Stored(audio["id"]), extras=as_extras(fields.pop("audio"), "id")))
    refusal = fields.pop("refusal", None)
    if isinstance(refusal, str) and refusal:
        parts.append(Refusal(refusal))
    return Message("assistant", (*parts, *calls), name=fields.pop("name", None), extras=as_extras(fields))


def _unsealed(calls: list[ContentPart]) -> tuple[list[ContentPart], list[tuple[int, Reasoning]]]:
    """Calls as their provider knows them, and the thoughts that led to the first; those that led to another stand
    before that one."""
    opened: list[ContentPart] = []
    first: list[tuple[int, Reasoning]] = []
    for call in calls:
        if isinstance(call, ToolCall):
            unsealed = unseal_call(call)
            if opened:
                opened += [thought for _, thought in unsealed.thoughts]
            else:
                first += unsealed.thoughts
            call = unsealed.call
        opened.append(call)
    return opened, first


def _tool_result(fields: dict[str, Any], path: str) -> Message:
    del fields["role"]
    content = fields.pop("content", None)
    result = ToolResult(
        unseal_id(fields.pop("tool_call_id"))[0],
        () if content is None else _content(content, path),
        name=fields.pop("name", None),
        extras=as_extras(fields),
    )
    return Message("tool", (result,))


def _function_result(fields: dict[str, Any], path: str, called: dict[str, str]) -> Message:
    name = fields.get("name")
    if not name or name not in called:
        raise BadRequest(
            f"`{path}.name` must name a function that an earlier `function_call` called.",
            code="invalid_value",
            param=f"{path}.name",
        )
    content = fields.get("content")
    answer = () if content is None else _content(content, path)
    return Message("tool", (ToolResult(called[name], answer, name=name, extras=FUNCTION),))


# Parts.


def _content(content: str | list[dict[str, Any]], path: str) -> tuple[ContentPart, ...]:
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(part, f"{path}.content[{index}]") for index, part in enumerate(content))


def _part(raw: dict[str, Any], path: str) -> ContentPart:
    kind: str = raw["type"]
    rest = {name: value for name, value in raw.items() if name != "type"}
    value = rest.pop(kind, None)
    read = _READERS.get(kind)
    part = read(value, rest) if read is not None else None
    if part is not None:
        return part
    if value is None:
        raise BadRequest(f"`{path}.{kind}` is required.", code="missing_field", param=f"{path}.{kind}")
    return Opaque(NAME, kind, raw)


def _read_text(value: Any, rest: dict[str, Any]) -> ContentPart | None:
    return Text(value, extras=as_extras(rest)) if isinstance(value, str) else None


def _read_refusal(value: Any, rest: dict[str, Any]) -> ContentPart | None:
    return Refusal(value, extras=as_extras(rest)) if isinstance(value, str) else None


def _read_image(value: Any, rest: dict[str, Any]) -> ContentPart | None:
    if not isinstance(value, dict):
        return None  # a bare address: Mistral's form
    inner = {name: more for name, more in value.items() if name not in ("url", "detail")}
    return Image(read_url(value["url"]), detail=value.get("detail"), extras=as_extras(_with("image_url", inner, rest)))


def _read_audio(value: Any, rest: dict[str, Any]) -> ContentPart | None:
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("data"), str)
        or not isinstance(value.get("format"), str)
    ):
        return None
    inner = {name: more for name, more in value.items() if name not in ("data", "format")}
    source = Inline(audio_type(value["format"]), value["data"])
    return Audio(source, extras=as_extras(_with("input_audio", inner, rest)))


def _read_file(value: Any, rest: dict[str, Any]) -> ContentPart | None:
    if not isinstance(value, dict):
        return None
    name, data, id = value.get("filename"), value.get("file_data"), value.get("file_id")
    if not isinstance(name, str | None):
        return None
    inner = {key: more for key, more in value.items() if key not in ("filename", "file_data", "file_id")}
    if isinstance(data, str):
        return File(read_file_data(data, name), name=name, extras=as_extras(_with("file", inner, rest)))
    if isinstance(id, str):
        return File(Stored(id), name=name, extras=as_extras(_with("file", inner, rest)))
    return None


def _read_thinking(value: Any, rest: dict[str, Any]) -> ContentPart | None:
    """Mistral's thoughts: a list of text parts within the content."""
    if not isinstance(value, list) or not all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        return None
    text = "".join(str(part.get("text", "")) for part in value)
    return Reasoning(text, origin=NAME, extras=as_extras({**rest, "field": "thinking"}))


_READERS: dict[str, Callable[[Any, dict[str, Any]], ContentPart | None]] = {
    "text": _read_text,
    "refusal": _read_refusal,
    "image_url": _read_image,
    "input_audio": _read_audio,
    "file": _read_file,
    "thinking": _read_thinking,
}


def _with(name: str, inner: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return {**rest, name: inner} if inner else rest


# Settings.


def _sampling(fields: dict[str, Any], head: RequestHead, one_call: bool) -> Sampling:
    stop = fields.pop("stop", ())
    logprobs = fields.get("logprobs")
    if isinstance(logprobs, bool):
        del fields["logprobs"]  # a number stays an extra: it means another thing
    return Sampling(
        max_output=head.max_output,
        temperature=fields.pop("temperature", None),
        top_p=fields.pop("top_p", None),
        top_k=fields.pop("top_k", None),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=fields.pop("seed", None),
        presence_penalty=fields.pop("presence_penalty", None),
        frequency_penalty=fields.pop("frequency_penalty", None),
        n=fields.pop("n", 1),
        logprobs=None if logprobs is None else bool(logprobs),
        top_logprobs=fields.pop("top_logprobs", None),
        effort=_effort(fields),
        answer_format=_answer_format(fields),
        tool_choice=read_choice(fields),
        parallel_tools=fields.pop("parallel_tool_calls", False if one_call else None),
        user=fields.pop("user", None),
    )


def _effort(fields: dict[str, Any]) -> Effort | None:
    """A word that others do not know stays an extra; the nearest one that they know is for them."""
    word = fields.get("reasoning_effort")
    if word in _EFFORTS:
        return cast(Effort, fields.pop("reasoning_effort"))
    return "xhigh" if word == "max" else None


def _answer_format(fields: dict[str, Any]) -> AnswerFormat | None:
    raw = fields.get("response_format")
    if raw is None or raw["type"] not in _OWN_TYPES:
        return None
    del fields["response_format"]
    schema = raw.get("json_schema") or {}
    return AnswerFormat(
        raw["type"],
        schema=schema.get("schema"),
        name=schema.get("name"),
        description=schema.get("description"),
        strict=schema.get("strict"),
    )


def _leave_stream_options(fields: dict[str, Any]) -> None:
    options = fields.pop("stream_options", None) or {}
    rest = {name: value for name, value in options.items() if name != "include_usage"}
    if rest:
        fields["stream_options"] = rest
