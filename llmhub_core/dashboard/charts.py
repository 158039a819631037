"""Geometry of the drawings: templates only write it down as SVG, so that no script and no inline style is needed.

A script draws the bars over again, from their values (static/js/2-charts.js).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from llmhub_core.admin.views import AttemptView, RequestView, UsageLine
from llmhub_core.dashboard.words import counted

HOUR, DAY, WEEK = 3600, 86_400, 7 * 86_400
MONDAY = 4 * DAY
"""The first one after 1970 began: a week of UTC begins here."""

MOST_BARS = 100
TOP, FLOOR = 4.0, 88.0
"""Between these, in percent from above, a plot draws; below stand the names of the times."""

_STEPS: dict[Unit, int] = {"hour": HOUR, "day": DAY, "week": WEEK}
_FORMS: dict[Unit, tuple[str, str]] = {
    "hour": ("%d %b %H:%M", "%H:%M"),
    "day": ("%a %d %b", "%d %b"),
    "week": ("Week of %d %b %Y", "%d %b"),
}

SHOWN = 5
"""Series that have a colour of their own; the rest is one."""

Kind = Literal["requests", "tokens", "money"]
Unit = Literal["hour", "day", "week"]
Slots = dict[int, list[int]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar. `kind` is its colour: served, failed, other, or s1 … s6."""

    kind: str
    name: str
    value: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """All in percent of the drawing, from left and from above. `mark`: its time is written below it (major), or only
    where there is room (minor)."""

    at: int
    label: str
    short: str
    mark: str
    hit: float
    x: float
    width: float
    pieces: tuple[Piece, ...]
    values: tuple[int, ...]

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 3)


@dataclass(frozen=True, slots=True)
class Tick:
    value: float
    y: float


