"""Templates and assets, found in the installed packages, and what every page is drawn with."""

from __future__ import annotations

import hashlib
import mimetypes
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp_jinja2
import jinja2
from aiohttp import web

from llmhub_core.admin.doors import Visit, is_at_least
from llmhub_core.admin.slices import gathered
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.people import UserRole
from llmhub_core.dashboard.charts import share
from llmhub_core.dashboard.compiled import kept_in
from llmhub_core.dashboard.page import inside
from llmhub_core.dashboard.words import FILTERS

Entry = tuple[str, str, str, UserRole]
"""Path, name, picture (in parts.html) and the role from which on it is shown."""

NAVIGATION: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Traffic",
        (
            ("/", "Overview", "home", "viewer"),
            ("/requests", "Requests", "list", "viewer"),
            ("/usage", "Usage", "chart", "viewer"),
        ),
    ),
    (
        "Routing",
        (
            ("/providers", "Providers", "cloud", "viewer"),
            ("/keys", "Keys", "key", "viewer"),
            ("/quotas", "Quotas", "gauge", "viewer"),
            ("/routes", "Routes", "route", "viewer"),
            ("/tokens", "Tokens", "ticket", "viewer"),
        ),
    ),
    (
        "This hub",
        (
            ("/health", "Health", "pulse", "viewer"),
            ("/alerts", "Alerts", "bell", "viewer"),
            ("/plugins", "Plugins", "plug", "viewer"),
            ("/settings", "Settings", "gear", "admin"),
            ("/users", "Users", "people", "owner"),
            ("/audit", "Audit", "scroll", "admin"),
            ("/fault-lab", "Fault lab", "flask", "owner"),
        ),
    ),
)  # fmt: skip

OPTIONS: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
"""What templates are compiled with."""

THEMES = ("light", "dark")
THEME = "theme"
"""The cookie in which the choice of colours rests, so that the server draws the right ones at once."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file; its path holds the hash of its bytes, so that it can be cached for ever."""

    path: str
    media_type: str
    body: bytes


@cache
def load_assets() -> dict[str, Asset]:
    """All static files by name; the libraries in vendor/ and the rooms of css/ or js/ as one file each, in their order.
    Served from this table and not from a folder, so that nothing else can be."""
    folder = files("llmhub_static")
    found = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    for kind in ("css", "js"):
        libraries = [file for library in _sorted(folder / "vendor") if library.is_dir() for file in _sorted(library)]
        rooms = [*(file for file in libraries if file.name.endswith(f".{kind}")), *_sorted(folder / kind)]
        found[f"hub.{kind}"] = b"\n".join(room.read_bytes() for room in rooms)
    assets = {}
    for name, body in found.items():
        media_type, _ = mimetypes.guess_type(name)
        if name.endswith(".py") or media_type is None:
            continue
        digest = hashlib.sha256(body).hexdigest()[:12]
        assets[name] = Asset(f"/static/{digest}/{name}", media_type, body)
    return assets


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda entry: entry.name)


@cache
def templates() -> jinja2.Environment:
    """Of no application: pages are also made where none is."""
    folder = Path(str(files("llmhub_templates")))
    environment = aiohttp_jinja2.setup(
        web.Application(),
        loader=jinja2.FileSystemLoader(folder),
        bytecode_cache=kept_in(folder, OPTIONS),
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        **OPTIONS,
    )
    assets = load_assets()
    environment.filters.update(FILTERS)
    environment.globals.update(asset=lambda name: assets[name].path, share=share, navigation=NAVIGATION)
    return environment


async def render(visit: Visit, template: str, facts: dict[str, Any], status: int = 200) -> web.Response:
    """A page that shows these facts."""
    return await render_gathered(visit, template, _these, facts, status=status)


async def _these(store: MetadataStore, facts: dict[str, Any]) -> dict[str, Any]:
    return facts


async def render_gathered(
    visit: Visit, template: str, gather: Callable[..., Awaitable[dict[str, Any]]], *asked: Any, status: int = 200
) -> web.Response:
    """A page that shows what `gather` (a function of its module) makes of the store and of what is `asked`: that may
    happen in another process."""
    body = await visit.control.page_process.run(_draw, template, _common(visit), gather, asked)
    return web.Response(body=body, status=status, content_type="text/html", charset="utf-8")


def _common(visit: Visit) -> dict[str, Any]:
    """What every page needs: who is there, where they are, the token for forms."""
    who = visit.who
    theme = visit.request.cookies.get(THEME, "")
    return {
        "who": None if who is None else who.user,
        "csrf": "" if who is None else who.csrf,
        "here": visit.request.path,
        "here_in_full": _address(visit.request),
        "session_left": 0 if who is None else round(who.ends_at - time.time()),
        "theme": theme if theme in THEMES else "",
        "token": visit.control.hub.settings.auth.api == "token",
    }


async def _draw(
    store: MetadataStore,
    template: str,
    common: dict[str, Any],
    gather: Callable[..., Awaitable[dict[str, Any]]],
    asked: tuple[Any, ...],
) -> bytes:
    may = partial(is_at_least, common["who"])
    facts = {**common, "may": may, "may_change": may("admin"), **await gather(store, *asked)}
    pieces = templates().get_template(template).generate(facts)
    return "".join(await gathered(pieces)).encode()


def _address(request: web.Request) -> str:
    """Where this page can be asked for again. What answers a form cannot be: it is the page that the form was on."""
    if request.method == "GET":
        return request.path_qs
    before = urlsplit(request.headers.get("referer", ""))
    return inside(before.path + (f"?{before.query}" if before.query else ""))
