"""Sessions on the server's side: the browser holds a random id, the store its digest, who it is and since when."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web
from aiohttp_session import AbstractStorage, Session

from llmhub_core.contracts.people import USER_ROLES, AdminToken, PeopleStore, SignedIn, User

IDLE = 30 * 60.0
ABSOLUTE = 12 * 3600.0
NOTED_EVERY = 60.0
"""Seconds: how exactly it is known when a session was last used."""


WHO = web.RequestKey("llmhub_who", object)

FindSessions = Callable[[Sequence[str]], Awaitable[Sequence[tuple[SignedIn, User] | None]]]


@dataclass(frozen=True, slots=True)
class Who:
    """The signed-in user of a request, with the token that pages of this session put into their forms, and when it was
    last noted as used. A script that presents an admin token (`token`) is its user with the rights of both; `ends_at`
    inf for one without an end."""

    user: User
    csrf: str
    ends_at: float
    token: AdminToken | None = None
    seen_at: float = 0.0


def digest_of(identity: str) -> str:
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()


async def who_presents(people: PeopleStore, token: str) -> Who | None:
    """Whoever an admin token stands for; None for one that is unknown, too old, or whose user may not come any more."""
    found = await people.find_admin_token(digest_of(token))
    if found is None:
        return None
    known, user = found
    ends_at = known.until or float("inf")
    if ends_at <= time.time() or (user is not None and user.disabled):
        return None
    if user is None:  # made on the host
        user = User("", f"token:{known.name}", known.role, "", known.created_at)
    role = min(known.role, user.role, key=USER_ROLES.index)
    return Who(replace(user, role=role), "", ends_at, known)


class Sessions(AbstractStorage):
    """aiohttp-session's storage over the metadata store. `secure` where browsers come by HTTPS. Sessions are looked up,
    by their digests, with `find`."""

    def __init__(self, people: PeopleStore, secure: bool, find: FindSessions) -> None:
        # A __Host- cookie can be set by no other host and over no plain connection; browsers refuse it on the latter.
        name = "__Host-llmhub" if secure else "llmhub"
        super().__init__(cookie_name=name, httponly=True, secure=secure or None, samesite="Lax", path="/")
        self._people = people
        self._find = find

    async def load_session(self, request: web.Request) -> Session:
        """The session of the cookie if it is known, young enough and its user may still come; else a new, empty one."""
        identity = self.load_cookie(request)
        found = await self.find(identity) if identity else None
        if found is None:
            return await self.new_session()
        kept, user = found
        request[WHO] = Who(user, str(json.loads(kept.data).get("csrf", "")), _end(kept), seen_at=kept.seen_at)
        data: Any = {"created": int(kept.created_at), "session": json.loads(kept.data)}
        return Session(identity, data=data, new=False)

    async def find(self, identity: str) -> tuple[SignedIn, User] | None:
        return (await self._find_all([identity]))[0]

    async def _find_all(self, identities: Sequence[str]) -> list[tuple[SignedIn, User] | None]:
        found, now = await self._find([*map(digest_of, identities)]), time.time()
        return [None if each is None or each[1].disabled or _end(each[0]) <= now else each for each in found]

    async def used(self, who: Who, identity: str) -> None:
        """Put the end of an idle session off."""
        if time.time() - who.seen_at > NOTED_EVERY:
            await self._people.touch_session(digest_of(identity), time.time())

    async def present(self, those: Sequence[tuple[Who, str]]) -> list[bool]:
        """Whether they, who were let in (with these ids, or admin tokens), would be let in now."""
        found = iter(await self._find_all([identity for who, identity in those if who.token is None]))
        return [
            next(found) is not None if who.token is None else await self._present(who, who.token) for who, _ in those
        ]

    async def _present(self, who: Who, token: AdminToken) -> bool:
        found = await self._people.find_admin_token(token.digest)
        return found is not None and who.ends_at > time.time() and not (found[1] is not None and found[1].disabled)

    async def token_used(self, token: AdminToken) -> None:
        if time.time() - token.used_at > NOTED_EVERY:
            await self._people.touch_admin_token(token.id, time.time())

    async def begin(self, user: User) -> Session:
        """A session for somebody who has just proved who they are: always under a new id."""
        session = await self.new_session()
        session.set_new_identity(secrets.token_urlsafe(32))
        session["csrf"] = secrets.token_urlsafe(32)
        session["user"] = user.id
        session["verifier"] = user.verifier
        await self._people.forget_sessions(time.time() - ABSOLUTE, time.time() - IDLE)
        return session

    async def end(self, identity: str) -> None:
        await self._people.end_session(digest_of(identity))

    def ends(self) -> float:
        """When a session that begins now ends, unless it is used."""
        return time.time() + min(IDLE, ABSOLUTE)

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Keep a new session and hand out its id; an invalidated one ends, here and in the browser."""
        if session.empty:
            identity = self.load_cookie(request)
            if identity:
                await self._people.end_session(digest_of(identity))
            # By hand: aiohttp's del_cookie knows neither Secure nor HttpOnly, and a __Host- cookie needs the first.
            response.set_cookie(self.cookie_name, "", max_age=0, **_attributes(self.cookie_params))
            return
        now = time.time()
        data = json.dumps({"csrf": session["csrf"]})
        kept = SignedIn(digest_of(str(session.identity)), session["user"], data, now, now)
        await self._people.keep_session(kept)
        # A new password ends the sessions that are there; one that was proved by the old password meanwhile, and comes
        # to be there only now, ends itself.
        found = await self._people.find_session(kept.digest)
        if found is None or found[1].verifier != session["verifier"]:
            await self._people.end_session(kept.digest)
            return
        response.set_cookie(self.cookie_name, str(session.identity), **_attributes(self.cookie_params))


def _attributes(params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None and name != "max_age"}


def _end(session: SignedIn) -> float:
    return min(session.created_at + ABSOLUTE, session.seen_at + IDLE)
