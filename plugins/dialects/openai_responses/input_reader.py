"""The items of `input` as messages.

What one turn of the assistant consists of (thoughts, texts, calls) stands in several items here and becomes one
message; each part remembers its item, so that they can be written apart again. Kinds of items that only OpenAI knows
stay whole as Opaque parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmhub_plugins.dialects.openai.media import audio_type, read_file_data, read_url
from llmhub_plugins.dialects.openai_responses.sealing import open_call_id, open_reasoning
from llmhub_plugins.dialects.openai_responses.words import NAME, Json, kept, texts_of

from llmhub_core.contracts import (
    Audio,
    BadRequest,
    ContentPart,
    File,
    Image,
    Inline,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Stored,
    Text,
    ToolCall,
    ToolResult,
    dump_json,
)

CONTENT_KINDS = frozenset(
    {"input_text", "input_image", "input_file", "input_audio", "output_text", "refusal", "text", "output_audio"}
    | {"computer_screenshot", "summary_text", "reasoning_text"}
)
"""Kinds of parts in a message's content; an Opaque part of another kind is an item of its own."""


def read_input(raw: str | Sequence[Json]) -> tuple[Message, ...]:
    """Messages of a checked `input`; BadRequest with `param` for what cannot be translated."""
    if isinstance(raw, str):
        return (Message("user", (Text(raw),), extras=kept({}, {"bare": True})),)
    reader = _Reader()
    for index, item in enumerate(raw):
        reader.add({name: value for name, value in item.items() if value is not None}, f"input[{index}]", index)
    return reader.messages()


class _Reader:
    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._turn: list[ContentPart] = []

    def messages(self) -> tuple[Message, ...]:
        self._end_turn()
        return tuple(self._messages)

    def add(self, item: Json, path: str, number: int) -> None:
        kind = item.get("type", "message")
        if kind == "message":
            self._add_message(item, path, number)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._end_turn()
            self._messages.append(Message("tool", (_result(item, path),)))
        else:
            read = _ITEMS.get(kind)
            part = read(item, path) if read is not None else None
            self._turn.append(part or Opaque(NAME, kind, item))

    def _add_message(self, item: Json, path: str, number: int) -> None:
        role, content = item["role"], item["content"]
        bare = isinstance(content, str)
        if role == "assistant":
            quiet = {name: value for name, value in item.items() if name not in ("role", "content")}
            if bare:
                self._turn.append(Text(content, extras=kept({}, {"message": number, "item": quiet, "bare": True})))
            for place, part in enumerate(() if bare else content):
                where = f"{path}.content[{place}]"
                self._turn.append(_part(part, where, {"message": number, "item": quiet}))
            return
        self._end_turn()
        parts = (Text(content),) if bare else tuple(_part(p, f"{path}.content[{i}]", {}) for i, p in enumerate(content))
        rest = {name: value for name, value in item.items() if name not in ("role", "content", *_QUIET)}
        quiet = {name: item[name] for name in _QUIET if name in item}
        if bare:
            quiet["bare"] = True
        self._messages.append(Message(role, parts, extras=kept(rest, quiet)))

    def _end_turn(self) -> None:
        if self._turn:
            self._messages.append(Message("assistant", tuple(self._turn)))
            self._turn = []


_QUIET = ("type", "id", "status")
"""Members of an item that mean nothing to others."""


def _rest(item: Json, *known: str) -> tuple[Json, Json]:
    """What is left of an item: what others lose, and what they do not."""
    rest = {name: value for name, value in item.items() if name not in (*known, *_QUIET)}
    return rest, {name: item[name] for name in ("id", "status") if name in item}


# Items.


def _call(item: Json, path: str) -> ContentPart:
    rest, quiet = _rest(item, "call_id", "name", "arguments")
    arguments = item.get("arguments", "")
    if not isinstance(arguments, str):
        arguments = dump_json(arguments).decode()
    return _sealed_call(item, arguments, rest, quiet)


def _custom_call(item: Json, path: str) -> ContentPart:
    """A call of a tool that takes free text: to other dialects a function with this one argument."""
    rest, quiet = _rest(item, "call_id", "name", "input")
    return _sealed_call(item, wrapped(str(item.get("input", ""))), rest, {**quiet, "custom": True})


