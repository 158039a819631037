"""What everybody did: the audit, page by page, and whether its chain is whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from llmhub_core.admin.calls import Asked, Endpoint
from llmhub_core.admin.control import Control
from llmhub_core.admin.doors import Visit
from llmhub_core.admin.lists import Limit, page_limit, strange_cursor
from llmhub_core.admin.past import Span, span_or_all
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views import AuditBreak, AuditCheck, AuditView, Page
from llmhub_core.contracts.people import GENESIS, AuditEntry, AuditFilter, PeopleStore

PAGE = 1000
"""Entries that are looked at together; their digests are made beside the loop."""

MOST_BREAKS = 100


class AuditAsked(Span, kw_only=True):
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    result: Literal["done", "refused", "failed"] | None = None
    limit: Limit = 50
    cursor: str = ""


class CheckAsked(Asked, kw_only=True):
    """An entry that somebody remembers: its number, and the digest that it had."""

    number: int | None = None
    digest: str = ""


async def audit(control: Control, asked: AuditAsked) -> Page[AuditView]:
    """`sound` says of each entry whether it is as it was written, and follows the one before it where that is seen."""
    limit = page_limit(asked.limit)
    if asked.cursor and not re.fullmatch(r"\d{1,15}", asked.cursor):
        raise strange_cursor()
    since, until = span_or_all(asked)
    wanted = AuditFilter(asked.actor, asked.action, asked.subject, asked.result, since, until)
    found = await control.people.audit(limit + 1, int(asked.cursor) if asked.cursor else None, wanted)
    whole = wanted == AuditFilter()
    links = [*(_linked(older, newer) for newer, older in pairwise(found)), True] if whole else [True] * len(found)
    shown = [
        AuditView(
            **{name: getattr(entry, name) for name in AuditView.__struct_fields__ if name != "sound"},
            sound=entry.digest == entry.proof() and linked,
        )
        async for entry, linked in unhurried(zip(found, links, strict=True))
    ][:limit]
    return Page(shown, str(shown[-1].number) if len(found) > limit else None)


def _linked(older: AuditEntry, newer: AuditEntry) -> bool:
    return newer.previous == older.digest and newer.number == older.number + 1


async def check(control: Control, asked: CheckAsked) -> AuditCheck:
    return await check_store(control.people, asked)


async def check_store(people: PeopleStore, asked: CheckAsked) -> AuditCheck:
    """Walk the whole chain, newest first."""
    breaks: list[AuditBreak] = []
    remembered = asked.number is None
    newer: AuditEntry | None = None
    count, last, last_digest, before = 0, 0, GENESIS, None
    while page := await people.audit(PAGE, before):
        if not count:
            last, last_digest = page[0].number, page[0].digest
        count += len(page)
        breaks += await asyncio.to_thread(_breaks, page, newer)
        for entry in page:
            if entry.number == asked.number:
                remembered = entry.digest == asked.digest
        newer = page[-1]
        before = newer.number
    if newer is not None and (newer.number, newer.previous) != (1, GENESIS):
        breaks.append(AuditBreak(number=newer.number, what="the entries before this one are missing"))
    if not remembered and asked.number is not None:
        what = "is not the entry that is remembered" if asked.number <= last else "and all after it were cut off"
        breaks.append(AuditBreak(number=asked.number, what=what))
    return AuditCheck(
        sound=not breaks,
        entries=count,
        last=last,
        last_digest=last_digest,
        breaks=sorted(breaks, key=lambda each: each.number)[:MOST_BREAKS],
    )


def _breaks(page: Sequence[AuditEntry], newer: AuditEntry | None) -> list[AuditBreak]:
    found = []
    for entry in page:
        if entry.digest != entry.proof():
            found.append(AuditBreak(number=entry.number, what="was changed after it was written"))
        if newer is not None and newer.number != entry.number + 1:
            gap = f"{entry.number + 1} to {newer.number - 1}" if newer.number > entry.number + 2 else entry.number + 1
            found.append(AuditBreak(number=newer.number, what=f"the entries before this one are missing: {gap}"))
        elif newer is not None and newer.previous != entry.digest:
            found.append(AuditBreak(number=newer.number, what="does not follow the entry before it"))
        newer = entry
    return found


async def _audit(visit: Visit, asked: AuditAsked) -> Page[AuditView]:
    return await audit(visit.control, asked)


async def _check(visit: Visit, asked: CheckAsked) -> AuditCheck:
    return await check(visit.control, asked)


ENDPOINTS = (
    Endpoint("GET", "/audit", "admin", _audit, Page[AuditView], "Who did what, newest first.", AuditAsked),
    Endpoint(
        "GET", "/audit/check", "admin", _check, AuditCheck,
        "Whether the audit is whole, and where it breaks.", CheckAsked,
    ),
)  # fmt: skip
