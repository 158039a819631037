"""A hub whose root keys do not fit: alive, explaining itself, serving nobody, writing nothing."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, ask, one_provider, raw_request
from test_refusals import GOOD, code_of, error_of

from llmhub_core.contracts import Caller
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.tokens import ADMIN_PREFIX, PURPOSE, KnownToken, Tokens, digest, keyed_digest, mint
from llmhub_core.hub.vault.opening import KEY_FILE, new_key
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer

PASSWORD = "correct horse battery staple"


def facts(folder: Path) -> list[Any]:
    with sqlite3.connect(folder / "data" / "llm-hub.db") as database:
        return database.execute("SELECT name, text FROM facts WHERE name <> 'hubs' ORDER BY name").fetchall()


async def test_a_sealed_hub(
    upstream: FakeUpstream,
    client: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("LLMHUB_OWNER", "ada")
    monkeypatch.setenv("LLMHUB_OWNER_PASSWORD", PASSWORD)
    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        assert (await ask(client, house.url)).status == 200
        assert len(await house.records()) == 1
    before = facts(tmp_path)
    assert {name.partition(" ")[0] for name, _ in before} == {"vault.canary", "vault.stable", "shipped_from"}
    (tmp_path / "data" / KEY_FILE).unlink()

    with caplog.at_level(logging.ERROR, "llmhub"):
        async with House(one_provider(upstream.url), folder=tmp_path) as house:
            url = house.url
            assert "SEALED, no traffic is served" in caplog.text
            for path, body in GOOD.items():
                async with client.post(url + path, json=body) as answer:
                    assert answer.status == 503
                    assert answer.headers["x-should-retry"] == "false"
                    error = error_of(await answer.json())
                    assert code_of(error) == "vault_sealed"
                    assert error["source"] == "gateway"
                    assert "sealed" in error["message"]
            for path in ("/v1/models", "/v1/models/fast", "/v1beta/models", "/v1/embeddings"):
                post = path.endswith("embeddings")
                async with client.request("POST" if post else "GET", url + path, json={} if post else None) as answer:
                    assert (answer.status, code_of(error_of(await answer.json()))) == (503, "vault_sealed")
            async with client.get(url + "/healthz") as answer:
                assert answer.status == 200
            async with client.get(url + "/readyz") as answer:
                assert answer.status == 503
                assert (await answer.json())["reasons"] == ["sealed: the root keys do not open what is stored"]
            async with client.get(url + "/metrics") as answer:
                assert answer.status == 200
            signed_in = {"name": "ada", "password": PASSWORD}
            async with client.post(url + "/admin/api/session", json=signed_in) as answer:
                assert answer.status == 200
                cookie = {"cookie": f"llmhub={answer.cookies['llmhub'].value}"}
            async with client.get(url + "/admin/api/health", headers=cookie) as answer:
                problem = (await answer.json())["problems"][0]
                assert problem["what"] == "The hub is sealed: no request is taken."
                assert "put its root.key back" in problem["advice"]
            assert len(await house.records()) == 1
    assert facts(tmp_path) == before
    assert not (tmp_path / "data" / KEY_FILE).exists()
    assert len(upstream.requests) == 1


async def test_pipelined_requests_are_refused_too(
    upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with House(one_provider(upstream.url), folder=tmp_path):
        pass
    (tmp_path / "data" / KEY_FILE).unlink()
    async with House(one_provider(upstream.url), folder=tmp_path) as house:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        )
        said = await raw_request(house.url, (head + "\r\n{}" + head + "connection: close\r\n\r\n{}").encode())
    assert said.count(b"HTTP/1.1 503") == 2
    assert said.count(b"vault_sealed") == 2
    assert not upstream.requests


async def test_another_key_seals_and_the_right_one_opens_again(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = new_key(), new_key()
    text = '[secrets]\nkeys = ["env:ROOT"]\n' + one_provider(upstream.url)
    for key, status in ((one, 200), (other, 503), (one, 200)):
        monkeypatch.setenv("ROOT", key)
        upstream.script(json_answer(COMPLETION))
        async with House(text, {"ROOT": key}, folder=tmp_path) as house:
            assert (await ask(client, house.url)).status == status
            assert bool(house.hub.sealed) is (status == 503)
    assert len(upstream.requests) == 2


async def test_a_store_without_configuration_seals_nothing(
    upstream: FakeUpstream, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    def without(hub: Hub) -> None:
        start = hub.store.start

        async def started() -> None:
            await start()
            hub.store.configuration = None

        hub.store.start = started  # type: ignore[method-assign]

    upstream.script(json_answer(COMPLETION))
    async with House(one_provider(upstream.url), folder=tmp_path, tune=without) as house:
        assert not house.hub.sealed
        assert house.hub.vault.closed
        assert (await ask(client, house.url)).status == 200


# tokens at the door


async def test_tokens_of_the_database_at_the_door(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with House('[auth]\napi = "token"\n' + one_provider(upstream.url)) as house:
        hub, token, ended = house.hub, mint(), mint()
        key = hub.vault.derive(PURPOSE)
        hub.tokens = Tokens(
            [
                KnownToken(keyed_digest(token, key), Caller("app", scopes=("embeddings",))),
                KnownToken(keyed_digest(ended, key), Caller("old"), 1_700_000_000.0),
            ],
            key,
        )
        wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
        for sent, status, code, word in (
            (token, 403, "operation_not_allowed", "may not ask for chat, only for embeddings"),
            (ended, 401, "expired_api_key", "expired on 2023-11-14 22:13 UTC"),
            (wrong, 401, "invalid_api_key", "typing error"),
            (mint(), 401, "invalid_api_key", "is not known here"),
            (mint(ADMIN_PREFIX), 401, "invalid_api_key", "is an admin token"),
            (keyed_digest(token, key), 401, "invalid_api_key", "is not known here"),
        ):
            answer = await ask(client, house.url, headers={"authorization": f"Bearer {sent}"})
            error = (await answer.json())["error"]
            assert (answer.status, error["code"]) == (status, code)
            assert word in error["message"]
            assert sent[3:15] not in error["message"]
        assert not upstream.requests


async def test_scopes_and_times_of_the_file(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    new, old, over = mint(), mint(), mint()
    text = f"""
[auth]
api = "token"
[[tokens]]
name = "app"
hash = "{digest(new)}"
scopes = ["chat"]
expires = 2999-12-31
previous = {{ hash = "{digest(old)}", until = 2999-01-01T00:00:00Z }}
[[tokens]]
name = "over"
hash = "{digest(over)}"
expires = "2020-01-01"
"""
    upstream.script(*[json_answer(COMPLETION)] * 2)
    async with House(text + one_provider(upstream.url)) as house:
        statuses = [
            (await ask(client, house.url, CHAT, headers={"x-api-key": token})).status for token in (new, old, over)
        ]
        assert statuses == [200, 200, 401]
        assert [record.caller for record in await house.records()] == ["app", "app"]
