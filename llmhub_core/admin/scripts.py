"""Admin tokens: what scripts present to the admin API instead of a session."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

from llmhub_core.admin.calls import Asked, Endpoint, Nothing, taken
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.lists import FindAsked, fitting, page
from llmhub_core.admin.refusals import Denied, forbidden, no_such, not_found, unusable
from llmhub_core.admin.sessions import digest_of
from llmhub_core.admin.views import AdminTokenView, Done, MadeAdminToken, Page
from llmhub_core.contracts.people import USER_ROLES, AdminToken, User, UserRole
from llmhub_core.hub.minted import ADMIN_PREFIX, mint

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_LASTS = re.compile(r"(\d{1,5})\s*(h|d|w)")
_UNITS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}


class AdminTokensAsked(FindAsked, kw_only=True):
    user: str | None = None
    role: UserRole | None = None


class NewAdminToken(Asked, kw_only=True):
    """`lasts` is a time such as 12h, 90d or 4w, or never."""

    name: str
    role: UserRole = "viewer"
    lasts: str = "90d"


def made(sent: NewAdminToken, user: User | None) -> tuple[AdminToken, str]:
    """The token as it rests, and itself; Denied for what it cannot be, or `user` may not make (None: the host)."""
    if not _NAME.fullmatch(sent.name):
        what = "A token's name has 1 to 64 letters, digits or any of . - _, and begins with neither."
        raise unusable(what, field="name")
    if user is not None and USER_ROLES.index(sent.role) > USER_ROLES.index(user.role):
        raise forbidden(sent.role)
    text, now = mint(ADMIN_PREFIX), time.time()
    token = AdminToken(
        id=f"adt_{secrets.token_hex(12)}",
        name=sent.name,
        digest=digest_of(text),
        hint=text[-4:],
        role=sent.role,
        user_id="" if user is None else user.id,
        created_at=now,
        until=_until(sent.lasts, now),
    )
    return token, text


def _until(lasts: str, now: float) -> float:
    return 0.0 if lasts.strip() == "never" else now + seconds(lasts)


def seconds(text: str) -> float:
    """Of a time such as 12h, 90d or 4w; Denied if it is none."""
    found = _LASTS.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise unusable(f"{text[:32]!r} is no time.", "Write one such as 12h, 90d or 4w.")
    return float(found[1]) * _UNITS[found[2]]


def name_taken(name: str) -> Denied:
    message = f"There is a token {name} already."
    return Denied(409, "name_taken", message, "Take another name, or revoke that one.", field="name")


async def admin_tokens(visit: Visit) -> list[AdminTokenView]:
    """One's own; an owner sees everybody's."""
    names = {user.id: user.name for user in await visit.control.people.users()}
    found = await visit.control.people.admin_tokens()
    return [_view(token, names) for token in found if _mine(visit, token)]


async def add(visit: Visit, sent: NewAdminToken) -> MadeAdminToken:
    user = visit.person()
    token, text = made(sent, user)
    if not await visit.control.people.add_admin_token(token):
        raise name_taken(sent.name)
    facts = {"role": token.role, "until": token.until}
    await visit.control.accounts.note(visit.actor, visit.address, "admin_token.add", token.name, after=facts)
    return MadeAdminToken(**_facts(token), user=user.name, token=text)


async def revoke(visit: Visit, id: str) -> Done:
    token = next((each for each in await visit.control.people.admin_tokens() if each.id == id), None)
    if token is None or not _mine(visit, token):
        raise not_found("admin token of that id")
    await visit.control.people.remove_admin_token(id)
    facts = {"role": token.role, "until": token.until}
    await visit.control.accounts.note(visit.actor, visit.address, "admin_token.revoke", token.name, before=facts)
    return Done()


def _mine(visit: Visit, token: AdminToken) -> bool:
    return _sees(visit, token.user_id)


def _sees(visit: Visit, user_id: str) -> bool:
    """Whether the tokens of that user are a matter of whoever asks."""
    who = visit.who
    return who is not None and (who.user.role == "owner" or (who.user.id == user_id != ""))


def _facts(token: AdminToken) -> dict[str, Any]:
    """All but the digest."""
    own = ("id", "name", "hint", "role", "created_at")
    ends = {"until": token.until or None, "used_at": token.used_at or None}
    return {name: getattr(token, name) for name in own} | ends


def _view(token: AdminToken, names: dict[str, str]) -> AdminTokenView:
    return AdminTokenView(**_facts(token), user=names.get(token.user_id, ""))


async def _list(visit: Visit, asked: AdminTokensAsked) -> Page[AdminTokenView]:
    if asked.user is not None:
        names = [user.name for user in await visit.control.people.users() if _sees(visit, user.id)]
        if asked.user not in names:
            raise no_such("user", asked.user, names)
    return await page(await admin_tokens(visit), asked, lambda each: (each.name,), fitting(asked, "name"))


async def _add(visit: Visit, asked: Nothing) -> MadeAdminToken:
    return await add(visit, taken(visit.sent, NewAdminToken))


async def _revoke(visit: Visit, asked: Nothing) -> Done:
    return await revoke(visit, visit.part("id"))


ENDPOINTS = (
    Endpoint(
        "GET", "/admin-tokens", "viewer", _list, Page[AdminTokenView],
        "Your tokens for scripts; an owner sees everybody's.", AdminTokensAsked,
    ),
    Endpoint(
        "POST", "/admin-tokens", "viewer", _add, MadeAdminToken,
        "Make a token for scripts, with your rights or less. It is shown once.", sent=NewAdminToken,
    ),
    Endpoint("DELETE", "/admin-tokens/{id}", "viewer", _revoke, Done, "Revoke a token for scripts."),
)  # fmt: skip
