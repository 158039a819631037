"""Keeps alerts: opens one for what the rules find, closes it when it is over, and has people told of both, once.

Everything happens behind the callers' backs: a look every few seconds and at once after a change of health. What is
open, what was, and what is muted rests in the metadata store, so that a restart repeats nothing and forgets nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Literal

from llmhub_core.contracts.alerts import Alert, Mute, Notice
from llmhub_core.contracts.exchange import Record
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.observer import Observer
from llmhub_core.contracts.quota_store import Level
from llmhub_core.hub.alert_proofs import Key, Proofs
from llmhub_core.hub.alert_rules import Finding, Sight, Watched, findings, watched_limits
from llmhub_core.hub.courier import Courier
from llmhub_core.hub.forecast import Trend
from llmhub_core.hub.recent_errors import Counted, RecentErrors, Told
from llmhub_core.hub.settings import AlertSettings
from llmhub_core.hub.waking import woken

log = logging.getLogger("llmhub.alerts")

COUNTED = ("quota_low", "budget_low", "budget_spent")
"""Rules about what the quota store counts."""

AT_ONCE = 20
"""Limits that are looked at in one go; a store in this process holds up requests while it answers."""

SHARE_OF_TIME = 0.05
LONGEST_PAUSE = 1.0

SWEEP_EVERY = 3600.0


class Alerts:
    """Construct → start (once the store is up) → use → stop. `hub_address` is what notices give as the hub's own.

    One that `follows` looks for nothing and tells nobody: another process does, and what that keeps in the store is
    known here too.
    """

    def __init__(
        self,
        settings: AlertSettings,
        hub: Watched,
        store: MetadataStore,
        observers: Sequence[Observer],
        hub_address: str,
        follows: bool = False,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._metadata = store
        self._observers = observers
        self._address = hub_address
        self._follows = follows
        self.courier = Courier(observers, self._delivered)
        self.changed: Callable[[], None] = _nobody_else
        """Is told when an alert was opened or closed here, and that is kept."""
        self.elsewhere: Callable[[], Awaitable[Sequence[Told]]] = _nobody_tells
        """What other processes of this hub counted."""
        self.open: dict[Key, Alert] = {}
        self.mutes: list[Mute] = []
        self._muting = asyncio.Lock()
        """Held while they change, or what was read before a change would undo it here."""
        self._since: dict[Key, float] = {}  # monotonic: since when a finding is held
        self._proofs = Proofs(hub)
        self._sent: dict[str, float] = {}
        self._unkept: dict[str, Alert] = {}  # the store has these otherwise, or not yet
        self._recent: dict[str, Counted] = {}
        self._levels: dict[str, tuple[Level, Trend]] = {}
        self._errors = RecentErrors(settings.error_window)
        self._started = 0.0
        self._swept = 0.0
        self._levels_known = False
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._out = False

    async def start(self) -> None:
        self._started = time.monotonic()
        self.courier.start()
        if self._follows:
            await self._follow()
        elif self._metadata.alerts is not None:
            self.mutes = list(await self._metadata.alerts.mutes(time.time()))
            for alert in await self._metadata.alerts.unsettled_alerts():
                if alert.recovered_at is not None:
                    self._send("recovered", alert)
                    continue
                self.open[alert.rule, alert.subject] = alert
                self._proofs.await_for((alert.rule, alert.subject))
        self._task = asyncio.create_task(self._keep_looking(), name="alerts")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.courier.stop()
        await self._keep()

    # what happens

    def wake(self) -> None:
        """Something changed: look now."""
        self._wake.set()

    def shipped(self, batch: Sequence[Record]) -> None:
        """Count finished requests for the error rate; called once a batch, when it is in the store."""
        self._errors.count(batch, self._hub.catalog.routes)
        if self._proofs.look_for(batch):
            self._wake.set()

    def recent_errors(self) -> Told:
        """For another process that looks."""
        return self._errors.told()

    # looking

    async def _keep_looking(self) -> None:
        while True:
            try:
                await (self._follow() if self._follows else self.look())
                self._out = False
            except Exception as error:
                if not self._out:
                    log.warning("alerts cannot be looked after at the moment: %s", type(error).__name__)
                self._out = True
            # Not at once: what fails comes in crowds.
            await asyncio.sleep(min(0.2, self._settings.every))
            await woken(self._wake, self._settings.every)

    async def look(self) -> None:
        """Compare what the rules find with what is open."""
        await self._look_at_mutes()
        await self._look_at_levels()
        await self._look_at_requests()
        were = set(self.open)
        found = {(each.rule, each.subject): each for each in findings(self._sight())}
        now = time.monotonic()
        self._since = {key: self._since.get(key, now) for key in found}
        self._proofs.found_again(found)
        for key, finding in found.items():
            if key not in self.open and now - self._since[key] >= finding.after:
                await self._open(key, finding)
        for key in list(self.open):
            if key not in found and self._is_over(key):
                self._close(key)
        self._tell_again(found)
        await self._keep()
        if were != set(self.open):
            self.changed()

    async def refresh(self) -> None:
        """Another process did something about alerts: know it."""
        await (self._follow() if self._follows else self._look_at_mutes())
        self.wake()

    async def _follow(self) -> None:
        """Know what the process that looks has found."""
        await self._look_at_mutes()
        if self._metadata.alerts is not None:
            kept = await self._metadata.alerts.unsettled_alerts()
            self.open = {(each.rule, each.subject): each for each in kept if each.recovered_at is None}

    async def _look_at_mutes(self) -> None:
        """Another process may have made some, or ended some. Where the store is away, those that were known stand."""
        if self._metadata.alerts is not None:
            with contextlib.suppress(Exception):
                async with self._muting:
                    self.mutes = list(await self._metadata.alerts.mutes(time.time()))

    def _sight(self) -> Sight:
        return Sight(self._hub, self._settings, self._levels, self._recent)

    async def _look_at_requests(self) -> None:
        """Of this process and of all others."""
        recent = self._errors.by_route()
        for told in await self.elsewhere() if "error_rate" in self._settings.rules else ():
            for route, counted in told.items():
                recent.setdefault(route, Counted()).add(*counted)
        self._recent = recent

    async def _look_at_levels(self) -> None:
        """Where the store does not answer, what it said last stands."""
        limits = watched_limits(self._hub)
        levels: dict[str, tuple[Level, Trend]] = {}
        self._levels_known = False
        try:
            for first in range(0, len(limits), AT_ONCE):
                began = time.perf_counter()
                for level in await self._hub.quota.levels(limits[first : first + AT_ONCE]):
                    known = self._levels.get(level.limit.id)
                    trend = Trend() if known is None else known[1]
                    trend.note(time.monotonic(), level.used)
                    levels[level.limit.id] = level, trend
                if first + AT_ONCE < len(limits):
                    took = time.perf_counter() - began
                    await asyncio.sleep(min(took * (1 / SHARE_OF_TIME - 1), LONGEST_PAUSE))
        except Exception as error:
            log.debug("the levels of limits are not known: %s", type(error).__name__)
            return
        self._levels, self._levels_known = levels, True

    def _is_over(self, key: Key) -> bool:
        """What was not found is over, unless it only cannot be seen: a store is away, or the hub was started anew."""
        rule, subject = key
        if rule in COUNTED:
            return self._levels_known
        if rule == "error_rate":
            counted = self._recent.get(subject)
            if counted is None:
                return time.monotonic() - self._started >= self._settings.error_window
            return counted.failed < counted.requests * self._settings.error_rate
        return self._proofs.is_over(key)

    # opening, closing, telling

    async def _open(self, key: Key, finding: Finding) -> None:
        alert = Alert(
            f"alr_{secrets.token_hex(10)}", finding.rule, finding.subject, finding.severity, finding.what,
            finding.advice, finding.page, time.time(),
        )  # fmt: skip
        self.open[key] = self._unkept[alert.id] = alert
        if self._metadata.alerts is not None:
            try:
                self.open[key] = await self._metadata.alerts.open_alert(alert)
                del self._unkept[alert.id]
            except Exception as error:
                # Told all the same: that the database is away may be the very thing to tell.
                log.warning("an alert could not be kept yet: %s", type(error).__name__)
        if self.open[key].id != alert.id:
            return  # another hub with the same database was first, and tells it
        log.warning("alert %s: %s", alert.rule, alert.what)
        self._announce(alert)
        self._send("open", alert)

    def _close(self, key: Key) -> None:
        over = replace(self.open.pop(key), recovered_at=time.time())
        log.info("alert %s is over: %s", over.rule, over.subject)
        self._announce(over)
        known = self._sent.pop(over.id, None) is not None or over.told == "open"
        if known and not self.is_muted(over):
            self._unkept[over.id] = replace(over, told="open")
            self._send("recovered", over)
            self._sent.pop(over.id, None)
        else:
            self._unkept[over.id] = replace(over, told="recovered")

    def _tell_again(self, found: dict[Key, Finding]) -> None:
        """What goes on for long, and what was not told because it was muted or the hub stopped."""
        now, repeat = time.time(), self._settings.repeat
        self.mutes = [mute for mute in self.mutes if mute.until > now]
        for key, alert in list(self.open.items()):
            if alert.told == "" and alert.id not in self._sent:
                self._send("open", alert)
            elif repeat is not None and now - max(alert.told_at, self._sent.get(alert.id, 0.0)) >= repeat:
                finding = found.get(key)
                if finding is not None:  # as it stands now: what is left, by when
                    alert = self.open[key] = replace(alert, what=finding.what, advice=finding.advice)
                self._send("reminder", alert)

    def _announce(self, alert: Alert) -> None:
        for observer in self._observers:
            try:
                observer.alert_changed(alert)
            except Exception:
                log.exception("the observer %s failed", observer.name)

    def _send(self, kind: Literal["open", "reminder", "recovered"], alert: Alert) -> None:
        if self.is_muted(alert):
            return
        self._sent[alert.id] = time.time()
        notice = self._notice(kind, alert)
        if self.courier.channels:
            self.courier.send(notice)
        else:
            self._delivered(notice)  # those who look see it

    def _notice(self, kind: Literal["open", "reminder", "recovered", "test"], alert: Alert) -> Notice:
        return Notice(f"ntc_{secrets.token_hex(10)}", kind, alert, time.time(), self._address)

    def _delivered(self, notice: Notice) -> None:
        alert, now = notice.alert, time.time()
        if notice.kind == "recovered":
            self._unkept[alert.id] = replace(alert, told="recovered", told_at=now)
            return
        key = (alert.rule, alert.subject)
        still = self.open.get(key)
        if still is not None and still.id == alert.id:  # else it is over by now, and that is told next
            self.open[key] = self._unkept[alert.id] = replace(still, told="open", told_at=now)

    async def _keep(self) -> None:
        """Bring the store up to date, and let it forget what is old."""
        store = self._metadata.alerts
        if store is None:
            self._unkept.clear()
            return
        try:
            for alert in list(self._unkept.values()):
                await store.keep_alert(alert)
                if self._unkept.get(alert.id) is alert:
                    del self._unkept[alert.id]
            if time.monotonic() - self._swept > SWEEP_EVERY or not self._swept:
                self._swept = time.monotonic()
                await store.forget_alerts(time.time() - self._settings.keep)
        except Exception as error:
            log.debug("alerts could not be kept: %s", type(error).__name__)

    # people

    def is_muted(self, alert: Alert) -> bool:
        now = time.time()
        return any(mute.until > now and mute.covers(alert) for mute in self.mutes)

    async def mute(self, rule: str, subject: str, seconds: float, by: str) -> Mute:
        """Tell nothing of these for so long; what is still open then is told then."""
        mute = Mute(f"mut_{secrets.token_hex(10)}", rule, subject, time.time() + seconds, by)
        async with self._muting:
            if self._metadata.alerts is not None:
                await self._metadata.alerts.mute(mute)
            self.mutes = [each for each in self.mutes if (each.rule, each.subject) != (rule, subject)] + [mute]
        return mute

    async def unmute(self, id: str) -> Mute | None:
        """The mute that ended; None if there is none of that id."""
        async with self._muting:
            found = next((mute for mute in self.mutes if mute.id == id), None)
            if found is not None:
                self.mutes.remove(found)
                if self._metadata.alerts is not None:
                    await self._metadata.alerts.unmute(id)
                self.wake()
        return found

    async def latest(self, limit: int, before: tuple[float, str] | None = None) -> Sequence[Alert]:
        """Newest first, those that are over too; as they are now, where the store is a moment behind."""
        kept: Sequence[Alert] = ()
        if self._metadata.alerts is not None:
            kept = await self._metadata.alerts.alerts(limit, before)
        known = {alert.id: alert for alert in kept}
        for alert in (*self._unkept.values(), *self.open.values()):
            at = alert.opened_at, alert.id
            within = len(kept) < limit or at > (kept[-1].opened_at, kept[-1].id) if kept else True
            if alert.id in known or (within and (before is None or at < before)):
                known[alert.id] = alert
        return sorted(known.values(), key=lambda alert: (alert.opened_at, alert.id), reverse=True)[:limit]

    async def test(self, by: str) -> list[tuple[str, str]]:
        """Try every channel now: its name, and "" or why nothing arrived."""
        alert = Alert(
            f"alr_{secrets.token_hex(10)}", "test", "test", "warning", f"This is a test, sent by {by or 'somebody'}.",
            "Nothing has to be done.", "alerts", time.time(),
        )  # fmt: skip
        notice = self._notice("test", alert)
        tried = await asyncio.gather(
            *(channel.attempt(notice) for channel in self.courier.channels), return_exceptions=True
        )
        return [
            (channel.name, "" if result is None else str(result))
            for channel, result in zip(self.courier.channels, tried, strict=True)
        ]


def _nobody_else() -> None:
    """Of a hub that is one process."""


async def _nobody_tells() -> Sequence[Told]:
    return ()
