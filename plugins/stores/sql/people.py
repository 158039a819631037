"""Users, sessions, failures and the audit, in both databases by the same statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from llmhub_plugins.stores.sql.aio import AsyncConnection, AsyncEngine
from llmhub_plugins.stores.sql.people_tables import (
    admin_tokens,
    audit,
    kept_answers,
    sessions,
    setup_links,
    sign_in_failures,
    users,
)
from llmhub_plugins.stores.sql.reading import Reader
from llmhub_plugins.stores.sql.rows import storable_text
from llmhub_plugins.stores.sql.writing import insert_into, writing
from sqlalchemy import bindparam, case, delete, func, select
from sqlalchemy.exc import IntegrityError

from llmhub_core.contracts import (
    ANY_ENTRY,
    GENESIS,
    AdminToken,
    AuditEntry,
    AuditFilter,
    Failures,
    KeptAnswer,
    LastOwner,
    PeopleStore,
    SignedIn,
    User,
)

ONE_AT_A_TIME = 7_453_010_771_942_105_118
"""The advisory lock of whoever looks before it writes: makes the first user, or the next link of the chain."""

_SESSION = select(*sessions.c, *users.c).where(
    sessions.c.digest == bindparam("digest"), users.c.id == sessions.c.user_id
)  # fmt: skip
_ADMIN_TOKEN = (
    select(*admin_tokens.c, *users.c)
    .select_from(admin_tokens.outerjoin(users, users.c.id == admin_tokens.c.user_id))
    .where(admin_tokens.c.digest == bindparam("digest"))
)


class SqlPeople(PeopleStore):
    def __init__(self, engine: AsyncEngine, reader: Reader) -> None:
        self._engine = engine
        self._reader = reader

    # users

    async def add_user(self, user: User, first: bool = False) -> bool:
        async with writing(self._engine, ONE_AT_A_TIME if first else None) as connection:
            if first and await _any_user(connection):
                return False
            return await self._add(connection, user)

    async def _add(self, connection: AsyncConnection, user: User) -> bool:
        statement = insert_into(self._engine, users).values(_user_row(user)).on_conflict_do_nothing()
        return bool((await connection.execute(statement)).rowcount)

    async def change_user(self, user: User, was: User | None = None) -> User | None:
        try:
            async with writing(self._engine, ONE_AT_A_TIME) as connection:
                row = (await connection.execute(select(users).where(users.c.id == user.id))).mappings().first()
                if row is None:
                    return None
                now = replace(User(**row), **_differences(was, user))
                if now.role != "owner" or now.disabled:
                    await _keep_an_owner(connection, now.id)
                await connection.execute(users.update().where(users.c.id == now.id).values(_user_row(now)))
                return now
        except IntegrityError:  # another has that name
            return None

    async def replace_verifier(self, id: str, was: str, verifier: str) -> bool:
        as_it_was = (users.c.id == id, users.c.verifier == was, ~users.c.disabled)
        async with writing(self._engine) as connection:
            changed = (await connection.execute(users.update().where(*as_it_was).values(verifier=verifier))).rowcount
            if changed:
                await connection.execute(delete(sessions).where(sessions.c.user_id == id))
            return bool(changed)

    async def remove_user(self, id: str) -> bool:
        async with writing(self._engine, ONE_AT_A_TIME) as connection:
            await _keep_an_owner(connection, id)
            for table in (sessions, admin_tokens):
                await connection.execute(delete(table).where(table.c.user_id == id))
            return bool((await connection.execute(delete(users).where(users.c.id == id))).rowcount)

    async def find_user(self, name: str) -> User | None:
        if name != storable_text(name):
            return None
        rows = await self._reader.rows(select(users).where(users.c.name == name))
        return User(*rows[0]) if rows else None

    async def users(self) -> Sequence[User]:
        return sorted((User(*row) for row in await self._reader.rows(select(users))), key=lambda user: user.name)

    # setting up

    async def offer_setup(self, digest: str, until: float) -> None:
        async with writing(self._engine, ONE_AT_A_TIME) as connection:
            await connection.execute(delete(setup_links))
            await connection.execute(setup_links.insert().values(digest=digest, until=until))

    async def setup_open(self, digest: str, now: float) -> bool:
        async with self._engine.connect() as connection:
            return await _link_good(connection, digest, now) and not await _any_user(connection)

    async def claim_setup(self, digest: str, now: float, owner: User) -> bool:
        async with writing(self._engine, ONE_AT_A_TIME) as connection:
            if not await _link_good(connection, digest, now) or await _any_user(connection):
                return False
            await connection.execute(delete(setup_links))
            return await self._add(connection, owner)

    # sessions

    async def keep_session(self, session: SignedIn) -> None:
        row = asdict(session)
        insert = insert_into(self._engine, sessions).values(row)
        async with writing(self._engine) as connection:
            await connection.execute(insert.on_conflict_do_update(index_elements=["digest"], set_=row))

    async def touch_session(self, digest: str, seen_at: float) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(sessions.update().where(sessions.c.digest == digest).values(seen_at=seen_at))

    async def find_session(self, digest: str) -> tuple[SignedIn, User] | None:
        rows = await self._reader.rows(_SESSION, {"digest": digest})
        if not rows:
            return None
        row, own = rows[0], len(sessions.c)
        return SignedIn(*row[:own]), User(*row[own:])

    async def end_session(self, digest: str) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(delete(sessions).where(sessions.c.digest == digest))

    async def end_sessions(self, user_id: str) -> int:
        async with writing(self._engine) as connection:
            return (await connection.execute(delete(sessions).where(sessions.c.user_id == user_id))).rowcount

    async def forget_sessions(self, created_before: float, seen_before: float) -> None:
        old = (sessions.c.created_at < created_before) | (sessions.c.seen_at < seen_before)
        async with writing(self._engine) as connection:
            await connection.execute(delete(sessions).where(old))

    # guessing

    async def failures(self, subject: str) -> Failures:
        table = sign_in_failures.c
        rows = await self._reader.rows(select(table.count, table.last_at).where(table.subject == subject))
        return Failures(*rows[0]) if rows else Failures()

    async def count_failure(self, subject: str, now: float, forget_before: float) -> Failures:
        table = sign_in_failures.c
        one = {"subject": subject, "count": 1, "last_at": now}
        # Others' old rows are swept below; this subject's own must not be in two steps, or two at once would lose one.
        more = {"count": case((table.last_at < forget_before, 1), else_=table.count + 1), "last_at": now}
        count = insert_into(self._engine, sign_in_failures).values(one)
        count = count.on_conflict_do_update(index_elements=["subject"], set_=more).returning(table.count, table.last_at)
        async with writing(self._engine) as connection:
            row = (await connection.execute(count)).one()
            await connection.execute(delete(sign_in_failures).where(table.last_at < forget_before))
        return Failures(*row)

    async def forgive(self, subject: str) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(delete(sign_in_failures).where(sign_in_failures.c.subject == subject))

    # scripts

    async def add_admin_token(self, token: AdminToken) -> bool:
        row = {**asdict(token), "name": storable_text(token.name)}
        async with writing(self._engine) as connection:
            statement = insert_into(self._engine, admin_tokens).values(row).on_conflict_do_nothing()
            return bool((await connection.execute(statement)).rowcount)

    async def find_admin_token(self, digest: str) -> tuple[AdminToken, User | None] | None:
        rows = await self._reader.rows(_ADMIN_TOKEN, {"digest": digest})
        if not rows:
            return None
        row, own = rows[0], len(admin_tokens.c)
        token, user = AdminToken(*row[:own]), None if row[own] is None else User(*row[own:])
        return None if user is None and token.user_id else (token, user)

    async def admin_tokens(self) -> Sequence[AdminToken]:
        rows = await self._reader.rows(select(admin_tokens))
        return sorted((AdminToken(*row) for row in rows), key=lambda token: token.name)

    async def touch_admin_token(self, id: str, used_at: float) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(admin_tokens.update().where(admin_tokens.c.id == id).values(used_at=used_at))

    async def remove_admin_token(self, id: str) -> bool:
        async with writing(self._engine) as connection:
            return bool((await connection.execute(delete(admin_tokens).where(admin_tokens.c.id == id))).rowcount)

    # acts that may be sent again

    async def claim_act(self, act: KeptAnswer, forget_before: float, stale_before: float) -> KeptAnswer | None:
        table = kept_answers.c
        lost = (table.at < forget_before) | ((table.answer == "") & (table.at < stale_before))
        async with writing(self._engine, ONE_AT_A_TIME) as connection:
            await connection.execute(delete(kept_answers).where(lost))
            row = (await connection.execute(select(kept_answers).where(table.digest == act.digest))).mappings().first()
            if row is None:
                await connection.execute(kept_answers.insert().values(asdict(act)))
        return None if row is None else KeptAnswer(**row)

    async def keep_answer(self, act: KeptAnswer) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(
                kept_answers.update().where(kept_answers.c.digest == act.digest).values(answer=act.answer)
            )

    async def release_act(self, digest: str) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(delete(kept_answers).where(kept_answers.c.digest == digest))

    # audit

    async def note(self, entry: AuditEntry) -> AuditEntry:
        facts: dict[str, Any] = {
            name: storable_text(value) if isinstance(value, str) else value for name, value in _facts(entry)
        }
        async with writing(self._engine, ONE_AT_A_TIME) as connection:
            newest = select(audit.c.number, audit.c.digest).order_by(audit.c.number.desc()).limit(1)
            last = (await connection.execute(newest)).first()
            number, previous = (0, GENESIS) if last is None else last
            sealed = AuditEntry(**facts).sealed(number + 1, previous)
            await connection.execute(audit.insert().values(dict(_facts(sealed))))
        return sealed

    async def audit(
        self, limit: int, before: int | None = None, wanted: AuditFilter = ANY_ENTRY
    ) -> Sequence[AuditEntry]:
        statement = select(audit).order_by(audit.c.number.desc()).limit(max(0, limit))
        for name in ("actor", "action", "subject", "result"):
            value = getattr(wanted, name)
            if value is not None:
                statement = statement.where(audit.c[name] == storable_text(value))
        if wanted.since is not None:
            statement = statement.where(audit.c.at >= wanted.since)
        if wanted.until is not None:
            statement = statement.where(audit.c.at < wanted.until)
        if before is not None:
            statement = statement.where(audit.c.number < before)
        return [AuditEntry(**row._mapping) for row in await self._reader.rows(statement)]


def _differences(was: User | None, user: User) -> dict[str, Any]:
    return {name: value for name, value in asdict(user).items() if was is None or getattr(was, name) != value}


def _user_row(user: User) -> dict[str, Any]:
    return {**asdict(user), "name": storable_text(user.name)}


def _facts(entry: AuditEntry) -> list[tuple[str, Any]]:
    return [(field.name, getattr(entry, field.name)) for field in fields(entry)]


async def _keep_an_owner(connection: AsyncConnection, id: str) -> None:
    """LastOwner if this user is the only owner who may sign in."""
    statement = select(users.c.id).where(users.c.role == "owner", ~users.c.disabled)
    if (await connection.execute(statement)).scalars().all() == [id]:
        raise LastOwner


async def _any_user(connection: AsyncConnection) -> bool:
    return bool((await connection.execute(select(func.count()).select_from(users))).scalar_one())


async def _link_good(connection: AsyncConnection, digest: str, now: float) -> bool:
    statement = select(setup_links.c.digest).where(setup_links.c.digest == digest, setup_links.c.until > now)
    return (await connection.execute(statement)).first() is not None