def _sealed_call(item: Json, arguments: str, rest: Json, quiet: Json) -> ContentPart:
    id, secret = open_call_id(item["call_id"])
    signature, origin = (None, None) if secret is None else (secret.signature, secret.origin)
    return ToolCall(id, item["name"], arguments, extras=kept(rest, quiet), signature=signature, origin=origin)


def wrapped(text: str) -> str:
    """The free text of a custom tool as the arguments of the function that stands for it."""
    return dump_json({"input": text}).decode()


def _result(item: Json, path: str) -> ToolResult:
    output = item["output"]
    rest, quiet = _rest(item, "call_id", "output")
    if item["type"] == "custom_tool_call_output":
        quiet["custom"] = True
    if isinstance(output, str):
        content: tuple[ContentPart, ...] = (Text(output),)
    elif isinstance(output, list) and all(isinstance(part, dict) and "type" in part for part in output):
        quiet["parts"] = True
        content = tuple(_part(part, f"{path}.output[{place}]", {}) for place, part in enumerate(output))
    else:
        raise BadRequest(
            f"`{path}.output` must be a string or a list of parts.", code="invalid_type", param=f"{path}.output"
        )
    return ToolResult(open_call_id(item["call_id"])[0], content, extras=kept(rest, quiet))


def _reasoning(item: Json, path: str) -> ContentPart:
    texts = {name: texts_of(item.get(name)) for name in ("summary", "content")}
    secret = open_reasoning(str(item.get("id", "")), item.get("encrypted_content"))
    text = "\n\n".join(texts["summary"] or texts["content"])
    quiet = {name: value for name, value in item.items() if name not in ("type", "encrypted_content")}
    return Reasoning(
        text, signature=secret.signature, redacted=secret.redacted, origin=secret.origin, extras=kept({}, quiet)
    )


_ITEMS: dict[str, Callable[[Json, str], ContentPart]] = {
    "function_call": _call,
    "custom_tool_call": _custom_call,
    "reasoning": _reasoning,
}


# Parts.


def _part(raw: Json, path: str, quiet: Json) -> ContentPart:
    part = {name: value for name, value in raw.items() if value is not None}
    kind = part.pop("type")
    read = _PARTS.get(kind)
    return (read(part, quiet) if read is not None else None) or Opaque(NAME, kind, raw)


def _text(part: Json, quiet: Json) -> ContentPart | None:
    text = part.pop("text", None)
    return Text(text, extras=kept(part, quiet)) if isinstance(text, str) else None


def _output_text(part: Json, quiet: Json) -> ContentPart | None:
    """Citations and probabilities of an earlier answer: nothing that another model could use."""
    text = part.pop("text", None)
    return Text(text, extras=kept({}, {**quiet, "part": part})) if isinstance(text, str) else None


def _refusal(part: Json, quiet: Json) -> ContentPart | None:
    text = part.pop("refusal", None)
    return Refusal(text, extras=kept({}, {**quiet, "part": part})) if isinstance(text, str) else None


def _image(part: Json, quiet: Json) -> ContentPart | None:
    url, id, detail = part.pop("image_url", None), part.pop("file_id", None), part.pop("detail", None)
    if isinstance(url, str):
        return Image(read_url(url), detail=detail, extras=kept(part, quiet))
    return Image(Stored(id), detail=detail, extras=kept(part, quiet)) if isinstance(id, str) else None


def _file(part: Json, quiet: Json) -> ContentPart | None:
    name, data = part.pop("filename", None), part.pop("file_data", None)
    url, id = part.pop("file_url", None), part.pop("file_id", None)
    if isinstance(data, str):
        return File(read_file_data(data, name), name=name, extras=kept(part, quiet))
    if isinstance(url, str):
        return File(read_url(url), name=name, extras=kept(part, {**quiet, "url": True}))
    return File(Stored(id), name=name, extras=kept(part, quiet)) if isinstance(id, str) else None


def _audio(part: Json, quiet: Json) -> ContentPart | None:
    sound = part.pop("input_audio", None)
    if not isinstance(sound, dict) or not isinstance(sound.get("data"), str):
        return None
    return Audio(Inline(audio_type(str(sound.get("format", "wav"))), sound["data"]), extras=kept(part, quiet))


_PARTS: dict[str, Callable[[Json, Json], ContentPart | None]] = {
    "input_text": _text,
    "output_text": _output_text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}
