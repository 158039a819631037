"""Recorded answers of one dialect, read by the official SDK of another; recorded requests, sent to another."""

from __future__ import annotations

import gc
import json
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from google.genai import errors as gemini_errors
from plain_answers import Said, said_in
from plain_http import send
from recordings import PROVIDERS, TRAFFIC, Case, recorded
from speaking import Speakers, hello

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.* is not a valid:UserWarning"),
]

PAIRS = list(permutations(PROVIDERS, 2))
"""(the caller's dialect, the provider's)"""


def pairs_with_answers() -> list[Any]:
    found = [
        pytest.param(front, case, id=f"{front}-{case.id}")
        for front, behind in PAIRS
        for case in recorded(behind)
        if case.status == 200 and not case.breaks and "stream_json_array" not in case.features
    ]
    return found or [pytest.param("", None, marks=pytest.mark.skip(f"no recorded traffic at {TRAFFIC}"), id="none")]


# Why an answer ended: the provider's word → neutral → the front's word.

NEUTRAL = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter",
    "end_turn": "stop", "stop_sequence": "stop_sequence", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "refusal", "pause_turn": "pause",
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "BLOCKLIST": "content_filter", "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter", "IMAGE_SAFETY": "content_filter",
}  # fmt: skip

SPOKEN = {
    "openai_chat": {"stop_sequence": "stop", "refusal": "content_filter", "pause": "stop"},
    "anthropic": {
        "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal",
        "pause": "pause_turn",
    },
    "gemini": {
        "stop": "STOP", "stop_sequence": "STOP", "tool_calls": "STOP", "pause": "STOP", "length": "MAX_TOKENS",
        "content_filter": "SAFETY", "refusal": "SAFETY",
    },
}  # fmt: skip


def finish_in(front: str, said: Said) -> str:
    reason = NEUTRAL.get(said.finish or "", "stop")
    if reason == "stop" and said.calls and said.finish == "STOP":
        reason = "tool_calls"
    return SPOKEN[front].get(reason, reason)


def expected_in(front: str, case: Case) -> Said:
    said = said_in(case.dialect, case.body, case.streamed)
    expected = replace(said, finish=finish_in(front, said))
    if front == "anthropic":
        # Its callers are always told of calls and refusals by the reason, and always given numbers.
        if said.calls and said.finish == "stop":
            expected.finish = "tool_use"
        if case.features & {"refusal"} and said.finish == "stop":
            expected.finish = "refusal"
        expected.tokens = said.tokens or (0, 0, 0, 0)
    if front == "gemini":
        # Arguments are always an object there; text that is none stands in one.
        expected.calls = [(name, {"_raw": call} if isinstance(call, str) else call) for name, call in said.calls]
    return expected


BEGINS_ANEW = "anthropic-msg-55950562"
"""Made by hand: a second message begins in the middle of the first. What was said already cannot be taken back."""


@pytest.mark.parametrize(("front", "case"), pairs_with_answers())
async def test_an_answer_says_the_same_in_another_dialect(sdk: Speakers, front: str, case: Case) -> None:
    body = hello(front)
    if front == "openai_chat" and case.is_stream:
        body["stream_options"] = {"include_usage": True}
    ask = sdk.stream if case.is_stream else sdk.ask
    if case.id == BEGINS_ANEW:
        with pytest.raises((openai.APIError, gemini_errors.ServerError), match="began anew"):
            await ask(front, case.model, body)
        gc.collect()  # Google's SDK leaves the broken connection to the garbage collector, which complains
        return
    assert await ask(front, case.model, body) == expected_in(front, case)


@pytest.mark.parametrize(("front", "behind"), PAIRS)
async def test_there_is_enough_to_compare(traffic: Path, front: str, behind: str) -> None:
    answers = [values for values in (param.values for param in pairs_with_answers()) if values[0] == front]
    assert len([case for _, case in answers if case.dialect == behind]) >= 40, traffic
    assert len([one for one in TALKS if one.values[:2] == (front, behind)]) >= 10


# Recorded requests with tools and several turns.

ANSWERED_BY = {
    # whole, streamed: what the provider answers, whatever is asked
    "openai_chat": ("openai-chat-86462e74", "openai-chat-c1b633ff"),
    "anthropic": ("anthropic-msg-a0a85356", "anthropic-msg-41d6f27e"),
    "gemini": ("gemini-gen-44a8c55c", "gemini-stream-b76a53aa"),
}


def talks() -> list[Any]:
    found = [
        pytest.param(front, behind, case, id=f"{front}-{behind}-{case.id}")
        for front, behind in PAIRS
        for case in recorded(front)
        if not case.synthesised and {"tools", "multi_turn"} <= case.features
    ]
    return found or [pytest.param("", "", None, marks=pytest.mark.skip(f"no recorded traffic at {TRAFFIC}"), id="none")]


TALKS = talks()


