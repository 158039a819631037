"""The official SDKs before the product alone: its own echo, its own fake provider, talks written for these tests."""

from __future__ import annotations

import gc
import json
import time
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from google.genai import errors as gemini_errors
from houses import provider
from plain_answers import Said, said_in
from recordings import PROVIDERS
from speaking import hello, speakers

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

TALKS = Path(__file__).parents[1] / "conversations"
NAMES = sorted(path.name for path in TALKS.iterdir() if path.is_dir())

pytestmark = [
    # Google's SDK leaves a broken connection to the garbage collector, which complains.
    pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning"),
]


# Echo, in a process of its own.


@pytest.mark.parametrize("front", PROVIDERS)
async def test_echo_through_each_sdk(echo_hub: str, front: str) -> None:
    body = hello(front, "Grüße an 世界 🙂 twice")
    if front == "openai_chat":
        body["stream_options"] = {"include_usage": True}
    stops = {"openai_chat": "stop", "anthropic": "end_turn", "gemini": "STOP"}
    expected = Said("You said: Grüße an 世界 🙂 twice", finish=stops[front], tokens=(5, 0, 7, 0))
    async with speakers(echo_hub) as sdk:
        assert await sdk.stream(front, "echo/any", body) == expected
        body.pop("stream_options", None)
        assert await sdk.ask(front, "echo/any", body) == expected


async def test_each_sdk_lists_the_models(echo_hub: str) -> None:
    async with speakers(echo_hub) as sdk:
        assert [model.id async for model in sdk.openai.models.list()] == ["echo/echo"]
        assert [model.id async for model in sdk.anthropic.models.list()] == ["echo/echo"]
        listed = await sdk.gemini.aio.models.list()
        assert [model.name async for model in listed] == ["models/echo/echo"]
        assert (await sdk.openai.models.retrieve("echo/echo")).id == "echo/echo"
        assert (await sdk.anthropic.models.retrieve("echo/echo")).id == "echo/echo"
        assert (await sdk.gemini.aio.models.get(model="echo/echo")).name == "models/echo/echo"


# Talks, behind every dialect.


def house_with(upstream: FakeUpstream, more: str = "") -> House:
    """A hub with a provider of each dialect, all of them played by `upstream`."""
    return House(more + "".join(provider(name, upstream.url, kind=name) for name in PROVIDERS.values()))


def talk(dialect: str, name: str) -> tuple[dict[str, Any], bytes, bytes]:
    """(request, whole answer, streamed answer)"""
    folder = TALKS / name
    return (
        json.loads((folder / f"{dialect}.request.json").read_bytes()),
        (folder / f"{dialect}.answer.json").read_bytes(),
        (folder / f"{dialect}.stream.txt").read_bytes(),
    )


def answering(behind: str, name: str) -> Any:
    _, whole, stream = talk(behind, name)

    def choose(request: ReceivedRequest) -> Answer:
        streamed = ":stream" in request.path or (behind != "gemini" and request.json.get("stream"))
        return sse_answer(stream, piece=41) if streamed else json_answer(json.loads(whole))

    return choose


@pytest.mark.parametrize(("front", "behind"), list(product(PROVIDERS, PROVIDERS)))
async def test_every_talk_through_each_sdk(upstream: FakeUpstream, front: str, behind: str) -> None:
    async with house_with(upstream) as house, speakers(house.url) as sdk:
        for name in NAMES:
            body, whole, _ = talk(front, name)
            upstream.on(answering(behind, name))
            expected = as_read_by(front, behind, name, said_in(front, whole, streamed=False))
            model = f"{PROVIDERS[behind]}/m"
            assert await sdk.ask(front, model, body) == expected, name
            if front == "openai_chat":
                body["stream_options"] = {"include_usage": True}
            assert await sdk.stream(front, model, body) == expected, name


def as_read_by(front: str, behind: str, name: str, said: Said) -> Said:
    """The talk as it is written in the front's dialect, but for what the provider's cannot tell: only Anthropic
    has a word for an end at a stop text."""
    if name == "stop_sequence" and front == "anthropic" and behind != front:
        said.finish = "end_turn"
    return said


# Errors.

REFUSALS = [
    # what the provider says, what each SDK raises, and the status that it shows
    (400, "invalid_request_error", "BadRequestError", 400),
    (404, "not_found_error", "NotFoundError", 404),
    (429, "rate_limit_error", "RateLimitError", 429),
    (500, "api_error", "InternalServerError", 503),
    (401, "authentication_error", "InternalServerError", 503),  # the hub's own key is no business of the caller's
]


@pytest.mark.parametrize(("status", "kind", "raised", "shown"), REFUSALS, ids=[str(entry[0]) for entry in REFUSALS])
async def test_a_providers_error_raises_the_right_class(
    upstream: FakeUpstream, status: int, kind: str, raised: str, shown: int
) -> None:
    upstream.script(json_answer({"type": "error", "error": {"type": kind, "message": "No."}}, status=status))
    async with house_with(upstream) as house, speakers(house.url) as sdk:
        for front, name in PROVIDERS.items():
            for ask in (sdk.ask, sdk.stream):
                with pytest.raises(exception(front, raised, shown)) as caught:
                    await ask(front, f"{name}/m", hello(front))
                assert status_of(caught.value) == shown


def exception(front: str, name: str, status: int) -> type[Exception]:
    found: type[Exception]
    if front == "gemini":
        found = gemini_errors.ClientError if status < 500 else gemini_errors.ServerError
    else:
        found = getattr(openai if front == "openai_chat" else anthropic, name)
    return found


