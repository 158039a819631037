"""What a page is: its path, who may see it, and what shows it. Each room of pages lists its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from llmhub_core.admin.doors import MOST_BODY, Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.people import UserRole

Show = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Page:
    """`role` is the least that is needed; None: anybody, signed in or not. Of a form `most` bytes are read."""

    method: str
    path: str
    role: UserRole | None
    show: Show
    most: int = MOST_BODY


def go(path: str) -> web.Response:
    """After a form was sent: the page that follows, by GET."""
    return web.Response(status=303, headers={"location": path})


def inside(path: str) -> str:
    """`path` if it leads to a page of ours, else the first page. Browsers read a backslash as a slash and skip tabs."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent in vain, and why: the page shows it again, with the fault beside its field. `names` are the fields
    of this form that a call names otherwise. Secrets are never shown again: the template leaves them out."""

    sent: Mapping[str, Any] = field(default_factory=dict)
    denied: Denied | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return 200 if self.denied is None else self.denied.status

    @property
    def above(self) -> Denied | None:
        """What belongs to no field."""
        return None if self.denied is None or self.denied.field else self.denied

    def value(self, name: str, otherwise: str = "") -> str:
        return str(self.sent.get(name, otherwise))

    def fault(self, name: str) -> str:
        denied = self.denied
        if denied is not None and name in denied.faults:
            return denied.faults[name]
        if denied is None or not denied.field or self.names.get(denied.field, denied.field) != name:
            return ""
        return f"{denied.message} {denied.advice}".strip()


NOTHING_SENT = Form()
