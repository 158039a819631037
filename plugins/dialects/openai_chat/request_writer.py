"""A ChatRequest as a body for a Chat provider.

What came in this dialect is written back as it was said. What came in another is written for the widest range of
servers; what Chat cannot say is refused by name (content) or listed (settings).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from llmhub_plugins.dialects.openai.media import audio_format, data_url
from llmhub_plugins.dialects.openai_chat.settings import is_reasoning_model, write_settings
from llmhub_plugins.dialects.openai_chat.words import CONTENT_KINDS, FUNCTION, NAME

from llmhub_core.contracts import (
    Audio,
    BadRequest,
    ChatRequest,
    ContentPart,
    EncodedRequest,
    Extras,
    File,
    Image,
    Inline,
    Link,
    Message,
    Opaque,
    OpaqueTool,
    Reasoning,
    Refusal,
    Stored,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    dump_json,
)

_MISTRAL = re.compile(r"(?:^|/)(?:open-)?(?:mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)")
_MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")
_LONGEST_ID = 40  # of tool calls at OpenAI


def encode_request(request: ChatRequest, model: str) -> EncodedRequest:
    """The body for `model` and what of the request it does not say."""
    writer = _Writer(request, model)
    body = writer.body()
    return EncodedRequest(dump_json(body), tuple(dict.fromkeys(writer.adapted)))


class _Writer:
    """One request on its way out; `own` says that it came in this dialect, `adapted` gathers what was lost."""

    def __init__(self, request: ChatRequest, model: str) -> None:
        self.request = request
        self.model = model
        self.own = request.dialect == NAME
        self.adapted: list[str] = []
        self._strict_ids = not self.own and _MISTRAL.search(model) is not None
        self._ids: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": self._messages()}
        self._write_tools(body)
        write_settings(body, self.request, self.model, self.adapted)
        return body

    # messages

    def _messages(self) -> list[dict[str, Any]]:
        written: list[dict[str, Any]] = []
        attached: list[dict[str, Any]] = []
        for index, message in enumerate(self.request.messages):
            path = f"messages[{index}]"
            results = [(at, part) for at, part in enumerate(message.content) if isinstance(part, ToolResult)]
            for at, result in results:
                written.append(self._tool_result(result, f"{path}.content[{at}]", attached))
            if len(results) == len(message.content) and (results or message.role == "tool"):
                continue
            # All results of one turn must stand together, so what they could not hold follows the last of them.
            written += self._attachments(attached)
            written += self._assistant(message, path) if message.role == "assistant" else self._said(message, path)
        written += self._attachments(attached)
        return written

    def _attachments(self, attached: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        if attached:
            yield {"role": "user", "content": attached.copy()}
            attached.clear()

    def _said(self, message: Message, path: str) -> Iterator[dict[str, Any]]:
        """A system, developer or user message."""
        parts = list(self._parts(message, path))
        role: str = message.role
        if not self.own:
            if not parts:
                return
            if role == "developer" and not is_reasoning_model(self.model):
                role = "system"  # which all servers know
        content = self._content(parts, "\n\n" if role != "user" else None)
        yield self._message(role, {"content": content}, message, path)

    def _assistant(self, message: Message, path: str) -> Iterator[dict[str, Any]]:
        fields: dict[str, Any] = {"content": None}
        parts: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        for at, part in enumerate(message.content):
            where = f"{path}.content[{at}]"
            if isinstance(part, ToolCall):
                self._write_call(part, fields, calls, where)
            elif isinstance(part, Opaque) and part.origin == NAME and part.kind not in CONTENT_KINDS:
                calls.append(dict(part.body))
            elif isinstance(part, Reasoning):
                self._write_thoughts(part, fields, parts)
            elif isinstance(part, Refusal):
                fields["refusal"] = fields.get("refusal", "") + part.text
                self._drop_foreign(part.extras, where)
            elif not isinstance(part, ToolResult):
                if not self.own and not isinstance(part, Text):
                    self._refuse(part, where)
                parts.append(self._part(part, where))
        if parts:
            fields["content"] = self._content(parts, "")
        if calls:
            fields["tool_calls"] = calls
        if self.own or len(fields) > 1 or parts:
            yield self._message("assistant", fields, message, path)

    def _message(self, role: str, fields: dict[str, Any], message: Message, path: str) -> dict[str, Any]:
        written = {"role": role, **fields}
        if message.name:
            written["name"] = message.name
        written.update(message.extras.get(NAME, {}))
        self._drop_foreign(message.extras, path)
        return written

    def _write_call(self, call: ToolCall, fields: dict[str, Any], calls: list[dict[str, Any]], path: str) -> None:
        function = {"name": call.name, "arguments": call.arguments if self.own else call.arguments or "{}"}
        if call.extras == FUNCTION:
            fields["function_call"] = function
            return
        calls.append(
            {"id": self._call_id(call.id), "type": "function", "function": function, **call.extras.get(NAME, {})}
        )
        self._drop_foreign(call.extras, path)

    def _write_thoughts(self, thoughts: Reasoning, fields: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        if thoughts.origin != NAME:
            self.adapted.append("reasoning=dropped")
            return
        said = dict(thoughts.extras.get(NAME, {}))
        name = said.pop("field", "reasoning_content")
        if name == "thinking":
            parts.append({"type": "thinking", "thinking": [{"type": "text", "text": thoughts.text}], **said})
        else:
            fields[name] = fields.get(name, "") + thoughts.text

    def _tool_result(self, result: ToolResult, path: str, attached: list[dict[str, Any]]) -> dict[str, Any]:
        content = self._result_content(result, path, attached)
        if result.extras == FUNCTION:
            return {"role": "function", "name": result.name or "", "content": content}
        written = {"role": "tool", "tool_call_id": self._call_id(result.call_id), "content": content}
        if self.own and result.name:
            written["name"] = result.name
        if result.is_error:
            self.adapted.append(f"{path}.is_error=dropped")
        self._drop_foreign(result.extras, path)
        return {**written, **result.extras.get(NAME, {})}

    def _result_content(self, result: ToolResult, path: str, attached: list[dict[str, Any]]) -> Any:
        """Chat takes nothing but text here; images and documents of other dialects go into a user message after."""
        parts = [self._part(part, f"{path}.content[{at}]") for at, part in enumerate(result.content)]
        if self.own:
            return self._content(parts, None)
        texts = [part for part in parts if part["type"] == "text"]
        if len(texts) < len(parts):
            attached.append({"type": "text", "text": f"Attached to the result of {self._call_id(result.call_id)}:"})
            attached += [part for part in parts if part["type"] != "text"]
            self.adapted.append(f"{path}.content=moved")
            texts = texts or [{"type": "text", "text": "The result is attached to the next message."}]
        return self._content(texts, "\n")

    # parts

    def _parts(self, message: Message, path: str) -> Iterator[dict[str, Any]]:
        for at, part in enumerate(message.content):
            if not isinstance(part, ToolResult):
                yield self._part(part, f"{path}.content[{at}]")

    def _content(self, parts: Sequence[dict[str, Any]], joint: str | None) -> Any:
        """A string where that says it all; `joint` is what stands between texts that another dialect had apart."""
        plain = all(len(part) == 2 and part["type"] == "text" for part in parts)
        if plain and len(parts) == 1:
            return parts[0]["text"]
        if plain and not self.own and joint is not None:
            return joint.join(part["text"] for part in parts)
        if not parts:
            return [] if self.own else ""
        return list(parts)

    def _part(self, part: ContentPart, path: str) -> dict[str, Any]:
        if isinstance(part, Opaque):
            if part.origin != NAME:
                self._refuse(part, path)
            return dict(part.body)
        written = self._plain_part(part, path)
        for name, value in part.extras.get(NAME, {}).items():
            inner = written.get(name)
            written[name] = {**inner, **value} if isinstance(inner, dict) else value
        self._drop_foreign(part.extras, path)
        return written

    def _plain_part(self, part: ContentPart, path: str) -> dict[str, Any]:
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if isinstance(part, Image) and not isinstance(part.source, Stored):
            url = part.source.url if isinstance(part.source, Link) else data_url(part.source)
            detail = {"detail": part.detail} if part.detail else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        if isinstance(part, Audio) and isinstance(part.source, Inline):
            sound = {"data": part.source.data, "format": audio_format(part.source.media_type)}
            return {"type": "input_audio", "input_audio": sound}
        if not isinstance(part, File):
            self._refuse(part, path)
        return {"type": "file", "file": self._file(part, path)}

    def _file(self, file: File, path: str) -> dict[str, Any]:
        if isinstance(file.source, Inline):
            # OpenAI wants a name beside the data.
            return {"filename": file.name or "file.pdf", "file_data": data_url(file.source)}
        if not self.own:
            self._refuse(file, path)
        name = {"filename": file.name} if file.name else {}
        if isinstance(file.source, Stored):
            return {**name, "file_id": file.source.id}
        return {**name, "file_data": file.source.url}

    def _refuse(self, part: ContentPart, path: str) -> NoReturn:
        kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
        source = getattr(part, "source", None)
        if isinstance(source, Stored):
            kind, hint = f"stored {kind}", "send its data instead"
        elif isinstance(source, Link):
            kind, hint = f"linked {kind}", "send its data instead"
        else:
            hint = "leave it out or use a model that is served in the dialect of this request"
        raise BadRequest(
            f"`{path}` is a {kind}, which an OpenAI Chat provider cannot be given here; {hint}.",
            code="unsupported_content",
            param=path,
        )

    # tools

    def _write_tools(self, body: dict[str, Any]) -> None:
        tools, functions = [], []
        for index, tool in enumerate(self.request.tools):
            path = f"tools[{index}]"
            if isinstance(tool, OpaqueTool):
                if tool.origin != NAME:
                    raise BadRequest(
                        f"`{path}` is a {tool.kind} tool, which an OpenAI Chat provider does not have; leave it out.",
                        code="unsupported_content",
                        param=path,
                    )
                tools.append(dict(tool.body))
            elif tool.extras == FUNCTION:
                functions.append(_function(tool))
            else:
                more = dict(tool.extras.get(NAME, {}))
                tools.append({"type": "function", "function": {**_function(tool), **more.pop("function", {})}, **more})
                self._drop_foreign(tool.extras, path)
        if tools:
            body["tools"] = tools
        if functions:
            body["functions"] = functions

    # helpers

    def _call_id(self, id: str) -> str:
        """`id` where the provider takes it, else one made of it, so that call and result still agree."""
        if self.own or (_MISTRAL_ID.fullmatch(id) if self._strict_ids else 0 < len(id) <= _LONGEST_ID):
            return id
        made = self._ids.get(id)
        if made is None:
            digest = hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()
            made = self._ids[id] = digest[:9] if self._strict_ids else "call_" + digest[:24]
        return made

    def _drop_foreign(self, extras: Extras, path: str) -> None:
        for dialect, fields in extras.items():
            if dialect != NAME and isinstance(fields, Mapping):
                self.adapted += [f"{path}.{name}=dropped" for name in fields]


def _function(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function
