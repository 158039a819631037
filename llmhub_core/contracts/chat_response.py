"""What comes back: eight events, and their fold into a whole answer.

The order is Started (PartStarted PartDelta* PartEnded)* with Used and Finished after the last part, or
Failed at any place, after which nothing comes. Parts of one choice do not overlap. A provider that does
not stream is a stream that arrives at once: there is no second code path for whole answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmhub_core.contracts.chat_request import NO_EXTRAS, Extras
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.operations import Embeddings, TokenCount
from llmhub_core.contracts.usage import Usage

PartKind = Literal["text", "reasoning", "tool_call", "refusal", "opaque"]

FinishReason = Literal["stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal", "pause"]
"""Why the answer ended: by itself, at a stop text, at the token limit, to call tools, blocked by a filter,
declined by the model, paused to be sent back as it is."""


@dataclass(frozen=True, slots=True)
class Started:
    """`id` is the provider's name of the answer, `created` in seconds since 1970; both may be absent (""/0)."""

    id: str
    model: str
    created: int = 0
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class PartStarted:
    """Part `index` of the answer begins; indexes count from 0 over all kinds and choices.

    `id` and `name` are a tool call's. An id is never empty: a decoder invents one where the provider gives
    none. `extras` are the dialect's own; an `opaque` part has its body there, under its dialect's name. `origin`
    names the dialect whose family of models alone can open the part's `signature` or `redacted` (see `seal`).
    """

    index: int
    kind: PartKind
    id: str = ""
    name: str = ""
    choice: int = 0
    extras: Extras = NO_EXTRAS
    origin: str = ""


@dataclass(frozen=True, slots=True)
class PartDelta:
    """More of part `index`: text, or for tool calls more of the arguments' JSON text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability. `raw` are its bytes where the provider gives them, for a
    token may be half a character; `top` are the likeliest at its place, likeliest first, as far as they were asked for.
    """

    token: str
    logprob: float
    raw: bytes | None = None
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class PartEnded:
    """Part `index` is complete. `signature` (of reasoning or a tool call) and `redacted` (of reasoning) go back with
    it unchanged; `logprobs` are its tokens', for callers who asked for them."""

    index: int
    signature: str | None = None
    redacted: str | None = None
    extras: Extras = NO_EXTRAS
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Used:
    """Usage so far; the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """Choice `choice` ended. `native` is the provider's own word, `stop_text` the stop sequence that was met.
    `extras` are the dialect's own, keyed by its name."""

    reason: FinishReason
    choice: int = 0
    native: str = ""
    stop_text: str | None = None
    extras: Extras = NO_EXTRAS


@dataclass(frozen=True, slots=True)
class Answered:
    """The whole answer of an operation other than chat; Used goes with it where the provider counts."""

    value: Embeddings | TokenCount


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer broke off; nothing comes after it."""

    error: HubError


Event = Started | PartStarted | PartDelta | PartEnded | Used | Finished | Answered | Failed


@dataclass(slots=True)
class ResponsePart:
    """A part of a whole answer; `text` holds the arguments where `kind` is tool_call. `extras` are all of them, `ended`
    those that came with its end."""

    kind: PartKind
    text: str = ""
    id: str = ""
    name: str = ""
    choice: int = 0
    signature: str | None = None
    redacted: str | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    ended: Extras = NO_EXTRAS
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class ChatResponse:
    """A whole answer: events, folded. `finished` has one entry a choice."""

    id: str = ""
    model: str = ""
    created: int = 0
    parts: list[ResponsePart] = field(default_factory=list)
    finished: dict[int, Finished] = field(default_factory=dict)
    usage: Usage | None = None
    failed: HubError | None = None
    extras: Extras = NO_EXTRAS

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return "".join(part.text for part in self.parts if part.kind == "text" and part.choice == 0)

    @property
    def tool_calls(self) -> list[ResponsePart]:
        return [part for part in self.parts if part.kind == "tool_call"]


def _joined(begun: Extras, ended: Extras) -> Extras:
    """Extras of both; what came last counts, name by name."""
    joined = dict(begun)
    for dialect, more in ended.items():
        both = isinstance(more, Mapping) and isinstance(begun.get(dialect), Mapping)
        joined[dialect] = {**begun[dialect], **more} if both else more
    return joined


class Fold:
    """Events in, a ChatResponse out. Deltas are joined once, at the end: a long answer costs linear time."""

    def __init__(self) -> None:
        self._response = ChatResponse()
        self._texts: list[list[str]] = []

    def add(self, event: Event) -> None:
        response = self._response
        if isinstance(event, PartDelta):
            self._texts[event.index].append(event.text)
        elif isinstance(event, PartStarted):
            part = ResponsePart(
                event.kind, "", event.id, event.name, event.choice, extras=dict(event.extras), origin=event.origin
            )
            response.parts.append(part)
            self._texts.append([])
        elif isinstance(event, PartEnded):
            part = response.parts[event.index]
            part.signature, part.redacted, part.logprobs = event.signature, event.redacted, event.logprobs
            if event.extras:
                part.ended = event.extras
                part.extras = _joined(part.extras, event.extras)
        elif isinstance(event, Started):
            response.id, response.model, response.created = event.id, event.model, event.created
            response.extras = event.extras
        elif isinstance(event, Used):
            response.usage = event.usage
        elif isinstance(event, Finished):
            response.finished[event.choice] = event
        elif isinstance(event, Failed):
            response.failed = event.error

    def response(self) -> ChatResponse:
        for part, texts in zip(self._response.parts, self._texts, strict=True):
            part.text = "".join(texts)
        return self._response


def fold(events: Iterable[Event]) -> ChatResponse:
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded.response()


def unfold(response: ChatResponse) -> Iterable[Event]:
    """A whole answer as the events that would have built it."""
    yield Started(response.id, response.model, response.created, response.extras)
    for index, part in enumerate(response.parts):
        yield PartStarted(index, part.kind, part.id, part.name, part.choice, part.extras, part.origin)
        if part.text:
            yield PartDelta(index, part.text)
        yield PartEnded(index, part.signature, part.redacted, part.ended, part.logprobs)
    if response.usage is not None:
        yield Used(response.usage)
    yield from response.finished.values()
    if response.failed is not None:
        yield Failed(response.failed)
