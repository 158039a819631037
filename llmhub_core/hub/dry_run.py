"""What would become of a request that is not sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmhub_core.contracts.candidate import CandidateStats, Limit
from llmhub_core.contracts.exchange import Caller, Plan
from llmhub_core.contracts.quota_store import Amount


@dataclass(frozen=True, slots=True)
class Asked:
    """`body` is a whole request in that dialect, b"" for any request. `model` may then be "", where the body names it;
    given, it counts. `caller` is who would ask: None for nobody in particular."""

    model: str
    dialect: str
    body: bytes = b""
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """How a request stands to a limit: what it would take of it, and what is left; `resets_in` as of a Level."""

    limit: Limit
    needs: int
    left: int
    resets_in: float

    @property
    def fits(self) -> bool:
        return self.needs <= self.left


@dataclass(frozen=True, slots=True)
class Look:
    """One candidate, and what of the request gets lost on the way to it; its `limits` as they stand."""

    stats: CandidateStats
    lost: tuple[str, ...] = ()
    limits: tuple[Fit, ...] = ()


@dataclass(slots=True)
class DryRun:
    """`looks` are the candidates that would be tried, in order; `plan.left_out` has the others. `estimate` is what the
    request would reserve, None where there is none; `caller_limits` are its caller's own."""

    model: str
    plan: Plan
    looks: list[Look]
    estimate: Amount | None = None
    caller_limits: tuple[Fit, ...] = field(default=())
