"""What providers say of their limits, in headers and in words: when something comes back, and how much is allowed.

Moments are told by the answer's own ``date`` header where there is one, so that a wrong clock here moves nothing.

Sources: the documentation of OpenAI, Azure, Groq, Cerebras, Mistral and OpenRouter (``x-ratelimit-…``), of Anthropic
(``anthropic-ratelimit-…``), and recorded answers of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

DAY = 86_400
LONGEST = 32.0 * DAY
"""Seconds; whatever lies further off is not a reset but something misread."""


class SeenLimit(msgspec.Struct, frozen=True, gc=False):
    """A limit as a provider told it. `window` in seconds, `zone` as in Limit; what is left of it, and in how many
    seconds it begins anew, if told."""

    kind: Literal["requests", "tokens"]
    window: int
    amount: int
    left: int | None = None
    resets_in: float | None = None
    zone: str | None = None


def said_at(headers: Mapping[str, str]) -> float:
    """When the answer was made, in seconds since 1970 and by the provider's clock if it says so."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return time.time()


_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_SPAN = re.compile(
    r"(\d{1,9}(?:\.\d{1,15})?)\s*(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\b"
    r"|(\d{1,9}(?:\.\d{1,15})?)(ms|s|m|h|d)(?=\d)"
)
_SECONDS = {"ms": 0.001, "mi": 60.0, "m": 60.0, "s": 1.0, "se": 1.0, "h": 3600.0, "ho": 3600.0, "hr": 3600.0}


def duration(text: str) -> float | None:
    """Seconds of ``12ms``, ``8.64s``, ``6m0s``, ``1h2m3.5s``, ``2 minutes`` or a bare number, None of anything else."""
    if _NUMBER.fullmatch(text):
        return float(text)
    spans = [float(first or second) * _unit(unit or short) for first, unit, second, short in _SPAN.findall(text)]
    return sum(spans) if spans else None


def _unit(unit: str) -> float:
    if unit.startswith("milli"):
        return 0.001
    return DAY if unit.startswith("d") else _SECONDS[unit[:2] if unit[:2] in _SECONDS else unit[0]]


def resets_in(value: str, now: float) -> float | None:
    """Seconds from `now` of a reset header: a duration, a number of seconds, a moment as seconds or milliseconds since
    1970, RFC 3339, or an HTTP date. None for anything else; never less than 0."""
    value = value.strip()
    if _NUMBER.fullmatch(value):
        number = float(value)
        if number > 1e11:
            number = number / 1000 - now
        elif number > 1e9:
            number -= now
        return _sensible(number)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        pass
    else:
        return _sensible(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
    found = duration(value)
    if found is None:
        try:
            found = parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError):
            return None
    return _sensible(found)


def _sensible(seconds: float) -> float | None:
    return max(0.0, seconds) if seconds < LONGEST else None


_IN = re.compile(
    r"(?:try again|retry(?:ing)?|resets?|available(?: again)?|wait)(?: in| after| for)? ?(?:about |approximately )?"
    r"((?:\d[\d.]*\s*[a-z]+[,\s]*(?:and\s+)?)+)"
)
_AT = re.compile(
    r"(?:try again|retry|resets?|regain access|available(?: again)?|until)(?: will be)?(?: at| on| after)? "
    r"(\d{4}-\d\d-\d\d)(?:[t ]|, | at )?(\d\d:\d\d(?::\d\d)?)?(?:\.\d+)? ?(z|utc|gmt|[+-]\d\d:?\d\d)?"
)


def wait_in_words(text: str, now: float) -> float | None:
    """Seconds until what a sentence names: ``Please try again in 1h2m3s``, ``resets at 2026-12-01 00:00 UTC``. A moment
    without a zone is taken for UTC, a day without a time for its beginning."""
    text = text.lower()
    if found := _AT.search(text):
        zone = found[3] if found[3] and found[3][0] in "+-" else "+00:00"
        try:
            moment = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}{zone}")
        except ValueError:
            return None
        return _sensible(moment.timestamp() - now)
    if found := _IN.search(text):
        seconds = duration(found[1].strip(" ."))
        return None if seconds is None else _sensible(seconds)
    return None


