"""Presets behind the whole hub: what the place receives, what the caller is told, what is counted."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from llmhub_plugins.providers.openai_compatible.structured import ANSWER

from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream, json_answer, sse_answer

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}


def config(preset: str, url: str, more: str = "") -> str:
    return f"""
        [[providers]]
        name = "place"
        kind = "openai_compatible"
        preset = "{preset}"
        base_url = "{url}/v1"
        keys = [{{ name = "k", secret = "sk-1" }}]
        {more}
    """


def completion(message: dict[str, Any], finish: str = "stop", **usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    counted = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, **usage}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": counted}


def call(id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


async def test_losses_are_told_and_can_be_refused() -> None:
    body = {"model": "place/m", "messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"1": 2}}
    async with FakeUpstream() as groq, House(config("groq", groq.url)) as house, aiohttp.ClientSession() as client:
        groq.script(json_answer(completion({"content": "Hello"})))
        url = f"{house.url}/v1/chat/completions"
        async with client.post(url, json=body) as answer:
            assert answer.headers["x-llmhub-adapted"] == "logit_bias=dropped"
        async with client.post(url, json=body, headers={"x-llmhub-strict": "1"}) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (400, "adaptation_refused")
        (request,) = groq.requests
        assert request.json == {"model": "m", "messages": body["messages"]}
        first, second = await house.records()
        assert (first.lane, first.adapted, second.status) == ("verbatim", ["logit_bias=dropped"], 400)


async def test_a_claude_client_goes_on_with_its_tool_loop_at_deepseek() -> None:
    body = {
        "model": "place/m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "7"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    }
    async with (
        FakeUpstream() as place,
        House(config("deepseek", place.url)) as house,
        aiohttp.ClientSession() as client,
    ):
        place.script(json_answer(completion({"content": "Seven", "reasoning_content": "hm"})))
        async with client.post(f"{house.url}/v1/messages", json=body) as answer:
            assert (answer.status, (await answer.json())["content"][-1]["text"]) == (200, "Seven")
        messages = place.requests[0].json["messages"]
        assert messages[1]["reasoning_content"] == ""
        assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"]


async def test_an_openai_clients_ids_fit_mistral() -> None:
    body = {
        "model": "place/m",
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": [call("call_abcdefghijklmnopqrstuvwx")]},
            {"role": "tool", "tool_call_id": "call_abcdefghijklmnopqrstuvwx", "content": "7"},
        ],
    }
    async with FakeUpstream() as place, House(config("mistral", place.url)) as house, aiohttp.ClientSession() as client:
        place.script(json_answer(completion({"tool_calls": [call("VB03LVVRm")]}, "tool_calls")))
        async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:
            assert (await answer.json())["choices"][0]["message"]["tool_calls"][0]["id"] == "VB03LVVRm"
            assert "x-llmhub-adapted" not in answer.headers
        _, called, result = place.requests[0].json["messages"]
        assert called["tool_calls"][0]["id"] == result["tool_call_id"]
        assert len(result["tool_call_id"]) == 9


@pytest.mark.parametrize("stream", [True, False])
async def test_reasoning_is_counted_once_in_every_front(stream: bool) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 17}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 10}}
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks = [
        {**piece, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
        {**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**piece, "choices": [], "usage": usage},
    ]
    said = sse_answer([*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"], piece=13)
    async with FakeUpstream() as xai, House(config("xai", xai.url)) as house, aiohttp.ClientSession() as client:
        xai.script(said if stream else json_answer(completion({"content": "Hi"}, **usage)))
        options = {"stream_options": {"include_usage": True}} if stream else {}
        body = {"model": "place/m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **options}
        async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:
            text = await answer.text()
        assert '"completion_tokens":12' in text
        async with client.post(
            f"{house.url}/v1/messages", json={**body, "max_tokens": 99} | {"stream_options": None}
        ) as other:
            assert '"output_tokens":12' in await other.text()
        assert [record.output_tokens for record in await house.records()] == [12, 12]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_in_a_schema_by_a_call(stream: bool) -> None:
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [
        ({"tool_calls": [{"index": 0, **call("1", ANSWER, '{"age"')}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": ":7}"}}]}, None),
        ({}, "tool_calls"),
    ]
    chunks = [{**piece, "choices": [{"index": 0, "delta": d, "finish_reason": f}]} for d, f in deltas]
    said = sse_answer([*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"], piece=29)
    whole = json_answer(completion({"tool_calls": [call("1", ANSWER, '{"age":7}')]}, "tool_calls"))
    more = 'structured_output = "forced_tool"'
    async with (
        FakeUpstream() as place,
        House(config("together", place.url, more)) as house,
        aiohttp.ClientSession() as client,
    ):
        place.script(said if stream else whole)
        body = {"model": "place/m", "messages": [{"role": "user", "content": "Hi"}], "response_format": FORMAT}
        async with client.post(f"{house.url}/v1/chat/completions", json={**body, "stream": stream}) as answer:
            text = await answer.text()
            assert answer.headers["x-llmhub-adapted"] == "response_format=emulated"
        assert "tool_calls" not in text
        if stream:
            events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
            choices = [choice for event in events for choice in event["choices"]]
            assert "".join(choice["delta"].get("content") or "" for choice in choices) == '{"age":7}'
            assert choices[-1]["finish_reason"] == "stop"
        else:
            assert json.loads(text)["choices"][0]["message"]["content"] == '{"age":7}'
        assert place.requests[0].json["tools"][0]["function"]["parameters"] == SCHEMA


async def test_what_one_place_cannot_do_the_next_one_does() -> None:
    async with FakeUpstream() as one, FakeUpstream() as other, aiohttp.ClientSession() as client:
        other.script(json_answer(completion({"content": "Hi"})))
        tables = config("perplexity", one.url).replace('"place"', '"first"') + config("together", other.url)
        tables += '[[routes]]\nmodel = "both"\ndeployments = [{ provider = "first", model = "a" }, '
        tables += '{ provider = "place", model = "b", priority = 2 }]'
        async with House(tables) as house:
            tool = {"type": "function", "function": {"name": "f"}}
            body = {"model": "both", "messages": [{"role": "user", "content": "Hi"}], "tools": [tool]}
            async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:
                assert answer.status == 200
            assert (len(one.requests), len(other.requests)) == (0, 1)
