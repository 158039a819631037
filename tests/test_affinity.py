"""A conversation stays with the key that has its prompt in a cache, while that key can be used and while it pays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, MESSAGE, ask, provider, route

from llmhub_core.admin import entry_lists
from llmhub_core.contracts import Usage, warm_first
from llmhub_core.hub.affinity import KEPT, MISSES, MOST, Affinity
from llmhub_core.testing.house import House
from llmhub_core.testing.strategy import a_candidate
from llmhub_core.testing.upstream import FakeUpstream, ReceivedRequest, json_answer

LONG = "You are a careful assistant. " * 300


def house(url: str, affinity: str, kind: str = "openai_compatible", extra: str = "") -> House:
    keys = provider("main", url, keys=4, kind=kind)
    for number in range(1, 5):
        keys = keys.replace(f"priority = {number}", "priority = 1")
    more = f'affinity = "{affinity}"'
    return House(keys + route("fast", "main/m", strategy="round_robin", more=more) + extra)


def key_of(request: ReceivedRequest) -> str:
    return request.headers.get("authorization", "")[7:] or request.headers.get("x-api-key", "")


def keys_of(upstream: FakeUpstream) -> list[str]:
    return [key_of(request) for request in upstream.requests]


class Caching:
    """A provider whose keys each have a cache of their own: whole prompts that were asked before are read from it."""

    def __init__(self) -> None:
        self.caches: dict[str, list[str]] = {}
        self.input = self.cached = 0

    def __call__(self, request: ReceivedRequest) -> Any:
        prompt = json.dumps(request.json["messages"])[:-1]
        cache = self.caches.setdefault(key_of(request), [])
        hit = max((len(known) for known in cache if prompt.startswith(known)), default=0)
        cache.append(prompt)
        tokens, cached = len(prompt) // 4, hit // 4
        self.input, self.cached = self.input + tokens, self.cached + cached
        usage = {"prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3}
        return json_answer(COMPLETION | {"usage": usage | {"prompt_tokens_details": {"cached_tokens": cached}}})


async def talk(client: aiohttp.ClientSession, url: str, who: str, turns: int, how: Mapping[str, str]) -> None:
    messages = [{"role": "system", "content": f"{who}: {LONG}"}]
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Question {turn}"})
        assert (await ask(client, url, CHAT | {"messages": messages}, headers=how)).status == 200
        messages.append({"role": "assistant", "content": "Hello!"})


@pytest.mark.parametrize("affinity", ["none", "session", "prefix"])
async def test_the_cache_is_met_where_a_conversation_stays(
    upstream: FakeUpstream, client: aiohttp.ClientSession, affinity: str
) -> None:
    provider_side = Caching()
    upstream.on(provider_side)
    async with house(upstream.url, affinity, extra="[observers.prometheus]\n") as hub:
        for who in ("one", "two", "three"):
            await talk(client, hub.url, who, 7, {"x-llmhub-session": who} if affinity == "session" else {})
        rate = provider_side.cached / provider_side.input
        if affinity == "none":
            assert rate < 0.6
        else:
            assert rate > 0.8
            used = keys_of(upstream)
            for first in (0, 7, 14):
                assert len(set(used[first : first + 7])) == 1
            assert len(set(used)) > 1  # other conversations are the strategy's to place
        text = await (await client.get(hub.url + "/metrics")).text()
        counted = {
            name: sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))
            for name in ("llmhub_key_input_tokens_total", "llmhub_key_cached_tokens_total")
        }
        assert counted["llmhub_key_input_tokens_total"] == provider_side.input
        assert counted["llmhub_key_cached_tokens_total"] == provider_side.cached
        (view,) = await entry_lists.routes(hub.control)
        if affinity == "none":
            assert view.affinity is None
        else:
            assert view.affinity is not None
            told = view.affinity
            assert (told.input_tokens, told.cached_tokens) == (provider_side.input, provider_side.cached)
            assert (told.followed, told.kept, told.hit_rate) == (18, 18, rate)


async def test_a_key_that_rests_is_left_and_its_successor_kept(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    limited = json_answer({"error": {"message": "no", "code": None}}, 429, {"retry-after": "60"})
    upstream.script(json_answer(COMPLETION), json_answer(COMPLETION), limited, json_answer(COMPLETION))
    async with house(upstream.url, "session") as hub:
        for _ in range(6):
            assert (await ask(client, hub.url, headers={"x-llmhub-session": "s"})).status == 200
    used = keys_of(upstream)
    assert len(set(used[:3])) == 1
    assert len(set(used[3:])) == 1
    assert used[3] != used[0]


IDS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT | {"user": "ann"}),
    ("/v1/chat/completions", CHAT | {"prompt_cache_key": "ann"}),
    ("/v1/messages", CHAT | {"max_tokens": 9, "metadata": {"user_id": "ann"}}),
    ("/v1/responses", {"model": "fast", "input": "Hi", "prompt_cache_key": "ann"}),
]


@pytest.mark.parametrize(("path", "body"), IDS, ids=range(len(IDS)))
async def test_the_formats_own_ids_name_a_session(
    upstream: FakeUpstream, client: aiohttp.ClientSession, path: str, body: dict[str, Any]
) -> None:
    upstream.script(json_answer(COMPLETION))
    async with house(upstream.url, "session") as hub:
        for _ in range(3):
            assert (await ask(client, hub.url, body, path=path)).status == 200
        other = json.loads(json.dumps(body).replace("ann", "bob"))
        assert (await ask(client, hub.url, other, path=path)).status == 200
    used = keys_of(upstream)
    assert len(set(used[:3])) == 1
    assert used[3] != used[0]  # whose turn it was


async def test_a_request_without_a_session_is_the_strategys(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(MESSAGE))
    async with house(upstream.url, "session", kind="anthropic") as hub:
        for _ in range(4):
            assert (await ask(client, hub.url, CHAT | {"max_tokens": 9}, path="/v1/messages")).status == 200
    assert len(set(keys_of(upstream))) == 4


async def test_where_nothing_is_cached_a_prompt_is_not_held(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    usage = {"prompt_tokens": 5000, "completion_tokens": 3, "total_tokens": 5003}
    upstream.script(json_answer(COMPLETION | {"usage": usage}))
    async with house(upstream.url, "prefix") as hub:
        await talk(client, hub.url, "one", 12, {})
    used = keys_of(upstream)
    assert len(set(used[: MISSES + 1])) == 1
    assert len(set(used)) == 4


def test_priorities_and_quotas_come_before_warmth() -> None:
    first, second, last = a_candidate("a"), a_candidate("b"), a_candidate("c", priority=2)
    order = [first, second, last]
    assert warm_first(order, second.candidate.label) == [second, first, last]
    assert warm_first(order, last.candidate.label) == order
    assert warm_first(order, "gone/x#y") == order
    second.quota_left = 0.0
    assert warm_first(order, second.candidate.label) == order


def test_what_is_remembered_is_bounded_and_fades() -> None:
    affinity = Affinity()
    for number in range(MOST + 50):
        affinity.note(str(number), "p/m#k", None, 0.0)
    assert len(affinity) == MOST
    assert affinity.warm("0", False, 1.0) == ""
    assert affinity.warm(str(MOST), False, 1.0) == "p/m#k"
    assert affinity.warm(str(MOST), False, KEPT + 1) == ""


def test_a_hit_makes_up_for_misses() -> None:
    affinity = Affinity()
    miss, hit = Usage(input_tokens=2000), Usage(input_tokens=2000, cached_tokens=1500)
    for usage in (miss, miss, miss, hit, miss, miss):
        affinity.note("k", "p/m#1", usage, 0.0)
    assert affinity.warm("k", True, 1.0) == "p/m#1"
    affinity.note("k", "p/m#1", miss, 1.0)
    assert affinity.warm("k", True, 1.0) == ""
    assert affinity.warm("k", False, 1.0) == "p/m#1"  # a session stays where it is