# headers of limits

_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")
_WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": DAY}
_PLAIN = {"tokens", "requests", "req", *_WINDOWS}
_Counter = tuple[str, ...]
NEARLY = 0.03


def _counters(headers: Mapping[str, str]) -> dict[_Counter, dict[str, str]]:
    """By what is counted (``("tokens", "day")``): its limit, remaining and reset, whatever their order in the name."""
    counters: dict[_Counter, dict[str, str]] = {}
    for name, value in headers.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            continue
        words = name[len(prefix) :].split("-")
        what = next((word for word in ("limit", "remaining", "reset") if word in words), None)
        if what is not None:
            words.remove(what)
            counters.setdefault(tuple(words), {})[what] = value
    return counters


def spent_until(headers: Mapping[str, str]) -> float | None:
    """Seconds until all counters that have nothing left begin anew; None if none is spent, or no reset is told."""
    now = said_at(headers)
    waits = [
        resets_in(counter["reset"], now)
        for counter in _counters(headers).values()
        if counter.get("remaining", "").strip() in ("0", "0.0") and "reset" in counter
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def seen_limits(headers: Mapping[str, str]) -> list[SeenLimit]:
    """The limits on requests and on all tokens that the headers of an answer tell. Those on a part of them (input,
    output, prompt, generated, one project's) are left aside: nobody here counts them apart."""
    now = said_at(headers)
    seen = []
    for words, counter in _counters(headers).items():
        amount = _whole(counter.get("limit", ""))
        if not amount or not _PLAIN.issuperset(words):
            continue
        kind: Literal["requests", "tokens"] = "tokens" if "tokens" in words else "requests"
        if not {"tokens", "requests", "req"} & set(words):
            continue  # nobody knows what it counts
        left = _whole(counter.get("remaining", ""))
        reset = resets_in(counter["reset"], now) if "reset" in counter else None
        named = next((_WINDOWS[word] for word in words if word in _WINDOWS), None)
        seen.append(SeenLimit(kind, named or _window(amount, left, reset), amount, left, reset))
    return seen


def _whole(text: str) -> int | None:
    try:
        number = int(float(text))
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**53 else None


def _window(amount: int, left: int | None, reset: float | None) -> int:
    """The window of a counter that does not say it. Where it fills up bit by bit, the time until it is full tells: one
    of 14,400 requests that takes 6 s is one of a day's."""
    if reset is None:
        return 60
    if left is not None and left < amount:
        whole = reset * amount / (amount - left)
        for window in (60, 3600, DAY):
            if abs(whole - window) <= NEARLY * window:
                return window
    if reset <= 60:
        return 60
    return 3600 if reset <= 3600 else DAY


_NAMED = re.compile(r"\((rpm|rpd|tpm|tpd)\):? limit:? ~?(\d{1,15})")
_SPELLED = re.compile(r"limit of (\d{1,3}(?:,\d{3})+|\d{1,15}) (requests|tokens) per (minute|hour|day)")


def limits_in_words(text: str) -> list[SeenLimit]:
    """Limits that a message names: ``tokens per day (TPD): Limit 100000``, ``limit of 50 requests per minute``."""
    text = text.lower()
    seen = []
    for name, amount in _NAMED.findall(text):
        seen.append(SeenLimit("requests" if name[0] == "r" else "tokens", 60 if name[2] == "m" else DAY, int(amount)))
    for amount, kind, window in _SPELLED.findall(text):
        seen.append(SeenLimit(kind, _WINDOWS[window], int(amount.replace(",", ""))))
    return [limit for limit in seen if limit.amount]
