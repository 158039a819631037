"""What one turn of the event loop asks of Redis is one question, and each request gets its own answer all the same."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from llmhub_plugins.stores.redis import RedisQuotaSettings, RedisQuotaStore, counters, exact, turns
from redis_server import Server

from llmhub_core.contracts import Amount, Limit, LimitReached, Reservation

DAY = 86_400
LEASE = 900.0


def at(server: Server) -> RedisQuotaStore:
    return RedisQuotaStore(
        RedisQuotaSettings(url=server.url, prefix=uuid.uuid4().hex, timeout=5.0, connect_timeout=5.0)
    )


@pytest.fixture
async def store(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisQuotaStore]:
    monkeypatch.setattr(exact, "BEAT", 600.0)  # questions are counted
    store = at(server)
    await store.start()
    await until(lambda: store._holds._latest >= 0)
    await store.reserve([Limit("first", "requests", 1, 60)], Amount(), LEASE)  # Redis knows the script from now on
    yield store
    await store.stop()


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def calls(server: Server) -> int:
    return int(server.ask("INFO", "commandstats").split("cmdstat_evalsha:calls=")[1].split(",")[0])


async def answers(*work: object) -> list[Reservation | LimitReached]:
    got: list[Reservation | LimitReached] = []
    for answer in await asyncio.gather(*work, return_exceptions=True):  # type: ignore[call-overload]
        assert isinstance(answer, Reservation | LimitReached), answer
        got.append(answer)
    return got


async def standing(store: RedisQuotaStore, *limits: Limit) -> list[tuple[int, int]]:
    return [(level.used, level.reserved) for level in await store.levels(limits)]


async def test_a_turn_is_one_question_and_one_for_all_that_it_settles(server: Server, store: RedisQuotaStore) -> None:
    limits = (Limit("rpm", "requests", 100, 60), Limit("tpm", "tokens", 10**6, 60), Limit("c", "concurrency", 100))
    before = calls(server)
    held = await answers(*(store.reserve(limits, Amount(1, 10 + number), LEASE) for number in range(30)))
    assert calls(server) - before == 1
    assert await standing(store, *limits) == [(0, 30), (0, 300 + sum(range(30))), (0, 30)]
    before = calls(server)
    both = (store.settle(each, Amount(1, 7)) for each in held if isinstance(each, Reservation))
    await asyncio.gather(*both, *(store.reserve(limits, Amount(1, 5), LEASE) for _ in range(20)))
    assert calls(server) - before == 1
    assert await standing(store, *limits) == [(30, 20), (210, 100), (0, 20)]


async def test_who_asks_alone_is_asked_for_at_once(server: Server, store: RedisQuotaStore) -> None:
    limits = (Limit("rpm", "requests", 100, 60),)
    before = calls(server)
    for _ in range(5):
        await store.settle(await store.reserve(limits, Amount(), LEASE), Amount())
    assert calls(server) - before == 10


async def later(store: RedisQuotaStore, limits: tuple[Limit, ...], pause: float = 0.0) -> asyncio.Task[Reservation]:
    """A reservation that was begun in a turn of its own."""
    task = asyncio.create_task(store.reserve(limits, Amount(1, 10), LEASE))
    await asyncio.sleep(pause)
    await asyncio.sleep(0)
    return task


async def test_while_a_question_is_under_way_the_next_one_grows(
    server: Server, store: RedisQuotaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 60.0)
    limits = (Limit("tpm", "tokens", 1000, 60), Limit("c", "concurrency", 100))
    before = calls(server)
    assert server.ask("CLIENT", "PAUSE", "200", "ALL") == "+OK"
    asked = [await later(store, limits, 0.01) for _ in range(6)]
    held = await asyncio.gather(*asked)
    assert calls(server) - before == 2, "the first one's, and one for the others"
    server.ask("CLIENT", "PAUSE", "100", "ALL")
    settling = []
    for each in held:
        settling.append(store.settling(each, Amount(1, 7)))
        await asyncio.sleep(0.002)
    await asyncio.gather(*settling)
    assert calls(server) - before == 4
    assert await standing(store, *limits) == [(42, 0), (0, 0)]


async def test_an_answer_that_is_long_in_coming_is_not_waited_for(server: Server, store: RedisQuotaStore) -> None:
    limits = (Limit("tpm", "tokens", 1000, 60), Limit("c", "concurrency", 100))
    before = calls(server)
    server.ask("CLIENT", "PAUSE", "200", "ALL")
    await asyncio.gather(*[await later(store, limits, 2 * turns.PATIENCE) for _ in range(5)])
    assert calls(server) - before == 5
    assert await standing(store, *limits) == [(0, 50), (0, 5)]


async def test_who_waits_behind_a_question_without_an_answer_waits_no_longer_than_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 60.0)
    limits = (Limit("rpm", "requests", 1000, 3600), Limit("c", "concurrency", 100))
    hub = RedisQuotaStore(RedisQuotaSettings(url=server.url, prefix=uuid.uuid4().hex, timeout=0.3))
    await hub.start()
    server.ask("CLIENT", "PAUSE", "1000", "ALL")
    began = time.monotonic()
    first = await later(hub, limits)
    second = await later(hub, limits, 0.15)
    held = await asyncio.gather(first, second)
    assert time.monotonic() - began < 0.45, "both were let in by this hub's own count"
    await asyncio.gather(*(hub.settle(each, Amount()) for each in held))
    await until_it_is(hub, limits, [(2, 0), (0, 0)])
    await hub.stop()


async def test_what_waits_to_be_asked_is_told_before_the_store_stops(
    server: Server, store: RedisQuotaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 60.0)
    limits = (Limit("tpm", "tokens", 1000, 60), Limit("c", "concurrency", 100))
    stopped = RedisQuotaStore(store.settings)
    await stopped.start()
    held = [await stopped.reserve(limits, Amount(1, 10), LEASE) for _ in range(2)]
    server.ask("CLIENT", "PAUSE", "50", "ALL")
    for each in held:
        stopped.settling(each, Amount(1, 7))
        await asyncio.sleep(0.005)
    await stopped.stop()
    assert await standing(store, *limits) == [(14, 0), (0, 0)]


async def test_redis_keeps_what_is_reserved_as_a_tree(server: Server, store: RedisQuotaStore) -> None:
    limits = (Limit("tpm", "tokens", 1000, 60), Limit("rpd", "requests", 100, DAY, "UTC"), Limit("c", "concurrency", 9))
    held = await store.reserve(limits, Amount(1, 10), LEASE)
    for limit in limits:
        name = f"{{{store.settings.prefix}}}:{counters.name_of(limit)}:open"
        assert server.ask("OBJECT", "ENCODING", name).endswith("skiplist")
    await store.settle(held, Amount())


async def test_those_find_room_who_come_first_and_each_of_the_others_has_its_own_wait(store: RedisQuotaStore) -> None:
    limits = (Limit("tpm", "tokens", 100, 600), Limit("c", "concurrency", 3))
    needs = [30, 30, 50, 41, 40, 1, 101]
    got = await answers(*(store.reserve(limits, Amount(1, need), LEASE) for need in needs))
    assert [isinstance(each, Reservation) for each in got] == [True, True, False, False, True, False, False]
    for number, limit in ((2, limits[0]), (3, limits[0]), (5, limits[1]), (6, limits[0])):
        refusal = got[number]
        assert isinstance(refusal, LimitReached)
        if number == 6:
            assert (refusal.limit, refusal.retry_after) == (limit, None), "it is more than there will ever be"
        else:
            # A bucket of ten minutes lasts ten seconds more; the gate is left when the lease is over.
            assert refusal.retry_after == pytest.approx(LEASE if number == 5 else max(605.0, LEASE), abs=6)
    assert await standing(store, *limits) == [(0, 100), (0, 3)]


async def test_what_is_settled_makes_room_for_who_asks_in_the_same_turn(store: RedisQuotaStore) -> None:
    limits = (Limit("c", "concurrency", 2), Limit("tpm", "tokens", 100, 60))
    held = await answers(*(store.reserve(limits, Amount(1, 50), LEASE) for _ in range(2)))
    asking = asyncio.gather(*(store.reserve(limits, Amount(1, 40), LEASE) for _ in range(3)), return_exceptions=True)
    await asyncio.gather(*(store.settle(each, Amount(1, 10)) for each in held if isinstance(each, Reservation)))
    assert [type(each) for each in await asking] == [type(held[0]), type(held[0]), LimitReached]
    assert await standing(store, *limits) == [(0, 2), (20, 80)]


async def test_what_a_turn_uses_beyond_what_it_reserved_is_counted_though_it_is_too_much(
    store: RedisQuotaStore,
) -> None:
    limit = Limit("tpd", "tokens", 100, DAY, "UTC")
    held = await answers(*(store.reserve((limit,), Amount(1, 10), LEASE) for _ in range(10)))
    await asyncio.gather(*(store.settle(each, Amount(1, 25)) for each in held if isinstance(each, Reservation)))
    assert await standing(store, limit) == [(250, 0)]


async def test_settled_twice_in_one_turn_counts_once(store: RedisQuotaStore) -> None:
    limits = (Limit("tpm", "tokens", 1000, 60), Limit("c", "concurrency", 5))
    late, open_one = await answers(*(store.reserve(limits, Amount(1, 100), lease) for lease in (0.2, LEASE)))
    assert isinstance(late, Reservation)
    assert isinstance(open_one, Reservation)
    await asyncio.sleep(0.3)
    parts = [
        store.settle(late, Amount(1, 30)),
        store.settle(late, Amount(1, 99)),
        store.settle(open_one, Amount(1, 150)),
    ]
    await asyncio.gather(*parts)
    assert await standing(store, *limits) == [(180, 0), (0, 0)]


async def test_who_leaves_before_the_turn_is_over_is_not_asked_for(server: Server, store: RedisQuotaStore) -> None:
    limits = (Limit("rpm", "requests", 5, 60), Limit("c", "concurrency", 5))
    asking = [asyncio.create_task(store.reserve(limits, Amount(), LEASE)) for _ in range(8)]
    await asyncio.sleep(0)  # they have asked, and nothing is sent yet
    for task in asking[:4]:
        task.cancel()
    got = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in got[:4]] == [asyncio.CancelledError] * 4
    assert all(isinstance(each, Reservation) for each in got[4:]), "whoever left has taken nobody's place"
    await until_it_is(store, limits, [(0, 4), (0, 4)])


async def test_who_leaves_while_redis_answers_keeps_nothing(store: RedisQuotaStore) -> None:
    limits = (Limit("rpm", "requests", 100, 60), Limit("c", "concurrency", 100))
    for steps in range(2, 8):
        asking = [asyncio.create_task(store.reserve(limits, Amount(), LEASE)) for _ in range(10)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in asking[::2]:
            task.cancel()
        for each in await asyncio.gather(*asking, return_exceptions=True):
            if isinstance(each, Reservation):
                await store.settle(each, Amount(0))
    await until_it_is(store, limits, [(0, 0), (0, 0)])


async def until_it_is(store: RedisQuotaStore, limits: tuple[Limit, ...], told: list[tuple[int, int]]) -> None:
    deadline = time.monotonic() + 5.0
    while await standing(store, *limits) != told:
        assert time.monotonic() < deadline, await standing(store, *limits)
        await asyncio.sleep(0.02)


async def test_whoever_does_not_wait_has_settled_all_the_same(server: Server, store: RedisQuotaStore) -> None:
    limits = (Limit("tpm", "tokens", 1000, 60), Limit("c", "concurrency", 100))
    held = await answers(*(store.reserve(limits, Amount(1, 100), LEASE) for _ in range(6)))
    before = calls(server)
    settling = [store.settling(each, Amount(1, 7)) for each in held if isinstance(each, Reservation)]
    for over in settling[::2]:
        assert isinstance(over, asyncio.Future)
        over.cancel()
    del over, settling
    assert await standing(store, *limits) == [(42, 0), (0, 0)]
    assert calls(server) - before == 2, "one for all settlements, one for what was asked after them"


async def test_very_many_are_asked_for_with_some_questions(server: Server, store: RedisQuotaStore) -> None:
    many = 3 * turns.MOST + 7
    limits = (Limit("rpm", "requests", many - 10, 60), Limit("c", "concurrency", many))
    before = calls(server)
    got = await answers(*(store.reserve(limits, Amount(), LEASE) for _ in range(many)))
    assert calls(server) - before == 4
    assert sum(isinstance(each, Reservation) for each in got) == many - 10
    assert not any(isinstance(each, Reservation) for each in got[-10:])
    await asyncio.gather(*(store.settle(each, Amount()) for each in got if isinstance(each, Reservation)))
    assert await standing(store, *limits) == [(many - 10, 0), (0, 0)]


async def test_a_turn_that_redis_wants_to_hear_again_is_counted_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes yesterday for today at first, and then does not know the script any more."""
    limits = (Limit("rpd", "requests", 100, DAY, "Asia/Tokyo"), Limit("c", "concurrency", 100))
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    store = at(server)
    await store.start()
    held = await answers(*(store.reserve(limits, Amount(), LEASE) for _ in range(10)))
    assert server.ask("SCRIPT", "FLUSH") == "+OK"
    both = (store.settle(each, Amount()) for each in held if isinstance(each, Reservation))
    await asyncio.gather(*both, *(store.reserve(limits, Amount(), LEASE) for _ in range(5)))
    assert await standing(store, *limits) == [(10, 5), (0, 5)]
    await store.stop()


async def test_a_turn_without_an_answer_is_told_afterwards_and_counted_once(server: Server) -> None:
    store, limits = at(server), (Limit("rpm", "requests", 1000, 3600), Limit("c", "concurrency", 100))
    await store.start()
    held = await answers(*(store.reserve(limits, Amount(), LEASE) for _ in range(10)))
    for _ in range(3):
        both = [store.settle(each, Amount()) for each in held if isinstance(each, Reservation)]
        asking = asyncio.gather(*both, *(store.reserve(limits, Amount(), LEASE) for _ in range(10)))
        await asyncio.sleep(0)
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        held = [each for each in await asking if each is not None]
    await asyncio.gather(*(store.settle(each, Amount()) for each in held if isinstance(each, Reservation)))
    await until_it_is(store, limits, [(40, 0), (0, 0)])
    await store.stop()
