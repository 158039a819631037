"""What was asked and answered, kept where somebody wants it: redacted, sealed, bounded, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, MESSAGE, STREAM, ask, chunk, one_provider, provider, route
from test_hedging import hedged, known

from llmhub_core.contracts import Record, SealedBody
from llmhub_core.gateway import relay as relay_room
from llmhub_core.gateway.reply import Reply
from llmhub_core.hub import bodies as room
from llmhub_core.hub.bodies import Bodies, chosen, opened, sealed
from llmhub_core.hub.redaction import REDACTED
from llmhub_core.hub.vault import CannotOpen, RootKey, Secret, Vault
from llmhub_core.hub.vault.opening import new_key
from llmhub_core.hub.vault.rotation import rotate, take_stock
from llmhub_core.testing.bodies import bodies_of
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer, sse_answer

STREAMED = CHAT | {"stream": True}
DOWN = json_answer({"error": {"message": "It is down: sk-abc123def456ghi789", "code": None}}, 400)


def keeping(what: str = "all", more: str = "") -> str:
    return f'[bodies]\nstore = "{what}"\n{more}\n'


async def kept(house: House) -> dict[str, Bodies]:
    """By the model that was asked for, or its record's id."""
    found = {}
    for record in await house.records():
        await house.hub.body_keeper.flushed()
        row = await bodies_of(house.hub.store).find_body(record.id)
        if row is not None:
            assert (row.id, row.at) == (record.id, record.arrived_at)
            found[record.id] = opened(house.hub.vault, row)
    return found


async def only(house: House) -> Bodies:
    ((_, bodies),) = (await kept(house)).items()
    return bodies


