"""Geometry of the drawings: templates only write it down as SVG, so that no script and no inline style is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from llmhub_core.admin.views import AttemptView, RequestView, UsageLine

HOUR, DAY = 3600, 86_400
HEIGHT = 100.0
MOST_BARS = 100


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar: `kind` is served, failed or other."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """`x` and `width` in 0–100 of the drawing's width; heights in 0–100 of its height, from above."""

    label: str
    x: float
    width: float
    pieces: tuple[Piece, ...]
    requests: int
    served: int
    failed: int


@dataclass(frozen=True, slots=True)
class Chart:
    bars: tuple[Bar, ...]
    most: int
    unit: str

    @property
    def empty(self) -> bool:
        return self.most == 0


def over_time(lines: Sequence[UsageLine], since: float, until: float) -> Chart:
    """Requests by the hour, or by the day where hours would be too many; hours without any are there, and empty."""
    step = HOUR if until - since <= MOST_BARS * HOUR else DAY
    first = int(since // step) * step
    slots = {at: [0, 0, 0] for at in range(first, max(first + step, int(until)), step)}
    for line in lines:
        at = int(_start(line.group[0]) // step) * step
        slot = slots.get(at)
        if slot is not None:
            for place, value in enumerate((line.requests, line.served, line.failed)):
                slot[place] += value
    shown = list(slots.items())[-4 * MOST_BARS :]
    most = max(slot[0] for _, slot in shown)
    width = 100 / len(shown)
    label = "%d %b %H:%M" if step == HOUR else "%d %b"
    bars = tuple(
        Bar(
            datetime.fromtimestamp(at, UTC).strftime(label),
            round(place * width + width * 0.1, 3),
            round(width * 0.8, 3),
            _stacked(requests, served, failed, most),
            requests,
            served,
            failed,
        )
        for place, (at, (requests, served, failed)) in enumerate(shown)
    )
    return Chart(bars, most, "hour" if step == HOUR else "day")


def _start(group: str) -> float:
    return datetime.fromisoformat(group).replace(tzinfo=UTC).timestamp()


def _stacked(requests: int, served: int, failed: int, most: int) -> tuple[Piece, ...]:
    pieces, y = [], HEIGHT
    for kind, value in (("served", served), ("other", requests - served - failed), ("failed", failed)):
        if value > 0:
            height = max(1.0, HEIGHT * value / most)
            y -= height
            pieces.append(Piece(kind, round(max(0.0, y), 2), round(height, 2)))
    return tuple(pieces)


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
