"""The provider's own SDK before a whole hub: answers, streams, counts, betas, and a talk that changes families."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from llmhub_core.contracts import SEALED, unseal, unseal_id
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

Json = dict[str, Any]
TOOL: Any = {"name": "step", "description": "Goes on.", "input_schema": {"type": "object", "properties": {}}}
QUESTION: Any = {"role": "user", "content": "Go ten steps."}
WEATHER: Any = {"type": "object", "properties": {"sky": {"type": "string"}}, "required": ["sky"]}


def places(claude: str, gemini: str) -> str:
    return f"""
[[providers]]
name = "claude"
kind = "anthropic"
base_url = "{claude}"
keys = [{{ name = "k", secret = "sk-ant-1" }}]
[[providers]]
name = "google"
kind = "gemini"
base_url = "{gemini}"
keys = [{{ name = "k", secret = "AIza-1" }}]
[[routes]]
model = "talk"
[[routes.deployments]]
provider = "claude"
model = "claude-opus-4-8"
priority = 1
[[routes.deployments]]
provider = "google"
model = "gemini-3-flash"
priority = 2
[[routes]]
model = "old"
[[routes.deployments]]
provider = "claude"
model = "claude-sonnet-4-5"
priority = 1
[[routes.deployments]]
provider = "google"
model = "gemini-3-flash"
priority = 2
"""


class Setting:
    """Two places, a hub before them, and the SDK before the hub."""

    def __init__(self, claude: FakeUpstream, google: FakeUpstream, house: House, client: Any) -> None:
        self.claude, self.google, self.house, self.client = claude, google, house, client


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    async with (
        FakeUpstream() as claude,
        FakeUpstream() as google,
        House(places(claude.url, google.url)) as house,
        anthropic.AsyncAnthropic(api_key="any", base_url=house.url, max_retries=0) as client,
    ):
        yield Setting(claude, google, house, client)


def message(*content: Json, stop: str = "end_turn", **more: Any) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-8",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 3},
        **more,
    }


def streamed(said: Json) -> Answer:
    """A whole message as the API streams it."""
    frames: list[Json] = [
        {"type": "message_start", "message": {**said, "content": [], "stop_reason": None}},
    ]
    for index, block in enumerate(said["content"]):
        begun, deltas = dict(block), []
        if block["type"] == "text":
            begun["text"], deltas = "", [{"type": "text_delta", "text": block["text"]}]
        elif block["type"] == "thinking":
            begun |= {"thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif block["type"] == "tool_use":
            begun["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        frames.append({"type": "content_block_start", "index": index, "content_block": begun})
        frames += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        frames.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": said["stop_reason"], "stop_sequence": None}
    frames += [{"type": "message_delta", "delta": end, "usage": said["usage"]}, {"type": "message_stop"}]
    return sse_answer([f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n" for frame in frames])


async def ask(client: Any, stream: bool, **body: Any) -> Any:
    if not stream:
        return await client.messages.create(**body)
    async with client.messages.stream(**body) as gathered:
        return await gathered.get_final_message()


# A talk of ten turns; the fifth is served by another family.


def claude_turn(turn: int) -> Json:
    return message(
        {"type": "thinking", "thinking": f"thought {turn}", "signature": f"sig-{turn}"},
        {"type": "tool_use", "id": f"toolu_{turn}", "name": "step", "input": {"turn": turn}},
        stop="tool_use",
    )


def gemini_turn() -> Json:
    parts = [
        {"text": "gemini thinks", "thought": True},
        {"functionCall": {"name": "step", "args": {"turn": 5}}, "thoughtSignature": "Z2VtaW5p"},
    ]
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13},
        "modelVersion": "gemini-3-flash",
        "responseId": "g1",
    }


def claude_script(request: ReceivedRequest) -> Answer:
    """The next turn by the results that came back; busy where the fifth is due."""
    turn = 1 + request.body.count(b'"tool_result"')
    if turn == 5:
        return json_answer({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529)
    said = claude_turn(turn) if turn < 11 else message({"type": "text", "text": "done"})
    return streamed(said) if request.json.get("stream") else json_answer(said)


def google_script(request: ReceivedRequest) -> Answer:
    if "streamGenerateContent" in request.path:
        return sse_answer(f"data: {json.dumps(gemini_turn())}\r\n\r\n")
    return json_answer(gemini_turn())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["talk", "old"])
async def test_a_talk_of_ten_turns_survives_a_change_of_family(setting: Setting, model: str, stream: bool) -> None:
    setting.claude.on(claude_script)
    setting.google.on(google_script)
    asked = {"type": "adaptive"} if model == "talk" else {"type": "enabled", "budget_tokens": 1024}
    turns: list[Any] = [QUESTION]
    for turn in range(1, 12):
        answer = await ask(
            setting.client, stream, model=model, max_tokens=2048, thinking=asked, tools=[TOOL], messages=turns
        )
        turns.append({"role": "assistant", "content": [block.to_dict() for block in answer.content]})
        if answer.stop_reason != "tool_use":
            break
        call = answer.content[-1]
        assert call.input == {"turn": turn}
        turns.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "ok"}]})
    assert (turn, answer.content[0].text) == (11, "done")

    # What Gemini wants back is with the caller, sealed …
    thought, call = turns[10 - 1]["content"]
    assert thought["thinking"] == "gemini thinks"
    assert unseal_id(call["id"])[1] == ("gemini", {"signature": "Z2VtaW5p"})
    # … and its own family saw the four turns before without what Claude signed.
    (seen,) = setting.google.requests
    assert b"sig-" not in seen.body
    assert b"thought 1" not in seen.body

    for number, request in enumerate(setting.claude.requests):
        assert SEALED not in request.body
        assert b"gemini thinks" not in request.body
        assert b"Z2VtaW5p" not in request.body
        content = request.json["messages"]
        calls = {turn["content"][-1]["id"]: turn["content"] for turn in content if turn["role"] == "assistant"}
        ids = [result["tool_use_id"] for turn in content[2::2] for result in turn["content"]]
        assert ids == list(calls)
        for name, blocks in calls.items():
            turn = int(name.removeprefix("toolu_")) if name.startswith("toolu_") else 5
            native = {"type": "thinking", "thinking": f"thought {turn}", "signature": f"sig-{turn}"}
            assert blocks[:-1] == ([] if turn == 5 else [native])
        # A budget would be refused where the turn to go on with lacks thoughts.
        after_gemini = number == 5
        assert ("thinking" in request.json) is not (after_gemini and model == "old")

    records = await setting.house.records()
    assert [record.provider for record in records] == ["claude"] * 4 + ["google"] + ["claude"] * 6
    lost = ["reasoning=dropped"]
    assert records[4].adapted == lost
    expected = ["thinking=dropped", *lost] if model == "old" else lost
    assert [record.adapted for record in records[5:]] == [expected, *[lost] * 5]


# The rest of the API, in passing and translated.


@pytest.mark.parametrize("stream", [False, True])
async def test_betas_reach_the_provider_as_they_were_sent(setting: Setting, stream: bool) -> None:
    said = message({"type": "text", "text": "Hello!"})
    setting.claude.on(lambda request: streamed(said) if stream else json_answer(said))
    body: Json = {
        "model": "talk",
        "max_tokens": 64,
        "messages": [QUESTION],
        "betas": ["zeta-2026-01-01", "alpha-2025-01-01"],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "m"}],
        "container": "container_1",
        "service_tier": "standard_only",
        "metadata": {"user_id": "u"},
    }
    if stream:
        async with setting.client.beta.messages.stream(**body) as gathered:
            answer = await gathered.get_final_message()
    else:
        answer = await setting.client.beta.messages.create(**body)
    assert answer.content[0].text == "Hello!"
    (request,) = setting.claude.requests
    assert request.headers["anthropic-beta"] == "zeta-2026-01-01,alpha-2025-01-01"
    assert request.headers["anthropic-version"]
    for name in ("context_management", "mcp_servers", "container", "service_tier", "metadata"):
        assert request.json[name] == body[name]


async def test_counting_asks_the_provider_and_else_is_estimated(setting: Setting) -> None:
    setting.claude.on(lambda request: json_answer({"input_tokens": 588}))
    counted = await setting.client.messages.count_tokens(
        model="talk", messages=[QUESTION], system="Be terse.", tools=[TOOL]
    )
    assert counted.input_tokens == 588
    (request,) = setting.claude.requests
    assert request.path == "/v1/messages/count_tokens"
    assert request.json["model"] == "claude-opus-4-8"
    assert "max_tokens" not in request.json
    beta = await setting.client.beta.messages.count_tokens(model="talk", messages=[QUESTION], betas=["b-1"])
    assert beta.input_tokens == 588
    assert setting.claude.requests[1].headers["anthropic-beta"].split(",")[0] == "b-1"

    missing = {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}, "request_id": "r"}
    setting.claude.on(lambda request: json_answer(missing, 404))
    setting.google.on(lambda request: json_answer({"totalTokens": 41}))
    assert (await setting.client.messages.count_tokens(model="talk", messages=[QUESTION])).input_tokens == 41
    setting.google.on(lambda request: json_answer({}, 503))
    guess = await setting.client.messages.count_tokens(model="talk", messages=[QUESTION])
    assert guess.input_tokens > 0
    assert guess.to_dict()["estimated"] is True


async def test_a_prompt_is_put_into_the_cache_without_an_answer(setting: Setting) -> None:
    said = message(stop="max_tokens")
    setting.claude.on(lambda request: json_answer(said))
    answer = await setting.client.messages.create(model="talk", max_tokens=0, messages=[QUESTION])
    assert (answer.content, answer.stop_reason) == ([], "max_tokens")
    assert setting.claude.requests[0].json["max_tokens"] == 0


async def test_a_sealed_answer_of_this_family_opens_again(setting: Setting) -> None:
    """Through the lane that rewrites, everything but seals is what the caller said."""
    setting.claude.on(lambda request: json_answer(message({"type": "text", "text": "ok"})))
    setting.google.on(google_script)
    served = await setting.client.messages.create(
        model="google/gemini-3-flash", max_tokens=64, messages=[QUESTION], tools=[TOOL]
    )
    assert unseal(served.content[0].signature) is not None
    call = served.content[-1]
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    tools = [{**TOOL, **mark}, {"type": "web_search_20250305", "name": "web_search"}]
    searched = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Go.", **mark}]},
        {"role": "assistant", "content": [block.to_dict() for block in served.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "ok", **mark}]},
        {"role": "assistant", "content": [searched, {"type": "text", "text": "x"}]},
        QUESTION,
    ]
    system = [{"type": "text", "text": "s", **mark}]
    await setting.client.messages.create(
        model="talk", max_tokens=64, messages=turns, tools=tools, system=system, service_tier="auto"
    )
    sent = setting.claude.requests[0].json
    plain, _ = unseal_id(call.id)
    assert sent["tools"] == tools
    assert (sent["system"], sent["service_tier"]) == (system, "auto")
    assert sent["messages"][0]["content"] == turns[0]["content"]
    assert sent["messages"][1]["content"] == [{"type": "tool_use", "id": plain, "name": "step", "input": {"turn": 5}}]
    assert sent["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": plain, "content": "ok", **mark}]
    assert sent["messages"][3]["content"] == turns[3]["content"]
