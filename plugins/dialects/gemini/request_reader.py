"""A request in the format, as the neutral request."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from dataclasses import replace
from typing import Any

from llmhub_plugins.dialects.gemini.head import ROLES
from llmhub_plugins.dialects.gemini.sampling import read_sampling
from llmhub_plugins.dialects.gemini.signatures import SIGNATURE, Opened, opened
from llmhub_plugins.dialects.gemini.tools import read_tools
from llmhub_plugins.dialects.gemini.words import (
    NAME,
    SAME_TURN,
    as_list,
    as_object,
    as_object_untouched,
    as_text,
    beneath,
    own,
)

from llmhub_core.contracts import (
    Audio,
    BadRequest,
    ChatRequest,
    ContentPart,
    File,
    Image,
    Inline,
    Link,
    MediaSource,
    Message,
    Opaque,
    Reasoning,
    RequestHead,
    Role,
    Stored,
    Text,
    ToolCall,
    ToolResult,
    dump_json,
    load_json,
    unseal_id,
)

_OWN_STORES = ("https://generativelanguage.googleapis.com/", "gs://", "files/")
"""Where `fileUri` names a file in Google's own stores; any other address is one that anybody may fetch."""


def read_body(body: bytes) -> dict[str, Any]:
    """The members of a body, with names in camelCase."""
    try:
        return as_object(load_json(body), "body")
    except ValueError:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None


def read_request(members: dict[str, Any], head: RequestHead) -> ChatRequest:
    """The whole request. Raises BadRequest with `param` for what is malformed."""
    config = as_object(members.pop("generationConfig", {}), "generationConfig")
    tool_config = as_object(members.pop("toolConfig", {}), "toolConfig")
    sampling, rest = read_sampling(config, tool_config)
    turns = _Turns()
    turns.system(members.pop("systemInstruction", None))
    for number, content in enumerate(as_list(members.pop("contents", None), "contents")):
        turns.content(as_object(content, f"contents[{number}]"), f"contents[{number}]")
    tools = read_tools(members.pop("tools", []))
    return ChatRequest(
        dialect=NAME,
        model=head.model,
        messages=tuple(turns.messages),
        tools=tuple(tools),
        sampling=sampling,
        stream=head.stream,
        framing=head.framing,
        asked_usage=head.asked_usage,
        extras={**members, **rest},
    )


class _Turns:
    """Contents to messages, and which result answers which call: older models give calls no ids, and results
    then belong to the calls of their name in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._open: defaultdict[str, deque[str]] = defaultdict(deque)

    def system(self, value: object) -> None:
        if value is None:
            return
        content = {"parts": [{"text": value}]} if isinstance(value, str) else as_object(value, "systemInstruction")
        parts = self._parts(content, "systemInstruction")
        self.messages.append(Message("system", tuple(parts)))

    def content(self, content: dict[str, Any], where: str) -> None:
        """The messages of one content. Results stand in messages of their own; those after the first bear a mark,
        so that one content comes out again when they are written back. Contents of the model that follow each
        other are one turn: SDKs keep each chunk of a stream as a content."""
        written = as_text(content.get("role") or "user", f"{where}.role")
        if written not in ROLES:
            raise BadRequest(f"`{where}.role` must be `user` or `model`.", code="invalid_value", param=f"{where}.role")
        role: Role = "assistant" if written == "model" else "user"
        groups: list[tuple[Role, list[ContentPart]]] = []
        for part in self._parts(content, where):
            speaker: Role = "tool" if isinstance(part, ToolResult) else role
            if not groups or groups[-1][0] != speaker:
                groups.append((speaker, []))
            groups[-1][1].append(part)
        if not groups:
            groups.append((role, []))
        messages = self.messages
        if role == groups[0][0] == "assistant":
            parts = list(messages.pop().content) if messages and messages[-1].role == "assistant" else []
            groups[0] = role, joined(parts, groups[0][1])
        messages += [
            Message(speaker, tuple(parts), extras=SAME_TURN if number else {})
            for number, (speaker, parts) in enumerate(groups)
        ]

    def _parts(self, content: dict[str, Any], where: str) -> list[ContentPart]:
        return [
            self._part(as_object(part, f"{where}.parts[{number}]"), f"{where}.parts[{number}]")
            for number, part in enumerate(as_list(content.get("parts", []), f"{where}.parts"))
        ]

    def _part(self, part: dict[str, Any], where: str) -> ContentPart:
        if "functionCall" in part:
            return self._call(part, where)
        if "functionResponse" in part:
            return self._result(part, where)
        if "inlineData" in part or "fileData" in part:
            return _media(part, where)
        if "text" in part or (SIGNATURE in part and part.keys() <= {SIGNATURE, "thought"}):
            return _text(part, where)
        return Opaque(NAME, next((name for name in part if name != SIGNATURE), "part"), part)

    def _call(self, part: dict[str, Any], where: str) -> ToolCall:
        call = as_object(part.pop("functionCall"), f"{where}.functionCall")
        name = as_text(call.pop("name", ""), f"{where}.functionCall.name")
        arguments = as_object_untouched(call.pop("args", {}), f"{where}.functionCall.args")
        call_id = unseal_id(as_text(call.pop("id", ""), f"{where}.functionCall.id"))[0] or _id_of(where)
        self._open[name].append(call_id)
        signature, _, origin = _signature(part, where)
        extras = own({**part, **beneath("functionCall", call)})
        return ToolCall(
            call_id, name, dump_json(arguments).decode(), extras, signature, origin if signature is not None else None
        )

    def _result(self, part: dict[str, Any], where: str) -> ToolResult:
        response = as_object(part.pop("functionResponse"), f"{where}.functionResponse")
        name = as_text(response.pop("name", ""), f"{where}.functionResponse.name")
        call_id = unseal_id(as_text(response.pop("id", ""), f"{where}.functionResponse.id"))[0]
        waiting = self._open[name]
        if not call_id:
            call_id = waiting.popleft() if waiting else _id_of(where)
        elif call_id in waiting:
            waiting.remove(call_id)
        value = as_object_untouched(response.pop("response", {}), f"{where}.functionResponse.response")
        text, failed = _result_text(value)
        media = as_list(response.pop("parts", []), f"{where}.functionResponse.parts")
        content: list[ContentPart] = [Text(text)]
        for number, entry in enumerate(media):
            inside = f"{where}.functionResponse.parts[{number}]"
            content.append(self._part(as_object(entry, inside), inside))
        extras = {**part, **beneath("functionResponse", response)}
        return ToolResult(call_id, tuple(content), failed, name or None, own(extras))


def _id_of(where: str) -> str:
    """An id for a call that has none: the same whenever the conversation is sent again, for caches' sake."""
    return "call_" + hashlib.blake2s(where.encode(), digest_size=12).hexdigest()


