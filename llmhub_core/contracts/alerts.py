"""What is not well: found by the hub, kept until it is over, carried to people by observers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AlertSeverity = Literal["error", "warning"]
Told = Literal["", "open", "recovered"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is, or was, not well. No field holds a secret.

    rule           why it is one: key_invalid, quota_low …
    subject        what it is about: ``key:openai/main``, ``token:game-server``, a provider, a route
    what, advice   a sentence each, for people: what is wrong, what to do
    page           the page of the dashboard on which it is seen in full
    opened_at      seconds since 1970, as all times here
    recovered_at   None while it is open
    told, told_at  the last of it that reached anybody through a channel, and when
    """

    id: str
    rule: str
    subject: str
    severity: AlertSeverity
    what: str
    advice: str
    page: str
    opened_at: float
    recovered_at: float | None = None
    told: Told = ""
    told_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Notice:
    """What a channel carries. `kind` says why now: it began, it still goes on, it is over, or somebody tries the
    channel. `id` is one a notice and the same each time its delivery is tried; `hub` is the hub's own address, ""
    where it is not known."""

    id: str
    kind: Literal["open", "reminder", "recovered", "test"]
    alert: Alert
    at: float
    hub: str = ""


class NotDelivered(Exception):
    """A notice did not arrive. The text is shown to people, so it holds no address and no secret. With `again` another
    try may help, after `retry_after` seconds if the other side said so."""

    def __init__(self, message: str, *, again: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.again = again
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Mute:
    """Until `until` nothing is told of alerts of this rule and this subject; "" stands for any."""

    id: str
    rule: str
    subject: str
    until: float
    by: str

    def covers(self, alert: Alert) -> bool:
        return self.rule in ("", alert.rule) and self.subject in ("", alert.subject)


class AlertStore(ABC):
    """A part of a metadata store. Every method is one transaction."""

    @abstractmethod
    async def open_alert(self, alert: Alert) -> Alert:
        """Add it, unless one of the same rule and subject is open already: then the answer is that one."""

    @abstractmethod
    async def keep_alert(self, alert: Alert) -> None:
        """Add it, or replace what is kept under its id."""

    @abstractmethod
    async def unsettled_alerts(self) -> Sequence[Alert]:
        """All that are open, and those that are over while people were last told that they are open. Oldest first."""

    @abstractmethod
    async def alerts(self, limit: int, before: tuple[float, str] | None = None) -> Sequence[Alert]:
        """Newest first; `before` is (opened_at, id) of the last one seen, for the next page."""

    @abstractmethod
    async def forget_alerts(self, before: float) -> None:
        """Those that recovered before that moment."""

    @abstractmethod
    async def mute(self, mute: Mute) -> None:
        """Add it; an earlier one of the same rule and subject ends."""

    @abstractmethod
    async def unmute(self, id: str) -> bool:
        """False if there is none."""

    @abstractmethod
    async def mutes(self, now: float) -> Sequence[Mute]:
        """Those that last, the soonest to end first."""
