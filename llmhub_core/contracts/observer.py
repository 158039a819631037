"""Is told what happened: logs, metrics, alerts."""

from __future__ import annotations

from dataclasses import dataclass

from llmhub_core.contracts.candidate import KeyState
from llmhub_core.contracts.exchange import Record
from llmhub_core.contracts.plugin import Plugin


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A key or a deployment went from one state to another. `until` is in seconds since 1970, None if open."""

    provider: str
    subject: str
    was: KeyState
    now: KeyState
    reason: str
    until: float | None = None


class Observer(Plugin):
    """Synchronous, must not block: whoever needs the network keeps a queue of its own between start and stop.
    Each call is guarded: an observer that raises is logged and counted, and no caller notices."""

    def finished(self, record: Record) -> None:
        """An exchange is over and settled."""

    def health_changed(self, change: HealthChange) -> None:
        """A provider key's or deployment's state changed."""

    def metrics(self) -> str:
        """Lines for ``GET /metrics`` in the Prometheus text format; most observers have none."""
        return ""
