"""Is told what happened: logs, metrics, alerts."""

from __future__ import annotations

from dataclasses import dataclass

from llmhub_core.contracts.alerts import Alert, Notice
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
    """Synchronous but for `deliver`, must not block: whoever else needs the network keeps a queue of its own between
    start and stop. Each call is guarded: an observer that raises is logged and counted, and no caller notices."""

    def finished(self, record: Record) -> None:
        """An exchange is over and settled."""

    def priced(self, record: Record) -> None:
        """The cost is known of a record that `finished` was told of without one: the table of prices was asked for its
        model for the first time. Called for no other record, a moment later."""

    def health_changed(self, change: HealthChange) -> None:
        """A provider key's or deployment's state changed."""

    def alert_changed(self, alert: Alert) -> None:
        """An alert was opened, or (`recovered_at` is set) is over; muted ones too."""

    async def deliver(self, notice: Notice) -> None:
        """Carry an alert to people: whoever has this method is a channel. The hub calls it apart from all requests, one
        notice at a time, gives up after 30 s, and tries again by and by where it raises NotDelivered."""
        raise NotImplementedError

    def metrics(self) -> str:
        """Lines for ``GET /metrics`` in the Prometheus text format; most observers have none."""
        return ""
