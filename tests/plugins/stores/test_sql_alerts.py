"""Alerts and mutes, in both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from databases import opened, store_of

from llmhub_core.contracts import AlertStore
from llmhub_core.testing.alerts import NOW, AlertSuite, a_mute, an_alert


class TestAlerts(AlertSuite):
    @pytest.fixture
    async def alerts(self, url: str) -> AsyncIterator[AlertStore]:
        async with opened(store_of(url)) as store:
            assert store.alerts is not None
            yield store.alerts


async def test_they_survive_a_restart(url: str) -> None:
    async with opened(store_of(url)) as first:
        assert first.alerts is not None
        await first.alerts.open_alert(an_alert())
        await first.alerts.mute(a_mute())
    async with opened(store_of(url)) as second:
        assert second.alerts is not None
        assert [*await second.alerts.unsettled_alerts()] == [an_alert()]
        assert [*await second.alerts.mutes(NOW)] == [a_mute()]
