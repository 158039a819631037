"""The suite for the part of a metadata store that keeps alerts and mutes.

class TestMine(AlertSuite):
    @pytest.fixture
    async def alerts(self):
        store = Mine(Mine.Settings(url="mine://localhost"))
        await store.start()
        await store.migrate()
        yield store.alerts
        await store.stop()
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from llmhub_core.contracts import Alert, AlertStore, Mute
from llmhub_core.testing.records import HOSTILE

NOW = 1_764_000_000.0


def an_alert(id: str = "a-1", **changes: object) -> Alert:
    alert = Alert(id, "key_invalid", "key:openai/main", "error", "It is refused.", "Replace it.", "keys", NOW)
    return replace(alert, **changes)  # type: ignore[arg-type]


def a_mute(id: str = "m-1", rule: str = "quota_low", subject: str = "", until: float = NOW + 60) -> Mute:
    return Mute(id, rule, subject, until, "ann")


class AlertSuite:
    """Subclass it, give it a fixture `alerts`, and pytest runs every test below against it."""

    @pytest.fixture
    async def alerts(self) -> AlertStore:
        raise NotImplementedError

    async def test_nothing_is_there_at_first(self, alerts: AlertStore) -> None:
        assert [*await alerts.unsettled_alerts(), *await alerts.alerts(10)] == []
        assert [*await alerts.mutes(0)] == []

    async def test_an_alert_comes_back_as_it_went_in(self, alerts: AlertStore) -> None:
        assert await alerts.open_alert(an_alert()) == an_alert()
        assert [*await alerts.unsettled_alerts()] == [*await alerts.alerts(10)] == [an_alert()]

    async def test_what_is_open_is_opened_once(self, alerts: AlertStore) -> None:
        first = await alerts.open_alert(an_alert())
        assert await alerts.open_alert(an_alert("a-2", what="again")) == first
        other = an_alert("a-3", subject="key:openai/spare")
        assert await alerts.open_alert(other) == other
        await alerts.keep_alert(replace(first, recovered_at=NOW + 1))
        again = an_alert("a-4", opened_at=NOW + 2)
        assert await alerts.open_alert(again) == again

    async def test_of_many_at_once_one_opens_it(self, alerts: AlertStore) -> None:
        opened = await asyncio.gather(*(alerts.open_alert(an_alert(f"a-{number}")) for number in range(8)))
        assert len({alert.id for alert in opened}) == 1
        assert len(await alerts.alerts(10)) == 1

    async def test_what_is_not_settled_is_found_again(self, alerts: AlertStore) -> None:
        going_on = an_alert("a-1")
        quiet = an_alert("a-2", rule="b", recovered_at=NOW + 5)
        over = an_alert("a-3", rule="c", recovered_at=NOW + 5, told="recovered", told_at=NOW + 6)
        untold = an_alert("a-4", rule="d", opened_at=NOW + 1, recovered_at=NOW + 5, told="open", told_at=NOW + 2)
        for alert in (untold, over, quiet, going_on):
            await alerts.keep_alert(alert)
        assert [*await alerts.unsettled_alerts()] == [going_on, untold]

    async def test_the_list_goes_page_by_page(self, alerts: AlertStore) -> None:
        every = [an_alert(f"a-{number}", subject=str(number), opened_at=NOW + number // 2) for number in range(7)]
        for alert in every:
            await alerts.open_alert(alert)
        newest_first = sorted(every, key=lambda alert: (alert.opened_at, alert.id), reverse=True)
        found: list[Alert] = []
        while page := await alerts.alerts(2, (found[-1].opened_at, found[-1].id) if found else None):
            found += page
        assert found == newest_first
        assert [*await alerts.alerts(0)] == []

    async def test_what_is_open_is_never_forgotten(self, alerts: AlertStore) -> None:
        await alerts.keep_alert(an_alert("a-1"))
        await alerts.keep_alert(an_alert("a-2", recovered_at=NOW + 1))
        await alerts.keep_alert(an_alert("a-3", recovered_at=NOW + 3))
        await alerts.forget_alerts(NOW + 2)
        assert {alert.id for alert in await alerts.alerts(10)} == {"a-1", "a-3"}

    async def test_odd_characters_stop_nothing(self, alerts: AlertStore) -> None:
        await alerts.open_alert(an_alert(subject=HOSTILE, what=HOSTILE))
        await alerts.open_alert(an_alert("a-2", subject=HOSTILE, what=HOSTILE))
        assert len(await alerts.alerts(10)) == 1
        await alerts.mute(a_mute(subject=HOSTILE))
        assert len(await alerts.mutes(NOW)) == 1
        assert not await alerts.unmute(HOSTILE)

    async def test_a_mute_lasts_until_it_ends(self, alerts: AlertStore) -> None:
        short, long = a_mute(until=NOW + 1), a_mute("m-2", subject="x", until=NOW + 9)
        await alerts.mute(long)
        await alerts.mute(short)
        assert [*await alerts.mutes(NOW)] == [short, long]
        assert [*await alerts.mutes(NOW + 5)] == [long]
        assert await alerts.unmute("m-2")
        assert not await alerts.unmute("m-2")
        assert [*await alerts.mutes(NOW)] == [short]

    async def test_the_last_mute_of_the_same_counts(self, alerts: AlertStore) -> None:
        await alerts.mute(a_mute(until=NOW + 100))
        await alerts.mute(a_mute("m-2", until=NOW + 5))
        assert [*await alerts.mutes(NOW)] == [a_mute("m-2", until=NOW + 5)]
