"""People as the control plane answers: users, their tokens and sessions, and what they did."""

from __future__ import annotations

from typing import Literal

from llmhub_core.admin.views.base import View


class UserView(View):
    name: str
    role: Literal["viewer", "admin", "owner"]


class PersonView(View):
    """A user as owners see one."""

    id: str
    name: str
    role: Literal["viewer", "admin", "owner"]
    disabled: bool
    created_at: float


class MadePerson(PersonView):
    """`password` is one that was made for this user, and is shown this once; None if it was given."""

    password: str | None = None


class AdminTokenView(View):
    """A token for scripts. `hint` is its end; `user` whose it is, "" if it was made on the host; `until` None if it
    has no end, `used_at` None if it was never used. With a user's rights changed, those of the token are too."""

    id: str
    name: str
    hint: str
    role: Literal["viewer", "admin", "owner"]
    user: str
    created_at: float
    until: float | None
    used_at: float | None


class MadeAdminToken(AdminTokenView):
    """`token` is shown this once."""

    token: str


class SessionView(View):
    """Who is signed in. `csrf` belongs into the header x-csrf-token of everything that changes something; with an admin
    token there is none to send, and `ends_at` is None where the token has no end."""

    user: UserView
    csrf: str
    ends_at: float | None


class SetupView(View):
    """Whether the link that was given makes the first owner."""

    open: bool


class AuditView(View):
    number: int
    at: float
    actor: str
    address: str
    action: str
    subject: str
    result: str
    before: str
    after: str
    digest: str
    sound: bool
    """Whether the entry is as it was written."""


class AuditBreak(View):
    """Where the chain is not whole, and how."""

    number: int
    what: str


class AuditCheck(View):
    """The whole chain, looked at. Who keeps `last` and `last_digest` elsewhere can ask later whether that entry still
    is what it was, which shows also whether entries were cut off at the end."""

    sound: bool
    entries: int
    last: int
    last_digest: str
    breaks: list[AuditBreak]
