"""Pages are made in a process of their own, and by the one that serves whenever that is not there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from browsers import CONFIG, PASSWORD, Browser, MakeBrowser, people_of
from llmhub_plugins.stores.sql import SqliteStore
from page_tasks import asked_of, fallen, fallen_late, refused, slow, stuck, unsendable, whose

from llmhub_core.admin import page_process
from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.page_process import PageProcess
from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.errors import Unavailable
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.dashboard.pages import PAGES
from llmhub_core.testing.house import House
from llmhub_core.testing.records import a_record

NAMES = {"provider": "echo", "key": "main"}


@pytest.fixture(autouse=True)
def found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """`page_tasks`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with House(CONFIG, page_process=True) as house:
        accounts = Accounts(people_of(house))
        await accounts.add("owner", "owner", PASSWORD)
        accounts.close()
        await house.hub.store.append([a_record(f"r{n}", arrived_at=time.time() - 60 * n) for n in range(60)])
        yield house


@pytest.fixture
def kind_of_house() -> str:
    return "alone"


async def up(process: PageProcess) -> int:
    """Its number, as soon as it works."""
    await until(lambda: process._line is not None or process._begin())
    return await process.run(whose)


async def until(seen: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not seen():  # noqa: ASYNC110 — of another process
            await asyncio.sleep(0.02)


def is_there(pid: int) -> bool:
    """Also as what its parent has not looked after."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def gone(pid: int) -> None:
    await until(lambda: not is_there(pid))


async def test_every_page_is_made_there_and_is_the_same(
    house: House, browser: MakeBrowser, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what is refused, in words of its own."""
    caplog.set_level("DEBUG", "llmhub.admin")
    owner, process = await browser("owner"), house.control.page_process
    places = [page.path.format_map(NAMES | {"id": _an_id(page.path)}) for page in PAGES if page.method == "GET"]
    places += ["/usage?by=caller&from=7d", "/requests?limit=0", "/requests/nobody", "/admin/api/requests?format=csv"]
    places += ["/admin/api/usage?by=day", "/admin/api/usage?by=nothing", "/admin/api/requests/r1"]
    process.enabled = False
    here = {path: await _look(owner, path) for path in places if "setup" not in path}
    process.enabled = True
    await up(process)
    caplog.clear()
    for path, before in here.items():
        assert await _look(owner, path) == before, path
    assert not [each for each in caplog.messages if "page process" in each], "each was made there"
    await people_of(house).end_sessions((await people_of(house).users())[0].id)
    assert (await _look(owner, "/requests"))[0] == 303, "who is signed out here is signed out there"


def _an_id(path: str) -> str:
    return {"routes": "fast", "requests": "r1", "providers": "echo"}.get(path.split("/")[1], "nobody")


async def _look(browser: Browser, path: str) -> tuple[int, str, bytes]:
    """Without the figures, of which some go on meanwhile."""
    answer = await browser.ask("GET", path)
    return answer.status, answer.headers.get("content-type", ""), re.sub(rb"[0-9.]+", b"", await answer.read())


async def test_what_it_refuses_is_refused_in_the_same_words(house: House) -> None:
    process = house.control.page_process
    await up(process)
    with pytest.raises(Denied) as denied:
        await process.run(refused, "denied")
    there = denied.value
    assert (there.status, there.code, there.message, there.advice) == (
        404, "not_found", "There is no such thing here.", "Look elsewhere.",
    )  # fmt: skip
    assert (there.field, there.retry_after, str(there)) == ("name", 3.0, "There is no such thing here.")
    with pytest.raises(Unavailable, match="needs too long") as error:
        await process.run(refused, "slow")
    assert (error.value.status, error.value.code) == (503, "query_timeout")


async def test_what_cannot_be_done_there_is_done_here(house: House, caplog: pytest.LogCaptureFixture) -> None:
    process = house.control.page_process
    there = await up(process)
    assert await process.run(fallen) == os.getpid()
    assert [*await process.run(unsendable)] == [os.getpid()]
    assert await process.run(asked_of, (each for each in ())) == os.getpid()
    assert "asked_of cannot go to the page process" in caplog.text
    assert await process.run(whose) == there, "and it is none the worse for it"


async def test_what_fails_there_only_after_long_is_not_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = house.control.page_process
    await up(process)
    assert await process.run(fallen_late) == os.getpid()
    monkeypatch.setattr(page_process, "TWICE", 0.05)
    with pytest.raises(TimeoutError):
        await process.run(fallen_late)


async def test_a_page_is_made_all_the_same_when_the_process_is_killed_in_the_middle(
    house: House, browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_process, "REST", 0.0)
    owner, process = await browser("owner"), house.control.page_process
    there = await up(process)
    os.kill(there, signal.SIGSTOP)  # so that it is in the middle of each
    looks = [asyncio.create_task(_look(owner, path)) for path in ("/requests", "/usage", "/admin/api/requests")]
    await until(lambda: process._line is not None and len(process._line.asked) == len(looks))
    os.kill(there, signal.SIGKILL)
    assert [status for status, _, _ in await asyncio.gather(*looks)] == [200, 200, 200]
    await gone(there)
    assert await up(process) != there, "another takes its place"


async def test_one_that_hangs_is_killed_and_its_work_done_here(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(page_process, "SILENCE", 1.5)
    process = house.control.page_process
    there = await up(process)
    began = time.monotonic()
    assert await process.run(stuck, 60.0) == os.getpid()
    assert time.monotonic() - began < 10
    await gone(there)
    assert "is gone; another is started soon" in caplog.text


async def test_one_that_works_for_long_is_let_work(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives signs of life: a question may take its time."""
    process = house.control.page_process
    there = await up(process)
    monkeypatch.setattr(page_process, "SILENCE", 0.2)
    assert await process.run(slow) == there


async def test_who_goes_away_is_forgotten(house: House) -> None:
    process = house.control.page_process
    await up(process)
    asked = asyncio.create_task(process.run(slow))
    await asyncio.sleep(0.05)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert process._line is not None
    assert not process._line.asked


async def test_it_ends_when_nobody_looks_any_more_and_begins_with_who_does(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = house.control.page_process
    assert process._life is None, "while nobody has looked there is none"
    there = await up(process)
    monkeypatch.setattr(page_process, "IDLE", 0.0)
    await gone(there)
    monkeypatch.setattr(page_process, "IDLE", 60.0)
    process._rests_until = 0.0
    assert await up(process) != there
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


async def test_it_ends_with_the_hub(house: House) -> None:
    there = await up(house.control.page_process)
    await house.control.page_process.close()
    assert not is_there(there)
    assert await house.control.page_process.run(whose) == os.getpid()


async def test_it_ends_by_itself_when_the_hub_is_killed(tmp_path: Path) -> None:
    """However it is killed: the process that it leaves behind is told by the end of the line."""
    program = tmp_path / "hub.py"
    program.write_text(
        "import asyncio, os, sys\n"
        "from llmhub_core.admin.page_process import PageProcess\n"
        "from llmhub_plugins.stores.sql import SqliteStore\n"
        "from llmhub_core.admin.answers import asked_and_written\n"
        "from llmhub_core.admin import past\n"
        "async def main():\n"
        "    store = SqliteStore(SqliteStore.Settings(url=sys.argv[1]))\n"
        "    await store.start(); await store.migrate()\n"
        "    process = PageProcess(store)\n"
        "    while process._line is None:\n"
        "        await process.run(asked_and_written, past.requests, past.RequestsAsked())\n"
        "        await asyncio.sleep(0.02)\n"
        "    print(os.popen(f'pgrep -P {os.getpid()} -f page_program').read().split()[0], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    hub = await asyncio.create_subprocess_exec(
        sys.executable, program, f"sqlite:///{tmp_path / 'hub.db'}", stdout=asyncio.subprocess.PIPE
    )
    assert hub.stdout is not None
    there = int(await hub.stdout.readline())
    assert is_there(there)
    hub.kill()
    await hub.wait()
    await gone(there)


async def test_a_store_that_one_process_alone_can_read_is_asked_here() -> None:
    store = SqliteStore(SqliteStore.Settings())
    store.reader = lambda: MetadataStore.reader(store)  # type: ignore[method-assign, assignment, return-value]
    process = PageProcess(store)
    assert [await process.run(whose) for _ in range(3)] == [os.getpid()] * 3
    await asyncio.sleep(0.05)
    assert not process.enabled, "and no process is tried again"
    await process.close()


async def test_one_that_does_not_come_up_is_not_missed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    process = house.control.page_process
    process.modules.append("no.such.module")
    assert await process.run(whose) == os.getpid()
    await until(lambda: "pages are made by the process that serves" in caplog.text)
    assert await process.run(whose) == os.getpid()


def test_refusals_travel_whole() -> None:
    for error in (Denied(400, "a", "b", "c", field="d"), Unavailable("x", code="y", retry_after=2.0)):
        there = pickle.loads(pickle.dumps(error))  # noqa: S301 — our own
        assert (type(there), there.args, vars(there)) == (type(error), error.args, vars(error))
