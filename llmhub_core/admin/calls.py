"""What a call of the admin API is, and how what was sent becomes its types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from llmhub_core.admin.doors import MOST_BODY, Visit
from llmhub_core.admin.refusals import unusable
from llmhub_core.contracts.people import UserRole

T = TypeVar("T")

Call = Callable[[Visit, Any], Awaitable[Any]]


class Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a query or a body may say; what it does not know is refused."""


class Nothing(Asked):
    """A call that takes nothing in its query."""


class ListAsked(Asked, kw_only=True):
    """A list that is short enough to come at once."""

    format: str = "json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`asked` is the type of the query, `sent` that of the body (with `may_be_empty` there need be none; `most`
    bytes of it are taken), `answer` that of the answer (None: it streams)."""

    method: str
    path: str
    role: UserRole | None
    call: Call
    answer: Any
    help: str
    asked: type[msgspec.Struct] = Nothing
    sent: Any = None
    may_be_empty: bool = False
    most: int = MOST_BODY

    @property
    def repeatable(self) -> bool:
        """Whether an Idempotency-Key is heeded: acts of somebody who is known."""
        return self.method == "POST" and self.role is not None


def query(request: web.Request, kind: type[Any]) -> Any:
    """The query as its type; Denied with what it may hold."""
    try:
        return msgspec.convert({name: value for name, value in request.query.items() if value}, kind, strict=False)
    except msgspec.ValidationError as error:
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise unusable(f"The query cannot be used: {error}", f"It may have: {fields or 'nothing'}.") from None


def taken(sent: Any, kind: type[T]) -> T:
    """The body as its type; Denied if it is not."""
    try:
        return msgspec.convert(sent, kind)
    except msgspec.ValidationError as error:
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))  # type: ignore[arg-type]
        raise unusable(f"The body cannot be used: {error}", f"Send a JSON object with {fields}.") from None
