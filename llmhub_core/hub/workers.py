"""The hub as all of its workers are: what each of them has to be told, and what they know only together.

Whoever acts is answered when all workers know: the next request may come to another one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from llmhub_core.contracts.candidate import Candidate, ProviderKey
from llmhub_core.hub.affinity import Measured
from llmhub_core.hub.courier import Report
from llmhub_core.hub.fault_lab import Fault, told_of
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.recent_errors import Told
from llmhub_core.hub.reloading import Reloaded

LONG = 60.0
"""Seconds for what takes its time: a channel that does not answer."""

Identity = tuple[str, str, str]
"""Of a candidate: provider, model, key."""


def identity(candidate: Candidate) -> Identity:
    return candidate.deployment.provider, candidate.deployment.model, candidate.key.name


@dataclass(slots=True)
class Tally:
    """What became of a candidate's attempts: as `CandidateStats`, of all workers together."""

    in_flight: int = 0
    picks: int = 0
    failures: int = 0
    first_token: float | None = None

    def add(self, in_flight: int, picks: int, failures: int, first_token: float | None) -> None:
        if first_token is not None:
            weight = picks / (self.picks + picks) if picks else 0.0
            was = first_token if self.first_token is None else self.first_token
            self.first_token = was + weight * (first_token - was)
        self.in_flight += in_flight
        self.picks += picks
        self.failures = max(self.failures, failures)


@dataclass(slots=True)
class Outage:
    """A breaker that is open in one worker at least: until then nobody tries, afterwards one request does. Times are
    monotonic, which all processes of a machine share."""

    until: float
    since: float
    reason: str


@dataclass(slots=True)
class Standing:
    """What the workers know together. `tallies` are of candidates that were ever tried, `outages` by provider and model
    ("" for the provider as a whole), `struck` by a fault's id, `affinity` by route, `unanswered` by provider; `broken`
    is why a journal cannot be written; `bodies_lost` counts requests whose bodies could not be kept, and `why_lost` is
    why the last."""

    in_flight: int = 0
    waiting: int = 0
    broken: str | None = None
    bodies_lost: int = 0
    why_lost: str = ""
    tallies: dict[Identity, Tally] = field(default_factory=dict)
    outages: dict[tuple[str, str], Outage] = field(default_factory=dict)
    struck: dict[str, int] = field(default_factory=dict)
    affinity: dict[str, Measured] = field(default_factory=dict)
    channels: list[Report] = field(default_factory=list)
    unanswered: Counter[str] = field(default_factory=Counter)

    def add(self, told: dict[str, Any]) -> None:
        """What one worker tells."""
        self.in_flight += told["in_flight"]
        self.waiting += told["waiting"]
        self.broken = self.broken or told["broken"]
        self.bodies_lost += told["bodies_lost"]
        self.why_lost = told["why_lost"] or self.why_lost
        for provider, model, key, *numbers in told["tallies"]:
            self.tallies.setdefault((provider, model, key), Tally()).add(*numbers)
        for provider, model, until, since, reason in told["outages"]:
            known = self.outages.get((provider, model))
            if known is None or until > known.until:
                self.outages[provider, model] = Outage(until, since, reason)
        for route, numbers in told["affinity"].items():
            self.affinity.setdefault(route, Measured()).add(*numbers)
        for id, struck in told["struck"].items():
            self.struck[id] = self.struck.get(id, 0) + struck
        self.unanswered.update(told["unanswered"])
        self.channels += (Report(**each) for each in told["channels"])


