"""Whatever goes wrong, a client raises its own error with the right status; and no broken answer looks whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product

import pytest
import pytest_asyncio
from hubs import MODELS, every_provider, failing_providers, hub
from matrix import Programs, case, every
from programs import Client, Json

from llmhub_core.testing.upstream import FakeUpstream

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

SHOWN = {
    "error400": 400,
    "error401": 503,  # the hub's own key is no business of the caller's
    "error404": 404,
    "error429": 429,
    "error500": 503,
    "error529": 503,
}
"""What the provider answers, and the status that a caller sees."""

CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "InternalServerError",
}
"""What OpenAI's and Anthropic's SDKs raise, in both languages; the others have one class, or their own."""

NAMED = ("openai-node", "anthropic-node", "langchain")

NO_MODEL = "no-such-model"


def verbs(client: Client) -> tuple[str, str]:
    """Whole and streamed."""
    return ("whole", "stream") if "whole" in client.verbs else ("strict_tool", "strict_tool_stream")


def provider_name(client: Client, front: str, behind: str, scene: str, verb: str) -> str:
    """An error marks the key that it meets: each has a provider of its own."""
    return "-".join([client.name, front, behind, scene, "s" if "stream" in verb else "w"])


ENOUGH = every(sparse=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def failing_url(playing: FakeUpstream) -> AsyncIterator[str]:
    """A hub with a provider for every error of every client."""
    names = [
        (provider_name(client, front, behind, scene, verb), behind)
        for client, front, behind in (parameters.values for parameters in ENOUGH.args[1])
        for scene, verb in product(SHOWN, verbs(client))
    ]
    async with hub(failing_providers(playing.url, names)) as house:
        yield house.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def locked_url(playing: FakeUpstream) -> AsyncIterator[str]:
    """A hub that knows no token."""
    async with hub('[auth]\napi = "token"\n' + every_provider(playing.url)) as house:
        yield house.url


def check(client: Client, result: Json, status: int | None) -> None:
    assert "error" in result, result
    error = result["error"]
    assert error["own"], error
    if status is not None:
        assert error["status"] == status, error
        assert client.name not in NAMED or CLASSES.get(status, "APIError") in error["classes"], error


@ENOUGH
async def test_a_providers_error(program: Programs, failing_url: str, client: Client, front: str, behind: str) -> None:
    for scene, verb in product(SHOWN, verbs(client)):
        name = f"{provider_name(client, front, behind, scene, verb)}/{MODELS[front]}"
        asked = {"do": verb, "url": failing_url, "front": front, "model": name, "scene": scene}
        [result] = await program(client).answer([asked])
        check(client, result, SHOWN[scene])


@ENOUGH
async def test_an_answer_that_breaks_off(
    program: Programs, hub_url: str, client: Client, front: str, behind: str
) -> None:
    whole, streamed = verbs(client)
    # Pydantic AI always asks Anthropic for a stream, whose errors have no status.
    shown = None if (client.name, front) == ("pydantic-ai", "anthropic") else 502
    for scene, verb in (("cut_reset", whole), ("cut_reset", streamed), ("cut_closed", streamed)):
        [result] = await program(client).answer([case(verb, hub_url, front, behind, scene)])
        check(client, result, shown if verb == whole else None)


@every(behind=["openai_chat"])
async def test_an_unknown_model_and_an_unknown_token(
    program: Programs, hub_url: str, locked_url: str, client: Client, front: str, behind: str
) -> None:
    for verb in verbs(client):
        unknown = {**case(verb, hub_url, front, behind, "plain"), "model": NO_MODEL}
        locked = case(verb, locked_url, front, behind, "plain")
        no_model, no_token = await program(client).answer([unknown, locked])
        check(client, no_model, 404)
        check(client, no_token, 401)