def _result_text(response: dict[str, Any]) -> tuple[str, bool]:
    """The text of a result, and whether it reports a failure. Only what the writer would wrap is unwrapped,
    so that reading and writing cancel out."""
    if len(response) == 1:
        ((name, value),) = response.items()
        if name == "error" and isinstance(value, str):
            return value, True
        if name == "result" and isinstance(value, str) and not value.lstrip().startswith("{"):
            return value, False
    return dump_json(response).decode(), False


def _signature(part: dict[str, Any], where: str) -> Opened:
    """Taken out of the part."""
    written = part.pop(SIGNATURE, None)
    return opened(None if written is None else as_text(written, f"{where}.{SIGNATURE}"))


def _text(part: dict[str, Any], where: str) -> Text | Reasoning:
    text = as_text(part.pop("text", ""), f"{where}.text")
    if part.pop("thought", False) is True:
        signature, redacted, origin = _signature(part, where)
        return Reasoning(text, signature, redacted, origin, own(part))
    signature, _, origin = _signature(part, where)
    return Text(text, own({**part, SIGNATURE: signature} if signature is not None and origin == NAME else part))


def joined(turn: list[ContentPart], more: list[ContentPart]) -> list[ContentPart]:
    """`turn` with the parts of the model's next content. Texts that only a chunk's border parts are one again;
    what bears a signature of Gemini's stays as it came."""
    result = turn.copy()
    for number, part in enumerate(more):
        last = result[-1] if result else None
        seam = number == 0 and bool(turn)
        if isinstance(part, Text) and isinstance(last, Text) and seam and not (part.extras or last.extras):
            result[-1] = Text(last.text + part.text)
        elif isinstance(part, Reasoning):
            result.append(_with_beginning(part, result, seam))
        else:
            result.append(part)
    return result


def _with_beginning(part: Reasoning, before: list[ContentPart], seam: bool) -> Reasoning:
    """The whole thought, its beginning taken out of `before`: another family's thoughts are sealed at their end."""
    text = part.text
    while before and (part.origin != NAME or (seam and part.signature is None)):
        last = before[-1]
        if not isinstance(last, Reasoning) or last.signature is not None or last.origin != NAME or last.extras:
            break
        text = last.text + text
        before.pop()
    return replace(part, text=text)


def _standard_base64(data: str) -> str:
    """Google's SDKs write bytes in the URL-safe alphabet, and Google's API reads both; the others read one alone."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4)


def _media(part: dict[str, Any], where: str) -> ContentPart:
    source: MediaSource
    if "inlineData" in part:
        data = as_object(part.pop("inlineData"), f"{where}.inlineData")
        media_type = as_text(data.pop("mimeType", ""), f"{where}.inlineData.mimeType")
        source = Inline(media_type, _standard_base64(as_text(data.pop("data", ""), f"{where}.inlineData.data")))
        name = "inlineData"
    else:
        data = as_object(part.pop("fileData"), f"{where}.fileData")
        media_type = as_text(data.pop("mimeType", ""), f"{where}.fileData.mimeType")
        uri = as_text(data.pop("fileUri", ""), f"{where}.fileData.fileUri")
        source = (Stored if uri.startswith(_OWN_STORES) else Link)(uri, media_type or None)
        name = "fileData"
    is_file = not media_type.startswith(("image/", "audio/"))
    title = data.pop("displayName") if is_file and isinstance(data.get("displayName"), str) else None
    extras = own({**part, **beneath(name, data)})
    if is_file:
        return File(source, title, extras)
    return (Image if media_type.startswith("image/") else Audio)(source, extras=extras)
