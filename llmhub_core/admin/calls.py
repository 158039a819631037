"""What a call of the admin API is, and how what was sent becomes its types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from aiohttp import web

from llmhub_core.admin.doors import MOST_BODY, Visit
from llmhub_core.admin.refusals import no_such, unusable
from llmhub_core.contracts.people import UserRole

T = TypeVar("T")

Call = Callable[[Visit, Any], Awaitable[Any]]


class Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a query or a body may say; what it does not know is refused."""


class Nothing(Asked):
    """A call that takes nothing in its query."""


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
    return asked_for(request.query, kind)


def asked_for(said: Mapping[str, str], kind: type[Any]) -> Any:
    asked = {name: value for name, value in said.items() if value}
    try:
        return msgspec.convert(asked, kind, strict=False)
    except msgspec.ValidationError as error:
        fields = msgspec.structs.fields(kind)
        for field in fields:
            words, value = _words(field.type), asked.get(field.encode_name)
            if words and value is not None and value not in words:
                raise no_such(field.encode_name, value, words) from None
        names = ", ".join(field.encode_name for field in fields)
        raise unusable(f"The query cannot be used: {error}", f"It may have: {names or 'nothing'}.") from None


def _words(kind: Any) -> set[str]:
    """Those that a field may hold, if it takes no others."""
    if get_origin(kind) is Literal:
        return {word for word in get_args(kind) if word}
    return set().union(*map(_words, get_args(kind)))


def taken(sent: Any, kind: type[T]) -> T:
    """The body as its type; Denied if it is not."""
    try:
        return msgspec.convert(sent, kind)
    except msgspec.ValidationError as error:
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))  # type: ignore[arg-type]
        raise unusable(f"The body cannot be used: {error}", f"Send a JSON object with {fields}.") from None
