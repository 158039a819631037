"""What runs at this moment: keys, quotas, providers, and what is not well."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Sequence

from llmhub_core import __version__
from llmhub_core.admin import configuration, limits
from llmhub_core.admin.control import Control
from llmhub_core.admin.refusals import not_found
from llmhub_core.admin.slices import unhurried
from llmhub_core.admin.views import (
    DeploymentView,
    HealthView,
    HoldView,
    KeyView,
    LevelView,
    Problem,
    ProviderView,
    StoreView,
)
from llmhub_core.contracts.candidate import Candidate, Deployment, KeyState, ProviderKey
from llmhub_core.contracts.metadata_store import MetadataStore, UsageQuestion, UsageRow
from llmhub_core.hub.alert_rules import in_words
from llmhub_core.hub.catalog import Place
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.pool import Mark
from llmhub_core.hub.workers import Standing, Tally, identity

HOUR = 3600.0
SEVEREST = ("error", "warning", "note")
SEEN_OVER_TIME = ("error_rate", "budget_low", "budget_spent")

UNTRIED = Tally()


def wall(until: float | None) -> float | None:
    """A monotonic moment as seconds since 1970."""
    return None if until is None else time.time() + until - time.monotonic()


# keys and quotas


async def keys(control: Control, ids: Container[str] | None = None) -> list[KeyView]:
    """Those of `ids`, None for all: to ask where their limits stand is what takes time."""
    hub, standing = control.hub, await control.workers.standing()
    return await _views(hub, [key for key in _keys(hub) if ids is None or key.id in ids], standing)


def key_states(hub: Hub) -> Callable[[str], KeyState | None]:
    """The state of a key by its id; None of one that is not in use."""
    running = {key.id: key for key in _keys(hub)}
    return lambda id: hub.key_state(running[id]).state if id in running else None


async def _views(hub: Hub, wanted: Sequence[ProviderKey], standing: Standing) -> list[KeyView]:
    levels = {level.id: level for level in await limits.declared(hub, wanted)}
    learned: dict[str, list[LevelView]] = {}
    for account, level in await limits.learned(hub, {key.account for key in wanted}):
        learned.setdefault(account, []).append(level)
    tallies: dict[str, Tally] = {}
    for (provider, _, name), tally in standing.tallies.items():
        tallies.setdefault(f"{provider}/{name}", Tally()).add(tally.in_flight, tally.picks, 0, None)
    return [
        _key(hub, key, levels, learned.get(key.account, []), tallies.get(key.id, UNTRIED))
        async for key in unhurried(wanted)
    ]


def find_key(hub: Hub, provider: str, name: str) -> ProviderKey:
    for key in _keys(hub):
        if (key.provider, key.name) == (provider, name):
            return key
    raise not_found("key of that name")


def _keys(hub: Hub) -> list[ProviderKey]:
    return [key for place in hub.catalog.places.values() for key in place.keys]


def _key(hub: Hub, key: ProviderKey, levels: dict[str, LevelView], learned: list[LevelView], tally: Tally) -> KeyView:
    mark, now = hub.key_state(key), time.monotonic()
    secret = hub.catalog.places[key.provider].secrets.get(key.name)
    return KeyView(
        id=key.id,
        provider=key.provider,
        name=key.name,
        hint="" if secret is None else secret.hint,
        state=mark.state,
        reason=mark.reason,
        since=wall(mark.since or None),
        until=wall(mark.until),
        next_try=wall(mark.next_try),
        holds=[_held(held, now) for held in hub.pool.held(key)],
        priority=key.priority,
        weight=key.weight,
        group=key.group,
        models=list(key.models),
        in_flight=tally.in_flight,
        attempts=tally.picks,
        levels=[*(levels[limit.id] for limit in key.limits if limit.id in levels), *learned],
    )


def _held(mark: Mark, now: float) -> HoldView:
    return HoldView(
        subject=mark.subject,
        state=mark.state,
        reason=mark.reason,
        since=wall(mark.since) or 0.0,
        until=wall(mark.until),
        trying=mark.trier is not None or mark.over(now),
    )


# health


async def health(control: Control) -> HealthView:
    return (await health_and_keys(control))[0]


async def health_and_keys(control: Control) -> tuple[HealthView, list[KeyView]]:
    """Both at the price of one."""
    hub, now = control.hub, time.time()
    standing = await control.workers.standing()
    all_keys = await _views(hub, _keys(hub), standing)
    # Whole hours, for these are summed already, however many requests there were.
    hour = now // HOUR * HOUR
    recent = await control.page_process.run(_used_by_provider, hour - HOUR, hour + HOUR)
    asked = Counter({row.group[0]: row.requests for row in recent}) + standing.unanswered
    failed = Counter({row.group[0]: row.failed for row in recent}) + standing.unanswered
    of_key, of_place = _by_provider(all_keys), await _deployments(hub, standing)
    providers = [
        _provider(place, of_key[place.name], of_place[place.name], standing, asked[place.name], failed[place.name])
        for place in hub.catalog.places.values()
    ]
    view = HealthView(
        version=__version__,
        ready=hub.ready,
        draining=hub.draining,
        started_at=control.started_at,
        now=now,
        workers=hub.worker.of,
        in_flight=standing.in_flight,
        journal_waiting=standing.waiting,
        journal_error=standing.broken,
        problems=sorted(
            (
                *_fault_problems(hub),
                *_hub_problems(hub, standing),
                *_alert_problems(hub, standing),
                *[problem async for key in unhurried(all_keys) for problem in _key_problems(key)],
                *_provider_problems(providers),
            ),
            key=lambda problem: SEVEREST.index(problem.severity),
        ),
        database=_database(hub),
        quotas=StoreView(hub.quota.name, not hub.quota.away),
        providers=providers,
    )
    return view, all_keys


def _database(hub: Hub) -> StoreView:
    took = hub.configuration.store_took
    return StoreView(hub.store.name, not hub.configuration.store_away, None if took is None else math.ceil(1000 * took))


async def _used_by_provider(store: MetadataStore, since: float, until: float) -> Sequence[UsageRow]:
    return await store.usage(UsageQuestion(since, until, ("provider",)))


def _by_provider(all_keys: list[KeyView]) -> dict[str, list[KeyView]]:
    found: dict[str, list[KeyView]] = defaultdict(list)
    for key in all_keys:
        found[key.provider].append(key)
    return found


async def _deployments(hub: Hub, standing: Standing) -> dict[str, list[DeploymentView]]:
    """By provider. Of models that no route names each worker knows those that its own callers asked for."""
    candidates = {identity(stats.candidate): stats.candidate for stats in hub.catalog.stats}
    for provider, model, name in standing.tallies.keys() - candidates.keys():
        place = hub.catalog.places.get(provider)
        key = next((key for key in place.keys if key.name == name), None) if place is not None else None
        if key is not None:
            candidates[provider, model, name] = Candidate(Deployment(provider, model), key)
    found: dict[str, list[DeploymentView]] = defaultdict(list)
    async for candidate in unhurried(candidates.values()):
        found[candidate.key.provider].append(_deployment(hub, candidate, standing))
    return found


def _provider(
    place: Place,
    own: list[KeyView],
    deployments: list[DeploymentView],
    standing: Standing,
    requests: int,
    failed: int,
) -> ProviderView:
    usable, wanted = sum(key.state == "active" for key in own), sum(key.state != "disabled" for key in own)
    failing = any(each.state == "failing" for each in deployments)
    outage = standing.outages.get((place.name, ""))
    state = (
        "disabled"
        if place.disabled
        else "out"
        if not usable
        else ("degraded" if failing or usable < wanted else "active")
    )
    return ProviderView(
        name=place.name,
        kind=place.kind,
        state=state,  # type: ignore[arg-type]
        keys=len(own),
        usable_keys=usable,
        models=sorted({*place.models, *(place.listed or ())}),
        requests=requests,
        failed=failed,
        reason="" if outage is None else f"fails altogether ({outage.reason})",
        since=None if outage is None else wall(outage.since),
        until=None if outage is None else wall(outage.until),
        deployments=deployments,
    )


def _deployment(hub: Hub, candidate: Candidate, standing: Standing) -> DeploymentView:
    provider, model, key = identity(candidate)
    tally = standing.tallies.get((provider, model, key), UNTRIED)
    now = time.monotonic()
    mark = hub.pool.blocked(candidate, now)
    known = (standing.outages.get(place) for place in ((provider, model), (provider, "")))
    outages = [outage for outage in known if outage is not None and outage.until > now]
    state, reason, since, until = "active", "", None, None
    if mark is not None:
        state, reason, since, until = mark.state, mark.reason, mark.since, mark.until
    elif outages:
        state, reason = "failing", f"failed several times in a row ({outages[0].reason})"
        since, until = outages[0].since, max(each.until for each in outages)
    return DeploymentView(
        provider=provider,
        model=model,
        key=key,
        state=state,  # type: ignore[arg-type]
        reason=reason,
        since=wall(since),
        until=wall(until),
        in_flight=tally.in_flight,
        attempts=tally.picks,
        failures=tally.failures,
        first_token_ms=None if tally.first_token is None else tally.first_token * 1000,
    )


# what is not well


def _fault_problems(hub: Hub) -> Iterable[Problem]:
    """Nobody shall take a fault on purpose for a real one."""
    for fault in hub.fault_lab.faults:
        left = in_words(max(0.0, fault.ends_at - time.time()))
        yield Problem(
            severity="warning",
            what=f"FAULT LAB: {fault.provider} fails on purpose for another {left} ({fault.kind.replace('_', ' ')}, "
            f"{fault.percent:g} % of its attempts).",
            advice=f"Begun by {fault.by}. It ends by itself, and its traces with it.", page="fault-lab",
        )  # fmt: skip


def _alert_problems(hub: Hub, standing: Standing) -> Iterable[Problem]:
    """What is seen only over time; the rest of what alerts tell is looked at afresh here."""
    for alert in hub.alerts.open.values():
        if alert.rule in SEEN_OVER_TIME:
            yield Problem(severity=alert.severity, what=alert.what, advice=alert.advice, page=alert.page)
    for channel in standing.channels:
        if channel.problem:
            yield Problem(
                severity="warning", what=f"The channel {channel.name} does not deliver alerts. {channel.problem}",
                advice="Check its table in the configuration, then send a test.", page="alerts",
            )  # fmt: skip


def _hub_problems(hub: Hub, standing: Standing) -> Iterable[Problem]:
    if hub.sealed:
        yield Problem(
            severity="error", what="The hub is sealed: no request is taken.", advice=f"{hub.sealed}.", page="health"
        )
    if standing.broken is not None:
        yield Problem(
            severity="error", what=f"The usage journal cannot be written: {standing.broken}.",
            advice="Make room on the disk of the data folder. Until then no request is taken.", page="health",
        )  # fmt: skip
    if hub.quota.away:
        yield Problem(
            severity="error", what=f"The quota store ({hub.quota.name}) does not answer.",
            advice="See to that server; the log of the hub says more. Until it is back each process keeps to a share "
            "of every limit by itself, so that none is overrun.", page="health",
        )  # fmt: skip
    if standing.waiting > 10_000:
        yield Problem(
            severity="warning", what=f"{standing.waiting:,} records wait for the database.",
            advice="See whether the database is up; nothing is lost meanwhile.", page="health",
        )  # fmt: skip
    if standing.bodies_lost:
        yield Problem(
            severity="note",
            what=f"The bodies of {standing.bodies_lost:,} requests were not kept since the start: {standing.why_lost}.",
            advice="The requests themselves are recorded. Choose fewer in [bodies], or see to the database.",
            page="health",
        )
    if hub.draining:
        yield Problem(
            severity="note", what="The hub is stopping.", advice="Running requests are finished first.", page="health"
        )
    yield from configuration.problems(hub)
    for report in hub.registry.reports:
        if report.state == "refused":
            yield Problem(
                severity="warning", what=f"The plugin {report.entry} is not used: {report.reason}",
                advice="Mend or uninstall it, then start the hub again.", page="plugins",
            )  # fmt: skip


def _key_problems(key: KeyView) -> Iterable[Problem]:
    if key.state == "invalid" and key.reason.startswith("cannot be opened"):
        yield Problem(
            severity="error", what=f"The secret of the key {key.id} {key.reason}.",
            advice="Give the hub the root key that it was sealed with, or enter the secret again.", page="keys",
        )  # fmt: skip
    elif key.state == "invalid":
        yield Problem(
            severity="error", what=f"{key.provider} refuses the key {key.name} ({key.reason}).",
            advice="Put a good key in its place, or reset it if it works after all.",
            page="keys",
        )  # fmt: skip
    elif key.state == "exhausted":
        yield Problem(
            severity="warning", what=f"The key {key.id} has used up its quota ({key.reason}).",
            advice="Wait, add credit at the provider, or add another key.", page="keys",
        )  # fmt: skip
    elif key.state == "cooling":
        yield Problem(
            severity="note", what=f"The key {key.id} rests for a moment ({key.reason}).",
            advice="It comes back by itself; another key would spread the load.", page="keys",
        )  # fmt: skip
    for level in key.levels:
        if level.learned is None and level.kind != "concurrency" and limits.state_of(level) != "fine":
            yield Problem(
                severity="note", what=f"The {level.owner} has little left of its {level.kind}: {level.left:,}.",
                advice="It comes back with time; a higher limit or another key helps at once.", page="quotas",
            )  # fmt: skip


def _provider_problems(providers: list[ProviderView]) -> Iterable[Problem]:
    for provider in providers:
        failing = sorted({each.model for each in provider.deployments if each.state == "failing"})
        if failing:
            yield Problem(
                severity="error" if provider.state == "out" else "warning",
                what=f"{provider.name} fails for {', '.join(failing)}; it is left alone for a while.",
                advice="A single request tries it again by and by; see its last errors.", page="health",
            )  # fmt: skip
