"""The databases and the Redis that the tests of this folder share."""

from collections.abc import Iterator

import pytest
from databases import empty_url, kind, postgres, postgresql_template, sqlite_template, store, url  # noqa: F401
from redis_server import Server, needs_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    needs_redis()
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that this test may freeze and kill."""
    needs_redis()
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()
