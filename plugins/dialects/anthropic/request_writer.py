"""A ChatRequest as a body for a provider of this format."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from typing import Any

from llmhub_plugins.dialects.anthropic.knobs import write_foreign_knobs, write_native_knobs
from llmhub_plugins.dialects.anthropic.models import Abilities, abilities
from llmhub_plugins.dialects.anthropic.structured import (
    NO_FORMAT,
    StructuredOutput,
    plan_format,
    refuse_reserved,
)
from llmhub_plugins.dialects.anthropic.thinking import is_own_thought, native_thinking
from llmhub_plugins.dialects.anthropic.tools import with_extras, write_tools
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import (
    BadRequest,
    ChatRequest,
    ContentPart,
    EncodedRequest,
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
    dump_json,
    load_json,
)

Json = dict[str, Any]


def write_request(
    request: ChatRequest, model: str, default_max: int, structured: StructuredOutput = "auto"
) -> EncodedRequest:
    """The body for `model`. `default_max` is the `max_tokens` of callers whose format lets them leave it out;
    `structured` is what to do about answers bound to a schema."""
    body, adapted = build_request(request, model, default_max, structured)
    return EncodedRequest(dump_json(body), tuple(dict.fromkeys(adapted)))


def build_request(
    request: ChatRequest, model: str, default_max: int, structured: StructuredOutput
) -> tuple[Json, list[str]]:
    """The body as an object, and what was lost."""
    able = abilities(model)
    refuse_reserved(request)
    adapted: list[str] = []
    body: Json = {"model": model}
    plan = NO_FORMAT
    if request.dialect == NAME:
        thinking = native_thinking(request)
        body |= write_native_knobs(request, thinking, adapted)
    else:
        plan = plan_format(request, able, structured)
        knobs, thinking = write_foreign_knobs(request, able, plan, default_max, adapted)
        body |= knobs
    writer = _Writer(request, able, adapted, silent=thinking.off)
    system, messages = writer.conversation(plan.instruction)
    if system:
        body["system"] = system
    tools = write_tools(request, able, adapted)
    if plan.tool is not None:
        tools.append(plan.tool)
    if tools:
        body["tools"] = tools
    if request.stream:
        body["stream"] = True
    body["messages"] = messages
    return body, adapted


_LEGAL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")


def legal_id(id: str) -> str:
    """`id` as it is where it is legal here; else one made of it, the same for the call and its result."""
    if _LEGAL_ID.fullmatch(id):
        return id
    mark = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_ILLEGAL.sub('_', id)[:50]}_{mark}"


_IMAGE_TYPES = {"image/jpeg", "image/png", "image/gif", "image/webp"}


class _Writer:
    """The messages of one request; gathers in `adapted` what could not be said. `silent`: the turn to go on with may
    hold no thoughts, for the model will not think."""

    def __init__(self, request: ChatRequest, able: Abilities, adapted: list[str], silent: bool) -> None:
        self.request = request
        self.able = able
        self.native = request.dialect == NAME
        self.adapted = adapted
        self.silent = silent
        roles = [message.role for message in request.messages]
        self.last_answer = len(roles) - 1 - roles[::-1].index("assistant") if "assistant" in roles else -1

    def conversation(self, instruction: str) -> tuple[str | list[Json], list[Json]]:
        """Top-level system, with `instruction` at its end, and messages: turns in alternation, results of tools
        first in theirs."""
        system: list[Json] = []
        turns: list[Json] = []
        leading = True
        for at, message in enumerate(self.request.messages):
            param = f"messages[{at}]"
            blocks = self._blocks(self._said(message, at), f"{param}.content")
            if message.name is not None:
                self.adapted.append(f"{param}.name=dropped")
            if message.role in ("system", "developer") and (leading or not self.native):
                self._check_system(message, param)
                system += blocks
                with_extras({}, message.extras, param, self.adapted)
                if not leading:
                    self.adapted.append(f"{param}=hoisted")
                leading = leading and not self.native
                continue
            leading = False
            if blocks:  # empty turns are refused
                turn = _turn_for(message, turns)
                turn["content"] += blocks
                with_extras(turn, message.extras, param, self.adapted)
        self._check_turns(turns)
        for turn in turns:
            if turn["role"] == "user":  # results of tools must come first
                turn["content"].sort(key=_is_no_result)
            turn["content"] = _short(turn["content"])
        if instruction:
            system.append({"type": "text", "text": instruction})
        return _short(system), turns

    def _said(self, message: Message, at: int) -> tuple[ContentPart, ...]:
        if not self.silent or at != self.last_answer or not any(map(is_own_thought, message.content)):
            return message.content
        self.adapted.append("reasoning=dropped")
        return tuple(part for part in message.content if not is_own_thought(part))

    def _check_turns(self, turns: list[Json]) -> None:
        if not turns and self.native and "thread" in self.request.extras:
            return  # after a pause it goes on without anything new
        if not turns:
            raise BadRequest(
                "Anthropic models need at least one message of the user that is not empty; add one.",
                code="unsupported_content",
                param="messages",
            )
        if self.native or turns[-1]["role"] != "assistant":
            return
        last = turns[-1]
        if not self.able.prefill:
            raise BadRequest(
                "The conversation ends with a message of the assistant, which this model cannot go on with; end with "
                "one of the user.",
                code="unsupported_content",
                param=f"messages[{self.last_answer}]",
            )
        if last["content"][-1]["type"] == "text":  # white space at the end of an answer's beginning is refused
            last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()

    def _check_system(self, message: Message, param: str) -> None:
        for at, part in enumerate(message.content):
            if not isinstance(part, Text) and not (isinstance(part, Opaque) and part.origin == NAME):
                raise self._unsupported(part, f"{param}.content[{at}]", "in a system prompt")

    def _blocks(self, parts: tuple[ContentPart, ...], param: str) -> list[Json]:
        blocks = []
        for at, part in enumerate(parts):
            where = f"{param}[{at}]"
            block = self._block(part, where)
            if block is not None:
                if not isinstance(part, Opaque):
                    with_extras(block, part.extras, where, self.adapted)
                blocks.append(block)
        return blocks

    def _block(self, part: ContentPart, param: str) -> Json | None:
        """One block, None for what is left out: empty texts, which are refused, and other families' thoughts."""
        match part:
            case Text(text) | Refusal(text):
                return {"type": "text", "text": text} if text.strip() else None
            case ToolCall(id, name, arguments):
                if part.signature and part.origin != NAME:
                    self.adapted.append("reasoning=dropped")
                return {"type": "tool_use", "id": legal_id(id), "name": name, "input": _object(arguments, param)}
            case ToolResult():
                return self._result(part, param)
            case Image():
                return self._image(part, param)
            case File():
                return self._document(part, param)
            case Reasoning():
                return self._thoughts(part)
            case Opaque(origin=origin, body=body) if origin == NAME:
                return dict(body)
        raise self._unsupported(part, param)

    def _result(self, part: ToolResult, param: str) -> Json:
        block: Json = {"type": "tool_result", "tool_use_id": legal_id(part.call_id)}
        if content := self._blocks(part.content, f"{param}.content"):
            block["content"] = _short(content)
        if part.is_error:
            block["is_error"] = True
        return block

    def _thoughts(self, part: Reasoning) -> Json | None:
        own = part.origin == NAME or (part.origin is None and self.native)
        if own and part.redacted is not None:
            return {"type": "redacted_thinking", "data": part.redacted}
        if own and (part.signature or self.native):
            return {"type": "thinking", "thinking": part.text, "signature": part.signature or ""}
        self.adapted.append("reasoning=dropped")
        return None

    def _image(self, part: Image, param: str) -> Json:
        if part.detail not in (None, "auto"):
            self.adapted.append(f"{param}.detail=dropped")
        match part.source:
            case Inline(media_type, data):
                media_type = "image/jpeg" if media_type == "image/jpg" else media_type
                if media_type not in _IMAGE_TYPES and not self.native:
                    raise self._unsupported(part, param, f"of type {media_type[:40]}; send JPEG, PNG, GIF or WebP")
                return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
            case Link(url):
                return {"type": "image", "source": {"type": "url", "url": url}}
            case Stored(id) if self.native:
                return {"type": "image", "source": {"type": "file", "file_id": id}}
        raise self._unsupported(part, param, "kept in another provider's file store; send its bytes")

    def _document(self, part: File, param: str) -> Json:
        source: Json
        match part.source:
            case Inline("application/pdf", data):
                source = {"type": "base64", "media_type": "application/pdf", "data": data}
            case Inline(media_type, data) if media_type.startswith("text/"):
                source = {"type": "text", "media_type": "text/plain", "data": _plain_text(data, param)}
            case Inline(media_type, data) if self.native:
                source = {"type": "base64", "media_type": media_type, "data": data}
            case Link(url, media_type) if media_type in (None, "application/pdf"):
                source = {"type": "url", "url": url}
            case Stored(id) if self.native:
                source = {"type": "file", "file_id": id}
            case Stored():
                raise self._unsupported(part, param, "kept in another provider's file store; send its bytes")
            case _:
                raise self._unsupported(part, param, "that is neither PDF nor text; convert it")
        return {"type": "document", "source": source} | ({} if part.name is None else {"title": part.name})

    def _unsupported(self, part: ContentPart, param: str, why: str = "") -> BadRequest:
        kind = f"{part.origin} {part.kind}" if isinstance(part, Opaque) else type(part).__name__.lower()
        return BadRequest(
            f"{param}: Anthropic models cannot be given this {kind}" + (f" {why}." if why else "; leave it out."),
            code="unsupported_content",
            param=param,
        )


def _turn_for(message: Message, turns: list[Json]) -> Json:
    """The turn to which the message belongs: turns alternate, so neighbours of one role are one."""
    role = {"assistant": "assistant", "system": "system", "developer": "system"}.get(message.role, "user")
    if not turns or turns[-1]["role"] != role:
        turns.append({"role": role, "content": []})
    return turns[-1]


def _is_no_result(block: Json) -> bool:
    return bool(block["type"] != "tool_result")


def _short(blocks: list[Json]) -> str | list[Json]:
    """A lone plain text as the string that means the same."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


def _object(arguments: str, param: str) -> Json:
    try:
        value = load_json(arguments) if arguments.strip() else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadRequest(
            f"{param}: the arguments of this tool call are not a JSON object, which Anthropic models need.",
            code="unsupported_content",
            param=param,
        )
    return value


def _plain_text(data: str, param: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except ValueError:
        raise BadRequest(
            f"{param}: the text document is not base64 of UTF-8.", code="invalid_value", param=param
        ) from None
