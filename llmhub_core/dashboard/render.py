"""Templates and assets, found in the installed packages."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib.resources import files

import aiohttp_jinja2
import jinja2
from aiohttp import web

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "server": "llm-hub",
}


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
        undefined=jinja2.StrictUndefined,
    )
    aiohttp_jinja2.get_env(app).globals["asset"] = lambda name: assets[name].path