@pytest.mark.parametrize(("front", "behind", "case"), TALKS)
async def test_a_talk_with_tools_goes_to_another_dialect(
    raw: aiohttp.ClientSession, replay: str, front: str, behind: str, case: Case
) -> None:
    fixed = next(one for one in recorded(behind) if one.id == ANSWERED_BY[behind][case.is_stream])
    answer = await send(raw, case, fixed.model)
    if answer.status == 400:
        error = json.loads(answer.body)["error"]
        assert (case.id, behind) in REFUSED, error
        assert REFUSED[case.id, behind] in error["message"]
        assert re.search(r"(messages|tools)\[\d+\]", error["message"])
        return
    assert (answer.status, answer.ended) == (200, True), answer.body
    assert (case.id, behind) not in REFUSED
    streamed = case.is_stream and "stream_json_array" not in case.features
    assert said_in(front, answer.body, streamed).text == said_in(behind, fixed.body, fixed.streamed).text

    async with raw.get(f"{replay}/_received?case={fixed.id}") as listed:
        sent = (await listed.json())[-1]["body"]
    if behind == "anthropic" and wants_json(front, case.asked):
        # The recorded model is older than answers in a schema: they are had by a tool that takes the answer.
        assert sent["tools"].pop()["name"] in ("LLMhub_answer", "LLMhub_wrapped_answer")
        assert sent["tool_choice"] == {"type": "any"}
        assert "=emulated" in answer.headers["x-llmhub-adapted"]
    assert TOOLS[behind](sent) == TOOLS[front](case.asked)


def wants_json(front: str, body: dict[str, Any]) -> bool:
    if front == "openai_chat":
        return (body.get("response_format") or {}).get("type", "text") != "text"
    config = body.get("generationConfig") or body.get("generation_config") or {}
    return "application/json" in (config.get("responseMimeType"), config.get("response_mime_type"))


REFUSED: dict[tuple[str, str], str] = {
    ("openai-chat-7e8d1728", "anthropic"): "another provider's file store",
    ("openai-chat-7e8d1728", "gemini"): "rests at another provider",
    ("openai-chat-965c22c0", "anthropic"): "not a JSON object",
    ("openai-chat-965c22c0", "gemini"): "not a JSON object",
    ("openai-chat-e40a5996", "anthropic"): "audio",
    ("anthropic-msg-556fb15f", "openai_chat"): "server_tool_use",
    ("anthropic-msg-556fb15f", "gemini"): "server_tool_use",
    ("anthropic-msg-92803a47", "openai_chat"): "tool_addition",
    ("anthropic-msg-92803a47", "gemini"): "text only as a system prompt",
    ("gemini-gen-22fce743", "anthropic"): "neither PDF nor text",  # a video
    ("gemini-gen-46f065ad", "openai_chat"): "stored audio",
    ("gemini-gen-46f065ad", "anthropic"): "audio",
    ("gemini-gen-7575844d", "openai_chat"): "stored file",
    ("gemini-gen-7575844d", "anthropic"): "another provider's file store",
    ("gemini-gen-8f20c456", "openai_chat"): "googleSearch",
    ("gemini-gen-8f20c456", "anthropic"): "googleSearch",
    ("gemini-gen-d4f81f28", "anthropic"): "audio",
    ("gemini-gen-ea244b58", "openai_chat"): "googleSearch",
    ("gemini-gen-ea244b58", "anthropic"): "googleSearch",
}
"""(case, provider's dialect) → what cannot be said there, as the refusal has it."""


# Tools declared, calls made and results given: what must not get lost in any request.

Tools = tuple[list[str], list[tuple[str, Any]], int]


def chat_tools(body: dict[str, Any]) -> Tools:
    calls = [call["function"] for message in body["messages"] for call in message.get("tool_calls") or ()]
    return (
        [tool["function"]["name"] for tool in body.get("tools") or ()],
        [(call["name"], json.loads(call["arguments"] or "{}")) for call in calls],
        sum(message["role"] == "tool" for message in body["messages"]),
    )


def message_tools(body: dict[str, Any]) -> Tools:
    blocks = [block for turn in body["messages"] if isinstance(turn["content"], list) for block in turn["content"]]
    return (
        [tool["name"] for tool in body.get("tools") or ()],
        [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        sum(block["type"] == "tool_result" for block in blocks),
    )


def gemini_tools(body: dict[str, Any]) -> Tools:
    groups = [tool.get("functionDeclarations") or tool.get("function_declarations") or () for tool in body["tools"]]
    parts = [part for content in body["contents"] for part in content.get("parts") or ()]
    calls = [part.get("functionCall") or part.get("function_call") for part in parts]
    results = [part.get("functionResponse") or part.get("function_response") for part in parts]
    return (
        [tool["name"] for group in groups for tool in group],
        [(call["name"], call.get("args") or {}) for call in calls if call],
        sum(bool(result) for result in results),
    )


TOOLS = {"openai_chat": chat_tools, "anthropic": message_tools, "gemini": gemini_tools}
