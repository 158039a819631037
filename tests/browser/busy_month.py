"""A hub after a busy month: four providers, their keys in all states, callers with limits, thousands of records.

The same every time but for the clock, so that pictures of it differ only where the pages do.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmhub_core.admin.client_tokens import make
from llmhub_core.admin.control import Control
from llmhub_core.admin.entries import By
from llmhub_core.admin.entry_acts import entries_of
from llmhub_core.contracts import Attempt, Record
from llmhub_core.contracts.alerts import Alert
from llmhub_core.contracts.candidate import CandidateStats, Limit
from llmhub_core.contracts.configuration import EntryKind
from llmhub_core.contracts.errors import UpstreamDenied, UpstreamLimited
from llmhub_core.contracts.people import AdminToken
from llmhub_core.contracts.quota_store import Amount
from llmhub_core.hub.fault_lab import Fault
from llmhub_core.hub.hub import Hub

DAY = 86_400.0


def _provider(name: str, kind: str, path: str, models: tuple[str, ...], **keys: str) -> str:
    """Its table, with a key for each of `keys`: the TOML that the key has beside its name."""
    tables = [f'[[providers.keys]]\nname = "{key.replace("_", "-")}"\n{rest}' for key, rest in keys.items()]
    head = f'name = "{name}"\nkind = "{kind}"\nbase_url = "http://127.0.0.1:9{path}"\nmodels = {list(models)}'
    return "\n".join(["[[providers]]", head, *tables, ""])


def _token(number: int, name: str, rest: str) -> str:
    return f'[[tokens]]\nname = "{name}"\nhash = "sha256:{number}{"0" * 62}{number}"\n{rest}\n'


PROVIDERS = (
    _provider(
        "openai", "openai", "/v1", ("gpt-5-mini", "gpt-5", "text-embedding-3-small"),
        production='secret = "sk-proj-0123456789abcdef0123456789abcdef-Qw7e"\n'
        "limits = { rpm = 500, tpm = 400000, rpd = 20000 }",
        team_search='secret = "sk-proj-1123456789abcdef0123456789abcdef-Rt5u"\ngroup = "org-search"\n'
        "limits = { rpm = 200, tpd = 3000000 }",
        old_laptop='secret = "sk-proj-2123456789abcdef0123456789abcdef-Zz0p"\npriority = 3',
    ),
    _provider(
        "anthropic", "anthropic", "", ("claude-haiku-4-5", "claude-sonnet-4-5"),
        main='secret = "sk-ant-api03-0123456789abcdef0123456789-kL9m"\n'
        "limits = { rpm = 50, tpm = 80000, concurrency = 8 }",
        spare='secret = "sk-ant-api03-1123456789abcdef0123456789-Nb2v"\npriority = 2',
    ),
    _provider(
        "gemini", "gemini", "", ("gemini-2.5-flash",),
        free_tier='secret = "AIzaSyA0123456789abcdef0123456789abcdXy3"\nreset = "America/Los_Angeles"\n'
        "limits = { rpd = 250, rpm = 10 }",
    ),
    _provider(
        "groq", "openai_compatible", "/openai/v1", ("llama-3.3-70b-versatile",),
        main='secret = "gsk_0123456789abcdef0123456789abcdef0123Hh4s"\nlimits = { rpm = 30, tpd = 500000 }',
    ),
)  # fmt: skip

TOKENS = (
    _token(1, "game-server", 'models = ["fast", "cheap-*"]\nlimits = { rpm = 600, budget = "250 USD/month" }'),
    _token(2, "support-bot", 'limits = { rpm = 60, tpm = 100000, budget = "80 USD/month" }'),
    _token(3, "nightly-reports", 'models = ["smart", "embed"]\nlimits = { budget = "40 USD/month" }'),
    _token(4, "ann", ""),
)

ROUTES = """
[[routes]]
model = "fast"
strategy = "priority"
deployments = [
  { provider = "groq", model = "llama-3.3-70b-versatile", priority = 1, input_price = 0.59, output_price = 0.79 },
  { provider = "gemini", model = "gemini-2.5-flash", priority = 2, input_price = 0.3, output_price = 2.5 },
  { provider = "openai", model = "gpt-5-mini", priority = 3, input_price = 0.25, output_price = 2 },
]
fallbacks = ["smart"]

