"""Templates and assets, found in the installed packages."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web

from llmhub_core.admin.doors import Visit
from llmhub_core.dashboard.charts import share
from llmhub_core.dashboard.words import FILTERS

NAVIGATION = (
    ("/", "Overview"),
    ("/requests", "Requests"),
    ("/usage", "Usage"),
    ("/keys", "Keys and quotas"),
    ("/health", "Health"),
    ("/plugins", "Plugins"),
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file; its path holds the hash of its bytes, so that it can be cached for ever."""

    path: str
    media_type: str
    body: bytes


def load_assets() -> dict[str, Asset]:
    """All static files by name. Served from this table and not from a folder, so that nothing else can be."""
    assets = {}
    for entry in files("llmhub_static").iterdir():
        media_type, _ = mimetypes.guess_type(entry.name)
        if not entry.is_file() or entry.name.endswith(".py") or media_type is None:
            continue
        body = entry.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:12]
        assets[entry.name] = Asset(f"/static/{digest}/{entry.name}", media_type, body)
    return assets


def set_up_templates(app: web.Application, assets: dict[str, Asset]) -> None:
    aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(str(files("llmhub_templates"))),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment = aiohttp_jinja2.get_env(app)
    environment.filters.update(FILTERS)
    environment.globals.update(asset=lambda name: assets[name].path, share=share, navigation=NAVIGATION)


def render(visit: Visit, template: str, facts: dict[str, Any], status: int = 200) -> web.Response:
    """A page, with what every page needs: who is there, where they are, the token for forms."""
    path = visit.request.path
    who = visit.who
    common = {
        "who": None if who is None else who.user,
        "csrf": "" if who is None else who.csrf,
        "here": path,
        "may_change": visit.may("admin"),
        "token": visit.control.hub.settings.auth.api == "token",
    }
    return aiohttp_jinja2.render_template(template, visit.request, {**common, **facts}, status=status)
