"""Answers on their way out, held on to for operators who want to read them later."""

from __future__ import annotations

from llmhub_core.gateway.incoming import Incoming
from llmhub_core.gateway.reply import Headers, Reply
from llmhub_core.hub.bodies import BodyKeeper, Note


class NotedReply(Reply):
    """As it was written; what could not be written is not noted either."""

    def __init__(self, request: Incoming, note: Note) -> None:
        super().__init__(request)
        self._note = note

    async def send(self, status: int, content_type: str, body: bytes, headers: Headers) -> None:
        try:
            await super().send(status, content_type, body, headers)
        finally:
            if self._done:
                self._note.answer(content_type, body)

    def begin(self, content_type: str, headers: Headers, first: bytes) -> bool:
        keeps_up = super().begin(content_type, headers, first)
        self._note.begin(content_type, first)
        return keeps_up

    def put(self, piece: bytes) -> bool:
        keeps_up = super().put(piece)
        self._note.piece(piece)
        return keeps_up


def noted(request: Incoming, bodies: BodyKeeper) -> Reply:
    """A reply that is noted, if this exchange is one of those that are kept."""
    note = bodies.begin(request.exchange)
    return Reply(request) if note is None else NotedReply(request, note)
