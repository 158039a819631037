"""Values as people write them: durations, sizes, budgets, names. Each reader raises ValueError with half a
sentence that says what the value must be; the readers of units have a counterpart that writes the value again.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from llmhub_core.contracts import safe_text
from llmhub_core.hub.settings_words import nearest, quoted

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BYTES_FOLDED = {unit.lower(): factor for unit, factor in _BYTES.items()}
_PERIODS = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}

_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*")
_BUDGET = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,18})?)\s*USD\s*/\s*([a-z]+)\s*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MODEL = re.compile(r"[^\s\x00-\x1f\x7f#]{1,200}")
_HASH = re.compile(r"(?:hmac-)?sha256:[0-9a-f]{64}")

NANO = 10**9
LARGEST_BUDGET = 9_000_000 * NANO
"""10⁻⁹ USD; quota stores count exactly up to 2⁵³."""


class Moment(float):
    """Seconds since 1970, shown as a time in UTC."""

    def __str__(self) -> str:
        return datetime.datetime.fromtimestamp(self, datetime.UTC).isoformat()


class Budget(NamedTuple):
    """`amount` in 10⁻⁹ USD for each `window` in seconds."""

    amount: int
    window: int


def seconds(value: Any) -> float:
    """``5``, ``2.5``, ``"250 ms"``, ``"5 s"``, ``"2 min"``, ``"1 h"``, ``"1 d"``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    scale = _SECONDS.get(found[2] or "s") if found else None
    if found is None or scale is None:
        raise ValueError(f'must be a duration such as "5 s", "250 ms", "2 min" or "1 h"{_not(value)}')
    return float(Decimal(found[1]) * scale)


def size(value: Any) -> int:
    """``65536``, ``"64 KiB"``, ``"8 MiB"``, ``"1 MB"``; whole bytes only."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    scale = _BYTES_FOLDED.get(found[2].lower() or "b") if found else None
    if found is None or scale is None:
        raise ValueError(f'must be a size such as "8 MiB", "64 KiB" or 65536{_not(value)}')
    amount = Decimal(found[1]) * scale
    if amount != int(amount):
        raise ValueError(f"must be a whole number of bytes{_not(value)}")
    return int(amount)


UNITS = {"seconds": seconds, "bytes": size}


def show_seconds(value: float) -> str:
    exact = Decimal(repr(value))
    if not exact.is_finite():
        return str(value)
    if exact > 86_400 and exact % 86_400 == 0:
        return f"{(exact / 86_400).normalize():f} d"
    for unit, scale in (("h", 3600), ("min", 60)):
        if exact >= scale and exact % scale == 0:
            return f"{(exact / scale).normalize():f} {unit}"
    if 0 < exact < 1:
        return f"{(exact * 1000).normalize():f} ms"
    return f"{exact.normalize():f} s"


def show_size(value: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if value >= _BYTES[unit] and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]} {unit}"
    return f"{value} B"


def a_budget(value: Any) -> Budget:
    """``"20 USD/month"``: exact, or refused."""
    found = _BUDGET.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'must be money in a period, such as "20 USD/month"{_not(value)}')
    window = _PERIODS.get(found[2])
    if window is None:
        raise ValueError(f"has no period {quoted(found[2])}{nearest(found[2], _PERIODS)}")
    amount = Decimal(found[1]) * NANO
    if amount != int(amount) or not 0 < amount <= LARGEST_BUDGET:
        raise ValueError("must be between 0.000000001 and 9000000 USD, with nine decimals at most")
    return Budget(int(amount), window)


def a_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be a name of letters, digits, dots, dashes and underscores, 64 at most")
    return value


def a_model(value: str) -> str:
    if not _MODEL.fullmatch(value):
        raise ValueError("must be a model's name: without white space or #, 200 characters at most")
    return value


def a_pattern(value: str) -> str:
    if not _MODEL.fullmatch(value):
        raise ValueError('must be a model\'s name, or a pattern such as "gpt-4o*"')
    return value


def a_chosen_name(value: str) -> str:
    if not value.removeprefix("!").strip() or "*" in value[:-1]:
        raise ValueError('must be a name, "game-*" for all that begin so, or "!name" to leave one out')
    return value


def a_hash(value: str) -> str:
    if not _HASH.fullmatch(value):
        raise ValueError("must be sha256: and 64 hexadecimal digits in lower case; `llm-hub token add` prints it")
    return value


def a_moment(value: Any) -> Moment:
    """``2026-12-31`` (its beginning, in UTC) or ``2026-12-31T18:00:00+01:00``, quoted or as TOML's own dates."""
    try:
        moment = datetime.datetime.fromisoformat(str(value).strip())
        return Moment((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        wanted = 'must be a date or a time such as "2026-12-31" or "2026-12-31T18:00:00Z"'
        raise ValueError(f"{wanted}{_not(value)}") from None


def a_web_address(value: str) -> str:
    """Without the trailing slash; "" stays."""
    if value and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError('must be an address such as "https://hub.example.com"')
    return value.rstrip("/")


def a_word_of(words: tuple[str, ...]) -> Callable[[str], str]:
    """A reader for one of `words`."""

    def read(value: str) -> str:
        if value not in words:
            raise ValueError(f"has no {quoted(safe_text(value, 40))}{nearest(value, words)}")
        return value

    return read


def a_zone(value: str) -> str:
    """UTC works even where the system has no time zone data."""
    if value == "UTC":
        return value
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        hint = nearest(value, zones, listed=False) if zones else "; this system has none: pip install tzdata"
        raise ValueError(f"is not a time zone{hint or '; write one such as Europe/Paris'}") from None
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; a name other than localhost is not looked up: it counts as no."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _not(value: Any) -> str:
    return f", not {quoted(safe_text(value, 40))}" if isinstance(value, str) else ""
