"""Faults on purpose: what callers would see if a provider or a key failed in a certain way.

Only where `[server] fault_lab` allows it, by an owner, for an hour at most; a restart forgets all of them. What a fault
did to keys and breakers is undone when it ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from llmhub_core.contracts.candidate import Candidate
from llmhub_core.hub.health import Health
from llmhub_core.hub.pool import Pool

log = logging.getLogger("llmhub.fault_lab")

FaultKind = Literal[
    "rate_limited", "unauthorized", "server_error", "overloaded", "timeout", "reset", "slow", "broken_stream", "garbage"
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

LONGEST = 3600.0
"""Seconds that a fault may last."""

MOST = 20
"""Faults at the same time."""

REASON = "fault_lab"
"""What records, keys and the log give as the reason of everything that a fault caused."""


@dataclass(slots=True, eq=False)
class Fault:
    """Attempts at `provider` (with `key` and `model` only these; "" is any) fail in one way, `percent` of them.

    `seconds` is how long a slow answer takes to begin, or what a rate limit says to wait. Times are since 1970.
    """

    provider: str
    key: str
    model: str
    kind: FaultKind
    percent: float
    seconds: float
    began_at: float
    ends_at: float
    by: str
    id: str = field(default_factory=lambda: f"flt_{secrets.token_hex(8)}")
    struck: int = 0
    touched: dict[str, Candidate] = field(default_factory=dict)
    """Whom it struck, so that its traces can be taken away."""

    def aims_at(self, candidate: Candidate) -> bool:
        return (
            candidate.key.provider == self.provider
            and self.key in ("", candidate.key.name)
            and self.model in ("", candidate.deployment.model)
        )


def told_of(fault: Fault) -> dict[str, Any]:
    """What another process needs to let the same fault happen."""
    names = (each.name for each in dataclasses.fields(Fault) if each.name not in ("struck", "touched"))
    return {name: getattr(fault, name) for name in names}


class FaultLab:
    """`switch` is told whether any fault is active, so that nobody asks while none is."""

    def __init__(self, pool: Pool, health: Health, switch: Callable[[bool], None]) -> None:
        self._pool = pool
        self._health = health
        self._switch = switch
        self._faults: dict[str, Fault] = {}
        self._ends: dict[str, asyncio.TimerHandle] = {}
        self._chance = random.Random().random  # noqa: S311 — decides nothing that anybody must not guess

    @property
    def faults(self) -> list[Fault]:
        """Those that are active, oldest first."""
        return list(self._faults.values())

    def start(self, fault: Fault) -> None:
        """Active at once; ends by itself at `ends_at`."""
        lasts = min(fault.ends_at - time.time(), LONGEST)
        self._faults[fault.id] = fault
        self._ends[fault.id] = asyncio.get_running_loop().call_later(lasts, self.stop, fault.id)
        self._switch(True)
        log.warning(
            "FAULT LAB: %s fails on purpose (%s, %g %%, for %.0f s, by %s)",
            fault.provider, fault.kind, fault.percent, lasts, fault.by,
        )  # fmt: skip

    def stop(self, id: str) -> Fault | None:
        """End a fault and take its traces away; None if there is none of that id."""
        fault = self._faults.pop(id, None)
        if fault is None:
            return None
        self._ends.pop(id).cancel()
        for candidate in fault.touched.values():
            self._pool.forgive(candidate, REASON)
            self._health.forget(candidate.deployment.provider, candidate.deployment.model)
        self._switch(bool(self._faults))
        log.warning(
            "FAULT LAB: the fault at %s (%s) is over; it struck %d times", fault.provider, fault.kind, fault.struck
        )
        return fault

    def stop_all(self) -> None:
        for id in list(self._faults):
            self.stop(id)

    def strike(self, candidate: Candidate) -> Fault | None:
        """The fault that befalls this attempt; None if it is spared."""
        for fault in self._faults.values():
            if fault.aims_at(candidate) and self._chance() * 100 < fault.percent:
                fault.struck += 1
                fault.touched.setdefault(candidate.label, candidate)
                return fault
        return None
