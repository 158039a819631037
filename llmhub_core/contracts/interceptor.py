"""Sees a request before it leaves, and what comes back before it arrives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from llmhub_core.contracts.chat_request import ChatRequest
from llmhub_core.contracts.chat_response import ChatResponse, Event
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.plugin import Plugin

Sight = Literal["request", "event", "response"]


class Interceptor(Plugin):
    """`sees` says which methods are called; nothing else is. What it declares decides the lane: "event" and
    "response" translate the way back, and "response" holds a stream back until it is whole.
    An interceptor that raises a HubError refuses the exchange with it; any other error is a 500."""

    sees: ClassVar[frozenset[Sight]] = frozenset()

    async def request(self, exchange: Exchange) -> ChatRequest | ChatResponse | None:
        """Another request to send instead, or an answer at once (no provider is called); None leaves it as it is."""
        return None

    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        """What goes on instead of `event`. Called for each; must not wait."""
        return (event,)

    async def response(self, exchange: Exchange, response: ChatResponse) -> ChatResponse:
        """The whole answer, before the caller sees any of it."""
        return response
