"""A stream that broke, continued by another candidate where the route allows it: the text so far goes along, and the
other one is asked to go on where it stopped. Marked in the stream and in the record; never where a tool call began."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from llmhub_core.contracts.candidate import Deployment
from llmhub_core.contracts.chat_request import ChatRequest, Message, Text
from llmhub_core.contracts.chat_response import (
    Event,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    Started,
    Used,
)
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.operations import CHAT
from llmhub_core.contracts.usage import Usage, tokens_of_bytes

GO_ON = (
    "Your answer above was cut off. Continue it exactly where it stopped, with the very next character. "
    "Repeat nothing, add no introduction and no remark about the interruption."
)


class Continuation:
    """Sees every event of a stream on its way to the caller (`look`), and knows whether the rest may come from
    somewhere else (`possible`): text was shown, and nothing but text and complete thoughts."""

    def __init__(self, request: ChatRequest, exchange: Exchange) -> None:
        self.encoder = exchange.dialect.response_encoder(request)
        self.times = 0
        self._request = request
        self._usage = Usage()
        self._text: list[str] = []
        self._kinds: list[str] = []  # of the parts that the caller knows, by index
        self._open: int | None = None
        self._over = False
        self._places: dict[int, int] = {}  # of the parts of the present answer, the index that the caller knows

    @classmethod
    def of(cls, exchange: Exchange) -> Continuation | None:
        """For a request whose answer is one stream of free text; None for others."""
        head = exchange.head
        if not (head.stream and head.operation == CHAT and head.n == 1 and exchange.dialect.translates):
            return None
        request = exchange.request
        wanted = request.sampling.answer_format
        return cls(request, exchange) if wanted is None or wanted.kind == "text" else None

    @property
    def shown(self) -> str:
        """The text that the caller has read."""
        return "".join(self._text)

    @property
    def possible(self) -> bool:
        """Whether somebody else can go on from here."""
        if self._over or not self._text or any(kind not in ("text", "reasoning") for kind in self._kinds):
            return False
        return self._open is None or self._kinds[self._open] == "text"

    def resume(self, exchange: Exchange) -> None:
        """The next attempt goes on with what was shown. What the one before used is kept for the sum."""
        self._usage = self.used(exchange)
        self.times += 1
        self._places = {}
        sampling, shown = self._request.sampling, self.shown
        if sampling.max_output is not None:
            left = max(1, sampling.max_output - tokens_of_bytes(len(shown.encode("utf-8", "replace"))))
            sampling = replace(sampling, max_output=left)
        more = (Message("assistant", (Text(shown),)), Message("user", (Text(GO_ON),)))
        exchange.replace_request(replace(self._request, messages=self._request.messages + more, sampling=sampling))
        exchange.usage, exchange.output_bytes = None, 0

    def used(self, exchange: Exchange) -> Usage:
        """What all attempts used so far, the present one included: as it was said, else estimated."""
        usage = exchange.usage
        if usage is None:
            sent, written = tokens_of_bytes(len(exchange.body)), tokens_of_bytes(exchange.output_bytes)
            usage = self._sum(Usage(sent, written, estimated=True))
        return usage

    def _sum(self, usage: Usage) -> Usage:
        before = self._usage
        fields = {name: getattr(before, name) + getattr(usage, name) for name in Usage.__struct_fields__}
        fields["estimated"] = before.estimated or usage.estimated
        return msgspec.structs.replace(usage, **fields)

    def mark(self, deployment: Deployment | None) -> bytes:
        """The comment at the seam of a stream of events, which clients pass over; b"" where the framing has none."""
        if self._request.framing != "sse":
            return b""
        who = f" by {deployment.provider}/{deployment.model}" if deployment is not None else ""
        return f": x-llmhub continued{who} after {len(self.shown)} characters\n\n".encode("ascii", "replace")

    def look(self, event: Event) -> Iterable[Event]:
        """An event as the caller gets it: of a continued answer, the parts follow those that are known already."""
        if isinstance(event, PartDelta):
            place = self._places.get(event.index)
            if place is None:
                return ()
            if self._kinds[place] == "text":
                self._text.append(event.text)
            return (event,) if place == event.index else (PartDelta(place, event.text),)
        if isinstance(event, PartStarted):
            return self._begin(event)
        if isinstance(event, PartEnded):
            place = self._places.get(event.index)
            if place is None:
                return ()
            self._open = None
            return (replace(event, index=place),)
        if isinstance(event, Started):
            return () if self.times else (event,)
        if isinstance(event, Used):
            return (Used(self._sum(event.usage)),) if self.times else (event,)
        if isinstance(event, Finished):
            self._over = True
            return (*self._end(), event)
        return (event,)

    def _begin(self, event: PartStarted) -> Iterable[Event]:
        if self.times and event.kind == "reasoning":
            return ()  # thoughts about how to go on are no part of the answer
        if self._open is not None and event.kind == "text":
            self._places[event.index] = self._open
            return ()
        ended = self._end()
        self._open = self._places[event.index] = len(self._kinds)
        self._kinds.append(event.kind)
        return (*ended, replace(event, index=self._open))

    def _end(self) -> tuple[Event, ...]:
        """The end of the part that broke off, if it stands open still."""
        if self._open is None:
            return ()
        ended = PartEnded(self._open)
        self._open = None
        return (ended,)
