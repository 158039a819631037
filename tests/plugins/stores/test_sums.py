"""Sums of whatever is asked for are the plain sums of the records: at ragged ends, over the borders of days in
any zone, of the largest and the latest alone, after short sums and old records went."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from databases import Store
from llmhub_plugins.stores.sql import usage_query
from llmhub_plugins.stores.sql.sums import LONG, LONGEST, PASSING, QUARTER
from llmhub_plugins.stores.sql.tables import usage_totals
from sqlalchemy import func, select
from test_sql import HOUR, TEN, added_up, assert_usage, record

from llmhub_core.contracts import Record, UsageGroup, UsageQuestion

DAY = 24 * HOUR
MIDNIGHT = TEN - 10 * HOUR
DAYS = 90
NOW = MIDNIGHT + DAYS * DAY + 17.6 * HOUR
ZONES = (0, 1, 5.5, 5.75, -8, 13)
"""Hours before UTC in which people live."""

BY: tuple[tuple[UsageGroup, ...], ...] = (
    (),
    ("model",),
    ("caller",),
    ("caller", "model"),
    ("model", "caller"),
    ("day", "caller"),
    ("hour", "model"),
    ("minute",),
    ("hour",),
    ("day",),
    ("key", "caller"),
    ("provider", "key"),
    ("tag",),
    ("day", "tag"),
    ("tag", "hour"),
    ("minute", "tag"),
)


def borders(draw: random.Random) -> float:
    """A moment at which something may go wrong: a border of a day, somewhere, of an hour or a minute, or any."""
    day = MIDNIGHT + draw.randrange(-1, DAYS + 2) * DAY
    return draw.choice(
        (
            day - draw.choice(ZONES) * HOUR,
            day + draw.randrange(24) * HOUR,
            day + draw.randrange(4) * 6 * HOUR,
            day + draw.randrange(1440) * 60,
            day + draw.random() * DAY,
            NOW - NOW % HOUR + HOUR - draw.choice((1, 2, 7, 14, 30, 60)) * DAY,
            NOW,
        )
    )


def traffic(draw: random.Random, amount: int) -> list[Record]:
    made = []
    for number in range(amount):
        at = min(borders(draw), NOW - 1) if number % 2 else MIDNIGHT + draw.random() ** 0.3 * (NOW - MIDNIGHT)
        values: dict[str, Any] = {
            "arrived_at": at - draw.choice((0, 0, 2**-20)),
            "caller": f"c{min(int(draw.expovariate(0.3)), 12)}",
            "model": draw.choice(("fast", "slow", "größer")),
            "provider": draw.choice(("openai", "anthropic", "")),
            "key": draw.choice(("main", "spare")),
            "tags": draw.choice(({}, {"team": "red"}, {"team": "größer", "x=y": "a=b"}, {"x=y": "a=b", "team": ""})),
            "outcome": draw.choice(("served", "served", "failed", "refused")),
            "input_tokens": draw.randrange(10_000),
            "cost": draw.choice((None, 0, draw.randrange(10**12))),
        }
        made.append(record(number, **values))
    return sorted(made, key=lambda one: one.arrived_at)


def whole_hours(question: UsageQuestion, kept_since: float) -> tuple[float, float]:
    """What `question` spans, where single records are gone from before then."""
    since, until = question.since, question.until
    return (
        since // HOUR * HOUR if since < kept_since else since,
        -(-until // HOUR) * HOUR if until < kept_since else until,
    )


@pytest.mark.parametrize(("seed", "keep"), [(1, 0), (2, 30)])
async def test_sums_are_those_of_the_records(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int, keep: int
) -> None:
    draw, now = random.Random(seed), NOW
    monkeypatch.setattr(time, "time", lambda: now)
    if seed == 2:  # more callers than are looked up one by one
        monkeypatch.setattr(usage_query, "FEW_NAMES", 2)
    all_records = traffic(draw, 900)
    for begin in range(0, len(all_records), 45):
        batch = all_records[begin : begin + 45]
        now = min(NOW, batch[-1].arrived_at + draw.choice((1, 1, 4 * DAY)))  # some come late
        await store.append(batch)
    now = NOW
    while await store.prune(NOW - keep * DAY if keep else 0.0):
        pass
    kept = await store.kept_since()
    assert bool(kept) == bool(keep)
    for _ in range(150):
        since, until = sorted((borders(draw), draw.choice((borders(draw), NOW + HOUR))))
        only: dict[UsageGroup, tuple[str, ...]] = {}
        if draw.random() < 0.4:
            only["caller"] = tuple({f"c{draw.randrange(14)}" for _ in range(draw.randrange(1, 6))})
        if draw.random() < 0.2:
            only["model"] = ("fast", "größer", "none")
        by, tag = draw.choice(BY), ""
        if "tag" in by:
            tag = draw.choice(("team", "team", "x=y", "none"))
            only = {"tag": draw.choice((("red", "größer"), ("", "red"), ("nobody",)))} if only else {}
        question = UsageQuestion(since, until, by, only, draw.choice((0, 0, 3, 20)), tag)
        if "minute" in question.by and since < kept:
            continue  # told of elsewhere: such minutes stand in the first of their hour
        told = [row for row in await store.usage(question) if row.requests]
        asked = UsageQuestion(*whole_hours(question, kept), question.by, only, question.most, tag)
        assert told == added_up(all_records, asked), (question, until - since)


async def test_the_latest_minutes_are_found_however_long_ago_they_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    seldom = [record(n, arrived_at=NOW - 70 * DAY + n * 7 * HOUR) for n in range(200)]
    often = [record(1000 + n, arrived_at=NOW - 600 * 60 + n * 60) for n in range(600)]
    await store.append(seldom)
    for most in (1, 5, 199, 300):
        await assert_usage(store, seldom, UsageQuestion(NOW - 90 * DAY, NOW + HOUR, ("minute",), most=most))
        await assert_usage(store, seldom, UsageQuestion(0.0, float("inf"), ("hour", "caller"), most=most))
    await store.append(often)
    for most in (100, 650):
        await assert_usage(store, seldom + often, UsageQuestion(NOW - 30 * DAY, NOW, ("minute",), most=most))


async def test_years_are_told_from_the_longest_sums(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = MIDNIGHT + 800 * DAY + 5.5 * HOUR
    monkeypatch.setattr(time, "time", lambda: now)
    draw = random.Random(7)
    batch = [
        record(n, arrived_at=MIDNIGHT + draw.random() * 800 * DAY, caller=f"c{n % 7}", model=f"m{n % 3}", cost=n)
        for n in range(600)
    ]
    await store.append(batch)
    for days in (90, 365, 364.3, 790):
        for by, span in ((("caller",), LONG), (("caller", "model"), LONGEST)):
            for only, most in (({}, 0), ({}, 4), ({"caller": ("c1", "c5", "nobody")}, 0), ({"caller": ("c2",)}, 2)):
                for until in (now, now - days * DAY / 3):
                    question = UsageQuestion(now - days * DAY, until, by, only, most)  # type: ignore[arg-type]
                    await assert_usage(store, batch, question)
            question = UsageQuestion(now - days * DAY, now, by)  # type: ignore[arg-type]
            statement, _ = usage_query.usage_statement(question, now, 0.0) or (None, None)
            assert statement is not None
            assert days < 100 or span in statement.compile().params.values()


async def test_quarters_of_a_day_go_after_two_months(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def later(days: float) -> None:
        monkeypatch.setattr(time, "time", lambda: TEN + days * DAY)

    async def quarters() -> int:
        async with store._database._engine.connect() as connection:
            count = select(func.count()).select_from(usage_totals).where(usage_totals.c.span == QUARTER)
            return int((await connection.execute(count)).scalar_one())

    later(1)
    batch = [record(number, arrived_at=TEN + number * 600) for number in range(144)]
    await store.append(batch)
    assert await quarters() == 5, "10 to 12, to 18, to 24, to 6, to 10 o'clock"
    _, kept = PASSING[QUARTER]
    later(kept / DAY + 0.5)
    while await store.prune(0.0):
        pass
    assert await quarters() == 2
    await store.append([record(999, arrived_at=TEN)])
    assert await quarters() == 2, "and none are made for what comes late"
    batch.append(record(999, arrived_at=TEN))
    for since in (TEN, TEN + 0.9 * DAY, TEN + 3 * HOUR):
        await assert_usage(store, batch, UsageQuestion(since, TEN + DAY, ("caller", "model")))
