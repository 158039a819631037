"""What was configured beside the file, in both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from databases import opened, store_of

from llmhub_core.contracts import ConfigurationStore
from llmhub_core.testing.configuration import ConfigurationSuite, an_entry


class TestConfiguration(ConfigurationSuite):
    @pytest.fixture
    async def configuration(self, url: str) -> AsyncIterator[ConfigurationStore]:
        async with opened(store_of(url)) as store:
            assert store.configuration is not None
            yield store.configuration


async def test_configuration_survives_a_restart_and_is_seen_by_others(url: str) -> None:
    async with opened(store_of(url)) as first, opened(store_of(url)) as second:
        assert first.configuration is not None
        assert second.configuration is not None
        stored = await first.configuration.put(an_entry())
        assert [*(await second.configuration.entries())[1]] == [stored]
        await second.configuration.keep_fact("canary", "x")
    async with opened(store_of(url)) as third:
        assert third.configuration is not None
        assert [*(await third.configuration.entries())[1]] == [stored]
        assert await third.configuration.fact("canary") == "x"