class Workers:
    """In a hub that is one process these are just this one."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        answer = hub.siblings.answer
        answer("standing", lambda _: self._own())
        answer("reload", self._reload)
        answer("reset key", self._reset_key)
        answer("reset provider", self._reset_provider)
        answer("fault", lambda told: hub.fault_lab.start(Fault(**told)))
        answer("fault over", self._stop_fault)
        answer("faults", lambda _: [told_of(fault) for fault in hub.fault_lab.faults])
        answer("alerts", lambda _: hub.alerts.refresh())
        answer("test alerts", self._test_alerts)
        answer("recent errors", lambda _: hub.alerts.recent_errors())
        hub.alerts.elsewhere = self._recent_errors
        hub.alerts.changed = lambda: hub.siblings.tell("alerts")

    async def catch_up(self) -> None:
        """Before this one serves: what others were told, and no store keeps."""
        for _, faults in await self._hub.siblings.ask("faults"):
            known = {fault.id for fault in self._hub.fault_lab.faults}
            for told in faults:
                if told["id"] not in known:
                    self._hub.fault_lab.start(Fault(**told))

    async def standing(self) -> Standing:
        whole = Standing()
        whole.add(self._own())
        for _, told in await self._hub.siblings.ask("standing"):
            whole.add(told)
        return whole

    def _own(self) -> dict[str, Any]:
        hub = self._hub
        return {
            "in_flight": hub.in_flight,
            "waiting": hub.ledger.backlog,
            "broken": hub.ledger.broken,
            "bodies_lost": hub.body_keeper.lost,
            "why_lost": hub.body_keeper.why,
            "tallies": [
                (*identity(stats.candidate), stats.in_flight, stats.picks, stats.failures, stats.first_token)
                for stats in hub.catalog.stats
                if stats.picks
            ],
            "outages": [(*place, until, breaker.since, breaker.reason) for place, until, breaker in hub.health.open()],
            "affinity": {route: astuple(measured) for route, measured in hub.affinity.measured.items()},
            "struck": {fault.id: fault.struck for fault in hub.fault_lab.faults},
            "unanswered": hub.unanswered.told(),
            "channels": [asdict(each) for each in hub.alerts.courier.reports()] if hub.worker.is_chief else [],
        }

    async def reload(self, file: bool = True) -> Reloaded:
        """Let what is configured now count everywhere; what came of it here."""
        others = asyncio.create_task(self._hub.siblings.ask("reload", file))
        here = await self._hub.reload(file)
        await others
        return here

    async def _reload(self, file: bool) -> None:
        await self._hub.reload(file)

    async def reset_key(self, key: ProviderKey) -> None:
        """Forget what is held against a key."""
        self._hub.pool.reset(key)
        await self._hub.siblings.ask("reset key", [key.provider, key.name])

    def _reset_key(self, told: Sequence[str]) -> None:
        provider, name = told
        place = self._hub.catalog.places.get(provider)
        for key in place.keys if place is not None else ():
            if key.name == name:
                self._hub.pool.reset(key)

    async def reset_provider(self, name: str) -> None:
        """Forget what is held against a provider as a whole, and the failures of its deployments."""
        self._reset_provider(name)
        await self._hub.siblings.ask("reset provider", name)

    def _reset_provider(self, name: str) -> None:
        self._hub.pool.reset_provider(name)
        self._hub.health.forget_provider(name)

    async def start_fault(self, fault: Fault) -> None:
        self._hub.fault_lab.start(fault)
        await self._hub.siblings.ask("fault", told_of(fault))

    async def stop_fault(self, id: str) -> int:
        """How often it struck."""
        told = await self._hub.siblings.ask("fault over", id)
        struck: int = sum((each for _, each in told), self._stop_fault(id))
        return struck

    def _stop_fault(self, id: str) -> int:
        fault = self._hub.fault_lab.stop(id)
        return 0 if fault is None else fault.struck

    async def _recent_errors(self) -> list[Told]:
        return [told for _, told in await self._hub.siblings.ask("recent errors")]

    async def mutes_changed(self) -> None:
        await self._hub.siblings.ask("alerts")

    async def test_alerts(self, by: str) -> list[tuple[str, str]] | None:
        """Try every channel: its name, and "" or why nothing arrived. None if the worker that has them is away."""
        own = await self._test_alerts(by)
        if own is not None:
            return own
        for _, tried in await self._hub.siblings.ask("test alerts", by, LONG):
            return [(name, problem) for name, problem in tried]
        return None

    async def _test_alerts(self, by: str) -> list[tuple[str, str]] | None:
        return await self._hub.alerts.test(by) if self._hub.worker.is_chief else None
