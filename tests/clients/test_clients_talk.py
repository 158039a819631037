"""What each client makes of answers that come from each dialect's provider, whole and through its own accumulators."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
from matrix import Programs, case, every
from played_provider import COAT, LISBON, PORTO, TEXT, THOUGHTS, TOKENS, VECTORS, WEATHER
from programs import Client
from wire_formats import SIGNATURE

from llmhub_core.testing.upstream import FakeUpstream

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

CHAT_WORDS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter"}
FINISH = {
    "openai_chat": CHAT_WORDS,
    "openai_responses": {
        "stop": "completed", "length": "max_output_tokens", "tool_calls": "completed",
        "content_filter": "content_filter",
    },
    "anthropic": {
        "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal",
    },
    "gemini": {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"},
    "vercel-ai": {**CHAT_WORDS, "tool_calls": "tool-calls", "content_filter": "content-filter"},
    "pydantic-ai": {**CHAT_WORDS, "tool_calls": "tool_call"},
    # These two formats have no word for it, and Pydantic AI invents none.
    "pydantic-ai-openai_responses": {**CHAT_WORDS, "tool_calls": "stop"},
    "pydantic-ai-gemini": {**CHAT_WORDS, "tool_calls": "stop"},
}  # fmt: skip
"""Why an answer ended, in the words of the client, or else of its dialect."""

BLIND = {
    ("openai-node", "openai_chat", "stream"),  # keeps the last piece of what it does not know
    ("vercel-ai", "openai_chat", "whole"),
    ("vercel-ai", "openai_chat", "stream"),
    ("langchain", "openai_chat", "whole"),
    ("langchain", "openai_chat", "stream"),
}
"""Who does not read `reasoning_content`, which is no field of OpenAI's own."""

TALKS: dict[str, tuple[str, str, list[Any], str]] = {
    # scene: text, thoughts, calls, finish
    "plain": (TEXT, "", [], "stop"),
    "thinking": (TEXT, THOUGHTS, [], "stop"),
    "length": ("Once upon a", "", [], "length"),
    "filtered": ("I had begun", "", [], "content_filter"),
    "call": ("", "", [COAT], "tool_calls"),
    "calls": ("I look at both.", "", [LISBON, PORTO], "tool_calls"),
}

LOOPED = re.compile(r"Lisbon (?P<head>.*)24 degrees(?P<tail>.*); Porto (?P=head)19 degrees(?P=tail)")
"""What the provider heard: some clients wrap a result in JSON."""


@every("whole")
async def test_answers(program: Programs, hub_url: str, client: Client, front: str, behind: str) -> None:
    asked = list(product(TALKS, ("whole", "stream")))
    told = await program(client).answer([case(verb, hub_url, front, behind, scene) for scene, verb in asked])
    words = FINISH.get(f"{client.name}-{front}") or FINISH.get(client.name) or FINISH[front]
    for (scene, verb), said in zip(asked, told, strict=True):
        text, thoughts, calls, finish = TALKS[scene]
        if (client.name, front, verb) in BLIND:
            thoughts = said["thoughts"] = ""
        expected = {
            "text": text,
            "thoughts": thoughts,
            "calls": [[call.name, call.arguments] for call in calls],
            "finish": words[finish],
            "tokens": [TOKENS.input, TOKENS.cached, TOKENS.output, TOKENS.reasoning],
        }
        assert said == expected, (scene, verb)


@every("whole", behind=["openai_chat"])
async def test_a_model_by_the_name_of_its_provider(
    program: Programs, hub_url: str, client: Client, front: str, behind: str
) -> None:
    """Without any route: provider/model."""
    named = {**case("whole", hub_url, front, behind, "plain"), "model": f"{behind}/m"}
    [result] = await program(client).answer([named])
    assert result.get("text") == TEXT, result


@every("loop")
async def test_tool_loops(
    program: Programs, hub_url: str, playing: FakeUpstream, client: Client, front: str, behind: str
) -> None:
    """Two calls at once, both results back in the next turn; and what the model signed returns to it unchanged."""
    for verb, scene in product(("loop", "loop_stream"), ("loop", "signed")):
        [result] = await program(client).answer([case(verb, hub_url, front, behind, scene)])
        assert "error" not in result, (verb, scene, result)
        assert result["ran"] == [["get_weather", {"city": "Lisbon"}], ["get_weather", {"city": "Porto"}]]
        assert LOOPED.fullmatch(result["text"]), (verb, scene, result)
        returned = SIGNATURE.encode() in playing.requests[-1].body
        assert returned == (scene == "signed" and behind != "openai_chat"), (verb, scene)


@every("thread")
@pytest.mark.parametrize("scene", ["loop", "signed"], ids=["kept", "refused"])
async def test_tool_loops_over_threads(
    program: Programs, hub_url: str, client: Client, front: str, behind: str, scene: str
) -> None:
    """By default that SDK leaves the talk to the server and sends only what is new. A server that cannot do so says
    it, and from then on everything is sent."""
    asked = [case(verb, hub_url, front, behind, scene) for verb in ("thread", "thread_stream")]
    told = await program(client).answer(asked)
    assert [result.get("text") for result in told] == ["Lisbon 24 degrees; Porto 19 degrees"] * 2, told


@every("strict_tool")
async def test_objects(program: Programs, hub_url: str, client: Client, front: str, behind: str) -> None:
    verbs = sorted(client.verbs & {"object", "object_stream", "strict_tool", "strict_tool_stream", "output"})
    told = await program(client).answer([case(verb, hub_url, front, behind, "weather") for verb in verbs])
    assert dict(zip(verbs, told, strict=True)) == dict.fromkeys(verbs, WEATHER)


@every("embed", behind=["openai_chat", "gemini"])
async def test_embeddings(program: Programs, hub_url: str, client: Client, front: str, behind: str) -> None:
    """OpenAI's SDK for Node asks for base64 and reads zeros out of numbers: the provider sends numbers."""
    asked = {**case("embed", hub_url, front, behind, ""), "texts": ["one", "two"]}
    assert await program(client).answer([asked]) == [{"vectors": VECTORS}]
