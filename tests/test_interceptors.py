"""What plugins see of a request and its answer, what they may change, and what happens when they fail."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from houses import CHAT, COMPLETION, MESSAGE, STREAM, ask, one_provider, provider, raw_request, route

from llmhub_core.contracts import (
    ChatRequest,
    ChatResponse,
    Event,
    Exchange,
    Finished,
    Forbidden,
    HealthChange,
    Interceptor,
    Message,
    Observer,
    PartDelta,
    Plugin,
    Record,
    ResponsePart,
    Text,
    Usage,
    hookimpl,
)
from llmhub_core.hub.registry import Registry
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer, sse_answer

STREAMED = CHAT | {"stream": True}
SAYS = {"max_tokens": 9, "model": "fast", "messages": [{"role": "user", "content": "Say hello."}]}


class Rewrites(Interceptor):
    name = "rewrites"
    sees = frozenset({"request"})

    async def request(self, exchange: Exchange) -> ChatRequest:
        asked = exchange.request
        return replace(asked, messages=(Message("system", (Text("Be brief."),)), *asked.messages))


class Reroutes(Interceptor):
    name = "reroutes"
    sees = frozenset({"request"})

    async def request(self, exchange: Exchange) -> ChatRequest:
        return replace(exchange.request, model="other")


class Looks(Interceptor):
    name = "looks"
    sees = frozenset({"request"})

    async def request(self, exchange: Exchange) -> None:
        assert exchange.request.model == "fast"


class Answers(Interceptor):
    name = "answers"
    sees = frozenset({"request"})

    async def request(self, exchange: Exchange) -> ChatResponse:
        return ChatResponse(
            "chatcmpl-9", "cached", 1, [ResponsePart("text", "From the cache.")], {0: Finished("stop")}, Usage(5, 4)
        )


class Refuses(Interceptor):
    name = "refuses"
    sees = frozenset({"request"})

    async def request(self, exchange: Exchange) -> None:
        raise Forbidden("Not on a Sunday.", code="sunday")


class Shouts(Interceptor):
    name = "shouts"
    sees = frozenset({"event"})

    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        if isinstance(event, PartDelta):
            return (PartDelta(event.index, event.text.upper()),)
        return (event,)


class Signs(Interceptor):
    name = "signs"
    sees = frozenset({"response"})

    async def response(self, exchange: Exchange, response: ChatResponse) -> ChatResponse:
        response.parts[0].text += " (checked)"
        return response


class Withholds(Interceptor):
    name = "withholds"
    sees = frozenset({"response"})

    async def response(self, exchange: Exchange, response: ChatResponse) -> ChatResponse:
        raise Forbidden("The answer may not be shown.", code="withheld")


class Breaks(Interceptor):
    """Fails by an error of its own wherever it is asked."""

    name = "breaks"

    async def request(self, exchange: Exchange) -> None:
        raise RuntimeError("secret of the plugin")

    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        if isinstance(event, PartDelta):
            raise RuntimeError("secret of the plugin")  # noqa: TRY004 — any error will do
        return (event,)

    async def response(self, exchange: Exchange, response: ChatResponse) -> ChatResponse:
        raise RuntimeError("secret of the plugin")


class BreaksAtRequests(Breaks):
    sees = frozenset({"request"})


class BreaksAtEvents(Breaks):
    sees = frozenset({"event"})


class BreaksAtResponses(Breaks):
    sees = frozenset({"response"})


class Careless(Observer):
    name = "careless"

    def finished(self, record: Record) -> None:
        raise RuntimeError("no room for records")

    def health_changed(self, change: HealthChange) -> None:
        raise RuntimeError("no room for changes")


class Notes(Observer):
    name = "notes"
    seen: list[str]

    async def start(self) -> None:
        self.seen = []

    def finished(self, record: Record) -> None:
        self.seen.append(record.outcome)

    def health_changed(self, change: HealthChange) -> None:
        self.seen.append(change.now)


def house(config: str, *classes: type[Plugin]) -> House:
    """A hub with these plugins switched on, in this order."""
    registry, tables = Registry().discover(), ""
    for cls in classes:
        door = "interceptors" if issubclass(cls, Interceptor) else "observers"
        plugin = SimpleNamespace(**{f"register_{door}": hookimpl(_bringing(cls))})
        report = registry.admit_module(plugin, cls.name)
        assert report.state == "loaded", report.reason
        tables += f"[{door}.{cls.name}]\n"
    return House(config + tables, registry=registry)


def _bringing(cls: type[Plugin]) -> Any:
    def register() -> list[type[Plugin]]:
        return [cls]

    return register


def text_of(stream: bytes) -> str:
    """The text of a Chat stream, which must be complete."""
    events = stream.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    return "".join(choice["delta"].get("content") or "" for each in chunks for choice in each["choices"])


# requests


async def test_a_request_that_is_only_looked_at_passes_byte_for_byte(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    async with house(one_provider(upstream.url), Looks) as hub:
        body = json.dumps(CHAT | {"an_unknown_field": [1]}, indent=2).encode()
        async with client.post(
            hub.url + "/v1/chat/completions", data=body, headers={"content-type": "application/json"}
        ) as answered:
            assert answered.status == 200
        assert upstream.requests[0].body == body.replace(b'"fast"', b'"small"')
        assert (await hub.records())[0].lane == "verbatim"


async def test_a_replaced_request_goes_out_written_anew(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    async with house(one_provider(upstream.url), Rewrites) as hub:
        answered = await ask(client, hub.url, CHAT | {"seed": 7})
        assert answered.status == 200
        sent = upstream.requests[0].json
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        assert (sent["model"], sent["seed"]) == ("small", 7)


async def test_a_replaced_request_reaches_another_dialect(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(MESSAGE))
    config = provider("claude", upstream.url, kind="anthropic") + route("fast", "claude/claude-small")
    async with house(config, Rewrites) as hub:
        assert (await ask(client, hub.url)).status == 200
        assert "Be brief." in json.dumps(upstream.requests[0].json["system"])
        assert (await ask(client, hub.url, SAYS, path="/v1/messages")).status == 200
        assert "Be brief." in json.dumps(upstream.requests[1].json["system"])


async def test_a_request_may_be_sent_to_another_model(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script(json_answer(COMPLETION))
    config = one_provider(upstream.url) + route("other", "main/large")
    async with house(config, Reroutes) as hub:
        answered = await ask(client, hub.url)
        assert answered.headers["x-llmhub-served-by"] == "main/large"
        assert upstream.requests[0].json["model"] == "large"


async def test_a_stream_asked_for_stays_a_stream_when_replaced(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer("".join(STREAM)))
    async with house(one_provider(upstream.url), Rewrites) as hub:
        answered = await ask(client, hub.url, STREAMED)
        assert text_of(await answered.read()) == "Hello!"
        assert upstream.requests[0].json["stream"] is True
        (record,) = await hub.records()
        assert (record.input_tokens, record.output_tokens) == (11, 3)


# an answer at once


async def test_an_answer_at_once_calls_no_provider(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with house(one_provider(upstream.url), Answers, Refuses) as hub:
        whole = await ask(client, hub.url)
        assert (await whole.json())["choices"][0]["message"]["content"] == "From the cache."
        streamed = await ask(client, hub.url, STREAMED)
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert text_of(await streamed.read()) == "From the cache."
        message = await ask(client, hub.url, SAYS, path="/v1/messages")
        assert (await message.json())["content"][0]["text"] == "From the cache."
        assert upstream.requests == []
        for record in await hub.records():
            assert (record.outcome, record.lane, record.attempts) == ("served", "intercepted", [])
            assert (record.input_tokens, record.output_tokens) == (5, 4)


async def test_a_refusal_by_an_interceptor_is_spoken_in_the_caller_s_dialect(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with house(one_provider(upstream.url), Refuses) as hub:
        refused = await ask(client, hub.url)
        assert (refused.status, (await refused.json())["error"]["code"]) == (403, "sunday")
        refused = await ask(client, hub.url, SAYS, path="/v1/messages")
        body = await refused.json()
        assert (refused.status, body["type"], body["error"]["message"]) == (403, "error", "Not on a Sunday.")
        assert upstream.requests == []
        assert {record.outcome for record in await hub.records()} == {"refused"}


# events


async def test_events_may_be_changed_in_a_stream_while_it_runs(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    text = "".join(STREAM)
    upstream.script(sse_answer(text, stall_after=len(STREAM[0] + STREAM[1])))
    async with house(one_provider(upstream.url), Shouts) as hub:
        async with client.post(hub.url + "/v1/chat/completions", json=STREAMED) as answered:
            got = b""
            while b"HEL" not in got:  # before the provider said everything
                got += await answered.content.readany()
        upstream.script(sse_answer(text))
        assert text_of(await (await ask(client, hub.url, STREAMED)).read()) == "HELLO!"
        upstream.script(json_answer(COMPLETION))
        whole = await (await ask(client, hub.url)).json()
        assert whole["choices"][0]["message"]["content"] == "HELLO!"
        assert whole["usage"]["total_tokens"] == 14
        assert {record.lane for record in await hub.records()} == {"translated"}


# whole answers


async def test_a_stream_is_held_back_until_it_was_seen_whole(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer("".join(STREAM), piece=50))
    async with house(one_provider(upstream.url), Signs, Shouts) as hub:
        answered = await ask(client, hub.url, STREAMED)
        assert text_of(await answered.read()) == "HELLO! (checked)"
        upstream.script(json_answer(COMPLETION))
        whole = await (await ask(client, hub.url)).json()
        assert whole["choices"][0]["message"]["content"] == "HELLO! (checked)"


@pytest.mark.parametrize("body", [CHAT, STREAMED])
async def test_an_answer_may_be_withheld_whole(
    upstream: FakeUpstream, client: aiohttp.ClientSession, body: dict[str, Any]
) -> None:
    upstream.script(sse_answer("".join(STREAM)) if "stream" in body else json_answer(COMPLETION))
    async with house(one_provider(upstream.url, keys=2), Withholds) as hub:
        refused = await ask(client, hub.url, body)
        text = await refused.text()
        assert (refused.status, json.loads(text)["error"]["code"]) == (403, "withheld")
        assert "Hel" not in text
        assert len(upstream.requests) == 1  # nobody else is asked
        (record,) = await hub.records()
        assert (record.outcome, record.input_tokens) == ("failed", 11)  # it was used all the same


async def test_a_held_stream_that_breaks_off_goes_to_the_next(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(sse_answer("".join(STREAM[:3])), sse_answer("".join(STREAM)))
    async with house(one_provider(upstream.url, keys=2), Signs) as hub:
        answered = await ask(client, hub.url, STREAMED)
        assert text_of(await answered.read()) == "Hello! (checked)"
        assert answered.headers["x-llmhub-attempts"] == "2"


# plugins that fail


@pytest.mark.parametrize("cls", [BreaksAtRequests, BreaksAtEvents, BreaksAtResponses])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_interceptor_that_fails_is_a_500_in_the_caller_s_dialect(
    upstream: FakeUpstream, client: aiohttp.ClientSession, cls: type[Interceptor], stream: bool
) -> None:
    upstream.script(sse_answer("".join(STREAM)) if stream else json_answer(COMPLETION))
    async with house(one_provider(upstream.url, keys=2), cls) as hub:
        for path, body in (("/v1/chat/completions", CHAT), ("/v1/messages", SAYS)):
            failed = await ask(client, hub.url, body | ({"stream": True} if stream else {}), path=path)
            text = await failed.text()
            assert failed.status == 500
            assert "secret" not in text
            assert failed.headers["x-request-id"] in text
            assert ("type" in json.loads(text)) == (path == "/v1/messages")
        assert {record.outcome for record in await hub.records()} <= {"failed"}
        assert hub.hub.in_flight == 0


class BreaksLate(Interceptor):
    name = "breaks"
    sees = frozenset({"event"})

    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        if isinstance(event, PartDelta) and event.text == "lo!":
            raise RuntimeError("secret of the plugin")
        return (event,)


async def test_an_interceptor_that_fails_in_the_middle_of_a_stream_breaks_it_off(upstream: FakeUpstream) -> None:
    upstream.script(sse_answer("".join(STREAM), delay=0.05))
    body = json.dumps(STREAMED).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
    async with house(one_provider(upstream.url, keys=2), BreaksLate) as hub:
        answered = await raw_request(hub.url, head % len(body) + body)
        assert answered.count(b"HTTP/1.1") == 1
        assert b"Hel" in answered
        assert b'"error"' in answered
        assert b"secret" not in answered
        assert b"[DONE]" not in answered
        assert not answered.endswith(b"0\r\n\r\n")
        assert len(upstream.requests) == 1
        (record,) = await hub.records()
        assert (record.outcome, record.code) == ("failed", "internal_error")


async def test_an_interceptor_that_fails_says_nothing_of_the_provider(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script(json_answer(COMPLETION))
    async with house("[routing]\nbreaker_failures = 1\n" + one_provider(upstream.url), BreaksAtEvents) as hub:
        for _ in range(3):
            assert (await ask(client, hub.url)).status == 500
        assert len(upstream.requests) == 3
        assert hub.hub.pool.state(hub.hub.catalog.places["main"].keys[0]).state == "active"


async def test_an_observer_that_fails_is_not_felt(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    error = {"error": {"message": "no", "type": "t", "param": None, "code": None}}
    upstream.script(json_answer(error, 429, {"Retry-After": "60"}), json_answer(COMPLETION))
    async with house(one_provider(upstream.url, keys=2), Careless, Notes) as hub:
        for _ in range(2):
            assert (await ask(client, hub.url)).status == 200
        assert len(await hub.records()) == 2
        notes = next(each for each in hub.hub.observers if isinstance(each, Notes))
        assert notes.seen == ["cooling", "served", "served"]
