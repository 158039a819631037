"""The suite that every observer must pass.

    class TestMine(ObserverSuite):
        @classmethod
        def make(cls):
            return Mine(Mine.Settings())

`check_metrics` reads a page of metrics as Prometheus would.
"""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from llmhub_core.contracts import Alert, HealthChange, Observer, Record
from llmhub_core.testing.plugin import PluginSuite
from llmhub_core.testing.records import HOSTILE, NOON, records

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = rf'{_NAME}="(?:[^"\\\x00-\x1f]|\\["\\n])*"'
_SAMPLE = re.compile(
    rf"({_NAME})(?:\{{((?:{_LABEL},?)*)\}})? (?:NaN|[+-]?Inf|[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(?: \d+)?"
)
_COMMENT = re.compile(rf"# (HELP|TYPE) ({_NAME}) (.+)")


def changes() -> list[HealthChange]:
    """A key cools, comes back, is refused for good; and one whose names do harm."""
    return [
        HealthChange("a", "key:a/k1", "active", "cooling", "rate_limit_exceeded", 1_764_000_060.0),
        HealthChange("a", "key:a/k1", "cooling", "active", "over"),
        HealthChange("a", "key:a/k1", "active", "invalid", "denied"),
        HealthChange(HOSTILE, HOSTILE, "active", "exhausted", HOSTILE, 4e9),
    ]


def alerts() -> list[Alert]:
    """One begins and ends, one never began, and one means harm."""
    alert = Alert("a-1", "key_invalid", "key:a/k1", "error", "It is refused.", "Replace it.", "keys", NOON)
    over = replace(alert, recovered_at=NOON + 60)
    return [alert, over, replace(over, id="a-2"), replace(alert, id="a-3", rule=HOSTILE, subject=HOSTILE, what=HOSTILE)]


class ObserverSuite(PluginSuite):
    """Subclass it, say how one is made, and pytest runs every test below against it.

    Whoever talks to a network makes one here that talks to nobody: the suite starts and stops it.
    """

    @classmethod
    def make(cls) -> Observer:
        raise NotImplementedError

    @classmethod
    def plugin_class(cls) -> type[Observer]:
        return type(cls.make())

    @pytest.fixture
    async def observer(self) -> AsyncIterator[Observer]:
        observer = self.make()
        await observer.start()
        yield observer
        await observer.stop()

    @pytest.mark.parametrize("record", records(), ids=lambda record: f"{record.outcome}-{record.id}")
    async def test_it_bears_every_record(self, observer: Observer, record: Record) -> None:
        before = copy.deepcopy(record)
        for _ in range(3):
            observer.finished(record)
        assert record == before, "a record belongs to the ledger too: observers only read it"

    async def test_it_bears_every_change(self, observer: Observer) -> None:
        for change in changes():
            observer.health_changed(change)

    async def test_it_bears_every_alert(self, observer: Observer) -> None:
        for alert in alerts():
            observer.alert_changed(alert)

    async def test_what_it_counts_is_readable(self, observer: Observer) -> None:
        check_metrics(observer.metrics())
        for record in records():
            observer.finished(record)
        for change in changes():
            observer.health_changed(change)
        for alert in alerts():
            observer.alert_changed(alert)
        check_metrics(observer.metrics())
        assert observer.metrics() == observer.metrics(), "reading changes nothing"


def check_metrics(text: str) -> dict[str, float]:
    """The samples (name with labels → number) of a page of metrics; AssertionError if Prometheus could not read it."""
    text.encode()
    assert not text or text.endswith("\n")
    samples: dict[str, float] = {}
    seen: set[tuple[str, str]] = set()
    typed = ""
    for line in text.split("\n")[:-1]:
        comment, sample = _COMMENT.fullmatch(line), _SAMPLE.fullmatch(line)
        if comment:
            assert comment.group(1, 2) not in seen, f"twice: {line}"
            seen.add((comment[1], comment[2]))
            typed = comment[2]
        else:
            assert sample, f"cannot be read: {line!r}"
            assert sample[1].startswith(typed), f"stands below another metric: {line}"
            key, _, number = line.rpartition(" ")
            assert key not in samples, f"twice: {line}"
            samples[key] = float(number)
    return samples