def status_of(error: Any) -> int:
    status: int = error.code if isinstance(error, gemini_errors.APIError) else error.status_code
    return status


async def test_an_unknown_token_an_unknown_model_and_a_bad_request(upstream: FakeUpstream) -> None:
    async with house_with(upstream, '[auth]\napi = "token"\n') as house, speakers(house.url) as sdk:
        for front in PROVIDERS:
            with pytest.raises(exception(front, "AuthenticationError", 401)) as caught:
                await sdk.ask(front, "openai/m", hello(front))
            assert status_of(caught.value) == 401
    async with house_with(upstream) as house, speakers(house.url) as sdk:
        for front in PROVIDERS:
            with pytest.raises(exception(front, "NotFoundError", 404)) as caught:
                await sdk.ask(front, "nobody-has-this", hello(front))
            assert status_of(caught.value) == 404
            odd = hello(front)
            odd["contents" if front == "gemini" else "messages"][0]["role"] = "robot"
            with pytest.raises(exception(front, "BadRequestError", 400)) as caught:
                await sdk.stream(front, "openai/m", odd)
            assert status_of(caught.value) == 400
    assert [request for request in upstream.requests if request.method == "POST"] == []


async def test_a_known_token_is_taken_as_each_sdk_presents_it(upstream: FakeUpstream) -> None:
    token = "llmhub-a-token-of-somebody"
    known = f'[auth]\napi = "token"\n[[tokens]]\nname = "t"\nhash = "sha256:{sha256(token.encode()).hexdigest()}"\n'
    async with house_with(upstream, known) as house, speakers(house.url, token) as sdk:
        for front, name in PROVIDERS.items():
            upstream.on(answering(front, "plain"))
            expected = said_in(front, talk(front, "plain")[1], streamed=False)
            assert await sdk.ask(front, f"{name}/m", hello(front)) == expected
    for request in upstream.requests:
        assert token not in str(request.headers) + str(request.query)


@pytest.mark.parametrize("front", PROVIDERS)
async def test_a_retry_waits_as_it_was_told(upstream: FakeUpstream, front: str) -> None:
    """The provider orders a second of rest; the hub passes it on, and the SDK comes back after it, not before."""
    _, whole, _ = talk(front, "plain")
    limited = json_answer({"error": {"type": "rate_limit_error", "message": "Slow down."}}, 429, {"retry-after": "1"})
    upstream.script(limited, json_answer(json.loads(whole)))
    retries = 4 if front == "gemini" else 1  # Google's SDK keeps its own pace, whatever it is told
    async with house_with(upstream) as house, speakers(house.url, retries=retries) as sdk:
        began = time.monotonic()
        said = await sdk.ask(front, f"{PROVIDERS[front]}/m", hello(front))
        assert said.text == said_in(front, whole, streamed=False).text
        assert time.monotonic() - began > 0.9
        assert len(upstream.requests) == 2


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("front", PROVIDERS)
async def test_a_stream_that_is_cut_raises(upstream: FakeUpstream, front: str, reset: bool) -> None:
    async with house_with(upstream) as house, speakers(house.url) as sdk:
        for behind, name in PROVIDERS.items():
            _, _, stream = talk(behind, "long_text")
            for cut in (len(stream) // 2, len(stream) // 3, 30, 0):
                upstream.script(sse_answer(stream, cut_after=cut, reset=reset))
                with pytest.raises((openai.APIError, anthropic.APIError, gemini_errors.APIError)):
                    await sdk.stream(front, f"{name}/m", hello(front))
    gc.collect()


@pytest.mark.parametrize("front", PROVIDERS)
async def test_no_shortened_answer_looks_whole(upstream: FakeUpstream, front: str) -> None:
    """The stream ends early, though nothing in HTTP tells: the SDK raises, or has the whole answer."""
    whole = 0
    async with house_with(upstream) as house, speakers(house.url) as sdk:
        for behind, name in PROVIDERS.items():
            _, _, stream = talk(behind, "text_then_tool_call")
            upstream.script(sse_answer(stream))
            expected = await sdk.stream(front, f"{name}/m", hello(front))
            assert (expected.text != "", len(expected.calls)) == (True, 1)
            for cut in range(len(stream) - 1, 0, -max(1, len(stream) // 24)):
                upstream.script(sse_answer(stream[:cut], close_delimited=True))
                try:
                    said = await sdk.stream(front, f"{name}/m", hello(front))
                except (openai.APIError, anthropic.APIError, gemini_errors.APIError):
                    continue
                whole += 1
                assert (said.text, said.calls, said.finish) == (expected.text, expected.calls, expected.finish), cut
    assert whole < 12, "the end mark alone may be missing"
    gc.collect()


@pytest.mark.parametrize(("dialect", "end"), [("openai_chat", b"data: [DONE]"), ("anthropic", b"event: message_stop")])
async def test_an_end_mark_that_a_provider_left_out_is_added(
    upstream: FakeUpstream, client: aiohttp.ClientSession, dialect: str, end: bytes
) -> None:
    _, _, stream = talk(dialect, "plain")
    upstream.script(sse_answer(stream[: stream.index(end)]))
    path = "/v1/messages" if dialect == "anthropic" else "/v1/chat/completions"
    body = {**hello(dialect), "model": f"{PROVIDERS[dialect]}/m", "stream": True}
    if dialect == "openai_chat":
        body["stream_options"] = {"include_usage": True}
    async with house_with(upstream) as house, client.post(house.url + path, json=body) as answer:
        got = await answer.read()
    assert answer.status == 200
    head, mark, rest = got.partition(end)
    assert head + mark == stream[: stream.index(end)] + end
    assert rest.endswith(b"\n\n")
