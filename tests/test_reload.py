"""The configuration changes while the hub runs: no request fails of it, and nothing counts by half."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, STREAM, ask, one_provider, provider, route

from llmhub_core.contracts import Entry, Provider, hookimpl
from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.errors import UpstreamLimited
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.tokens import digest, mint
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer, sse_answer


async def until(condition: Callable[[], Any], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 — of things that tell nobody
            await asyncio.sleep(0.02)


def stored(house: House) -> ConfigurationStore:
    configuration = house.hub.store.configuration
    assert configuration is not None
    return configuration


async def put(house: House, kind: Any, name: str, sealed: str = "", /, **body: Any) -> None:
    """What an entry says, and the secret that lies sealed beside it."""
    box = house.hub.vault.seal(kind, name, sealed) if sealed else ""
    await stored(house).put(Entry(kind, name, json.dumps(body), box))


def token(name: str, text: str, more: str = "") -> str:
    return f'[[tokens]]\nname = "{name}"\nhash = "{digest(text)}"\n{more}\n'


OPEN = '[auth]\napi = "token"\n'


# --- what changes, and what goes on


async def test_no_request_fails_while_everything_is_changed(client: aiohttp.ClientSession) -> None:
    async with FakeUpstream() as one, FakeUpstream() as two:
        for upstream in (one, two):
            upstream.on(
                lambda request: (
                    sse_answer("".join(STREAM), piece=40) if request.json.get("stream") else json_answer(COMPLETION)
                )
            )
        shapes = [
            provider("a", one.url, 2) + route("fast", "a/small"),
            provider("a", two.url, 1) + provider("b", one.url, 3) + route("fast", "b/small", "a/small"),
            provider("b", two.url, 1, more="limits = { rpm = 100000 }") + route("fast", "b/large", strategy="weighted"),
        ]
        statuses: list[int] = []

        async def load(house: House, stream: bool, stop: asyncio.Event) -> None:
            while not stop.is_set():
                answer = await ask(client, house.url, {**CHAT, "stream": stream})
                statuses.append(answer.status)
                if stream:
                    assert (await answer.text()).endswith("data: [DONE]\n\n")

        async with House(shapes[0]) as house:
            stop = asyncio.Event()
            loads = [asyncio.create_task(load(house, bool(number % 2), stop)) for number in range(8)]
            for turn in range(1, 31):
                house.config.write_text(shapes[turn % 3])
                reloaded = await house.hub.reload()
                assert reloaded.changes
                assert not reloaded.problems
                await asyncio.sleep(0.03)
            stop.set()
            await asyncio.gather(*loads)
            assert len(statuses) > 200
            assert set(statuses) == {200}
            records = await house.records()
            assert {record.outcome for record in records} == {"served"}
            assert len(records) == len(statuses)
            await house.hub.reload()
            assert house.hub._eras == [house.hub.under_way], "what is over is forgotten"


async def test_what_did_not_change_goes_on(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(provider("main", upstream.url, 2) + route("fast", "main/small")) as house:
        assert (await ask(client, house.url)).status == 200
        hub, connections = house.hub, upstream.open_connections
        before = hub.catalog
        stats, key, spare = before.routes["fast"].standing[0], *before.places["main"].keys
        hub.pool.note(before.routes["fast"].standing[1], UpstreamLimited("slow", retry_after=60.0))
        house.config.write_text(house.config.read_text() + route("more", "main/other") + "[routing]\nattempts = 7\n")
        assert (await hub.reload()).changes == ("routing.attempts changed", "route more added")
        assert hub.catalog is not before
        assert hub.catalog.places["main"].provider is before.places["main"].provider
        assert hub.catalog.places["main"].keys[0] is key
        assert hub.catalog.routes["fast"].standing[0] is stats
        assert stats.picks == 1
        assert hub.key_state(spare).state == "cooling"
        assert hub.settings.routing.attempts == 7
        assert (await ask(client, house.url, {**CHAT, "model": "more"})).status == 200
        assert upstream.open_connections == connections
        assert (await hub.reload()).changes == (), "the same again is no change"


async def test_a_removed_route_is_not_found_and_a_new_limit_counts(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    caller = mint()
    headers = {"authorization": f"Bearer {caller}"}
    listed = provider("main", upstream.url).replace("kind =", 'models = ["small"]\nkind =')
    config = OPEN + listed + route("fast", "main/small")
    async with House(config + token("app", caller)) as house:
        assert (await ask(client, house.url, headers=headers)).status == 200
        house.config.write_text(config + token("app", caller, "limits = { rpm = 2 }"))
        await house.hub.reload()
        assert [(await ask(client, house.url, headers=headers)).status for _ in range(3)] == [200, 200, 429]
        house.config.write_text(OPEN + listed + token("app", caller))
        assert (await house.hub.reload()).changes == ("route fast removed", "token app changed")
        assert (await ask(client, house.url, headers=headers)).status == 404


async def test_a_request_ends_on_what_it_began_with_and_only_then_is_its_provider_stopped(
    client: aiohttp.ClientSession,
) -> None:
    upstream = FakeUpstream()
    stopped: list[str] = []

    class Mortal(Provider):
        name, speaks = "mortal", ("openai_chat",)

        def __init__(self, settings: Any) -> None:
            super().__init__(settings)
            self.base_url = upstream.url + "/v1"

        async def prepare(self, call: Any, secret: str, fetch: Any) -> Any:
            assert not stopped
            call.url = self.base_url + call.url
            call.headers["authorization"] = f"Bearer {secret}"
            return call

        async def stop(self) -> None:
            stopped.append(self.base_url)

    class Brings:
        @staticmethod
        @hookimpl
        def register_providers() -> list[type[Provider]]:
            return [Mortal]

    registry = Registry().discover()
    assert registry.admit_module(Brings(), "mortal").state == "loaded"
    async with upstream:
        answer = sse_answer("".join(STREAM), stall_after=len(STREAM[0] + STREAM[1]), resume=asyncio.Event())
        upstream.on(lambda request: answer)
        mortal = '[[providers]]\nname = "m"\nkind = "mortal"\nkeys = [{ name = "k", secret = "sk-1" }]\n'
        echo = '[[providers]]\nname = "echo"\nkind = "echo"\n'
        async with House(mortal + echo + route("fast", "m/small"), registry=registry) as house:
            async with client.post(house.url + "/v1/chat/completions", json={**CHAT, "stream": True}) as response:
                first = await response.content.readany()
                house.config.write_text(echo + route("fast", "echo/small"))
                await house.hub.reload()
                assert (await ask(client, house.url)).status == 200, "new ones are served by the new one"
                assert not stopped
                assert answer.resume is not None
                answer.resume.set()
                assert (first + await response.read()).endswith(b"data: [DONE]\n\n")
            await until(lambda: stopped)
            assert house.hub.in_flight == 0


async def test_a_key_with_another_secret_is_tried_again(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(
        lambda request: (
            json_answer(COMPLETION)
            if request.headers["authorization"] == "Bearer sk-good"
            else json_answer({"error": {"message": "no"}}, status=401)
        )
    )
    async with House(one_provider(upstream.url)) as house:
        assert (await ask(client, house.url)).status == 503
        key = house.hub.catalog.places["main"].keys[0]
        assert house.hub.key_state(key).state == "invalid"
        house.config.write_text(house.config.read_text().replace("sk-main-1", "sk-good"))
        assert (await house.hub.reload()).changes == ("key main/k1 changed",)
        assert house.hub.key_state(key).state == "active"
        assert (await ask(client, house.url)).status == 200


async def test_disabled_is_seen_and_not_used(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    both = provider("main", upstream.url, 2) + route("fast", "main/small")
    async with House(both.replace("priority = 1\n", "priority = 1\ndisabled = true\n", 1)) as house:
        hub = house.hub
        first, second = hub.catalog.places["main"].keys
        assert (hub.key_state(first).state, hub.key_state(second).state) == ("disabled", "active")
        assert (await ask(client, house.url)).status == 200
        (record,) = await house.records()
        assert record.key == "k2"
        assert record.left_out == [("main/small#k1", "disabled: by the configuration")]
        house.config.write_text(both.replace("kind =", "disabled = true\nkind =", 1))
        await hub.reload()
        assert {hub.key_state(key).state for key in hub.catalog.places["main"].keys} == {"disabled"}
        assert (await ask(client, house.url)).status == 503
        assert (await ask(client, house.url, {**CHAT, "model": "main/other"})).status == 503
        house.config.write_text(both + "disabled = true\n")
        await hub.reload()
        refused = await ask(client, house.url)
        assert refused.status == 404
        assert "disabled" in await refused.text()


# --- what is wrong


async def test_a_bad_file_keeps_the_one_before_and_says_why(
    upstream: FakeUpstream, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(one_provider(upstream.url)) as house:
        good = house.config.read_text()
        house.config.write_text(good.replace('provider = "main"', 'provider = "mian"') + "[server]\nprot = 1\n")
        before = house.hub.catalog
        reloaded = await house.hub.reload()
        assert len(reloaded.problems) == 2
        assert any('there is no provider "mian"; did you mean "main"?' in problem for problem in reloaded.problems)
        assert str(house.config) in reloaded.problems[0]
        assert house.hub.catalog is not before or not reloaded.changes
        assert (await ask(client, house.url)).status == 200
        assert caplog.text.count("the changed configuration is not used") == 2
        await house.hub.reload()
        assert caplog.text.count("the changed configuration is not used") == 2, "the same is told once"
        house.config.write_text(good)
        assert (await house.hub.reload()).problems == ()


async def test_what_needs_a_restart_is_named_and_not_applied(upstream: FakeUpstream) -> None:
    async with House(one_provider(upstream.url)) as house:
        more = (
            '[server]\nport = 9999\nmax_body = "1 KiB"\n[storage]\nquota = "sqlite:///q.db"\n[observers.access_log]\n'
        )
        house.config.write_text(house.config.read_text() + more)
        reloaded = await house.hub.reload()
        assert reloaded.needs_restart == ("server.port", "storage.quota", "observers.access_log")
        assert reloaded.changes == ("server.max_body changed",)
        assert (house.hub.settings.server.port, house.hub.settings.server.max_body) == (8080, 1024)
        assert house.hub.observers == []


async def test_a_change_that_only_fits_an_address_of_the_next_start_is_refused(upstream: FakeUpstream) -> None:
    far = '[server]\nhost = "0.0.0.0"\n'
    async with House(far + OPEN + one_provider(upstream.url)) as house:
        house.config.write_text(one_provider(upstream.url))
        (problem,) = (await house.hub.reload()).problems
        assert problem.startswith("server.host:")
        assert house.hub.settings.auth.api == "token"


# --- what is stored


async def test_what_is_stored_counts_like_the_file(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    seen: list[str] = []

    def answer(request: Any) -> Any:
        seen.append(request.headers["authorization"])
        return json_answer(COMPLETION)

    upstream.on(answer)
    caller = mint()
    async with House(OPEN + provider("file", upstream.url, 1)) as house:
        await put(house, "provider", "more", kind="openai_compatible", base_url=upstream.url + "/v1")
        await put(house, "key", "more/k", "sk-sealed")
        await put(house, "key", "file/second", "sk-second", priority=0)
        await put(house, "route", "fast", deployments=[{"provider": "more", "model": "small"}])
        await put(house, "route", "own", deployments=[{"provider": "file", "model": "small"}])
        await put(house, "token", "app", hash=digest(caller))
        headers = {"authorization": f"Bearer {caller}"}
        await until(lambda: "fast" in house.hub.catalog.routes, within=1.5)  # by itself
        assert (await ask(client, house.url, headers=headers)).status == 200
        assert (await ask(client, house.url, {**CHAT, "model": "own"}, headers=headers)).status == 200
        assert seen == ["Bearer sk-sealed", "Bearer sk-second"]
        await stored(house).remove("token", "app")
        await until(lambda: not len(house.hub.tokens), within=1.5)
        assert (await ask(client, house.url, headers=headers)).status == 401


async def test_what_is_stored_counts_from_the_start_on(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    upstream.on(lambda request: json_answer(COMPLETION))
    async with House(provider("main", upstream.url), folder=tmp_path) as house:
        await put(house, "route", "fast", deployments=[{"provider": "main", "model": "small"}])
    async with House(provider("main", upstream.url), folder=tmp_path) as house:
        assert (await ask(client, house.url)).status == 200
        assert house.hub.configuration.last.left_out == ()


async def test_the_file_wins_and_a_bad_entry_is_left_out_with_the_reason(
    upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    async with House(one_provider(upstream.url)) as house:
        await put(house, "provider", "main", kind="echo")
        await put(house, "key", "mian/k", "sk-x")
        await put(house, "key", "main/open", secret="sk-in-the-open")
        await put(house, "route", "one", deployments=[{"provider": "main", "modl": "small"}])
        await put(house, "route", "two", deployments=[{"provider": "main", "model": "small"}], fallbacks=["one"])
        await put(house, "route", "good", deployments=[{"provider": "main", "model": "small"}])
        await stored(house).put(Entry("token", "broken", "{"))
        reloaded = await house.hub.reload(file=False)
        told = {f"{out.kind} {out.name}": out.why for out in reloaded.left_out}
        assert told["provider main"].startswith("the file has one of that name")
        assert told["key mian/k"] == 'there is no provider "mian"; did you mean "main"?'
        assert told["key main/open"].startswith("secret: lies here in the open")
        assert 'did you mean "model"?' in told["route one"]
        assert told["route one"].startswith("deployments[0].modl: is not a setting")
        assert told["route two"].startswith('fallbacks[0]: there is no route "one"')
        assert told["token broken"] == "is not JSON"
        assert "good" in house.hub.catalog.routes
        assert reloaded.problems == ()
        assert house.hub.catalog.places["main"].kind == "openai_compatible"
        assert "sk-in-the-open" not in caplog.text


async def test_a_key_that_cannot_be_opened_is_seen(upstream: FakeUpstream) -> None:
    async with House(one_provider(upstream.url)) as house:
        await put(house, "key", "main/other", "sk-other")
        (entry,) = (await stored(house).entries())[1]
        await stored(house).put(Entry("key", "main/moved", "{}", entry.sealed))
        await house.hub.reload(file=False)
        states = {key.name: house.hub.key_state(key) for key in house.hub.catalog.places["main"].keys}
        assert {name: mark.state for name, mark in states.items()} == {
            "k1": "active",
            "other": "active",
            "moved": "invalid",
        }
        assert states["moved"].reason.startswith("cannot be opened: ")
        assert [stats.candidate.key.name for stats in house.hub.catalog.routes["fast"].standing] == ["k1", "other"]


async def test_a_file_that_would_break_what_is_stored_is_refused_and_a_revocation_is_not_held_up(
    upstream: FakeUpstream,
) -> None:
    caller = mint()
    async with House(OPEN + one_provider(upstream.url) + provider("other", upstream.url)) as house:
        await put(house, "route", "two", deployments=[{"provider": "other", "model": "small"}])
        await put(house, "token", "app", hash=digest(caller))
        await house.hub.reload(file=False)
        house.config.write_text(OPEN + one_provider(upstream.url))
        await stored(house).remove("token", "app")
        reloaded = await house.hub.reload()
        (problem,) = reloaded.problems
        assert problem.startswith('stored route two: deployments[0].provider: there is no provider "other"')
        assert "other" in house.hub.catalog.places
        assert reloaded.changes == ("token app removed",)
        assert len(house.hub.tokens) == 0


# --- by itself


async def test_a_changed_file_and_a_changed_secret_are_seen(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    seen: list[str] = []

    def answer(request: Any) -> Any:
        seen.append(request.headers["authorization"])
        return json_answer(COMPLETION)

    upstream.on(answer)
    (tmp_path / "secret").write_text("sk-first\n")
    config = one_provider(upstream.url).replace('"sk-main-1"', '"file:secret"')
    async with House(config, folder=tmp_path) as house:
        await ask(client, house.url)
        (tmp_path / "secret").write_text("sk-second\n")
        place = house.hub.catalog.places["main"]
        await until(lambda: house.hub.catalog.places["main"] is not place, within=3)
        await ask(client, house.url)
        assert seen == ["Bearer sk-first", "Bearer sk-second"]
        assert house.hub.configuration.last.changes == ("secret of key main/k1 changed",)
        house.config.write_text(config + route("more", "main/small"))
        await until(lambda: "more" in house.hub.catalog.routes, within=3)
        house.config.write_text("[[")
        await until(lambda: house.hub.configuration.last.problems, within=3)
        assert "more" in house.hub.catalog.routes
        house.config.unlink()
        await until(lambda: "cannot be read" in str(house.hub.configuration.last.problems), within=3)
        house.config.write_text(config)
        await until(lambda: "more" not in house.hub.catalog.routes, within=3)
        assert house.hub.configuration.last.problems == ()


async def test_a_database_that_is_away_is_told_once_and_changes_nothing(
    upstream: FakeUpstream, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    async with House(one_provider(upstream.url)) as house:
        store = stored(house)

        async def away() -> int:
            raise ConnectionError("away")

        monkeypatch.setattr(store, "revision", away)
        await asyncio.sleep(1.7)
        assert caplog.text.count("changes of what is stored are not seen") == 1
        monkeypatch.undo()
        await put(house, "route", "more", deployments=[{"provider": "main", "model": "small"}])
        await until(lambda: "more" in house.hub.catalog.routes)
