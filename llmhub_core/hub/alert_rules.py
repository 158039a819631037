"""What counts as not well. Each rule looks at the hub as it is and says what it finds; nothing is remembered here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from llmhub_core.contracts.alerts import AlertSeverity
from llmhub_core.contracts.candidate import Limit, ProviderKey
from llmhub_core.contracts.quota_store import Level, QuotaStore
from llmhub_core.hub.catalog import Catalog, Place
from llmhub_core.hub.forecast import Trend
from llmhub_core.hub.health import Health
from llmhub_core.hub.ledger import Ledger
from llmhub_core.hub.pool import Mark, Pool
from llmhub_core.hub.recent_errors import Counted
from llmhub_core.hub.settings import AlertSettings
from llmhub_core.hub.tokens import Tokens

NANO = 10**9

LONG_WINDOW = 3600
"""Seconds: limits of shorter windows fill and empty all the time, and nobody has to be told."""

HALF = 0.5
"""Less of a limit than this is never worth a forecast: bursts would be news."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not well now. It is an alert once it has held for `after` seconds."""

    rule: str
    subject: str
    severity: AlertSeverity
    what: str
    advice: str
    page: str
    after: float = 0.0


class Watched(Protocol):
    """The parts of a hub that rules look at; read anew each time, for a reload may exchange them."""

    catalog: Catalog
    pool: Pool
    health: Health
    tokens: Tokens
    quota: QuotaStore
    ledger: Ledger
    sealed: str

    def key_state(self, key: ProviderKey) -> Mark: ...


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known at one moment: the hub's parts, levels of limits with their trends, recent requests by route."""

    hub: Watched
    settings: AlertSettings
    levels: Mapping[str, tuple[Level, Trend]]
    recent: Mapping[str, Counted]


Rule = Callable[[Sight], Iterable[Finding]]


def findings(sight: Sight) -> Iterator[Finding]:
    """Of all rules that are switched on."""
    for name in sight.settings.rules:
        yield from RULES[name](sight)


# keys and providers


def _key_invalid(sight: Sight) -> Iterator[Finding]:
    for subject, mark in _held(sight, "invalid"):
        yield Finding(
            "key_invalid", subject, "error", f"The provider refuses the {_named(subject)} ({mark.reason}).",
            "Put a good key in its place, or reset it if it works after all.", "keys",
        )  # fmt: skip


def _key_exhausted(sight: Sight) -> Iterator[Finding]:
    for subject, mark in _held(sight, "exhausted"):
        back = "" if mark.until is None else f" It is tried again in {in_words(mark.until - time.monotonic())}."
        yield Finding(
            "key_exhausted", subject, "warning",
            f"The {_named(subject)} has used up what it has at the provider ({mark.reason}).{back}",
            "Add credit at the provider, add a key of another account, or wait.", "keys",
        )  # fmt: skip


def _held(sight: Sight, state: str) -> list[tuple[str, Mark]]:
    return [(subject, mark) for subject, mark in sight.hub.pool.now_held().items() if mark.state == state]


def _named(subject: str) -> str:
    """``key:openai/main`` as people say it."""
    kind, _, name = subject.partition(":")
    return f"{ {'group': 'account'}.get(kind, kind) } {name}"


def _provider_down(sight: Sight) -> Iterator[Finding]:
    hub, after = sight.hub, sight.settings.provider_down_after
    for place in hub.catalog.places.values():
        states = Counter(hub.key_state(key).state for key in place.keys)
        if not states["active"] and states.keys() != {"disabled"}:  # that somebody wants
            why = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            yield Finding(
                "provider_down", place.name, "error", f"No key of {place.name} can be used ({why}).",
                "See why each is out; a route with a second provider would go on meanwhile.", "keys", after,
            )  # fmt: skip
    for (provider, model), failures in hub.health.out().items():
        where = hub.catalog.places.get(provider)
        # Callers may ask a provider for names that nobody has: these are no news.
        if where is not None and _configured(hub.catalog, where, model):
            yield Finding(
                "provider_down", f"{provider}/{model}", "error",
                f"{provider} failed {failures} times in a row for {model} and is left alone for a while.",
                "A single request tries it again by and by; see its last errors.", "health",
            )  # fmt: skip


def _configured(catalog: Catalog, place: Place, model: str) -> bool:
    if model in place.models or model in (place.listed or ()):
        return True
    routed = (stats.candidate.deployment for route in catalog.routes.values() for stats in route.standing)
    return any((each.provider, each.model) == (place.name, model) for each in routed)


# limits


def watched_limits(hub: Watched) -> list[Limit]:
    """Limits for which a level is worth asking the store, each once."""
    limits = [limit for place in hub.catalog.places.values() for key in place.keys for limit in key.limits]
    limits += [limit for caller in hub.tokens.callers for limit in caller.limits if limit.kind == "money"]
    return list({limit.id: limit for limit in limits if limit.window >= LONG_WINDOW}.values())


