"""Before anybody is signed in: the front door, signing in and out, the first owner; and the choice of colours."""

from __future__ import annotations

from aiohttp import web

from llmhub_core import __version__
from llmhub_core.admin import api
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied
from llmhub_core.dashboard.page import Page, go, inside
from llmhub_core.dashboard.render import THEME, THEMES, render
from llmhub_core.dashboard.traffic import overview


async def overview_or_home(visit: Visit) -> web.Response:
    if visit.who is not None:
        return await overview(visit)
    return await render(visit, "home.html", {"origin": visit.control.origin(visit.request), "version": __version__})


async def sign_in_form(visit: Visit) -> web.Response:
    visit.control.people  # noqa: B018 — says so if there can be none
    if visit.who is not None:
        return go("/")
    return await _sign_in(visit, visit.request.query.get("next", ""))


async def _sign_in(visit: Visit, then: str, denied: Denied | None = None, name: str = "") -> web.Response:
    facts = {"then": inside(then), "denied": denied, "name": name}
    response = await render(visit, "sign-in.html", facts, status=200 if denied is None else denied.status)
    if denied is not None and denied.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(denied.retry_after)))
    return response


async def sign_in(visit: Visit) -> web.Response:
    name, then = visit.text("name"), visit.text("next")
    visit.control.people  # noqa: B018
    try:
        user = await visit.control.accounts.sign_in(name, visit.text("password"), visit.address)
    except Denied as denied:
        return await _sign_in(visit, then, denied, name[:256])
    await api.begin_session(visit, user)
    return go(inside(then))


async def sign_out(visit: Visit) -> web.Response:
    await api.sign_out(visit, api.Nothing())
    return go("/sign-in")


async def setup_form(visit: Visit) -> web.Response:
    visit.control.people  # noqa: B018
    secret = visit.request.query.get("secret", "")
    opened = bool(secret) and await visit.control.accounts.setup_open(secret)
    return await _setup(visit, secret, opened)


async def _setup(visit: Visit, secret: str, opened: bool, denied: Denied | None = None, name: str = "") -> web.Response:
    facts = {"secret": secret, "open": opened, "denied": denied, "name": name}
    status = (200 if opened else 403) if denied is None else denied.status
    return await render(visit, "setup.html", facts, status)


async def set_up(visit: Visit) -> web.Response:
    secret, name = visit.text("secret"), visit.text("name")
    visit.control.people  # noqa: B018
    try:
        if visit.text("password") != visit.text("again"):
            raise Denied(400, "not_equal", "The two passwords are not equal.", "Type the same one twice.")
        owner = await visit.control.accounts.set_up(secret, name, visit.text("password"), visit.address)
    except Denied as denied:
        return await _setup(visit, secret, denied.code != "setup_closed", denied, name[:64])
    await api.begin_session(visit, owner)
    return go("/setup/key")


async def choose_theme(visit: Visit) -> web.Response:
    """Kept by the browser alone; whoever is there, nobody else is concerned."""
    chosen, response = visit.text("theme"), go(inside(visit.text("next")))
    lasting = 365 * 86_400 if chosen in THEMES else 0
    response.set_cookie(THEME, chosen if lasting else "", max_age=lasting, path="/", httponly=True, samesite="Lax")
    return response


PAGES = (
    Page("GET", "/", None, overview_or_home),
    Page("GET", "/sign-in", None, sign_in_form),
    Page("POST", "/sign-in", None, sign_in),
    Page("POST", "/sign-out", "viewer", sign_out),
    Page("GET", "/setup", None, setup_form),
    Page("POST", "/setup", None, set_up),
    Page("POST", "/theme", "viewer", choose_theme),
)
