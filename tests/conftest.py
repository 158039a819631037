"""What most tests need: a client, a fake provider, a hub with that provider behind it."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import aiohttp
import httpx2
import pytest
from clusters import Cluster, Ground, OpenHouse, migrate, nursery
from databases import needs_postgresql
from prices import look_up_here
from redis_server import needs_redis

from llmhub_core.hub import price_lookup
from llmhub_core.hub.registry import Registry
from llmhub_core.testing.house import House
from llmhub_core.testing.postgres import Postgres
from llmhub_core.testing.upstream import FakeUpstream

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore it, and so would all that a test starts and means to interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = (
    "test_workers", "test_canaries", "test_killed", "test_described", "test_secrets_command", "test_readme",
    "test_docs", "test_move", "test_export_import", "test_leases", "test_shared_holds", "test_postgres_away",
    "test_user_command", "test_packaging", "test_example_plugin", "test_seeded_runs", "test_quota_redis",
    "test_quota_sqlite",
)  # fmt: skip
"""Files with tests of many seconds. They come first, or the last of them would run alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


def pytest_collection_finish() -> None:
    """What all the modules and tests are made of is nobody's garbage. Looking through it takes half a second, and some
    tests collect to see that nothing is left of them."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of what pages and the admin API do run on a hub that is one process, and on one that is four over
    PostgreSQL and Redis; the latter in the ordinary run only where they are marked `everywhere`. Those with a browser
    are a run of their own each way."""
    if "kind_of_house" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker
        with_browser = "browser" in metafunc.definition.path.parts
        alone = pytest.param("alone", marks=[pytest.mark.browser] if with_browser else [])
        mark = pytest.mark.browser_cluster if with_browser else pytest.mark.cluster
        cluster = pytest.param("cluster", marks=[] if marked("everywhere") else [mark])
        kinds = [alone] if marked("alone") else [alone, cluster]
        metafunc.parametrize("kind_of_house", kinds, scope="session")


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Each client of an SDK reads all of them when it is made, which takes longer than most tests; none needs any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx2._transports.default, "create_ssl_context", functools.cache(httpx2.create_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def the_table_of_prices_is_read_once() -> Iterator[None]:
    """Here and not in a process for each hub; `test_price_lookup.py` asks it as a hub does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(price_lookup, "look_up", look_up_here)
        yield


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture(scope="session")
def open_house(kind_of_house: str, request: pytest.FixtureRequest) -> OpenHouse:
    """``async with open_house(config) as house``; the rest are a `House`'s options."""
    if kind_of_house == "alone":
        return House
    ground: Ground = request.getfixturevalue("ground")
    return partial(Cluster, ground=ground)


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """What clusters stand on, made once for all of them."""
    needs_redis()
    needs_postgresql()
    with Postgres.running() as postgres, nursery(tmp_path_factory.mktemp("nursery")) as place:
        database = postgres.new_database("template_of_clusters")
        with ThreadPoolExecutor(1) as apart:  # from the event loop of the test that happens to be the first
            apart.submit(asyncio.run, migrate(database)).result()
        yield Ground(postgres, "template_of_clusters", place)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """All plugins that are installed. For all tests: change nothing."""
    return Registry().discover()


@pytest.fixture(scope="session")
def traffic() -> Path:
    """The recorded provider traffic that lies beside some checkouts; tests that need it skip elsewhere."""
    folder = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[2] / "shared" / "traffic"))
    if not (folder / "replay.py").is_file():
        pytest.skip("recorded provider traffic is not part of the repository; LLMHUB_TRAFFIC names its folder")
    return folder
