"""Several processes that are one hub: real ones, on a real Redis, with connections that a restart must not break."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from houses import COMPLETION, STREAM, ask, one_provider
from redis_server import Server, needs_redis
from served import Workers, until

from llmhub_core.contracts import StartError
from llmhub_core.hub import folder
from llmhub_core.hub.journal import segments_in
from llmhub_core.hub.tokens import digest
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

TOKEN = "lh-workers-share-this-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}
CHAT = {"model": "fast", "messages": [{"role": "user", "content": "Say hello."}]}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    needs_redis()
    with tempfile.TemporaryDirectory(prefix="llmhub-redis-") as folder:
        server = Server(Path(folder))
        yield server.url
        server.stop()


def answers(request: ReceivedRequest) -> Answer:
    stream = request.json.get("stream")
    return sse_answer(STREAM, delay=0.01) if stream else json_answer(COMPLETION, delay_first=0.01)


@pytest.fixture
def config(tmp_path: Path, redis: str, upstream: FakeUpstream) -> Path:
    upstream.on(answers)
    path = tmp_path / "hub.toml"
    path.write_text(
        '[server]\nworkers = 2\ndrain = "20 s"\n'
        f'[storage]\nquota = "{redis}"\n[auth]\napi = "token"\n[observers.prometheus]\n'
        "[quota_stores.redis]\ntimeout = 2.0\nconnect_timeout = 2.0\n"
        f'[[tokens]]\nname = "game"\nhash = "{digest(TOKEN)}"\n' + one_provider(upstream.url)
    )
    return path


@pytest.fixture
async def hub(config: Path, tmp_path: Path) -> AsyncIterator[Workers]:
    async with Workers(config, tmp_path / "data") as workers:
        yield workers


class Load:
    """Callers that never pause. `ids` of what was answered whole, `failures` of everything else."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.ids: list[str] = []
        self.failures: list[str] = []

    def begin(self, callers: int, keep_alive: bool, stream: bool = False) -> None:
        for _ in range(callers):
            self._tasks.append(asyncio.create_task(self._call(keep_alive, stream)))

    async def end(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def _call(self, keep_alive: bool, stream: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=not keep_alive)
        async with aiohttp.ClientSession(connector=connector, headers=BEARER) as client:
            while not self._over.is_set():
                try:
                    answer = await ask(client, self._url, {**CHAT, "stream": stream})
                    text = await answer.text()
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))
                    continue
                whole = text.endswith("data: [DONE]\n\n") if stream else "Hello!" in text
                if answer.status == 200 and whole:
                    self.ids.append(answer.headers["x-request-id"])
                else:
                    self.failures.append(f"{answer.status} {text[-200:]}")


async def test_two_workers_are_one_hub(hub: Workers, config: Path, client: aiohttp.ClientSession) -> None:
    """One link for set-up, metrics and load of all in one answer, one limit, one list of tokens."""
    assert hub.greeting.count("listens on") == 1
    assert len(hub.pids()) == 2

    # Whom one of many connections reaches is chance; which of the two answered is told by the counts.
    for _ in range(40):
        async with aiohttp.ClientSession(headers=BEARER) as fresh:
            assert (await ask(fresh, hub.url, CHAT)).status == 200
    text = await (await client.get(f"{hub.url}/metrics")).text()
    served = dict(re.findall(r'llmhub_requests_total\{worker="(\d)",outcome="served".*\} (\d+)', text))
    assert set(served) == {"1", "2"}
    assert sum(map(int, served.values())) == 40
    assert text.count("# TYPE llmhub_requests_total counter") == 1

    # A limit that both count: exactly so many pass.
    config.write_text(
        config.read_text().replace('name = "game"\n', 'name = "game"\nlimits = { rpm = 60 }\n'), encoding="utf-8"
    )
    hub.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(2)

    async def once() -> int:
        async with aiohttp.ClientSession(headers=BEARER) as fresh:
            return (await ask(fresh, hub.url, CHAT)).status

    statuses = Counter(await asyncio.gather(*(once() for _ in range(100))))
    assert statuses == {200: 60, 429: 40}

    # A token that is taken away is nowhere good any more.
    config.write_text(re.sub(r'hash = ".*"', f'hash = "{digest("lh-another")}"', config.read_text()), encoding="utf-8")
    hub.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(1)
    assert Counter(await asyncio.gather(*(once() for _ in range(30)))) == {401: 30}


async def test_a_place_that_one_worker_cannot_reach_all_leave_alone(
    config: Path, tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    text = re.sub(r'base_url = ".*"', 'base_url = "http://127.0.0.1:9/v1"', config.read_text())
    config.write_text(text + "[routing]\nbreaker_failures = 2\n", encoding="utf-8")
    async with Workers(config, tmp_path / "data") as hub:
        for number in range(2):
            body = {**CHAT, "user": str(number)}
            assert (await ask(client, hub.url, body, headers=BEARER)).status == 502
        await hub.says("main/small failed 2 times in a row")
        await hub.says("main/small is left alone for 10 s, as another process found")


async def test_a_rolling_restart_refuses_nobody(hub: Workers) -> None:
    before = hub.pids()
    load = Load(hub.url)
    load.begin(4, keep_alive=True)
    load.begin(4, keep_alive=False)
    load.begin(3, keep_alive=True, stream=True)
    await asyncio.sleep(1)
    restart = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmhub_core", "restart", "--data-dir", str(hub.data), stdout=asyncio.subprocess.PIPE
    )
    assert b"replaces its 2 workers" in (await restart.communicate())[0]
    await hub.says("all workers are replaced")
    await asyncio.sleep(1)
    await load.end()
    assert load.failures == []
    assert len(load.ids) > 200
    assert len(hub.pids()) == 2
    assert not hub.pids() & before
    await hub.__aexit__(None, None, None)
    assert hub.records() == Counter(load.ids)


