"""What a page is: its path, who may see it, and what shows it. Each room of pages lists its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from llmhub_core.admin.doors import Visit
from llmhub_core.contracts.people import UserRole

Show = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Page:
    """`role` is the least that is needed; None: anybody, signed in or not."""

    method: str
    path: str
    role: UserRole | None
    show: Show


def go(path: str) -> web.Response:
    """After a form was sent: the page that follows, by GET."""
    return web.Response(status=303, headers={"location": path})


def inside(path: str) -> str:
    """`path` if it leads to a page of ours, else the first page. Browsers read a backslash as a slash and skip tabs."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"