[[routes]]
model = "smart"
strategy = "lowest_latency"
deployments = [
  { provider = "anthropic", model = "claude-sonnet-4-5", input_price = 3, output_price = 15 },
  { provider = "openai", model = "gpt-5", input_price = 1.25, output_price = 10 },
]

[[routes]]
model = "cheap-and-cheerful"
strategy = "weighted"
deployments = [
  { provider = "anthropic", model = "claude-haiku-4-5", weight = 3, input_price = 1, output_price = 5 },
  { provider = "openai", model = "gpt-5-mini", weight = 1, input_price = 0.25, output_price = 2 },
]

[[routes]]
model = "embed"
deployments = [{ provider = "openai", model = "text-embedding-3-small", input_price = 0.02, output_price = 0 }]
"""

CONFIG = "\n".join((*PROVIDERS, ROUTES, *TOKENS))
TROUBLED = f"""{CONFIG}
[server]
fault_lab = true
[observers.webhook]
url = "http://127.0.0.1:9/alerts"
"""


@dataclass(frozen=True)
class Served:
    """Where a public model goes, and what a request there is like."""

    provider: str
    model: str
    key: str
    first_ms: float
    per_token_ms: float
    input_price: float
    output_price: float


HOMES = {
    "fast": (
        Served("groq", "llama-3.3-70b-versatile", "main", 190, 3, 0.59, 0.79),
        Served("gemini", "gemini-2.5-flash", "free-tier", 420, 6, 0.3, 2.5),
        Served("openai", "gpt-5-mini", "production", 510, 9, 0.25, 2),
    ),
    "smart": (
        Served("anthropic", "claude-sonnet-4-5", "main", 880, 14, 3, 15),
        Served("openai", "gpt-5", "production", 1400, 17, 1.25, 10),
    ),
    "cheap-and-cheerful": (
        Served("anthropic", "claude-haiku-4-5", "main", 480, 7, 1, 5),
        Served("openai", "gpt-5-mini", "team-search", 530, 9, 0.25, 2),
    ),
    "embed": (Served("openai", "text-embedding-3-small", "team-search", 130, 0, 0.02, 0),),
}

CALLERS = {
    "game-server": (0.55, ("fast", "fast", "fast", "cheap-and-cheerful")),
    "support-bot": (0.25, ("cheap-and-cheerful", "smart", "fast")),
    "nightly-reports": (0.13, ("smart", "embed", "embed")),
    "ann": (0.07, ("smart", "fast", "openai/gpt-5")),
}

TROUBLES = (
    ("rate_limit_exceeded", 429, "rate_limit_error", "This request would exceed your account's rate limit."),
    ("upstream_overloaded", 529, "overloaded_error", "Overloaded"),
    ("upstream_error", 500, "server_error", "The server had an error while processing your request."),
    ("upstream_timeout", None, None, "No first byte within 60 s."),
)


def records(per_day: float, now: float, days: int = 60, seed: int = 7) -> Iterator[Record]:
    """Oldest first, of the last `days`: more by day than by night and on weekdays, growing, with one bad afternoon."""
    chance = random.Random(seed)
    first = now - days * DAY
    hours = days * 24
    for hour in range(hours):
        start = first + hour * 3600
        moment = time.gmtime(start)
        daily = 0.35 + 0.65 * max(0.0, 1 - abs(moment.tm_hour - 14) / 9)
        weekly = 0.45 if moment.tm_wday >= 5 else 1.0
        expected = per_day / 24 * daily * weekly * (0.55 + 0.75 * hour / hours) * 1.35
        count = int(expected + chance.random() + chance.gauss(0, expected * 0.12))
        bad = hours - 60 <= hour < hours - 57
        for moment_in_hour in sorted(chance.random() for _ in range(count)):
            yield _record(chance, start + moment_in_hour * 3600, bad)


def _record(chance: random.Random, at: float, bad: bool) -> Record:
    names = list(CALLERS)
    caller = chance.choices(names, [CALLERS[name][0] for name in names])[0]
    model = chance.choice(CALLERS[caller][1])
    homes = HOMES.get(model, HOMES["smart"][1:])
    id = f"req_{chance.getrandbits(96):024x}"
    facts: dict[str, Any] = {
        "caller": caller, "dialect": "openai_chat" if caller != "ann" else "anthropic", "model": model,
        "operation": "embeddings" if model == "embed" else "chat", "stream": model != "embed" and chance.random() < 0.7,
        "route": model, "tags": {"team": chance.choice(("red", "blue"))} if caller == "support-bot" else {},
    }  # fmt: skip
    fate = chance.random()
    if fate < 0.008:
        return Record(id, at, **facts, outcome="refused", status=429, code="rate_limit_exceeded", source="gateway",
                      total_ms=round(chance.uniform(0.3, 1.2), 2))  # fmt: skip
    attempts: list[Attempt] = []
    clock = 0.4
    unlucky = 0.5 if bad else 0.045
    tried = 0
    while tried < len(homes) and chance.random() < unlucky:
        home, (reason, status, code, detail) = homes[tried], chance.choice(TROUBLES)
        took = 60_000.0 if status is None else home.first_ms * chance.uniform(0.3, 0.9)
        first = None if status is None else clock + took
        attempts.append(Attempt(home.provider, home.model, home.key, clock, reason, status, first,
                                clock + took, code, f"req_{chance.getrandbits(40):x}", detail))  # fmt: skip
        clock += took + 1
        tried += 1
    if tried == len(homes) and (bad or chance.random() < 0.3):
        last = attempts[-1]
        return Record(id, at, **facts, outcome="failed", status=502, code=last.reason, source="provider",
                      provider=last.provider, served_model=last.model, key=last.key, attempts=attempts,
                      total_ms=round(clock, 2))  # fmt: skip
    home = homes[min(tried, len(homes) - 1)]
    tokens_in = int(chance.lognormvariate(6.6, 0.9))
    tokens_out = 0 if model == "embed" else int(chance.lognormvariate(5.1, 0.8))
    first = clock + home.first_ms * chance.lognormvariate(0, 0.35)
    end = first + home.per_token_ms * tokens_out
    gone = fate > 0.994
    attempts.append(Attempt(home.provider, home.model, home.key, round(clock, 2), "cancelled" if gone else "ok",
                            200, round(first, 2), round(end, 2)))  # fmt: skip
    cached = int(tokens_in * chance.choice((0, 0, 0.4, 0.8)))
    cost = int((tokens_in - cached * 0.9) * home.input_price * 1000 + tokens_out * home.output_price * 1000)
    return Record(
        id, at, **facts, outcome="cancelled" if gone else "served", status=499 if gone else 200,
        provider=home.provider, served_model=home.model, key=home.key,
        lane="verbatim" if facts["dialect"] == "openai_chat" and home.provider in ("openai", "groq") else "translated",
        finish="" if gone else "stop", attempts=attempts,
        left_out=[("openai/gpt-5-mini#old-laptop", "invalid")] if home.provider == "openai" else [],
        adapted=["seed=dropped"] if home.provider == "anthropic" and chance.random() < 0.1 else [],
        first_byte_ms=round(first, 2), total_ms=round(end, 2), input_tokens=tokens_in, output_tokens=tokens_out,
        cached_tokens=cached, reasoning_tokens=tokens_out // 3 if home.model == "gpt-5" else 0, cost=cost,
    )  # fmt: skip


async def fill(hub: Hub, per_day: float = 60, days: int = 60) -> list[Record]:
    """Write the month into a hub that runs with CONFIG, and bring its keys, limits and live numbers to where such a
    month would have left them."""
    written = list(records(per_day, time.time() - 20, days))
    for start in range(0, len(written), 1000):
        await hub.store.append(written[start : start + 1000])
    await _spend(hub)
    _live(hub)
    return written


async def trouble(hub: Hub) -> None:
    """What else people can have to look at, in a hub that runs with TROUBLED: alerts that are over or muted, a failure
    on purpose, tokens for scripts."""
    now, alerts, people = time.time(), hub.store.alerts, hub.store.people
    assert alerts is not None
    assert people is not None
    for number in range(3):
        begun = now - (number + 1) * DAY / 3
        await alerts.keep_alert(
            Alert(
                f"alr_{number}",
                "provider_down",
                "anthropic",
                "error",
                "No key of anthropic can be used.",
                "See why each is out.",
                "keys",
                begun,
                begun + 400,
            )
        )
    await hub.alerts.mute("key_invalid", "key:openai/old-laptop", 8 * 3600, "owner")
    fault = Fault("groq", "main", "", "rate_limited", 20.0, 5.0, now, now + 1800, "owner")
    fault.struck = 17
    hub.fault_lab.start(fault)
    owner = await people.find_user("owner")
    assert owner is not None
    for number, (name, until) in enumerate((("nightly-backup", 0.0), ("grafana", now + 80 * DAY))):
        digest = f"{number}" * 64
        await people.add_admin_token(AdminToken(f"adm_{number}", name, digest, "Qw7e", "viewer", owner.id, now, until))


async def stored(control: Control) -> None:
    """One of each kind that was added by hand: its page is a form, that of what the file says is not."""
    entries = entries_of(control)
    openai = "openai_compatible"  # the kind with the longest title
    facts: tuple[tuple[EntryKind, str, dict[str, Any]], ...] = (
        ("provider", "mistral", {"kind": openai, "base_url": "http://127.0.0.1:9/v1", "models": ["codestral-latest"]}),
        ("key", "mistral/team-eu", {"secret": "mk-0123456789abcdef0123456789abcdef", "limits": {"rpm": 60}}),
        ("route", "code", {"deployments": [{"provider": "mistral", "model": "codestral-latest"}]}),
    )
    for kind, name, body in facts:
        await entries.add(kind, name, body, By("owner", owner=True))
    await make(entries, "mobile-app", {"models": ["fast"], "limits": {"budget": "120 USD/month"}}, By("owner"))
    await control.workers.reload(file=False)


async def _spend(hub: Hub) -> None:
    shares = (0.62, 0.31, 0.94, 0.12, 0.48, 0.77, 0.05)
    limits = {limit.id: limit for caller in hub.tokens.callers for limit in caller.limits}
    limits |= {limit.id: limit for place in hub.catalog.places.values() for key in place.keys for limit in key.limits}
    for place, limit in enumerate(limits.values()):
        taken = int(limit.amount * shares[place % len(shares)])
        held = await hub.quota.reserve([limit], _amount(limit, taken), 600)
        if limit.kind != "concurrency":
            await hub.quota.settle(held, _amount(limit, taken))


def _amount(limit: Limit, taken: int) -> Amount:
    if limit.kind == "tokens":
        return Amount(0, taken, 0)
    return Amount(0, 0, taken) if limit.kind == "money" else Amount(taken, 0, 0)


def _live(hub: Hub) -> None:
    chance = random.Random(11)
    by_key: dict[str, CandidateStats] = {}
    homes = {(home.provider, home.model): home for each in HOMES.values() for home in each}
    for stats in hub.catalog.stats:
        candidate = stats.candidate
        home = homes.get((candidate.deployment.provider, candidate.deployment.model))
        by_key[candidate.key.id] = stats
        if home is not None and home.key == candidate.key.name:
            stats.picks = chance.randint(900, 9000)
            stats.first_token = home.first_ms / 1000 * chance.uniform(0.9, 1.1)
    hub.pool.note(by_key["openai/old-laptop"], UpstreamDenied("no").said(code="invalid_api_key"))
    spent = UpstreamLimited("day", retry_after=5 * 3600.0)
    spent.exhausted = True
    hub.pool.note(by_key["gemini/free-tier"], spent)
    hub.pool.note(by_key["anthropic/main"], UpstreamLimited("slow", retry_after=45.0))
