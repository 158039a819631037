"""What a caller asks, in nobody's wire format: pure values, equal when their content is equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Extras = Mapping[str, Any]
"""What only one dialect knows: carried, never interpreted. Written back by that dialect alone."""


class _Nothing(dict[str, Any]):
    """The empty extras that all values share; hashable so that dataclasses take it as a default."""

    def __hash__(self) -> int:  # type: ignore[override]
        return 0

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError("extras are never changed in place")


NO_EXTRAS: Extras = _Nothing()

Role = Literal["system", "developer", "user", "assistant", "tool"]

Framing = Literal["sse", "json", "json_array", "bytes"]


# Where the bytes of an image, a document or a sound are.


@dataclass(frozen=True, slots=True)
class Inline:
    """In the request itself; `data` is base64 text as it came."""

    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Link:
    """Behind an http(s) address that the provider fetches; the hub never does."""

    url: str
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """In a provider's own file store; means nothing to another provider."""

    id: str
    media_type: str | None = None


MediaSource = Inline | Link | Stored


# The parts of a message.


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Refusal:
    """An assistant's words when it declined."""

    text: str
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Image:
    source: MediaSource
    detail: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Audio:
    source: MediaSource
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class File:
    """A document: PDF, text and the like."""

    source: MediaSource
    name: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thoughts of an earlier answer on their way back to the provider.

    `signature` and `redacted` are opaque to us and open only at the family of models that made them:
    `origin` is the name of the dialect they came in. Another family is given none of it.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is JSON text as the model wrote it: possibly empty, possibly not valid. `signature` seals it for
    the family of models named by `origin`, as with Reasoning; it means nothing to others and is not given to them."""

    id: str
    name: str
    arguments: str
    extras: Extras = NO_EXTRAS
    signature: str | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to the call `call_id`. `name` is the function's, where the dialect says it."""

    call_id: str
    content: tuple[ContentPart, ...]
    is_error: bool = False
    name: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Opaque:
    """A part that only the dialect `origin` knows; `kind` is its name there, `body` the part itself."""

    origin: str
    kind: str
    body: Mapping[str, Any]


ContentPart = Text | Refusal | Image | Audio | File | Reasoning | ToolCall | ToolResult | Opaque


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Results of tools always stand in messages of role `tool`, whatever the dialect does."""

    role: Role
    content: tuple[ContentPart, ...]
    name: str | None = None
    extras: Extras = NO_EXTRAS


# What the model may call, and how it shall answer.


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the caller's. `parameters` is a JSON Schema; None means that none was given."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class OpaqueTool:
    """A tool that only the dialect `origin` knows (searches that the provider runs, and the like)."""

    origin: str
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    kind: Literal["text", "json_object", "json_schema"]
    schema: Mapping[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to answer. None everywhere means: not said, the provider's default holds.

    `reasoning_tokens` is a budget (0 switches thinking off, -1 leaves it to the model); `effort` is the
    same wish in words.
    """

    max_output: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int = 1
    logprobs: bool | None = None
    top_logprobs: int | None = None
    effort: Effort | None = None
    reasoning_tokens: int | None = None
    answer_format: AnswerFormat | None = None
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    user: str | None = None


class RequestHead(msgspec.Struct, frozen=True):
    """What the chain has to know of every request, read without taking the messages apart.

    model          the public name as the caller wrote it
    stream         whether the caller reads a stream
    framing        how the answer is framed: server-sent events, one JSON value, a streamed JSON array, or bytes
                   that pass as they come (sound)
    max_output     tokens at most, where the caller said so
    asked_usage    whether the caller wants the usage frame at the end of a Chat stream
    operation      `chat`; other operations bear the name of their path
    """

    model: str
    stream: bool = False
    framing: Framing = "json"
    max_output: int | None = None
    asked_usage: bool = True
    n: int = 1
    operation: str = "chat"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A whole request. `dialect` names the wire format it came in, which alone may write `extras` back.

    `needs` are the fields that only a provider of that format can honour (``previous_response_id``): left out, the
    answer would be to another question, so the hub asks no other provider and refuses them by these names.
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool | OpaqueTool, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    stream: bool = False
    framing: Framing = "json"
    asked_usage: bool = True
    extras: Extras = NO_EXTRAS
    needs: tuple[str, ...] = ()


class Where(msgspec.Struct, frozen=True):
    """Where a request arrived: the variables of its path and its query, decoded; `media` is its content-type."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    media: str = "application/json"