async def test_nothing_is_kept_unless_somebody_asks(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        assert house.hub.bodies is None
        assert (await ask(client, house.url)).status == 200
        assert await kept(house) == {}


async def test_a_request_and_its_answer(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with House(keeping() + one_provider(upstream.url)) as house:
        answer = await ask(client, house.url)
        bodies = await only(house)
        assert json.loads(bodies.request.text) == CHAT
        assert bodies.answer is not None
        assert json.loads(bodies.answer.text) == json.loads(await answer.read())
        assert bodies.answer.size == len(await answer.read())
        assert house.hub.body_keeper._held == 0


@pytest.mark.parametrize("kind", ["openai_compatible", "anthropic"])
async def test_a_stream_is_put_together(upstream: FakeUpstream, client: aiohttp.ClientSession, kind: str) -> None:
    """As the caller got it, whatever the provider speaks."""
    upstream.on(lambda request: sse_answer(STREAM) if kind == "openai_compatible" else json_answer(MESSAGE))
    config = provider("main", upstream.url, kind=kind) + route("fast", "main/small")
    async with House(keeping() + config) as house:
        answer = await ask(client, house.url, STREAMED)
        bodies = await only(house)
        assert bodies.answer is not None
        assert (bodies.answer.form, bodies.answer.size) == ("joined", len(await answer.read()))
        assert json.loads(bodies.answer.text)["content"] == [{"type": "text", "text": "Hello!"}]


async def test_secrets_that_pass_are_not_kept(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    mine, token, theirs = secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(16)
    config = provider("main", upstream.url).replace("sk-main-1", theirs)
    config = config.replace("[[providers.keys]]", f'headers = {{ x-team = "{mine}" }}\n[[providers.keys]]', 1)
    upstream.on(
        lambda request: sse_answer([chunk({"content": piece}) for piece in (*theirs, " ", *mine, " ", *token)]
                                   + [chunk({}, "stop"), "data: [DONE]\n\n"])
    )  # fmt: skip
    async with House(keeping() + config + route("fast", "main/small")) as house:
        said = {**STREAMED, "messages": [{"role": "user", "content": f"{theirs} {mine} {token}"}]}
        assert (await ask(client, house.url, said, headers={"authorization": f"Bearer {token}"})).status == 200
        bodies = await only(house)
        assert bodies.answer is not None
        three = f"{REDACTED} {REDACTED} {REDACTED}"
        assert json.loads(bodies.request.text)["messages"][0]["content"] == three
        assert json.loads(bodies.answer.text)["content"][0]["text"] == three


async def test_what_rests_is_sealed_and_bound_to_its_request(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(keeping() + one_provider(upstream.url), folder=tmp_path) as house:
        for word in ("first", "second"):
            await ask(client, house.url, {**CHAT, "messages": [{"role": "user", "content": f"the {word} nightingale"}]})
        first, second = [await bodies_of(house.hub.store).find_body(id) for id in await kept(house)]
        assert first is not None
        assert second is not None
        with pytest.raises(CannotOpen, match="belongs to another entry"):
            opened(house.hub.vault, SealedBody(second.id, second.at, second.key, first.sealed))
        for path in (tmp_path / "data").rglob("*"):
            if path.is_file():
                assert b"nightingale" not in path.read_bytes(), path


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_of_those_that_failed_alone(upstream: FakeUpstream, client: aiohttp.ClientSession, stream: bool) -> None:
    good = sse_answer(STREAM) if stream else json_answer(COMPLETION)
    upstream.script(good, DOWN)
    async with House(keeping("failed") + one_provider(upstream.url)) as house:
        assert (await ask(client, house.url, CHAT | {"stream": stream})).status == 200
        refused = await ask(client, house.url, CHAT | {"stream": stream})
        assert refused.status == 400
        bodies = await only(house)
        assert bodies.answer is not None
        said = json.loads(await refused.read())["error"]["message"]
        assert json.loads(bodies.answer.text)["error"]["message"] == said
        assert house.hub.body_keeper._held == 0


async def test_one_that_no_provider_was_asked_for(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer({"object": "list", "data": [{"id": "tiny"}]}))
    async with House(keeping("failed") + one_provider(upstream.url)) as house:
        assert (await ask(client, house.url, CHAT | {"model": "nowhere"})).status == 404
        bodies = await only(house)
        assert json.loads(bodies.request.text)["model"] == "nowhere"
        assert bodies.answer is not None
        assert "nowhere" in bodies.answer.text


async def test_a_stream_that_breaks_off_and_a_caller_who_leaves(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer([*STREAM[:3], 'data: {"error":{"message":"gone"}}\n\n']), sse_answer(STREAM, delay=0.5))
    async with House(keeping() + one_provider(upstream.url)) as house:
        with pytest.raises(aiohttp.ClientError):
            await ask(client, house.url, STREAMED)
        leaving = await client.post(house.url + "/v1/chat/completions", json=STREAMED)
        await leaving.content.readany()
        leaving.close()
        await upstream.until(lambda: upstream.gone.is_set())
        found = list((await kept(house)).values())
        assert len(found) == 2
        broken, left = (each.answer for each in found)
        assert broken is not None
        assert left is not None
        assert json.loads(broken.text)["content"] == [{"type": "text", "text": "Hello!"}]
        assert json.loads(broken.text)["error"]["message"] == "gone"
        assert "Hel" in left.text or left.form == "none"


async def test_of_two_that_race_the_one_that_answered(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(Answer(200, {"content-type": "text/event-stream"}, b"", STREAM, delay_first=30))
    async with FakeUpstream() as other:
        other.script(sse_answer(STREAM))
        async with House(keeping() + hedged(upstream.url, other.url)) as house:
            known(house)
            answer = await ask(client, house.url, STREAMED)
            bodies = await only(house)
            assert bodies.answer is not None
            assert bodies.answer.size == len(await answer.read())
            assert json.loads(bodies.answer.text)["content"] == [{"type": "text", "text": "Hello!"}]


async def test_what_an_interceptor_took_out_stays_out(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(keeping() + one_provider(upstream.url) + "[interceptors.redact]\n") as house:
        said = {**CHAT, "messages": [{"role": "user", "content": "I am ada@example.com"}]}
        await ask(client, house.url, said)
        await ask(client, house.url, {**said, "model": "nowhere"})
        found = list((await kept(house)).values())
        assert found
        assert all("ada@example.com" not in each.request.text for each in found)
        assert any("I am [redacted]" in each.request.text for each in found)


def test_patterns() -> None:
    assert chosen("game", ("*",))
    assert chosen("game-eu", ("game-*", "web"))
    assert not chosen("batch", ("game-*", "web"))
    assert not chosen("payroll", ("*", "!payroll"))
    assert chosen("game", ("!payroll",))
    assert not chosen("payroll-2", ("!payroll*",))


async def test_models_are_chosen_and_a_reload_counts_at_once(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    config = one_provider(upstream.url) + route("private", "main/small")
    async with House(keeping(more='models = ["*", "!private"]') + config) as house:
        await ask(client, house.url)
        await ask(client, house.url, CHAT | {"model": "private"})
        assert [json.loads(each.request.text)["model"] for each in (await kept(house)).values()] == ["fast"]
        house.config.write_text(config)
        assert not (await house.hub.reload()).problems
        assert house.hub.bodies is None
        await ask(client, house.url)
        house.config.write_text(keeping() + config)
        assert not (await house.hub.reload()).needs_restart
        await ask(client, house.url, CHAT | {"model": "private"})
        assert [json.loads(each.request.text)["model"] for each in (await kept(house)).values()] == ["fast", "private"]


async def test_turned_off_while_one_is_under_way(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(sse_answer(STREAM, delay=0.1))
    config = one_provider(upstream.url)
    async with House(keeping() + config) as house:
        asking = asyncio.create_task(ask(client, house.url, STREAMED))
        await upstream.wait_for(1)
        house.config.write_text(config)
        await house.hub.reload()
        assert (await asking).status == 200
        assert await kept(house) == {}
        assert not house.hub.body_keeper._open
        assert house.hub.body_keeper._held == 0, "what passed after it was turned off is not held either"


async def test_what_is_held_has_an_end_and_what_is_lost_is_told(
    upstream: FakeUpstream, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_HELD", 3000)
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(keeping() + one_provider(upstream.url)) as house:
        large = {**CHAT, "messages": [{"role": "user", "content": "x" * 4000}]}
        assert (await ask(client, house.url, large)).status == 200
        assert (await ask(client, house.url)).status == 200
        assert len(await kept(house)) == 1
        assert (house.hub.body_keeper.lost, house.hub.body_keeper.kept) == (1, 1)
        assert house.hub.body_keeper._held == 0
        assert len(await house.records()) == 2


async def test_a_database_that_is_away_blocks_nobody(
    upstream: FakeUpstream, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(keeping() + one_provider(upstream.url)) as house:
        store, away = bodies_of(house.hub.store), True
        keep = store.keep_bodies

        async def refuse(batch: Sequence[SealedBody]) -> None:
            if away:
                raise OSError("the database is away")
            await keep(batch)

        monkeypatch.setattr(store, "keep_bodies", refuse)
        for _ in range(3):
            assert (await ask(client, house.url)).status == 200
        assert len(await house.records()) == 3, "records go on"
        house.hub.body_keeper._wake.set()
        await asyncio.sleep(0.2)
        assert (house.hub.body_keeper.waiting, house.hub.body_keeper.kept) == (3, 0)
        away = False
        assert len(await kept(house)) == 3


async def test_what_waits_is_written_when_the_hub_stops(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(keeping() + one_provider(upstream.url), folder=tmp_path) as house:
        for _ in range(120):
            await ask(client, house.url)
    with sqlite3.connect(tmp_path / "data" / "llm-hub.db") as database:
        assert database.execute("SELECT count(*) FROM bodies").fetchone() == (120,)
    database.close()


async def test_old_ones_go_by_their_own_time(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(keeping(more='keep = "1 h"') + one_provider(upstream.url)) as house:
        await ask(client, house.url)
        (id,) = await kept(house)
        old = sealed(house.hub.vault, "req_old", time.time() - 3700, (await kept(house))[id])
        await bodies_of(house.hub.store).keep_bodies([old])
        await house.hub.retention.prune()
        assert not await bodies_of(house.hub.store).has_body("req_old")
        assert await bodies_of(house.hub.store).has_body(id)


async def test_a_change_of_root_keys_reaches_them(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(keeping() + one_provider(upstream.url)) as house:
        for _ in range(130):
            await ask(client, house.url)
        before = await kept(house)
        hub, new = house.hub, RootKey(Secret(new_key()))
        configuration, store, (old,) = hub.store.configuration, bodies_of(hub.store), hub.vault.keys
        assert configuration is not None
        both = Vault((new, old), stable=hub.vault.stable)
        stranger = Vault((RootKey(Secret(new_key())),))
        await store.keep_bodies([sealed(stranger, "req_lost", time.time(), next(iter(before.values())))])
        told: list[tuple[int, int]] = []
        state = await rotate(both, configuration, lambda state: told.append((state.resealed, state.total)), store)
        assert (state.resealed, told[0], told[-1]) == (130, (100, 131), (130, 131))
        assert [*state.lost] == [("bodies", "of 1 requests")]
        alone = Vault((new,), stable=hub.vault.stable)
        for id, bodies in before.items():
            row = await store.find_body(id)
            assert row is not None
            assert opened(alone, row) == bodies
        stock = await take_stock(alone, configuration, store)
        assert (old.id in stock.by_key, [*stock.lost]) == (False, [("bodies", "of 1 requests")])


async def test_an_ordinary_request_has_an_ordinary_reply(
    upstream: FakeUpstream, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[type] = []

    class Seen(Reply):
        def __init__(self, *args: Any) -> None:
            made.append(type(self))
            super().__init__(*args)

    monkeypatch.setattr(relay_room, "Reply", Seen)
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        assert (await ask(client, house.url)).status == 200
        assert made == [Seen]
        assert house.hub.body_keeper not in house.hub.telling.hear


def test_records_know_nothing_of_bodies() -> None:
    assert not {"request", "answer", "body"} & set(Record.__struct_fields__)