async def test_a_killed_worker_is_replaced_and_nothing_answered_is_lost(hub: Workers, upstream: FakeUpstream) -> None:
    load = Load(hub.url)
    load.begin(4, keep_alive=True)
    load.begin(4, keep_alive=False)
    load.begin(2, keep_alive=True, stream=True)
    for turn in range(1, 3):
        await asyncio.sleep(1)
        os.kill(min(hub.pids()), signal.SIGKILL)
        await until(lambda: hub.log.count("serves again") >= turn)  # noqa: B023 — awaited here
    await load.end()
    assert len(load.failures) <= 20  # those that were under way in the two
    assert len(load.ids) > 100
    await hub.__aexit__(None, None, None)
    records = hub.records()
    assert set(records.values()) == {1}
    assert set(load.ids) <= set(records)
    assert len(records) >= len(upstream.requests)  # what a provider was asked is there, whoever was killed
    assert hub.log.count("was killed by signal 9; it is started again") == 2
    assert not [path for path in hub.data.glob("worker-*/journal") if segments_in(path)]


async def test_workers_outlive_their_supervisor_only_for_what_is_under_way(
    hub: Workers, upstream: FakeUpstream
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION, delay_first=1.0))
    workers = hub.pids()
    async with aiohttp.ClientSession(headers=BEARER) as client:
        asking = asyncio.create_task(ask(client, hub.url, CHAT))
        await upstream.wait_for(1)
        hub.process.kill()
        hub.killed = True
        assert (await asking).status == 200
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    await hub._reading


async def test_a_worker_that_cannot_start_ends_all_with_one_sentence(config: Path, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/not-there/hub.db"
    config.write_text(config.read_text().replace("[storage]\n", f'[storage]\nmetadata = "{address}"\n'))
    workers = Workers(config, tmp_path / "data")
    with pytest.raises(AssertionError) as failed:
        await workers.__aenter__()
    assert workers.process.returncode == 1
    assert str(failed.value).count("cannot be opened") == 1


async def test_the_error_rate_is_that_of_all_workers(tmp_path: Path, upstream: FakeUpstream) -> None:
    upstream.script(json_answer({"error": {"message": "broken"}}, status=500))
    async with FakeUpstream() as receiver:
        receiver.script(json_answer({}))
        path = tmp_path / "config.toml"
        path.write_text(
            f'[storage]\nquota = "sqlite:///quota.db"\n[routing]\nbreaker_failures = 1000\n'
            f'[alerts]\nevery = 0.2\nrules = ["error_rate"]\nerror_requests = 30\n'
            f'[observers.webhook]\nurl = "{receiver.url}/hook"\nsecret = "whsec_{"MDEy" * 8}"\n'
            + one_provider(upstream.url)
        )
        apart = aiohttp.TCPConnector(force_close=True)  # each on a connection of its own: some to either worker
        async with (
            Workers(path, tmp_path / "data", "--workers", "2") as hub,
            aiohttp.ClientSession(connector=apart) as client,
        ):
            for _ in range(30):
                assert (await ask(client, hub.url)).status >= 500
            await until(lambda: receiver.requests)
            assert "30 of 30 requests for fast failed" in receiver.requests[0].json["text"]


# what needs no process


async def test_a_journal_that_a_worker_left_is_shipped_by_another(tmp_path: Path, upstream: FakeUpstream) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url), folder=tmp_path) as house, aiohttp.ClientSession() as client:
        ids = [(await ask(client, house.url)).headers["x-request-id"] for _ in range(3)]
        copies = {
            segment.path.name: segment.path.read_bytes() for segment in segments_in(tmp_path / "data" / "journal")
        }
        await house.records()
    for database in tmp_path.glob("data/llm-hub.db*"):
        database.unlink()  # as if the records were in that journal only
    left = tmp_path / "data" / "worker-7" / "journal"
    left.mkdir(parents=True)
    for name, content in copies.items():
        (left / name).write_bytes(content)
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        await until(lambda: not segments_in(left))
        assert [record.id for record in await house.records()] == ids


async def test_two_hubs_on_one_file_count_together_or_not_at_all(tmp_path: Path, upstream: FakeUpstream) -> None:
    shared = f'[storage]\nmetadata = "sqlite:///{tmp_path}/one.db"\n'
    memory = shared + one_provider(upstream.url)
    together = shared + f'quota = "sqlite:///{tmp_path}/quota.db"\n' + one_provider(upstream.url)
    places = [tmp_path / name for name in ("a", "b")]
    for place in places:
        place.mkdir()
    for first, second in ((memory, memory), (memory, together), (together, memory)):
        async with House(first, folder=places[0]):
            with pytest.raises(StartError, match=r"one\.db, and quotas in memory are counted by each hub for itself"):
                await House(second, folder=places[1]).__aenter__()
    async with House(together, folder=places[0]), House(together, folder=places[1]):
        pass
    apart = shared + f'quota = "sqlite:///{tmp_path}/other.db"\n' + one_provider(upstream.url)
    async with House(together, folder=places[0]):
        with pytest.raises(StartError, match=r"counts quotas in \S+/quota\.db, this one in \S+/other\.db"):
            await House(apart, folder=places[1]).__aenter__()
    async with House(apart, folder=places[1]):
        pass


def test_who_holds_a_data_folder(tmp_path: Path) -> None:
    assert folder.holder(tmp_path / "nowhere") is None
    lock = folder.take(tmp_path, 4)
    assert folder.holder(tmp_path) == (os.getpid(), 4)
    with pytest.raises(StartError, match="Another llm-hub runs on the data folder"):
        folder.take(tmp_path)
    os.close(lock)
    assert folder.holder(tmp_path) is None
