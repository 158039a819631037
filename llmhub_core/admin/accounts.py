"""Who may come in: the first owner, signing in, users made on the host. Every act leaves its line in the audit."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import replace
from typing import Any, Literal

from llmhub_core.admin import passwords, throttle
from llmhub_core.admin.passwords import Passwords
from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.admin.sessions import digest_of
from llmhub_core.contracts.people import AuditEntry, LastOwner, PeopleStore, User, UserRole

SETUP_LASTS = 24 * 3600.0

HOST = "host"
"""The actor of what is done by a command on the machine itself."""

_NAME = re.compile(r"[\w.@+-][\w.@+ -]{0,62}[\w.@+-]|[\w.@+-]")


def check_name(name: str) -> str:
    """Denied if it is no name for a user."""
    if not _NAME.fullmatch(name):
        raise unusable(
            "A user's name has 1 to 64 letters, digits, spaces or any of . @ + - _.",
            "An e-mail address is fine.",
            field="name",
        )
    return name


def new_user(name: str, role: UserRole, verifier: str) -> User:
    return User(f"usr_{secrets.token_hex(12)}", name, role, verifier, time.time())


class Accounts:
    """`names` is the key under which failed sign-ins are counted by name (`throttle.key_of`)."""

    def __init__(self, people: PeopleStore, names: bytes = b"") -> None:
        self.people = people
        self._names = names
        self._passwords = Passwords()

    def close(self) -> None:
        self._passwords.close()

    async def note(
        self,
        actor: str,
        address: str,
        action: str,
        subject: str,
        result: Literal["done", "refused", "failed"] = "done",
        before: object = None,
        after: object = None,
    ) -> None:
        """A line in the audit. It must be written for the act to be done: who acts unseen does not act."""
        was, now_is = ("" if each is None else json.dumps(each, ensure_ascii=False) for each in (before, after))
        await self.people.note(AuditEntry(time.time(), actor, address, action, subject, result, was, now_is))

    # the first owner

    async def offer_setup(self) -> str:
        """A new secret for the one-time link; the ones before it are void."""
        secret = secrets.token_urlsafe(32)
        await self.people.offer_setup(digest_of(secret), time.time() + SETUP_LASTS)
        return secret

    async def setup_open(self, secret: str) -> bool:
        return await self.people.setup_open(digest_of(secret), time.time())

    async def set_up(self, secret: str, name: str, password: str, address: str) -> User:
        """Make the owner by the link; Denied if it is void, or for a name or password that cannot be."""
        if not await self.setup_open(secret):
            await self.note("", address, "setup", "", "refused")
            raise void_link()
        passwords.check(password, check_name(name))
        owner = new_user(name, "owner", await self._passwords.verifier(password))
        if not await self.people.claim_setup(digest_of(secret), time.time(), owner):
            raise void_link()
        await self.note(name, address, "setup", name, after={"role": "owner"})
        return owner

    async def add_first(self, name: str, password: str) -> bool:
        """The owner that the environment names; False if there is somebody already."""
        passwords.check(password, check_name(name))
        if await self.people.users():
            return False
        owner = new_user(name, "owner", await self._passwords.verifier(password))
        added = await self.people.add_user(owner, first=True)
        if added:
            await self.note(HOST, "", "user.add", name, after={"role": "owner"})
        return added

    # signing in

    async def sign_in(self, name: str, password: str, address: str) -> User:
        """Denied in the same words and after the same time whether the name is known or not."""
        name = name[:256]
        await throttle.admit(self.people, name, address, self._names)
        user = await self.people.find_user(name)
        fits = len(password.encode("utf-8", "surrogatepass")) <= passwords.LONGEST_BYTES
        verifier = None if user is None or user.disabled or not fits else user.verifier
        if not await self._passwords.matches(password if fits else "", verifier) or user is None:
            # Not the name that was typed: it may be a password in the wrong field.
            await self.note("" if user is None else user.name, address, "session.begin", "", "refused")
            raise Denied(
                401, "wrong_credentials", "The name or the password is wrong.",
                "Try again; on the host, llm-hub user reset NAME makes a new password.",
            )  # fmt: skip
        await throttle.forgive(self.people, name, address, key=self._names)
        await self.note(user.name, address, "session.begin", user.name)
        return user

    async def change_password(self, user: User, password: str, new: str, address: str) -> User:
        """One's own, by somebody who knows the one that holds: an open screen is not enough. Guesses are counted. No
        session that was begun with the one before stays."""
        await throttle.admit(self.people, user.name, address, self._names)
        known = await self.people.find_user(user.name)
        fits = len(password.encode("utf-8", "surrogatepass")) <= passwords.LONGEST_BYTES
        verifier = known.verifier if known is not None and fits else None
        if not await self._passwords.matches(password if fits else "", verifier) or known is None:
            raise await self._wrong_password(user, address)
        await throttle.forgive(self.people, user.name, address, key=self._names)
        passwords.check(new, user.name)
        changed = replace(known, verifier=await self._passwords.verifier(new))
        # Whoever knows an old password must not undo what an owner does about it at the same moment.
        if not await self.people.replace_verifier(known.id, known.verifier, changed.verifier):
            raise await self._wrong_password(user, address)
        await self.note(user.name, address, "password.change", user.name)
        return changed

    async def _wrong_password(self, user: User, address: str) -> Denied:
        await self.note(user.name, address, "password.change", user.name, "refused")
        return Denied(
            403, "wrong_password", "The password that you have now is another one.",
            "Try again; an owner can give you a new one.", field="old",
        )  # fmt: skip

    # by owners, and on the host

    async def add(self, name: str, role: UserRole, password: str, actor: str = HOST, address: str = "") -> User:
        passwords.check(password, check_name(name))
        user = new_user(name, role, await self._passwords.verifier(password))
        if not await self.people.add_user(user):
            raise _taken(name)
        await self.note(actor, address, "user.add", name, after={"role": role})
        return user

    async def change(self, user: User, wanted: dict[str, Any], actor: str = HOST, address: str = "") -> User:
        """`wanted` has any of name, role and disabled. Denied for the last owner."""
        now = replace(user, **wanted)
        check_name(now.name)
        if now == user:
            return user
        before = {name: getattr(user, name) for name in wanted}
        try:
            changed = await self.people.change_user(now, user)
        except LastOwner:
            await self.note(actor, address, "user.change", user.name, "refused", before, wanted)
            raise _last_owner(user.name) from None
        if changed is None:
            there = any(each.id == user.id for each in await self.people.users())
            raise _taken(now.name) if there else gone(user.name)
        if (user.role, user.disabled) != (now.role, now.disabled):
            await self.people.end_sessions(user.id)
        await self.note(actor, address, "user.change", user.name, before=before, after=wanted)
        return changed

    async def remove(self, user: User, actor: str = HOST, address: str = "") -> None:
        try:
            removed = await self.people.remove_user(user.id)
        except LastOwner:
            await self.note(actor, address, "user.remove", user.name, "refused")
            raise _last_owner(user.name) from None
        if not removed:
            raise gone(user.name)
        before = {"role": user.role, "disabled": user.disabled}
        await self.note(actor, address, "user.remove", user.name, before=before)

    async def reset(self, name: str, password: str, actor: str = HOST, address: str = "") -> User:
        """A new password, no session left, and no wait for earlier failures."""
        user = await self.named(name)
        passwords.check(password, name)
        verifier = await self._passwords.verifier(password)
        now = await self.people.change_user(replace(user, verifier=verifier, disabled=False), user)
        if now is None:
            raise gone(name)
        await self.people.end_sessions(user.id)
        await throttle.forgive(self.people, name, key=self._names)
        await self.note(actor, address, "user.reset", name)
        return now

    async def named(self, name: str) -> User:
        """Denied if there is nobody of that name."""
        user = await self.people.find_user(name)
        if user is None:
            raise gone(name)
        return user


def gone(name: str) -> Denied:
    return Denied(404, "not_found", f"There is no user {name}.", "llm-hub user list shows all of them.")


def _taken(name: str) -> Denied:
    message = f"There is a user {name} already."
    return Denied(409, "name_taken", message, "Take another name, or reset this one.", field="name")


def _last_owner(name: str) -> Denied:
    return Denied(
        409,
        "last_owner",
        f"{name} is the last owner who can sign in; without one nobody could manage users any more.",
        "Make somebody else an owner first.",
    )


def void_link() -> Denied:
    return Denied(
        403,
        "setup_closed",
        "This set-up link is used, too old, or not the latest.",
        "Start the hub again for a new one, or on the host: llm-hub user add NAME --role owner.",
    )
