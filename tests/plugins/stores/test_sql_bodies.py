"""Sealed bodies of requests, in both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from databases import opened, store_of

from llmhub_core.contracts import MetadataStore
from llmhub_core.testing.bodies import BodySuite, a_body, bodies_of


class TestBodies(BodySuite):
    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[MetadataStore]:
        async with opened(store_of(url)) as store:
            yield store


async def test_one_process_lets_them_go(url: str) -> None:
    async with opened(store_of(url)) as first, opened(store_of(url)) as second:
        await bodies_of(first).keep_bodies([a_body()])
        assert not await second.prune(0.0), "it looked first"
        assert not await bodies_of(first).prune_bodies(4e9)
        assert await bodies_of(first).has_body("r-1")
        assert not await bodies_of(second).prune_bodies(4e9)
        assert not await bodies_of(first).has_body("r-1")
