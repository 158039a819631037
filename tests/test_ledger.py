"""Nothing that was used is lost and nothing is counted twice: with a torn journal, a store that is away, a full
disk, and a hub that is killed at any moment."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmhub_core.contracts import Caller, Exchange, Record, RequestHead, Unavailable, Where
from llmhub_core.hub import ledger as ledger_module
from llmhub_core.hub.journal import Journal, read_entries
from llmhub_core.hub.ledger import BATCH, Ledger, unrecorded
from llmhub_core.testing.records import a_record, records


def full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# the journal


def put(journal: Journal, entry: bytes) -> None:
    journal.add(entry)
    journal.flush()


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    entries = [b'{"a":1}', b"{}", "ünï".encode(), b"x" * 100_000]
    for entry in entries:
        put(journal, entry)
    assert journal.size == journal.segment.path.stat().st_size
    journal.sync()
    journal.close()
    assert list(read_entries(journal.segment.path)) == entries


def test_a_journal_is_for_its_owner_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o700
    assert journal.segment.path.stat().st_mode & 0o777 == 0o600
    journal.close()


def test_a_crash_at_any_byte_costs_the_last_entry_at_most(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    ends = []
    for number in range(4):
        put(journal, b'{"n":%d}' % number)
        ends.append(journal.size)
    journal.close()
    whole = journal.segment.path.read_bytes()
    torn = tmp_path / "torn.log"
    for size in range(len(whole) + 1):
        torn.write_bytes(whole[:size])
        assert len(list(read_entries(torn))) == sum(end <= size for end in ends)


def test_a_flipped_bit_costs_one_entry(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for number in range(3):
        put(journal, b'{"number":%d}' % number)
    journal.close()
    whole = journal.segment.path.read_bytes()
    bad = tmp_path / "bad.log"
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        bad.write_bytes(flipped)
        got = list(read_entries(bad))
        assert set(got) <= {b'{"number":0}', b'{"number":1}', b'{"number":2}'}
        assert len(got) >= (1 if whole[place] == 0x0A else 2)


def test_rotation_numbers_on_and_an_empty_end_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    put(journal, b"{}")
    done = journal.rotate()
    assert (done.path.name, journal.segment.path.name) == ("0000000001.log", "0000000002.log")
    assert [segment.path for segment in journal.earlier()] == [done.path]
    journal.close()
    assert sorted(path.name for path in (tmp_path / "j").iterdir()) == ["0000000001.log"]
    again = Journal(tmp_path / "j")
    assert again.segment.path.name == "0000000002.log"
    again.close()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "notes.log").write_text("mine")
    journal = Journal(tmp_path / "j")
    assert journal.earlier() == []
    journal.close()
    assert (tmp_path / "j" / "notes.log").read_text() == "mine"


def test_an_entry_after_a_torn_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j")
    put(journal, b'{"n":0}')
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    with pytest.raises(OSError, match="in part"):
        put(journal, b'{"n":1}')
    monkeypatch.undo()
    put(journal, b'{"n":2}')
    journal.close()
    assert list(read_entries(journal.segment.path)) == [b'{"n":0}', b'{"n":2}']


def test_what_was_added_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, writes, really = Journal(tmp_path / "j"), [], os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(data) or really(fd, data))
    journal.add(b'{"n":0}')
    journal.add(b'{"n":1}')
    assert list(read_entries(journal.segment.path)) == []
    assert journal.flush() is True
    assert journal.flush() is False
    assert len(writes) == 1
    assert journal.size == journal.segment.path.stat().st_size
    journal.close()
    assert list(read_entries(journal.segment.path)) == [b'{"n":%d}' % number for number in range(2)]


def test_what_the_disk_refused_is_not_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j")
    journal.add(b'{"n":0}')
    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(OSError, match="No space"):
        put(journal, b'{"n":1}')
    monkeypatch.undo()
    put(journal, b'{"n":2}')
    journal.close()
    assert list(read_entries(journal.segment.path)) == [b'{"n":2}']


# the ledger


class Shelf:
    """A store for records, as far as the ledger asks: keeps the first of each id, and can be away."""

    def __init__(self) -> None:
        self.kept: dict[str, Record] = {}
        self.last: dict[str, str] = {}
        self.batches: list[int] = []
        self.away = False
        self.loses_answers = False

    async def last_from(self, journal: str) -> str:
        return self.last.get(journal, "")

    async def append_from(self, journal: str, batch: Sequence[Record]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise ConnectionError("the database is away")
        for record in batch:
            self.kept.setdefault(record.id, record)
        self.last[journal] = batch[-1].id
        self.batches.append(len(batch))
        if self.loses_answers:
            raise ConnectionError("committed, but nobody heard of it")


class Dialect:
    name = "openai_chat"


def exchange(id: str, body: bytes = b"x" * 320) -> Exchange:
    made = Exchange(id, Dialect(), {}, Where({}, {}))  # type: ignore[arg-type]
    made.caller, made.body = Caller("app"), body
    made.head = RequestHead("fast", stream=True)
    return made


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "SHIP_EVERY", 0.02)
    monkeypatch.setattr(ledger_module, "SYNC_EVERY", 0.02)
    monkeypatch.setattr(ledger_module, "RETRY_AT_MOST", 0.02)
    monkeypatch.setattr(ledger_module, "PROBE_EVERY", 0.02)


def segments(folder: Path) -> list[str]:
    """The segments that hold something."""
    return sorted(path.name for path in folder.glob("*.log") if path.stat().st_size)


async def leave(batch: Sequence[Record]) -> None:
    """Their prices as they are."""


def make(folder: Path, shelf: Shelf, prices: Any = None) -> Ledger:
    return Ledger(folder, shelf, prices or leave)  # type: ignore[arg-type]


async def die(ledger: Ledger) -> None:
    """The end of a hub by kill -9: nothing of it runs on, and nothing is closed in good order."""
    for task in ledger._tasks:
        task.cancel()
    await asyncio.gather(*ledger._tasks, return_exceptions=True)
    os.close(ledger._journal._fd)


@asynccontextmanager
async def running(folder: Path, shelf: Shelf, prices: Any = None) -> AsyncIterator[Ledger]:
    ledger = make(folder, shelf, prices)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()


def serve(ledger: Ledger, id: str, **changes: Any) -> None:
    ledger.intend(exchange(id))
    assert ledger.flush()
    ledger.close(a_record(id, **changes))


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 — many parties change what is waited for
            await asyncio.sleep(0.005)


async def test_records_reach_the_store_by_themselves_and_leave_no_journal(folder: Path, shelf: Shelf) -> None:
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1")
        assert ledger.backlog == 1
        await until(lambda: "r-1" in shelf.kept and not segments(folder))
        assert ledger.backlog == 0
    assert list(folder.iterdir()) == []


async def test_all_kinds_of_records_survive_the_journal(folder: Path, shelf: Shelf) -> None:
    shelf.away = True
    ledger = make(folder, shelf)
    await ledger.start()
    plain = [record for record in records() if record.id != "r-6"]
    for record in plain:
        ledger.close(record)
    await die(ledger)
    shelf.away = False
    async with running(folder, shelf) as again:
        await again.flushed()
    assert [shelf.kept[record.id] for record in plain] == plain


async def test_a_killed_hub_leaves_unknown_records_of_what_was_open(folder: Path, shelf: Shelf) -> None:
    ledger = make(folder, shelf)
    await ledger.start()
    serve(ledger, "r-1")
    ledger.intend(exchange("r-2"))
    await die(ledger)
    async with running(folder, shelf) as again:
        await again.flushed()
    assert set(shelf.kept) == {"r-1", "r-2"}
    assert shelf.kept["r-1"].outcome == "served"
    unknown = shelf.kept["r-2"]
    assert (unknown.outcome, unknown.code, unknown.caller, unknown.model) == ("unknown", "hub_killed", "app", "fast")
    assert (unknown.input_tokens, unknown.usage_estimated) == (101, True)
    assert segments(folder) == []


async def test_everything_is_in_the_journal_before_the_loop_turns_on(folder: Path, shelf: Shelf) -> None:
    """And what is intended at the latest when a provider is to be called."""
    ledger = make(folder, shelf)
    await ledger.start()

    def noted() -> list[str]:
        return [msgspec.json.decode(entry)["type"] for entry in read_entries(ledger._journal.segment.path)]

    ledger.intend(exchange("r-1"))
    ledger.intend(exchange("r-2"))
    assert noted() == []
    assert ledger.flush()
    assert noted() == ["intent", "intent"]
    ledger.close(a_record("r-1"))
    ledger.intend(exchange("r-3"))
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: turned.set_result(noted()))
    assert (await turned)[2:] == ["outcome", "intent"]
    await die(ledger)


async def test_killed_between_an_answer_and_its_outcome(folder: Path, shelf: Shelf) -> None:
    ledger = make(folder, shelf)
    await ledger.start()
    serve(ledger, "r-1")
    ledger.intend(exchange("r-2"))
    serve(ledger, "r-3")
    ledger.intend(exchange("r-4"))  # nobody was asked for it
    path = ledger._journal.segment.path  # as it lies there when the process is killed before the turn ends
    kept = path.read_bytes()
    await die(ledger)
    path.write_bytes(kept)
    async with running(folder, shelf) as again:
        await again.flushed()
    assert {id: record.outcome for id, record in shelf.kept.items()} == {
        "r-1": "served",
        "r-2": "unknown",
        "r-3": "unknown",
    }


async def test_a_record_that_was_shipped_before_its_outcome_was_written(folder: Path, shelf: Shelf) -> None:
    """Whatever file the outcome ends up in, and whenever the hub is killed: once, and as it was."""
    ledger = make(folder, shelf)
    await ledger.start()
    serve(ledger, "r-1")
    assert ledger._seal()  # what the disk did meanwhile
    await ledger.flushed()
    await die(ledger)
    async with running(folder, shelf) as again:
        await again.flushed()
    assert {id: record.outcome for id, record in shelf.kept.items()} == {"r-1": "served"}
    assert segments(folder) == []


async def test_a_journal_torn_at_any_byte_recovers(tmp_path: Path, shelf: Shelf) -> None:
    ledger = make(tmp_path / "a", shelf)
    shelf.away = True
    await ledger.start()
    for number in range(3):
        serve(ledger, f"r-{number}")
    await die(ledger)
    shelf.away = False
    (path,) = [path for path in (tmp_path / "a").glob("*.log") if path.stat().st_size]
    whole = path.read_bytes()
    for size in random.Random(7).sample(range(len(whole)), 25):
        folder, kept = tmp_path / f"b{size}", Shelf()
        folder.mkdir()
        (folder / path.name).write_bytes(whole[:size])
        async with running(folder, kept) as again:
            await again.flushed()
        lines = whole[:size].count(b"\n")
        assert len(kept.kept) == (lines + 1) // 2  # an intent alone is a record as well
        assert sum(record.outcome == "served" for record in kept.kept.values()) == lines // 2
        assert segments(folder) == [] or not lines  # what holds nothing at all waits for the next record


async def test_entries_of_another_version_are_passed_over(folder: Path, shelf: Shelf) -> None:
    journal = Journal(folder)
    put(journal, b'{"type":"something-new","id":"x"}')
    put(journal, b"not json")
    put(journal, msgspec.json.encode(ledger_module.Outcome(a_record("r-1"))))
    journal.close()
    async with running(folder, shelf) as ledger:
        await ledger.flushed()
    assert set(shelf.kept) == {"r-1"}


async def test_a_segment_stays_while_one_of_its_intents_is_open(folder: Path, shelf: Shelf) -> None:
    async with running(folder, shelf) as ledger:
        ledger.intend(exchange("long"))
        serve(ledger, "short")
        await ledger.flushed()
        await until(lambda: "short" in shelf.kept)
        first = segments(folder)
        assert len(first) == 1
        for number in range(3):
            serve(ledger, f"r-{number}")
            await ledger.flushed()
        await until(lambda: segments(folder) == first)
        ledger.close(a_record("long"))
        await until(lambda: "long" in shelf.kept and not segments(folder))


async def test_killed_with_a_request_open_that_outlived_its_segment(folder: Path, shelf: Shelf) -> None:
    """The outcomes of a segment that stays are read again: the store knows them already."""
    ledger = make(folder, shelf)
    await ledger.start()
    ledger.intend(exchange("long"))
    serve(ledger, "short", input_tokens=7)
    await ledger.flushed()
    await die(ledger)
    async with running(folder, shelf) as again:
        await again.flushed()
    assert shelf.kept["short"].input_tokens == 7
    assert shelf.kept["long"].outcome == "unknown"
    assert len(shelf.kept) == 2


async def test_a_store_that_is_away_loses_and_doubles_nothing(folder: Path, shelf: Shelf) -> None:
    shelf.away = True
    async with running(folder, shelf) as ledger:
        for number in range(BATCH + 50):
            serve(ledger, f"r-{number}")
        await asyncio.sleep(0.1)
        assert shelf.kept == {}
        assert ledger.backlog == BATCH + 50
        shelf.away = False
        await ledger.flushed()
        assert len(shelf.kept) == BATCH + 50
        assert max(shelf.batches) <= BATCH
        await until(lambda: not segments(folder))


async def test_a_commit_that_nobody_heard_of_is_sent_again(folder: Path, shelf: Shelf) -> None:
    shelf.loses_answers = True
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1")
        await until(lambda: len(shelf.batches) >= 2)
        assert segments(folder)
        shelf.loses_answers = False
        await ledger.flushed()
    assert list(shelf.kept) == ["r-1"]


async def test_stopping_ships_what_is_there(folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "SHIP_EVERY", 60.0)
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1")
        await asyncio.sleep(0.05)
        assert shelf.kept == {}
    assert list(shelf.kept) == ["r-1"]
    assert list(folder.iterdir()) == []


async def test_stopping_while_the_store_is_away_keeps_the_journal_for_the_next_start(
    folder: Path, shelf: Shelf
) -> None:
    shelf.away = True
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1")
    assert segments(folder)
    shelf.away = False
    async with running(folder, shelf) as ledger:
        await ledger.flushed()
    assert list(shelf.kept) == ["r-1"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("seed", range(6))
async def test_killed_in_the_middle_of_shipping_at_any_moment(folder: Path, shelf: Shelf, seed: int) -> None:
    """Three lives with a kill after each; every request is in the store once, as what became of it."""
    draw = random.Random(seed)
    expected: dict[str, str] = {}
    for life in range(3):
        ledger = make(folder, shelf)
        await ledger.start()
        for number in range(draw.randrange(20, 200)):
            id = f"r-{life}-{number}"
            ledger.intend(exchange(id))
            expected[id] = "unknown"
            if draw.random() < 0.9:
                ledger.close(a_record(id))
                expected[id] = "served"
            if draw.random() < 0.1:
                shelf.away = draw.random() < 0.3
                ledger._wake.set()
                await asyncio.sleep(draw.random() * 0.002)
        await die(ledger)
    shelf.away = False
    async with running(folder, shelf) as ledger:
        await ledger.flushed()
    assert {id: record.outcome for id, record in shelf.kept.items()} == expected
    assert segments(folder) == []


async def test_costs_are_completed_before_shipping(folder: Path, shelf: Shelf) -> None:
    async def price(batch: Sequence[Record]) -> None:
        await asyncio.sleep(0.05)  # the table is asked
        for record in batch:
            record.cost = 42

    async with running(folder, shelf, price) as ledger:
        serve(ledger, "r-1", cost=None)
    assert shelf.kept["r-1"].cost == 42


async def test_a_full_disk_takes_no_request_until_there_is_room(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(folder, shelf) as ledger:
        ledger.intend(exchange("r-1"))
        monkeypatch.setattr(os, "write", full_disk)
        ledger.intend(exchange("r-2"))
        assert not ledger.flush()
        assert not ledger.flush()  # also for those who ask after somebody else was told
        assert (unrecorded().code, unrecorded().retry_after) == ("meter_full", 30)
        ledger.close(a_record("r-2", outcome="refused"))
        broken = ledger.broken
        assert broken == "No space left on device"
        ledger.close(a_record("r-1"))  # what is under way is recorded all the same
        monkeypatch.undo()
        await ledger.flushed()
        assert {id: record.outcome for id, record in shelf.kept.items()} == {"r-1": "served", "r-2": "refused"}
        serve(ledger, "r-3")
        await until(lambda: ledger.broken is None)
    assert set(shelf.kept) == {"r-1", "r-2", "r-3"}


async def test_an_error_of_the_disk_at_fsync_begins_a_new_file(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.away = True
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1")
        was = ledger._journal.segment.path

        def fails(fd: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fdatasync", fails)
        serve(ledger, "r-2")
        await until(lambda: ledger.broken is not None)
        monkeypatch.undo()
        assert ledger._journal.segment.path != was
        shelf.away = False
        await ledger.flushed()
    assert set(shelf.kept) == {"r-1", "r-2"}


async def test_a_journal_that_is_full_takes_no_request(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.away = True
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1")
        assert ledger.flush()
        monkeypatch.setattr(ledger, "_cap", 100)
        assert ledger.filled > 1
        with pytest.raises(Unavailable, match="database is away"):
            ledger.intend(exchange("r-2"))
        shelf.away = False
        await until(lambda: not segments(folder))
        ledger.intend(exchange("r-3"))
        ledger.close(a_record("r-3"))
    assert set(shelf.kept) == {"r-1", "r-3"}


async def test_a_disk_without_room_for_a_new_file_does_not_keep_records_from_the_store(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1")
        monkeypatch.setattr(os, "open", full_disk)
        await asyncio.sleep(0.3)
        monkeypatch.undo()
        assert set(shelf.kept) == {"r-1"}


async def test_a_record_with_text_that_is_no_unicode_is_kept(folder: Path, shelf: Shelf) -> None:
    async with running(folder, shelf) as ledger:
        serve(ledger, "r-1", client_request_id="a\udcffb", tags={"team": "\udcff"})
    assert shelf.kept["r-1"].outcome == "served"


async def test_memory_does_not_grow_with_what_waits(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the journal is let go of and read back, also with requests open over it all, and by the next hub."""
    monkeypatch.setattr(ledger_module, "HELD", 100)
    shelf.away = True
    ledger = make(folder, shelf)
    await ledger.start()
    ledger.intend(exchange("long"))
    for number in range(450):
        serve(ledger, f"r-{number}")
        if number % 50 == 0:
            await asyncio.sleep(0.03)
    await until(lambda: len(ledger._records) <= 100)
    assert ledger.backlog == 450
    shelf.away = False
    await ledger.flushed()
    assert len(shelf.kept) == 450
    await until(lambda: len(segments(folder)) == 1)  # in which the open one stands
    shelf.away = True
    for number in range(450, 700):
        serve(ledger, f"r-{number}")
    await until(lambda: not ledger._records)
    await die(ledger)
    async with running(folder, shelf) as again:
        assert again.backlog == 252  # one stands beside the open one: it is sent once more, which is harmless
        assert again.filled > 0
        await asyncio.sleep(0.1)
        shelf.away = False
        await again.flushed()
        await until(lambda: not segments(folder))
        assert again.filled == 0
    assert len(shelf.kept) == 701
    assert shelf.kept["long"].outcome == "unknown"
    assert sum(record.outcome == "served" for record in shelf.kept.values()) == 700