def _quota_low(sight: Sight) -> Iterator[Finding]:
    share, ahead = sight.settings.quota_share, sight.settings.quota_ahead
    for level, trend in _levels(sight, ("key:", "group:")):
        used, amount, left = level.used, level.limit.amount, level.left
        spent_in = trend.spent_in(left)
        soon = ahead is not None and spent_in is not None and spent_in < min(ahead, level.resets_in)
        if used >= amount * share or (soon and used >= amount * HALF):
            subject = level.limit.id.rpartition(":")[0]
            yield Finding(
                "quota_low", level.limit.id, "warning",
                f"The {_named(subject)} has {_amount(left, level)} left of {_amount(amount, level)} {_window(level)}."
                f" {_forecast(level, spent_in)}",
                "It comes back with time; a higher limit, another key or a second provider helps at once.", "keys",
            )  # fmt: skip


def _budget_low(sight: Sight) -> Iterator[Finding]:
    for level, trend in _levels(sight, ("token:",)):
        if level.left and level.used >= level.limit.amount * sight.settings.budget_share:
            yield Finding(
                "budget_low", level.limit.id.rpartition(":")[0], "warning",
                f"The client {_named(level.limit.id.rpartition(':')[0])} has {_amount(level.left, level)} left of its "
                f"budget of {_amount(level.limit.amount, level)} {_window(level)}. "
                f"{_forecast(level, trend.spent_in(level.left))}",
                "Raise its budget, or tell who uses it.", "keys",
            )  # fmt: skip


def _budget_spent(sight: Sight) -> Iterator[Finding]:
    for level, _ in _levels(sight, ("token:",)):
        if not level.left:
            yield Finding(
                "budget_spent", level.limit.id.rpartition(":")[0], "error",
                f"The client {_named(level.limit.id.rpartition(':')[0])} has spent its budget of "
                f"{_amount(level.limit.amount, level)} {_window(level)}; its requests are refused.",
                f"Raise its budget, or wait: the first of it comes back in {in_words(level.resets_in)}.", "keys",
            )  # fmt: skip


def _levels(sight: Sight, owners: tuple[str, ...]) -> Iterator[tuple[Level, Trend]]:
    return ((level, trend) for id, (level, trend) in sight.levels.items() if id.startswith(owners))


def _forecast(level: Level, spent_in: float | None) -> str:
    back = in_words(level.resets_in)
    if not level.left:
        return f"The first of it comes back in {back}."
    if spent_in is None:
        return f"Lately nothing of it was used; the first of it comes back in {back}."
    if spent_in >= level.resets_in:
        return f"As it is used lately it lasts until it comes back, in {back}."
    at = time.strftime("%H:%M", time.gmtime(time.time() + spent_in))
    return f"As it is used lately it is spent in {in_words(spent_in)}, at {at} UTC; it comes back in {back}."


# requests and the hub itself


def _error_rate(sight: Sight) -> Iterator[Finding]:
    settings = sight.settings
    for route, counted in sight.recent.items():
        if counted.requests >= settings.error_requests and counted.failed >= counted.requests * settings.error_rate:
            codes = ", ".join(f"{code or 'unknown'} ({count})" for code, count in counted.codes.most_common(3))
            yield Finding(
                "error_rate", route, "error",
                f"{counted.failed} of {counted.requests} requests for {route} failed in the last "
                f"{in_words(settings.error_window)}: {codes}.",
                "See the failed requests and why each attempt ended.", "requests",
            )  # fmt: skip


def _journal(sight: Sight) -> Iterator[Finding]:
    ledger = sight.hub.ledger
    if ledger.broken is not None:
        yield Finding(
            "journal", "written", "error", f"The usage journal cannot be written: {ledger.broken}.",
            "Make room on the disk of the data folder. Until then no request is taken.", "health",
        )  # fmt: skip
    if ledger.filled >= sight.settings.journal_share:
        yield Finding(
            "journal", "filled", "error",
            f"The usage journal is {100 * ledger.filled:.0f} % full: {ledger.backlog:,} records wait for the database.",
            "See whether the database is up. When the journal is full no request is taken.", "health",
        )  # fmt: skip


def _vault_sealed(sight: Sight) -> Iterator[Finding]:
    if sight.hub.sealed:
        yield Finding(
            "vault_sealed",
            "vault",
            "error",
            "The hub is sealed: no request is taken.",
            f"{sight.hub.sealed}.",
            "health",
        )


RULES: Mapping[str, Rule] = {
    "key_invalid": _key_invalid,
    "key_exhausted": _key_exhausted,
    "provider_down": _provider_down,
    "quota_low": _quota_low,
    "budget_low": _budget_low,
    "budget_spent": _budget_spent,
    "error_rate": _error_rate,
    "journal": _journal,
    "vault_sealed": _vault_sealed,
}


# words


def in_words(seconds: float) -> str:
    """The largest unit that says it, rounded."""
    for name, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length or (name != "minute" and seconds >= 0.99 * length):
            count = round(seconds / length)
            return f"{count} {name}{'' if count == 1 else 's'}"
    count = max(1, round(seconds))
    return f"{count} second{'' if count == 1 else 's'}"


def _amount(value: int, level: Level) -> str:
    if level.limit.kind == "money":
        return f"{value / NANO:,.2f} USD"
    return f"{value:,} {level.limit.kind}"


def _window(level: Level) -> str:
    known = {3600: "an hour", 86_400: "a day", 604_800: "a week", 2_592_000: "a month"}
    return known.get(level.limit.window, f"in {in_words(level.limit.window)}")
