"""A ChatRequest as a body for a Chat provider.

What came in this dialect is written back as it was said. What came in another is written for the widest range of
servers; what Chat cannot say is refused by name (content) or listed (settings).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from llmhub_plugins.dialects.openai.models import is_reasoning_model
from llmhub_plugins.dialects.openai.schema import foreign_tool
from llmhub_plugins.dialects.openai_chat.part_writer import PartWriter, refuse_part
from llmhub_plugins.dialects.openai_chat.settings import write_settings
from llmhub_plugins.dialects.openai_chat.signatures import details_of
from llmhub_plugins.dialects.openai_chat.tools import own, write_call, write_function, write_tool
from llmhub_plugins.dialects.openai_chat.words import CONTENT_KINDS, FUNCTION, NAME

from llmhub_core.contracts import (
    Audio,
    BadRequest,
    ChatRequest,
    EncodedRequest,
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
        self.parts = PartWriter(self.own, self.adapted)
        self._strict_ids = _MISTRAL.search(model) is not None
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
        parts = list(self._parts_of(message, path))
        role: str = message.role
        if not self.own:
            if not parts:
                return
            if role == "developer" and not is_reasoning_model(self.model):
                role = "system"  # which all servers know
        content = self.parts.content(parts, "\n\n" if role != "user" else None)
        yield self._message(role, {"content": content}, message, path)

    def _parts_of(self, message: Message, path: str) -> Iterator[dict[str, Any]]:
        for at, part in enumerate(message.content):
            if not isinstance(part, ToolResult):
                yield self.parts.part(part, f"{path}.content[{at}]")

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
            elif isinstance(part, Audio) and isinstance(part.source, Stored) and self.own:
                fields["audio"] = {"id": part.source.id, **own(part.extras)}
            elif isinstance(part, Refusal):
                fields["refusal"] = fields.get("refusal", "") + part.text
                self.parts.drop_foreign(part.extras, where)
            elif not isinstance(part, ToolResult):
                if not self.own and not isinstance(part, Text):
                    refuse_part(part, where)
                parts.append(self.parts.part(part, where))
        if parts:
            fields["content"] = self.parts.content(parts, "")
        if calls:
            fields["tool_calls"] = calls
        if self.own or len(fields) > 1 or parts:
            yield self._message("assistant", fields, message, path)

    def _message(self, role: str, fields: dict[str, Any], message: Message, path: str) -> dict[str, Any]:
        written = {"role": role, **fields}
        if message.name:
            written["name"] = message.name
        written.update(message.extras.get(NAME, {}))
        self.parts.drop_foreign(message.extras, path)
        return written

    def _write_call(self, call: ToolCall, fields: dict[str, Any], calls: list[dict[str, Any]], path: str) -> None:
        arguments = call.arguments if self.own else call.arguments or "{}"
        if call.extras == FUNCTION:
            fields["function_call"] = {"name": call.name, "arguments": arguments}
            return
        signature = call.signature if self._is_ours(call.origin) else None
        if call.signature and not signature:
            self.adapted.append("reasoning=dropped")
        calls.append(write_call(call, self._call_id(call.id), arguments, signature))
        self.parts.drop_foreign(call.extras, path)

    def _is_ours(self, origin: str | None) -> bool:
        return origin == NAME or (origin is None and self.own)

    def _write_thoughts(self, thoughts: Reasoning, fields: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        if not self._is_ours(thoughts.origin):
            self.adapted.append("reasoning=dropped")
            return
        said = dict(own(thoughts.extras))
        details = details_of(thoughts.signature)
        name = said.pop("field", "reasoning" if details else "reasoning_content")
        if name == "thinking":
            parts.append({"type": "thinking", "thinking": [{"type": "text", "text": thoughts.text}], **said})
            return
        if thoughts.text:
            fields[name] = fields.get(name, "") + thoughts.text
        if details:
            fields["reasoning_details"] = [*fields.get("reasoning_details", ()), *details]

    def _tool_result(self, result: ToolResult, path: str, attached: list[dict[str, Any]]) -> dict[str, Any]:
        content = self._result_content(result, path, attached)
        if result.extras == FUNCTION:
            return {"role": "function", "name": result.name or "", "content": content}
        written = {"role": "tool", "tool_call_id": self._call_id(result.call_id), "content": content}
        if self.own and result.name:
            written["name"] = result.name
        if result.is_error:
            self.adapted.append(f"{path}.is_error=dropped")
        self.parts.drop_foreign(result.extras, path)
        return {**written, **result.extras.get(NAME, {})}

    def _result_content(self, result: ToolResult, path: str, attached: list[dict[str, Any]]) -> Any:
        """Chat takes nothing but text here; images and documents of other dialects go into a user message after."""
        parts = [self.parts.part(part, f"{path}.content[{at}]") for at, part in enumerate(result.content)]
        if self.own:
            return self.parts.content(parts, None)
        texts = [part for part in parts if part["type"] == "text"]
        if len(texts) < len(parts):
            attached.append({"type": "text", "text": f"Attached to the result of {self._call_id(result.call_id)}:"})
            attached += [part for part in parts if part["type"] != "text"]
            self.adapted.append(f"{path}.content=moved")
            texts = texts or [{"type": "text", "text": "The result is attached to the next message."}]
        return self.parts.content(texts, "\n")

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
                functions.append(write_function(tool, tool.strict))
            else:
                tools.append(self._tool(tool, path))
                self.parts.drop_foreign(tool.extras, path)
        if tools:
            body["tools"] = tools
        if functions:
            body["functions"] = functions

    def _tool(self, tool: Tool, path: str) -> dict[str, Any]:
        tool = tool if self.own else foreign_tool(tool, path, self.adapted)
        return write_tool(tool, tool.strict)

    # helpers

    def _call_id(self, id: str) -> str:
        """`id` where the provider takes it, else one made of it, so that call and result still agree."""
        if _MISTRAL_ID.fullmatch(id) if self._strict_ids else self.own or 0 < len(id) <= _LONGEST_ID:
            return id
        made = self._ids.get(id)
        if made is None:
            digest = hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()
            made = self._ids[id] = digest[:9] if self._strict_ids else "call_" + digest[:24]
        return made