async def test_a_disk_that_is_well_again_is_noticed_without_a_request(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a hub that says it is not ready gets none."""
    async with running(folder, shelf) as ledger:
        monkeypatch.setattr(os, "write", full_disk)
        ledger.intend(exchange("r-1"))
        await asyncio.sleep(0.15)
        assert ledger.broken is not None
        monkeypatch.undo()
        await until(lambda: ledger.broken is None)


@pytest.mark.parametrize("sealed", [False, True])
async def test_what_was_in_a_file_that_failed_to_sync_is_in_another(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    shelf.away = True
    ledger = make(folder, shelf)
    await ledger.start()
    serve(ledger, "r-1")
    ledger.intend(exchange("r-2"))
    bad = ledger._journal.segment.path
    if sealed:
        assert ledger._seal()
    synced = os.fdatasync

    def fails_once(fd: int) -> None:
        monkeypatch.setattr(os, "fdatasync", synced)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fails_once)
    await until(lambda: ledger.broken is not None)
    await until(lambda: ledger.broken is None)
    await die(ledger)
    bad.unlink()  # what the disk did to it
    shelf.away = False
    async with running(folder, shelf) as again:
        await again.flushed()
    assert {id: record.outcome for id, record in shelf.kept.items()} == {"r-1": "served", "r-2": "unknown"}


def test_a_file_that_is_complete_is_synced_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, synced = Journal(tmp_path / "j"), []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    put(journal, b"{}")
    done = journal.rotate()
    journal.sync()
    put(journal, b"{}")
    journal.sync()
    journal.sync()
    assert synced == [str(done.path), str(journal.segment.path)]
    journal.close()


async def test_no_record_is_let_go_of_that_is_not_in_the_journal(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "HELD", 10)
    shelf.away = True
    async with running(folder, shelf) as ledger:
        for number in range(30):
            ledger.intend(exchange(f"r-{number}"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_disk)
            for number in range(30):
                ledger.close(a_record(f"r-{number}"))
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        assert len(ledger._records) == 30
        shelf.away = False
        await ledger.flushed()
    assert all(record.outcome == "served" for record in shelf.kept.values())
    assert len(shelf.kept) == 30


async def test_what_came_already_is_not_sent_again_however_long_ago(folder: Path, shelf: Shelf) -> None:
    """The database has let it go meanwhile, so that by its id nobody would know it again."""
    shelf.loses_answers = True
    ledger = make(folder, shelf)
    await ledger.start()
    for number in range(5):
        serve(ledger, f"r-{number}")
    await until(lambda: "r-4" in shelf.kept)
    await die(ledger)
    shelf.loses_answers, shelf.away = False, True
    ledger = make(folder, shelf)
    await ledger.start()
    serve(ledger, "r-5")
    ledger.intend(exchange("open"))
    await die(ledger)
    shelf.away = False
    shelf.kept.clear()
    async with running(folder, shelf) as ledger:
        await ledger.flushed()
        assert set(shelf.kept) == {"r-5", "open"}
        assert shelf.kept["open"].outcome == "unknown"
        await until(lambda: not segments(folder))


async def test_a_journal_that_another_took_up_is_known_by_its_name(tmp_path: Path, shelf: Shelf) -> None:
    shelf.loses_answers = True
    dead = make(tmp_path / "dead", shelf)
    await dead.start()
    serve(dead, "r-1")
    await until(lambda: "r-1" in shelf.kept)
    await die(dead)
    shelf.loses_answers = False
    shelf.kept.clear()
    async with running(tmp_path / "alive", shelf) as ledger:
        ledger.adopt(tmp_path / "dead")
        serve(ledger, "r-2")
        await ledger.flushed()
        await until(lambda: not segments(tmp_path / "dead"))
    assert set(shelf.kept) == {"r-2"}
    assert len(shelf.last) == 2
