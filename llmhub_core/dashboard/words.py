"""Numbers, times and states as people read them. Nothing known is "–", never 0."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from llmhub_core.hub.settings_values import show_seconds, show_size

NOTHING = "–"

TONES = {
    "ok": ("active", "served", "loaded", "done", "ok", "recovered"),
    "warn": ("cooling", "exhausted", "degraded", "unavailable", "warning"),
    "bad": ("invalid", "failing", "failed", "out", "error"),
}
"""What state is drawn in which colour; every other in that of plain text. The word stands beside it always."""

SAID = {"out": "all out", "degraded": "partly out", "note": "for your information"}


def tone(state: str) -> str:
    return next((name for name, states in TONES.items() if state in states), "idle")


def said(state: str) -> str:
    """The word for a state."""
    return SAID.get(state, state)


def number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def counted(number: float, thing: str) -> str:
    """1 key, 12 keys."""
    return f"{number:,.0f} {thing}{'' if number == 1 else 's'}"


def short(value: float | None) -> str:
    """Three digits or so: 950, 12.3k, 4.56M."""
    if value is None:
        return NOTHING
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.2f}"[:4].rstrip("0").rstrip(".") + letter if scaled < 100 else f"{scaled:.0f}{letter}"
    return f"{value:.0f}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    if value < 1:
        return "< 1 ms"
    return f"{value:.0f} ms" if value < 1000 else seconds(value / 1000)


def seconds(value: float | None) -> str:
    """The two largest units that matter."""
    if value is None:
        return NOTHING
    value = max(0.0, value)
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def money(value: float | None, among: float | None = None) -> str:
    """10⁻⁹ USD with as many digits as it takes to see something; in a column whose dearest line is `among`, with as
    many as that one has, so that points stand below points."""
    if value is None:
        return NOTHING
    if value == 0:
        return "$0"
    dollars, digits = value / 1e9, _cents(value if among is None else among)
    least = 10.0**-digits
    return f"< ${least:.{digits}f}" if 0 < dollars < least / 2 else f"${dollars:,.{digits}f}"


def _cents(value: float) -> int:
    """Digits after the point: below a tenth of a cent so many that three of them count."""
    dollars = abs(value) / 1e9
    if dollars >= 0.995:
        return 2
    return 4 if dollars >= 0.001 or not dollars else min(9, 2 - math.floor(math.log10(dollars)))


def amount(value: float, kind: str) -> str:
    """Of a limit: money as money, tokens in short."""
    return money(value) if kind == "money" else (short(value) if kind == "tokens" else number(value))


def tick(value: float, kind: str) -> str:
    """At an axis: short, whatever it is."""
    if kind != "money":
        return short(value)
    dollars = value / 1e9
    if dollars >= 10 or dollars == int(dollars):
        return f"${short(dollars)}"
    return f"${dollars:.2f}" if round(dollars, 2) == dollars else f"${dollars:.9f}".rstrip("0")


def limited(level: Any) -> str:
    """What a limit limits: requests a minute, spend a month."""
    if level.kind == "concurrency":
        return "requests at once"
    return f"{'spend' if level.kind == 'money' else level.kind} {window(level.window)}"


def window(length: int) -> str:
    """What a limit is for."""
    known = {0: "at once", 60: "a minute", 3600: "an hour", 86_400: "a day", 604_800: "a week", 2_592_000: "a month"}
    return known.get(length, f"in {seconds(length)}")


def subject(name: str) -> str:
    """What an alert or a hold is about, ``key:openai/main:requests/86400``, as it is called elsewhere."""
    kind, _, rest = name.partition(":")
    if kind not in ("key", "group", "model", "provider", "token"):
        return name
    rest, _, limit = rest.partition(":")
    of, _, length = limit.partition("/")
    if not length.isdecimal():
        return f"{rest}:{limit}" if limit else rest
    return f"{rest}, {'spend' if of == 'money' else of} {window(int(length))}"


def held(subject: str, key: str) -> str:
    """What is out, seen from the page of that key."""
    kind, _, rest = subject.partition(":")
    if kind == "model":  # of the key, or of its account
        return f"the model {rest.partition(':')[2].split('/', 2)[-1]}"
    if kind == "group":
        return f"its account {rest.partition('/')[2]}"
    return "the key itself" if subject == f"key:{key}" else f"the provider {rest}" if kind == "provider" else rest


def live(value: float | None, name: str) -> str:
    """A number that a strategy looked at (`LIVE_NUMBERS`)."""
    if value is None:
        return NOTHING
    if name == "first_token":
        return milliseconds(1000 * value)
    if name == "last_pick" and not value:
        return "never"
    return number(value) if value == int(value) or value >= 1000 else f"{value:.3g}"


def waits(text: str) -> str:
    """Where a reason says "back in 17323 s": in units that people count in."""
    return re.sub(r"\bback in (\d+) s\b", lambda found: f"back in {seconds(float(found[1]))}", text)


def percent(part: float, whole: float) -> str:
    if not whole:
        return NOTHING
    share = 100 * part / whole
    return f"{share:.0f} %" if share in (0, 100) else f"{min(max(share, 0.1), 99.9):.1f} %"


def change(now: float, before: float) -> str:
    """Against the period before; "" where there is nothing to compare with."""
    if not before:
        return ""
    share = 100 * (now - before) / before
    return "as before" if abs(share) < 0.5 else f"{'▲' if share > 0 else '▼'} {min(abs(share), 999):.0f} %"


def iso(at: float) -> str:
    return _utc(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(at: float) -> str:
    """Day and time, in UTC."""
    return _utc(at).strftime("%d %b %H:%M:%S")


def day(written: str) -> str:
    """One of UTC, 2026-11-03, as the charts name it; with its year where that is another."""
    moment = datetime.fromisoformat(written)
    return moment.strftime("%a %d %b" if moment.year == datetime.now(UTC).year else "%a %d %b %Y")


def zoned(text: str, since: float) -> Markup:
    """A sentence whose times, each the first of its kind after `since`, are put into the viewer's zone."""

    def moment(found: re.Match[str]) -> str:
        at = since - since % 86_400 + int(found[1]) * 3600 + int(found[2]) * 60
        exact = iso(at if at > since - 60 else at + 86_400)
        return f'<time datetime="{exact}" title="{exact}" data-form="hour">{found[0]}</time>'

    return Markup(re.sub(r"\b(\d\d):(\d\d) UTC\b", moment, str(escape(text))))  # noqa: S704 - escaped before


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(min(max(at, 0.0), 253_402_300_799.0), UTC)


