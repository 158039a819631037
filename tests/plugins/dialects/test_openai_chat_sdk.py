"""OpenAI's SDK before a whole hub, with providers of each kind behind it: what plain talks do not show."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from llmhub_core.contracts import unseal_id
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer, sse_answer

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
]
HELLO: dict[str, Any] = {"role": "user", "content": "Look it up."}

PROVIDERS = """
[[providers]]
name = "claude"
kind = "anthropic"
base_url = "{url}"
keys = [{{ name = "k", secret = "sk-ant-1" }}]
[[providers]]
name = "google"
kind = "gemini"
base_url = "{url}"
keys = [{{ name = "k", secret = "AIza-1" }}]
[[providers]]
name = "gpt"
kind = "openai"
base_url = "{url}/v1"
keys = [{{ name = "k", secret = "sk-1" }}]
"""


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[openai.AsyncOpenAI, FakeUpstream]]:
    async with (
        FakeUpstream() as upstream,
        House(PROVIDERS.format(url=upstream.url)) as house,
        openai.AsyncOpenAI(api_key="any", base_url=house.url + "/v1", max_retries=0) as client,
    ):
        yield client, upstream


def events(*values: dict[str, Any]) -> Answer:
    return sse_answer([f"event: {value['type']}\ndata: {json.dumps(value)}\n\n" for value in values])


THOUGHT = {"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmVk"}
HIDDEN = {"type": "redacted_thinking", "data": "cmVk"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"q": "x"}}
USAGE = {"input_tokens": 11, "output_tokens": 7}


def claude(blocks: list[dict[str, Any]], reason: str, stream: bool) -> Answer:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1", "stop_sequence": None}
    if not stream:
        return json_answer({**message, "content": blocks, "stop_reason": reason, "usage": USAGE})
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "usage": USAGE}}
    ]
    for index, block in enumerate(blocks):
        begun, deltas = dict(block), []
        if block["type"] == "thinking":
            begun |= {"thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif block["type"] == "text":
            begun["text"] = ""
            deltas = [{"type": "text_delta", "text": block["text"]}]
        elif block["type"] == "tool_use":
            begun["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        said.append({"type": "content_block_start", "index": index, "content_block": begun})
        said += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        said.append({"type": "content_block_stop", "index": index})
    said.append({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": USAGE})
    return events(*said, {"type": "message_stop"})


def gemini(parts: list[dict[str, Any]], stream: bool) -> Answer:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    used = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
    value = {"candidates": [candidate], "usageMetadata": used, "modelVersion": "gemini-3-pro", "responseId": "r1"}
    return sse_answer([f"data: {json.dumps(value)}\r\n\r\n"]) if stream else json_answer(value)


async def answer_of(client: openai.AsyncOpenAI, stream: bool, **asked: Any) -> dict[str, Any]:
    """The answer's message as a client keeps it: through the SDK's own accumulator where it is streamed."""
    if not stream:
        completion = await client.chat.completions.create(**asked)
    else:
        async with client.chat.completions.stream(**asked) as chunks:
            completion = await chunks.get_final_completion()
    message: dict[str, Any] = completion.choices[0].message.model_dump(exclude_none=True)
    for call in message.get("tool_calls", ()):
        call.pop("index", None)
        call.get("function", {}).pop("parsed_arguments", None)
    message.pop("parsed", None)
    return message


def without_thoughts(message: dict[str, Any]) -> dict[str, Any]:
    """Most clients send back what OpenAI documents, and nothing else."""
    return {name: message[name] for name in ("role", "content", "tool_calls") if name in message}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_of_tools_with_claude_brings_its_thoughts_back(stream: bool) -> None:
    async with talking() as (client, upstream):
        upstream.script(
            claude([THOUGHT, HIDDEN, {"type": "text", "text": "I look."}, CALL], "tool_use", stream),
            claude([{"type": "text", "text": "Done."}], "end_turn", stream),
        )
        asked = {"model": "claude/claude-sonnet-4-5", "tools": TOOLS, "reasoning_effort": "low"}
        message = await answer_of(client, stream, messages=[HELLO], **asked)
        assert (message["content"], message["reasoning_content"]) == ("I look.", "Let me see.")
        [call] = message["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"q": "x"}
        assert unseal_id(call["id"])[0] == "toolu_1"

        result = {"role": "tool", "tool_call_id": call["id"], "content": "42"}
        talk = [HELLO, without_thoughts(message), result]
        assert (await answer_of(client, stream, messages=talk, **asked))["content"] == "Done."
        _, assistant, user = upstream.requests[1].json["messages"]
        assert assistant["content"] == [THOUGHT, HIDDEN, {"type": "text", "text": "I look."}, CALL]
        assert user["content"][0]["tool_use_id"] == "toolu_1"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_of_tools_with_gemini_brings_its_signature_back(stream: bool) -> None:
    called = {"functionCall": {"name": "look_up", "args": {"q": "x"}}, "thoughtSignature": "c2lnbmVk"}
    async with talking() as (client, upstream):
        upstream.script(gemini([called], stream), gemini([{"text": "Done."}], stream))
        asked = {"model": "google/gemini-3-pro-preview", "tools": TOOLS}
        message = await answer_of(client, stream, messages=[HELLO], **asked)
        [call] = message["tool_calls"]
        assert unseal_id(call["id"])[1] == ("gemini", {"signature": "c2lnbmVk"})
        talk = [HELLO, message, {"role": "tool", "tool_call_id": call["id"], "content": "42"}]
        assert (await answer_of(client, stream, messages=talk, **asked))["content"] == "Done."
        contents = upstream.requests[1].json["contents"]
        [returned] = [part for part in contents[1]["parts"] if "functionCall" in part]
        assert returned["thoughtSignature"] == "c2lnbmVk"
        assert returned["functionCall"]["args"] == {"q": "x"}


def chat_answer(**message: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop"}
    return json_answer({"id": "c1", "object": "chat.completion", "created": 7, "model": "gpt-4o", "choices": [choice]})


async def test_a_talk_that_goes_on_at_another_family_loses_nothing_but_what_that_cannot_open() -> None:
    async with talking() as (client, upstream):
        upstream.script(claude([THOUGHT, CALL], "tool_use", stream=False), chat_answer(content="Done."))
        message = await answer_of(client, False, model="claude/claude-sonnet-4-5", messages=[HELLO], tools=TOOLS)
        [call] = message["tool_calls"]
        talk: Any = [HELLO, without_thoughts(message), {"role": "tool", "tool_call_id": call["id"], "content": "42"}]
        raw = await client.chat.completions.with_raw_response.create(model="gpt/gpt-4o", messages=talk, tools=TOOLS)
        assert raw.headers["x-llmhub-adapted"] == "reasoning=dropped"
        sent = upstream.requests[1].json["messages"]
        assert [one["role"] for one in sent] == ["user", "assistant", "tool"]
        assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == "toolu_1"
        assert "LLMhubSeal" not in upstream.requests[1].body.decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_of_free_text_is_called_at_any_provider(stream: bool) -> None:
    tools: list[Any] = [{"type": "custom", "custom": {"name": "shell", "description": "Runs a command."}}]
    called = {"type": "tool_use", "id": "toolu_1", "name": "shell", "input": {"input": "ls -l"}}
    async with talking() as (client, upstream):
        upstream.script(claude([called], "tool_use", stream))
        asked: dict[str, Any] = {"model": "claude/claude-sonnet-4-5", "messages": [HELLO], "tools": tools}
        if stream:
            chunks = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
            calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        else:
            calls = list((await client.chat.completions.create(**asked)).choices[0].message.tool_calls or ())
        [call] = [call.model_dump(exclude_none=True) for call in calls]
        assert call["custom"] == {"name": "shell", "input": "ls -l"}
        [tool] = upstream.requests[0].json["tools"]
        assert (tool["name"], tool["input_schema"]["required"]) == ("shell", ["input"])


async def test_several_choices_are_whole_only_when_the_stream_says_so() -> None:
    def chunk(choice: int, delta: dict[str, Any], finish: str | None = None) -> str:
        choices = [{"index": choice, "delta": delta, "finish_reason": finish}]
        return f"data: {json.dumps({'id': 'c', 'created': 1, 'model': 'gpt-4o', 'choices': choices})}\n\n"

    frames = [chunk(0, {"content": "a"}), chunk(1, {"content": "b"}), chunk(0, {}, "stop")]
    async with talking() as (client, upstream):
        upstream.script(sse_answer(frames), sse_answer([*frames, chunk(1, {}, "stop"), "data: [DONE]\n\n"]))
        asked: dict[str, Any] = {"model": "gpt/gpt-4o", "messages": [HELLO], "n": 2, "stream": True}
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in await client.chat.completions.create(**asked):
                pass
        said = [chunk async for chunk in await client.chat.completions.create(**asked)]
        assert [choice.index for chunk in said for choice in chunk.choices if choice.finish_reason] == [0, 1]


# Text completions.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_text_is_continued_by_a_chat_model(stream: bool) -> None:
    async with talking() as (client, upstream):
        upstream.script(claude([THOUGHT, {"type": "text", "text": "there was"}], "end_turn", stream))
        asked: dict[str, Any] = {"model": "claude/claude-sonnet-4-5", "prompt": "Once upon a time", "max_tokens": 50}
        if stream:
            answer = await client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            chunks = [chunk async for chunk in answer]
            text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
            reasons = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
            usage = chunks[-1].usage
        else:
            completion = await client.completions.create(**asked)
            text, usage = completion.choices[0].text, completion.usage
            reasons = [completion.choices[0].finish_reason]
        assert (text, reasons) == ("there was", ["stop"])
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens) == (11, 7)
        sent = upstream.requests[0].json
        assert sent["max_tokens"] == 50
        assert "Once upon a time" in json.dumps(sent["messages"])


async def test_a_text_passes_as_it_is_where_completions_are_spoken() -> None:
    choice = {"text": " there", "index": 0, "logprobs": None, "finish_reason": "length"}
    value = {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "instruct", "choices": [choice]}
    async with talking() as (client, upstream):
        upstream.script(json_answer(value))
        completion = await client.completions.create(
            model="gpt/gpt-3.5-turbo-instruct", prompt=["a", "b"], suffix="z", echo=True, best_of=2
        )
        assert completion.choices[0].text == " there"
        assert upstream.requests[0].path == "/v1/completions"
        assert upstream.requests[0].json == {
            "model": "gpt-3.5-turbo-instruct",
            "prompt": ["a", "b"],
            "suffix": "z",
            "echo": True,
            "best_of": 2,
        }


async def test_what_no_chat_can_be_asked_is_refused_by_its_name() -> None:
    async with talking() as (client, upstream):
        for more, named in (
            ({"suffix": "The end."}, "suffix"),
            ({"echo": True}, "echo"),
            ({"prompt": [1, 2]}, "tokens"),
        ):
            with pytest.raises(openai.BadRequestError, match=named) as caught:
                await client.completions.create(**{"model": "claude/claude-sonnet-4-5", "prompt": "Once", **more})
            assert caught.value.code == "unsupported_content"
        assert upstream.requests == []