@dataclass(frozen=True, slots=True)
class Chart:
    """`series` are (colour, name), lowest first; `kind` says how to write a value; `step` is the room of one bar."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    series: tuple[tuple[str, str], ...]
    kind: Kind
    unit: Unit
    step: float
    floor: float = FLOOR

    @property
    def empty(self) -> bool:
        return not any(bar.pieces for bar in self.bars)

    @property
    def columns(self) -> str:
        """The values of each series over time, for the script that draws them too."""
        return json.dumps(list(zip(*(bar.values for bar in self.bars), strict=True)), separators=(",", ":"))


def unit(since: float, until: float) -> Unit:
    """What a bar is: an hour, or a day where hours would be too many, or a week."""
    if until - since <= MOST_BARS * HOUR:
        return "hour"
    return "day" if until - since <= MOST_BARS * DAY else "week"


def asked_by(since: float, until: float) -> Literal["hour", "day"]:
    """By what the lines of a chart are to be asked for: weeks are of days."""
    return "hour" if unit(since, until) == "hour" else "day"


def by_outcome(lines: Iterable[UsageLine], since: float, until: float) -> Chart:
    """Requests over time, from lines by hour or day; times without any are there, and empty."""
    slots = _slots(since, until, 3)
    for line in lines:
        slot = slots.get(_slot(line, since, until))
        if slot is not None:
            for place, value in enumerate((line.served, line.requests - line.served - line.failed, line.failed)):
                slot[place] += value
    series = (("served", "served"), ("other", "refused or cancelled"), ("failed", "failed"))
    return _chart(slots, series, "requests", unit(since, until))


def in_all(
    lines: Iterable[UsageLine], times: tuple[float, float], name: str, kind: Kind, value: Callable[[UsageLine], int]
) -> Chart:
    """One sum over time, called `name`, from lines by hour or day."""
    slots = {at: [sum_] for at, sum_ in zip(_slots(*times, 1), over_time(lines, *times, value), strict=True)}
    return _chart(slots, (("failed" if name == "failures" else "s1", name),), kind, unit(*times))


def largest(lines: Iterable[UsageLine], value: Callable[[UsageLine], int]) -> tuple[list[str], int]:
    """Of the first group of lines: the names that have a colour of their own, and how many others there are."""
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.group[0]] = sums.get(line.group[0], 0) + value(line)
    names = sorted((name for name in sums if sums[name]), key=lambda name: (-sums[name], name))
    return names[:SHOWN], len(names[SHOWN:])


def by_group(
    lines: Iterable[UsageLine],
    all_lines: Iterable[UsageLine],
    shown: tuple[list[str], int],
    times: tuple[float, float],
    kind: Kind,
    value: Callable[[UsageLine], int],
) -> Chart:
    """From lines by hour or day and one more group, of the largest groups alone, and from those of all groups together,
    of which the others are the rest."""
    names, others = shown
    slots = _slots(*times, len(names) + bool(others))
    if others:
        for line in all_lines:
            if (slot := slots.get(_slot(line, *times))) is not None:
                slot[-1] += value(line)
    places = {name: place for place, name in enumerate(names)}
    for line in lines:
        if (slot := slots.get(_slot(line, *times))) is not None:
            slot[places[line.group[1]]] += value(line)
            if others:
                slot[-1] -= value(line)
    for slot in slots.values() if others else ():
        slot[-1] = max(slot[-1], 0)  # asked one after the other, while requests come in
    series = [(f"s{place}", name or "none") for place, name in enumerate(names, 1)]
    if others:
        series.append(("s6", counted(others, "other")))
    return _chart(slots, tuple(series), kind, unit(*times))


@lru_cache(maxsize=4096)
def start(group: str) -> float:
    """Of an hour's or a day's group, in seconds since 1970."""
    return datetime.fromisoformat(group).replace(tzinfo=UTC).timestamp()


def _slots(since: float, until: float, width: int) -> Slots:
    step, first = _STEPS[unit(since, until)], _bar_of(since, unit(since, until))
    times = list(range(first, max(first + step, int(until)), step))[-4 * MOST_BARS :]
    return {at: [0] * width for at in times}


def _slot(line: UsageLine, since: float, until: float) -> int:
    return _bar_of(start(line.group[0]), unit(since, until))


def _bar_of(moment: float, unit: Unit) -> int:
    """When its bar begins."""
    step, began = _STEPS[unit], MONDAY if unit == "week" else 0
    return int((moment - began) // step) * step + began


def _chart(slots: Slots, series: tuple[tuple[str, str], ...], kind: Kind, unit: Unit) -> Chart:
    top = _round_up(max((sum(slot) for slot in slots.values()), default=0), kind)
    step = 100 / len(slots)
    gap = step * (0.14 if len(slots) < 60 else 0.08)
    full, short = _FORMS[unit]
    marks = _marks(list(slots), unit)
    bars = []
    for place, (at, values) in enumerate(slots.items()):
        moment = datetime.fromtimestamp(at, UTC)
        bars.append(
            Bar(
                at,
                moment.strftime(full),
                moment.strftime(short),
                marks.get(at, ""),
                round(place * step, 3),
                round(place * step + gap, 3),
                round(step - 2 * gap, 3),
                _stacked(values, series, top),
                tuple(values),
            )
        )
    ticks = tuple(Tick(top * share, round(FLOOR - (FLOOR - TOP) * share, 2)) for share in (0, 0.5, 1))
    return Chart(tuple(bars), ticks, series, kind, unit, round(step, 3))


def _marks(times: list[int], unit: str) -> dict[int, str]:
    """About eight names of times, at even distances; every other one may go where there is little room."""
    every = next(n for n in (1, 2, 3, 4, 6, 12, 24, 48, 96) if len(times) <= 8.5 * n)
    return {at: "minor" if place % (2 * every) else "major" for place, at in enumerate(times) if place % every == 0}


def _round_up(value: int, kind: Kind) -> float:
    """To a round part of its magnitude, and no half requests on the axis, which also names the middle."""
    if value <= 0:
        return 2e9 if kind == "money" else 2.0
    magnitude = 10.0 ** (len(str(value)) - 1)
    steps: list[float] = [1, *((1.2, 1.6) if magnitude >= 10 else ()), 2, 3, 4, 5, 6, 8, 10]
    if kind != "money" and magnitude < 10:
        steps = [2, 4, 6, 8, 10]
    return next(step * magnitude for step in steps if step * magnitude >= value)


def _stacked(values: Sequence[int], series: Sequence[tuple[str, str]], top: float) -> tuple[Piece, ...]:
    pieces, y = [], FLOOR
    for (kind, name), value in zip(series, values, strict=True):
        if value > 0:
            height = max(0.8, (FLOOR - TOP) * value / top)
            y -= height
            pieces.append(Piece(kind, name, value, round(max(0.0, y), 2), round(height, 2)))
    return tuple(pieces)


def over_time(lines: Iterable[UsageLine], since: float, until: float, value: Callable[[UsageLine], int]) -> list[int]:
    """One sum for each bar of the time."""
    slots = _slots(since, until, 1)
    for line in lines:
        if (slot := slots.get(_slot(line, since, until))) is not None:
            slot[0] += value(line)
    return [slot[0] for slot in slots.values()]


def spark(values: Sequence[float]) -> str:
    """A line of SVG's through the values, in a box of 100 × 30, flat where all are 0; "" for fewer than three."""
    if len(values) < 3:
        return ""
    most = max(*values, 1e-9)
    step = 100 / (len(values) - 1)
    points = [f"{round(place * step, 2):g} {round(28 - 26 * value / most, 2):g}" for place, value in enumerate(values)]
    return "M" + "L".join(points)


@dataclass(frozen=True, slots=True)
class Span:
    """An attempt in the waterfall, in 0–100 of the whole time: waiting for the first byte, then reading."""

    attempt: AttemptView
    x: float
    waiting: float
    reading: float


def waterfall(request: RequestView) -> list[Span]:
    ends = [attempt.ended_ms or attempt.first_byte_ms or attempt.started_ms for attempt in request.tried]
    whole = max([request.total_ms, *ends, 0.001])
    spans = []
    for attempt in request.tried:
        start = attempt.started_ms
        end = max(start, attempt.ended_ms if attempt.ended_ms is not None else whole)
        first = end if attempt.first_byte_ms is None else min(max(attempt.first_byte_ms, start), end)
        x, waiting, reading = (round(100 * each / whole, 2) for each in (start, first - start, end - first))
        spans.append(Span(attempt, min(x, 99.0), max(waiting, 0.6), reading))
    return spans


def share(part: float, whole: float) -> float:
    """0–100, something visible for anything that is there."""
    if whole <= 0 or part <= 0:
        return 0.0
    return round(min(100.0, max(1.0, 100 * part / whole)), 2)