def setting(value: Any, unit: str) -> Any:
    """A setting as the file would have it: durations and sizes in the largest unit that divides them."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    return show_seconds(value) if unit == "seconds" else show_size(int(value)) if unit == "bytes" else value


def size(value: float) -> str:
    """1,234 bytes, 56 kB."""
    return f"{value:,.0f} bytes" if value < 10_000 else f"{value / 1000:,.0f} kB"


def laid_out(text: str) -> str:
    """JSON as people read it; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def part(name: str) -> str:
    """As one part of a path: slashes are of the name."""
    return quote(name, safe="")


def breakable(code: str) -> Markup:
    """May go on in the next line after each part of it, where there is little room."""
    return Markup("_<wbr>").join(map(escape, code.split("_")))


def filled(name: str, form: Any) -> bool:
    """Whether a field of a form says something, or is wrong."""
    return bool(form.value(name) or form.fault(name))


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """For a choice whose options are called what they are."""
    return [(name, name) for name in names]


def product(scheme: str) -> str:
    """What people call the store of that scheme."""
    names = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "redis": "Redis", "rediss": "Redis", "unix": "Redis"}
    return names.get(scheme, scheme)


def column(group: str) -> str:
    """What stands above the names of a group of usage: ``tag:team`` are those of the tag `team`."""
    kind, _, name = group.partition(":")
    return f"{kind.capitalize()} {name}".rstrip()


_SAID = (
    zoned,
    breakable,
    column,
    product,
    filled,
    pairs,
    part,
    size,
    laid_out,
    tone,
    said,
    number,
    counted,
    short,
    milliseconds,
    seconds,
    money,
    amount,
    tick,
    limited,
    window,
    subject,
    held,
    live,
    waits,
    percent,
)
FILTERS: dict[str, Callable[..., Any]] = {each.__name__: each for each in (*_SAID, change, iso, clock, day, setting)}
