"""The door of every route of the control plane: who may pass is said where the route is added, and nobody passes by.

A handler gets a `Visit`: a request whose sender, rights and origin are checked already. Decided is by the route that
matched, never by what a path looks like.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp_session import Session

from llmhub_core.admin.control import Control
from llmhub_core.admin.refusals import (
    Denied,
    bad_token,
    database_away,
    failed,
    forbidden,
    foreign,
    needs_person,
    not_signed_in,
    unusable,
)
from llmhub_core.admin.sessions import WHO, Who, who_presents
from llmhub_core.contracts.errors import HubError
from llmhub_core.contracts.people import USER_ROLES, User, UserRole
from llmhub_core.hub.minted import ADMIN_PREFIX
from llmhub_core.hub.watch import within

log = logging.getLogger("llmhub.admin")
T = TypeVar("T")

MOST_BODY = 64 * 1024
SAFE = ("GET", "HEAD")
LOOK_UP = 4.0
"""Seconds for finding out who somebody is; a little longer than it takes to know that the database is away."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not no-referrer: under it browsers send their own pages' forms with "Origin: null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "server": "llm-hub",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """`role` is the least that is needed; None: anybody, signed in or not. `form` is what a page sends, else JSON;
    an `idle` route does not count as being there; of a body `most` bytes are read."""

    role: UserRole | None
    form: bool = False
    idle: bool = False
    most: int = MOST_BODY


@dataclass(slots=True)
class Visit:
    request: web.Request
    control: Control
    session: Session
    who: Who | None
    sent: Mapping[str, Any] = field(default_factory=dict)
    """What a form or a JSON body said."""

    @property
    def address(self) -> str:
        return self.request.remote or ""

    @property
    def actor(self) -> str:
        """Who acts, as the audit has it: no user's name has a colon in it."""
        if self.who is None:
            return ""
        return self.who.user.name if self.who.token is None else f"token:{self.who.token.name}"

    def person(self) -> User:
        """Who is signed in; Denied for a script with a token, which cannot do what is a person's own."""
        if self.who is None:
            raise not_signed_in()
        if self.who.token is not None:
            raise needs_person()
        return self.who.user

    def is_self(self, user_id: str) -> bool:
        """Whether it is the session of that very user."""
        return self.who is not None and self.who.token is None and self.who.user.id == user_id

    def part(self, name: str) -> str:
        """A part of the path, as the route calls it."""
        return self.request.match_info[name]

    def may(self, role: UserRole) -> bool:
        return is_at_least(None if self.who is None else self.who.user, role)

    def text(self, name: str) -> str:
        """A field of the body; Denied if it is no text."""
        value = self.sent.get(name, "")
        if not isinstance(value, str):
            raise unusable(f"{name} must be a text.")
        return value


def is_at_least(user: User | None, role: UserRole) -> bool:
    return user is not None and USER_ROLES.index(user.role) >= USER_ROLES.index(role)


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]
Refuse = Callable[[Visit, Denied], Awaitable[web.Response]]


def guarded(control: Control, policy: Policy, handler: Handler, refuse: Refuse) -> Any:
    """A handler for aiohttp's router that lets pass who may; `refuse` writes the answer to everybody else."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        visit = Visit(request, control, Session(None, data=None, new=True), None)
        try:
            await _examine(visit, policy)
            response = await handler(visit)
        except Denied as denied:
            response = await refuse(visit, denied)
        except HubError as error:
            response = await refuse(
                visit, Denied(error.status, error.code, error.message, retry_after=error.retry_after)
            )
        except web.HTTPException:
            raise
        except Exception as error:
            # The text of an exception may hold what was sent or stored; its kind has to do.
            log.error("%s %s failed: %s", request.method, request.match_info.route.name, type(error).__name__)  # noqa: TRY400
            log.debug("in detail", exc_info=error)
            answers = await control.hub.configuration.store_answers()
            response = await refuse(visit, failed() if answers else database_away())
        if not response.prepared:
            response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
            if visit.session._changed:
                await control.sessions.save_session(request, response, visit.session)
        return response

    pass_on.policy = policy  # type: ignore[attr-defined]
    return pass_on


async def _examine(visit: Visit, policy: Policy) -> None:
    request, control = visit.request, visit.control
    token = "" if policy.form or control.hub.store.people is None else _presented(request)
    if token:
        # No page can make a browser send one, so where the request comes from and what it calls this hub are no matter.
        visit.who = await _known(control, who_presents(control.people, token))
        if visit.who is None:
            raise bad_token()
        await _permit(visit, policy)
        if request.method not in SAFE:
            visit.sent = await _read(request, policy)
        return
    if not control.origin(request):
        raise Denied(
            421, "unknown_address", "The dashboard does not know this address as its own.",
            "Whoever runs the hub sets public_url in config.toml to the address that browsers use, such as "
            "https://hub.example.com; on the machine itself it opens by localhost.",
        )  # fmt: skip
    if control.hub.store.people is not None:
        visit.session = await _known(control, control.sessions.load_session(request))
    who = request.get(WHO)
    visit.who = who if isinstance(who, Who) else None
    await _permit(visit, policy)
    if request.method not in SAFE:
        _same_origin(visit)
        visit.sent = await _read(request, policy)
        if visit.who is not None:
            token = visit.text("csrf") if policy.form else request.headers.get("x-csrf-token", "")
            if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), visit.who.csrf.encode()):
                raise foreign()


async def _known(control: Control, looking: Coroutine[Any, Any, T]) -> T:
    """What the database knows of whoever comes: nobody waits for one that is away, or longer than it takes to know."""
    if control.hub.configuration.store_away:
        looking.close()
        raise database_away()
    return await within(LOOK_UP, looking)


def _presented(request: web.Request) -> str:
    """An admin token; "" if there is none. What else is in that header may be a proxy's, and is none of ours."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith(ADMIN_PREFIX) else ""


async def _permit(visit: Visit, policy: Policy) -> None:
    if policy.role is None:
        return
    request, sessions = visit.request, visit.control.sessions
    if visit.who is None:
        raise not_signed_in()
    if not visit.may(policy.role):
        await visit.control.accounts.note(
            visit.actor, visit.address, "forbidden", f"{request.method} {request.match_info.route.name}", "refused"
        )
        raise forbidden(policy.role)
    if policy.idle:
        return
    if visit.who.token is None:
        await sessions.used(visit.who, str(visit.session.identity))
    else:
        await sessions.token_used(visit.who.token)


def _same_origin(visit: Visit) -> None:
    """Browsers tell where a request comes from. One that tells nothing is no browser: it may send JSON, which no page
    of a stranger can without being asked first, but no form."""
    headers, own = visit.request.headers, visit.control.origin(visit.request)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise foreign()
    if origin not in (None, "null", own) or (origin == "null" and site is None):
        raise foreign()
    if origin is None and site is None and visit.request.content_type != "application/json":
        raise foreign()


async def _read(request: web.Request, policy: Policy) -> Mapping[str, Any]:
    form = policy.form
    expected = "application/x-www-form-urlencoded" if form else "application/json"
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > policy.most:
            raise Denied(413, "request_too_large", "The body is larger than anything that is sent here.")
    if not body:
        return {}
    if request.content_type != expected:
        raise Denied(415, "unsupported_media_type", f"The body must be {expected}.")
    try:
        value = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)) if form else json.loads(body)
    except (ValueError, RecursionError):
        raise unusable("The body cannot be read.", f"Send {expected} in UTF-8.") from None
    if not isinstance(value, dict):
        raise unusable("The body must be a JSON object.")
    return value
