"""Who signs in to the dashboard, how they stay signed in, how guessing is slowed down, and what everybody did.

Everything here is for the control plane. Nothing holds a usable secret: passwords rest as verifiers, ids of
sessions and set-up links as digests, so that a copy of the database opens no door.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

UserRole = Literal["viewer", "admin", "owner"]
USER_ROLES: tuple[UserRole, ...] = get_args(UserRole)
"""From the least to the most: each may do all that those before it may."""

GENESIS = "0" * 64
"""What stands before the first entry of the audit."""


@dataclass(frozen=True, slots=True)
class User:
    """`name` is unique as it is written, `verifier` what a password is checked against, times in seconds since 1970."""

    id: str
    name: str
    role: UserRole
    verifier: str
    created_at: float
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session: found by the SHA-256 of the id that the browser holds. `data` is JSON, whatever the session knows."""

    digest: str
    user_id: str
    data: str
    created_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Sign-ins in vain for one name or from one address since the last that went well; `last_at` the latest of them."""

    count: int = 0
    last_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that somebody did, or tried to.

    `actor` is a user's name or ``host`` (a command on the machine), `before` and `after` are JSON without secrets
    or "", `digest` covers the entry and, through `previous`, all entries before it.
    """

    at: float
    actor: str
    address: str
    action: str
    subject: str
    result: Literal["done", "refused", "failed"] = "done"
    before: str = ""
    after: str = ""
    number: int = 0
    previous: str = ""
    digest: str = ""

    def sealed(self, number: int, previous: str) -> AuditEntry:
        """As it stands in the chain: with its place, the digest before it, and its own."""
        placed = replace(self, number=number, previous=previous)
        return replace(placed, digest=placed.proof())

    def proof(self) -> str:
        """The digest that this entry ought to have."""
        facts = asdict(self)
        del facts["digest"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None means any. Times in seconds since 1970: [`since`, `until`)."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    result: Literal["done", "refused", "failed"] | None = None
    since: float | None = None
    until: float | None = None


ANY_ENTRY = AuditFilter()


@dataclass(frozen=True, slots=True)
class AdminToken:
    """What a script presents instead of a session; found by the SHA-256 of it.

    It may do what both its own role and that of its user allow, and ends with its user. One that was made on the host
    has no user (``""``). `name` is unique, `hint` the token's last characters, `until` 0 for one without an end,
    `used_at` 0 for one that was never used; times in seconds since 1970.
    """

    id: str
    name: str
    digest: str
    hint: str
    role: UserRole
    user_id: str
    created_at: float
    until: float = 0.0
    used_at: float = 0.0


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered to an act, for whoever sends it again: found by the digest of who sent it, where to and under
    which key. `request` is the digest of what was sent, `answer` (sealed) "" while the act is under way."""

    digest: str
    request: str
    at: float
    answer: str = ""


class LastOwner(Exception):
    """Nobody who may do everything would be left; nothing was changed."""


class PeopleStore(ABC):
    """A part of a metadata store. Every method is one transaction; writing twice at once never loses a write."""

    # users

    @abstractmethod
    async def add_user(self, user: User, first: bool = False) -> bool:
        """False if the name is taken or, with `first`, if there is any user already."""

    @abstractmethod
    async def change_user(self, user: User, was: User | None = None) -> User | None:
        """Everything but the id may be new. With `was` only what differs between the two is written, so that two who
        change different things at once both have their way. The answer is how it stands now; None if there is no such
        user or the new name is taken. LastOwner if it was the last owner who may sign in, and would be that no more."""

    @abstractmethod
    async def replace_verifier(self, id: str, was: str, verifier: str) -> bool:
        """Another password in the place of the one that `was`: False if that one does not count any more (somebody gave
        the user another one meanwhile) or the user is gone or disabled. All sessions of the user end with it."""

    @abstractmethod
    async def remove_user(self, id: str) -> bool:
        """With all sessions and admin tokens; False if there is none. LastOwner as in `change_user`."""

    @abstractmethod
    async def find_user(self, name: str) -> User | None: ...

    @abstractmethod
    async def users(self) -> Sequence[User]:
        """All of them, by name."""

    # setting up

    @abstractmethod
    async def offer_setup(self, digest: str, until: float) -> None:
        """From now on this one-time link (by its SHA-256) is the one that counts."""

    @abstractmethod
    async def setup_open(self, digest: str, now: float) -> bool:
        """Whether the link may be used: it is the one offered, not too old, and there is no user yet."""

    @abstractmethod
    async def claim_setup(self, digest: str, now: float, owner: User) -> bool:
        """Make the first user by the link, which is void from then on; False if it may not be used. Of several at
        once one succeeds."""

    # sessions

    @abstractmethod
    async def keep_session(self, session: SignedIn) -> None:
        """Add it, or replace the one of the same digest."""

    @abstractmethod
    async def touch_session(self, digest: str, seen_at: float) -> None:
        """It was used; one that has ended meanwhile stays ended."""

    @abstractmethod
    async def find_session(self, digest: str) -> tuple[SignedIn, User] | None:
        """The session and whose it is."""

    @abstractmethod
    async def end_session(self, digest: str) -> None: ...

    @abstractmethod
    async def end_sessions(self, user_id: str) -> int:
        """All of one user; says how many."""

    @abstractmethod
    async def forget_sessions(self, created_before: float, seen_before: float) -> None:
        """Those that are older than one or the other."""

    # guessing

    @abstractmethod
    async def failures(self, subject: str) -> Failures: ...

    @abstractmethod
    async def count_failure(self, subject: str, now: float, forget_before: float) -> Failures:
        """One more; what was last counted before `forget_before` is forgotten first, whoever's it is."""

    @abstractmethod
    async def forgive(self, subject: str) -> None: ...

    # scripts

    @abstractmethod
    async def add_admin_token(self, token: AdminToken) -> bool:
        """False if the name is taken."""

    @abstractmethod
    async def find_admin_token(self, digest: str) -> tuple[AdminToken, User | None] | None:
        """The token and whose it is; None also if its user is gone."""

    @abstractmethod
    async def admin_tokens(self) -> Sequence[AdminToken]:
        """All of them, by name."""

    @abstractmethod
    async def touch_admin_token(self, id: str, used_at: float) -> None: ...

    @abstractmethod
    async def remove_admin_token(self, id: str) -> bool:
        """False if there is none."""

    # acts that may be sent again

    @abstractmethod
    async def claim_act(self, act: KeptAnswer, forget_before: float, stale_before: float) -> KeptAnswer | None:
        """None if the act is the caller's to do: nobody has sent it, or who did was heard of last before
        `stale_before` without an answer. Else what is there. Answers from before `forget_before` are forgotten."""

    @abstractmethod
    async def keep_answer(self, act: KeptAnswer) -> None:
        """The act was done; `answer` is what was said."""

    @abstractmethod
    async def release_act(self, digest: str) -> None:
        """The act was not done: it may be sent again as if for the first time."""

    # audit

    @abstractmethod
    async def note(self, entry: AuditEntry) -> AuditEntry:
        """Append it to the chain; the answer is as it stands there."""

    @abstractmethod
    async def audit(
        self, limit: int, before: int | None = None, wanted: AuditFilter = ANY_ENTRY
    ) -> Sequence[AuditEntry]:
        """Newest first; `before` is the number of the last one seen, for the next page."""
