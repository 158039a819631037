"""Messages as the items of `input`, and what stands in `instructions`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from llmhub_plugins.dialects.openai.media import audio_format, data_url
from llmhub_plugins.dialects.openai_responses.input_reader import CONTENT_KINDS
from llmhub_plugins.dialects.openai_responses.sealing import parted
from llmhub_plugins.dialects.openai_responses.words import COUNT, NAME, Json, listed, quiet, texts_of

from llmhub_core.contracts import (
    Audio,
    BadRequest,
    ChatRequest,
    ContentPart,
    Extras,
    File,
    Image,
    Inline,
    Link,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Stored,
    Text,
    ToolCall,
    ToolResult,
    load_json,
)

_LONGEST_ID = 64  # of tool calls at OpenAI


class InputWriter:
    """One request's messages on their way out; `adapted` gathers what was lost."""

    def __init__(self, request: ChatRequest, adapted: list[str]) -> None:
        self.own = request.dialect in (NAME, COUNT)
        self.instructions: str | None = None
        self._messages = request.messages
        self._adapted = adapted
        self._quiet: Mapping[str, Any] = getattr(request.extras, "quiet", {})
        self._custom: set[str] = set()  # ids of calls of custom tools
        self._items: list[Json] = []
        self._number: int | None = None  # of the item from which the last own text came

    def items(self) -> list[Json]:
        """All of `input`; `instructions` is known after it."""
        messages = self._messages
        for index in range(self._take_instructions(), len(messages)):
            message, path = messages[index], f"messages[{index}]"
            if message.name:
                self._adapted.append(f"{path}.name=dropped")
            if message.role == "assistant":
                self._assistant(message, path)
            elif any(isinstance(part, ToolResult) for part in message.content):
                self._results(message, path)
            else:
                self._said(message, path)
        return self._items

    def _take_instructions(self) -> int:
        """How many messages at the beginning went into `instructions`."""
        taken: list[str] = []
        for message in self._messages:
            plain = [part.text for part in message.content if isinstance(part, Text)]
            if message.role not in ("system", "developer") or len(plain) < len(message.content) or message.name:
                break
            if self.own and (taken or "instructions" not in self._quiet):
                break
            for place, part in enumerate(message.content):
                if isinstance(part, Text):
                    drop_foreign(part.extras, f"messages[{len(taken)}].content[{place}]", self._adapted)
            drop_foreign(message.extras, f"messages[{len(taken)}]", self._adapted)
            taken.append("\n\n".join(plain))
        if taken:
            self.instructions = "\n\n".join(text for text in taken if text or self.own)
        return len(taken)

    # messages

    def _said(self, message: Message, path: str) -> None:
        """A user, system or developer message."""
        parts = [self._part(part, f"{path}.content[{at}]", "input_text") for at, part in enumerate(message.content)]
        if not parts and not self.own:
            return
        role = "user" if message.role == "tool" else message.role
        kept = {name: value for name, value in quiet(message.extras).items() if name != "bare"}
        bare = not self.own or "bare" in quiet(message.extras)
        self._items.append({**kept, "role": role, "content": _content(parts, bare), **listed(message.extras)})
        drop_foreign(message.extras, path, self._adapted)

    def _results(self, message: Message, path: str) -> None:
        rest: list[ContentPart] = []
        for at, part in enumerate(message.content):
            if isinstance(part, ToolResult):
                self._result(part, f"{path}.content[{at}]")
            else:
                rest.append(part)
        if rest:
            self._said(Message("user", tuple(rest)), path)

    def _result(self, result: ToolResult, path: str) -> None:
        own = quiet(result.extras)
        parts = [self._part(part, f"{path}.content[{at}]", "input_text") for at, part in enumerate(result.content)]
        custom = "custom" in own or result.call_id in self._custom
        self._items.append(
            {
                "type": "custom_tool_call_output" if custom else "function_call_output",
                "call_id": call_id(result.call_id),
                "output": _content(parts, bare="parts" not in own) if parts or "parts" in own else "",
                **{name: own[name] for name in ("id", "status") if name in own},
                **listed(result.extras),
            }
        )
        if result.is_error:
            self._adapted.append(f"{path}.is_error=dropped")
        drop_foreign(result.extras, path, self._adapted)

    def _assistant(self, message: Message, path: str) -> None:
        open_item: Json | None = None
        for at, part in enumerate(message.content):
            where = f"{path}.content[{at}]"
            if not self._is_content(part):
                open_item = None
                self._items += self._assistant_item(part, where)
            elif self.own:
                open_item = self._own_content(part, open_item, where)
            else:
                # What other formats have apart is one text here: parts need ids that only OpenAI can give.
                text = self._part(part, where, "output_text")
                said = text.get("text", text.get("refusal", ""))
                if open_item is None:
                    open_item = {"role": "assistant", "content": ""}
                    self._items.append(open_item)
                open_item["content"] += said
        drop_foreign(message.extras, path, self._adapted)

    def _own_content(self, part: ContentPart, open_item: Json | None, path: str) -> Json:
        """Put a part into the message that it came in, which is begun if it is not the open one."""
        kept = {} if isinstance(part, Opaque) else quiet(part.extras)
        number = kept.get("message", self._number)
        if open_item is None or number != self._number:
            self._number = number
            open_item = {**kept.get("item", {}), "role": "assistant", "content": []}
            self._items.append(open_item)
        if "bare" in kept and isinstance(part, Text):
            open_item["content"] = part.text
        else:
            open_item["content"].append(self._part(part, path, "output_text"))
        return open_item

    @staticmethod
    def _is_content(part: ContentPart) -> bool:
        if isinstance(part, Opaque):
            return part.origin == NAME and part.kind in CONTENT_KINDS
        return not isinstance(part, Reasoning | ToolCall | ToolResult)

    def _assistant_item(self, part: ContentPart, path: str) -> list[Json]:
        if isinstance(part, Reasoning):
            return self._reasoning(part)
        if isinstance(part, ToolCall):
            return [self._call(part, path)]
        if isinstance(part, Opaque) and part.origin == NAME:
            return [dict(part.body)]
        raise self._refused(part, path)

    def _call(self, call: ToolCall, path: str) -> Json:
        own = quiet(call.extras)
        if call.signature and call.origin not in (None, NAME):
            self._adapted.append("reasoning=dropped")
        drop_foreign(call.extras, path, self._adapted)
        more = {**{name: own[name] for name in ("id", "status") if name in own}, **listed(call.extras)}
        said = {"call_id": call_id(call.id), "name": call.name}
        if "custom" in own:
            self._custom.add(call.id)
            return {"type": "custom_tool_call", **said, "input": unwrapped(call.arguments), **more}
        arguments = call.arguments if self.own else call.arguments or "{}"
        return {"type": "function_call", **said, "arguments": arguments, **more}

    def _reasoning(self, thoughts: Reasoning) -> list[Json]:
        """An item of the family's own; OpenAI takes no thoughts back that it did not encrypt or store itself."""
        own = dict(quiet(thoughts.extras))
        id, encrypted = parted(thoughts.signature)
        if thoughts.origin not in (NAME, None if self.own else NAME) or not (encrypted or own):
            self._adapted.append("reasoning=dropped")
            return []
        texts = texts_of(own.get("summary")) or texts_of(own.get("content"))
        if "\n\n".join(texts) != thoughts.text:  # somebody changed it on the way
            own.pop("content", None)
            own["summary"] = [{"type": "summary_text", "text": thoughts.text}] if thoughts.text else []
        item: Json = {"type": "reasoning", "summary": [], **own, **({"id": id} if id else {})}
        if encrypted:
            item["encrypted_content"] = encrypted
        return [item]

    # parts

    def _part(self, part: ContentPart, path: str, text_kind: str) -> Json:
        if isinstance(part, Opaque):
            if part.origin != NAME:
                raise self._refused(part, path)
            return dict(part.body)
        written = {**self._plain_part(part, path, text_kind), **quiet(part.extras).get("part", {})}
        drop_foreign(part.extras, path, self._adapted)
        return {**written, **listed(part.extras)}

    def _plain_part(self, part: ContentPart, path: str, text_kind: str) -> Json:
        if isinstance(part, Text):
            return {"type": text_kind, "text": part.text}
        if text_kind == "output_text" and isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if text_kind == "input_text":
            if isinstance(part, Image) and (self.own or not isinstance(part.source, Stored)):
                return self._image(part)
            if isinstance(part, File) and (self.own or not isinstance(part.source, Stored)):
                return self._file(part)
            if self.own and isinstance(part, Audio) and isinstance(part.source, Inline):
                sound = {"data": part.source.data, "format": audio_format(part.source.media_type)}
                return {"type": "input_audio", "input_audio": sound}
        raise self._refused(part, path)

    def _image(self, image: Image) -> Json:
        source = image.source
        written: Json = {"type": "input_image"}
        if isinstance(source, Stored):
            written["file_id"] = source.id
        else:
            written["image_url"] = source.url if isinstance(source, Link) else data_url(source)
        if image.detail or not self.own:
            written["detail"] = image.detail or "auto"
        return written

    def _file(self, file: File) -> Json:
        source = file.source
        written: Json = {"type": "input_file"}
        if file.name:
            written["filename"] = file.name
        if isinstance(source, Inline):
            # OpenAI wants a name beside the data.
            return {"filename": "file.pdf", **written, "file_data": data_url(source)}
        if isinstance(source, Stored):
            return {**written, "file_id": source.id}
        return {**written, "file_url": source.url}

    @staticmethod
    def _refused(part: ContentPart, path: str) -> BadRequest:
        kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
        hint = "leave it out or use a model that is served in the dialect of this request"
        if isinstance(getattr(part, "source", None), Stored):
            kind, hint = f"stored {kind}", "send its data instead"
        return BadRequest(
            f"`{path}` is a {kind}, which an OpenAI Responses provider cannot be given here; {hint}.",
            code="unsupported_content",
            param=path,
        )


def drop_foreign(extras: Extras, path: str, adapted: list[str]) -> None:
    """List what other dialects left in `extras`."""
    for dialect, fields in extras.items():
        if dialect != NAME and isinstance(fields, Mapping):
            adapted += [f"{path}.{name}=dropped" for name in fields]


def call_id(id: str) -> str:
    """`id` where OpenAI takes it, else one made of it, so that call and result still agree."""
    if 0 < len(id) <= _LONGEST_ID:
        return id
    return "call_" + hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:24]


def unwrapped(arguments: str) -> str:
    """The free text of a custom tool from the arguments of the function that stands for it."""
    try:
        value = load_json(arguments)
    except ValueError:
        return arguments
    text = value.get("input") if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def _content(parts: list[Json], bare: bool) -> Any:
    """A string where that says it all."""
    if bare and len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts
