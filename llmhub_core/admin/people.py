"""Signing in and out, one's own password, and the users: the calls."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from llmhub_core.admin.calls import Asked, Endpoint, Nothing, taken
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.lists import FindAsked, fitting, page
from llmhub_core.admin.passwords import invented
from llmhub_core.admin.refusals import Denied, not_found, not_signed_in, unusable
from llmhub_core.admin.views import Done, MadePerson, Page, PersonView, SessionView, SetupView, UserView
from llmhub_core.contracts.people import User, UserRole


class SignIn(Asked, kw_only=True):
    name: str
    password: str


class SetUp(Asked, kw_only=True):
    secret: str
    name: str
    password: str


class SetUpAsked(Asked, kw_only=True):
    secret: str = ""


class NewPassword(Asked, kw_only=True):
    """One's own: the one that holds until now, and the new one."""

    password: str
    new: str


class NewUser(Asked, kw_only=True):
    """Without a `password` one is made, and shown in the answer."""

    name: str
    role: UserRole = "viewer"
    password: str = ""


class UserChange(Asked, kw_only=True):
    """What is not sent stays as it is."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    role: UserRole | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


class ResetPassword(Asked, kw_only=True):
    """Without a `password` one is made, and shown in the answer."""

    password: str = ""


class UsersAsked(FindAsked, kw_only=True):
    role: UserRole | None = None
    disabled: bool | None = None


# --- who is there


async def who_am_i(visit: Visit, asked: Nothing) -> SessionView:
    if visit.who is None:
        raise not_signed_in()
    user, ends_at = visit.who.user, visit.who.ends_at
    return SessionView(
        user=UserView(name=user.name, role=user.role),
        csrf=visit.who.csrf,
        ends_at=None if ends_at == float("inf") else ends_at,
    )


async def sign_in(visit: Visit, asked: Nothing) -> SessionView:
    sent = taken(visit.sent, SignIn)
    visit.control.people  # noqa: B018 — says so if there can be none
    user = await visit.control.accounts.sign_in(sent.name, sent.password, visit.address)
    return await begin_session(visit, user)


async def begin_session(visit: Visit, user: User) -> SessionView:
    """Under a new id; the one that the browser came with ends."""
    if visit.who is not None:
        await visit.control.sessions.end(str(visit.session.identity))
    visit.session = await visit.control.sessions.begin(user)
    return SessionView(
        user=UserView(name=user.name, role=user.role), csrf=visit.session["csrf"], ends_at=visit.control.sessions.ends()
    )


async def sign_out(visit: Visit, asked: Nothing) -> Done:
    visit.person()
    await visit.control.accounts.note(visit.actor, visit.address, "session.end", visit.actor)
    visit.session.invalidate()
    return Done()


async def setup_open(visit: Visit, asked: SetUpAsked) -> SetupView:
    visit.control.people  # noqa: B018
    return SetupView(open=bool(asked.secret) and await visit.control.accounts.setup_open(asked.secret))


async def set_up(visit: Visit, asked: Nothing) -> SessionView:
    sent = taken(visit.sent, SetUp)
    visit.control.people  # noqa: B018
    owner = await visit.control.accounts.set_up(sent.secret, sent.name, sent.password, visit.address)
    return await begin_session(visit, owner)


async def change_password(visit: Visit, sent: NewPassword) -> SessionView:
    """Every session of this user ends, and a new one begins here."""
    user = await visit.control.accounts.change_password(visit.person(), sent.password, sent.new, visit.address)
    return await begin_session(visit, user)


# --- the users


async def users(visit: Visit) -> list[PersonView]:
    return [PersonView(**_facts(user)) for user in await visit.control.people.users()]


async def find(visit: Visit, id: str) -> User:
    """Denied if there is nobody of that id."""
    for user in await visit.control.people.users():
        if user.id == id:
            return user
    raise not_found("user of that id")


async def user(visit: Visit, id: str) -> PersonView:
    return PersonView(**_facts(await find(visit, id)))


async def add(visit: Visit, sent: NewUser) -> MadePerson:
    password = sent.password or invented()
    made = await visit.control.accounts.add(sent.name, sent.role, password, visit.actor, visit.address)
    return MadePerson(**_facts(made), password=None if sent.password else password)


async def change(visit: Visit, id: str, sent: UserChange) -> PersonView:
    """Other rights are other sessions: those of that user end, and who changes oneself goes on in a new one."""
    wanted = {name: value for name, value in msgspec.structs.asdict(sent).items() if value is not msgspec.UNSET}
    if not wanted:
        raise unusable("There is nothing in the body that could be changed.", "Send name, role or disabled.")
    was = await find(visit, id)
    now = await visit.control.accounts.change(was, wanted, visit.actor, visit.address)
    if visit.is_self(id) and not now.disabled and (was.role, was.disabled) != (now.role, now.disabled):
        await begin_session(visit, now)
    return PersonView(**_facts(now))


async def reset(visit: Visit, id: str, sent: ResetPassword) -> MadePerson:
    """A new password for somebody, without the old one; all sessions of that user end."""
    was = await find(visit, id)
    if visit.is_self(id):
        raise Denied(
            409, "own_password", "This is your own password.", "Change it by POST /admin/api/session/password."
        )
    password = sent.password or invented()
    now = await visit.control.accounts.reset(was.name, password, visit.actor, visit.address)
    return MadePerson(**_facts(now), password=None if sent.password else password)


async def remove(visit: Visit, id: str) -> Done:
    await visit.control.accounts.remove(await find(visit, id), visit.actor, visit.address)
    return Done()


def _facts(user: User) -> dict[str, Any]:
    """All but the verifier."""
    return {name: getattr(user, name) for name in PersonView.__struct_fields__}


# --- as the API has them


async def _password(visit: Visit, asked: Nothing) -> SessionView:
    return await change_password(visit, taken(visit.sent, NewPassword))


async def _users(visit: Visit, asked: UsersAsked) -> Page[PersonView]:
    return await page(await users(visit), asked, lambda each: (each.name,), fitting(asked, "name"))


async def _user(visit: Visit, asked: Nothing) -> PersonView:
    return await user(visit, visit.part("id"))


async def _add(visit: Visit, asked: Nothing) -> MadePerson:
    return await add(visit, taken(visit.sent, NewUser))


async def _change(visit: Visit, asked: Nothing) -> PersonView:
    return await change(visit, visit.part("id"), taken(visit.sent, UserChange))


async def _reset(visit: Visit, asked: Nothing) -> MadePerson:
    return await reset(visit, visit.part("id"), taken(visit.sent, ResetPassword))


async def _remove(visit: Visit, asked: Nothing) -> Done:
    return await remove(visit, visit.part("id"))


OWNER: Literal["owner"] = "owner"

ENDPOINTS = (
    Endpoint("POST", "/session", None, sign_in, SessionView, "Sign in.", sent=SignIn),
    Endpoint("GET", "/session", None, who_am_i, SessionView, "Who is signed in."),
    Endpoint("DELETE", "/session", "viewer", sign_out, Done, "Sign out."),
    Endpoint(
        "POST", "/session/password", "viewer", _password, SessionView,
        "Change your own password; your other sessions end.", sent=NewPassword,
    ),
    Endpoint("GET", "/setup", None, setup_open, SetupView, "Whether a set-up link is good.", SetUpAsked),
    Endpoint("POST", "/setup", None, set_up, SessionView, "Make the first owner, by the one-time link.", sent=SetUp),
    Endpoint("GET", "/users", OWNER, _users, Page[PersonView], "Who may sign in.", UsersAsked),
    Endpoint("POST", "/users", OWNER, _add, MadePerson, "Make a user.", sent=NewUser),
    Endpoint("GET", "/users/{id}", OWNER, _user, PersonView, "One user."),
    Endpoint("PATCH", "/users/{id}", OWNER, _change, PersonView, "Rename, disable or give a role.", sent=UserChange),
    Endpoint("DELETE", "/users/{id}", OWNER, _remove, Done, "Remove a user with sessions and admin tokens."),
    Endpoint(
        "POST", "/users/{id}/reset", OWNER, _reset, MadePerson,
        "A new password for a user, whose sessions end.", sent=ResetPassword, may_be_empty=True,
    ),
)  # fmt: skip
