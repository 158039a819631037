"""Threads: conversations that the provider keeps pass to it, and are refused elsewhere so that SDKs send everything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from houses import provider, route
from speaking_anthropic import DIALECT

from llmhub_core.contracts import BadRequest, ChatRequest, UpstreamRefused, Where
from llmhub_core.gateway.passage import encoded_for
from llmhub_core.hub.registry import Registry
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import Answer, FakeUpstream, json_answer

Json = dict[str, Any]

NOWHERE = Where({}, {})
HELLO: Json = {"role": "user", "content": "Hello."}
CREATE: Json = {"type": "create"}
CONTINUE: Json = {"type": "continue", "previous_message_id": "msg_1"}
UNSUPPORTED = {"error_code": "thread_unsupported_request", "unsupported": ["translation"]}


def body(thread: Any, *messages: Json, **more: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": messages, "thread": thread, **more}).encode()


def read(data: bytes) -> ChatRequest:
    return DIALECT.decode_request(data, DIALECT.read_head(data, NOWHERE), NOWHERE)


@pytest.mark.parametrize("thread", [CREATE, CONTINUE, {"type": "of tomorrow"}])
def test_a_thread_that_was_taken_apart_is_written_back(thread: Json) -> None:
    data = body(thread, HELLO, system="Be kind.")
    again = json.loads(DIALECT.encode_request(read(data), "m").body)
    assert again == json.loads(data) | {"messages": [HELLO]}


def test_a_thread_goes_on_without_anything_new() -> None:
    data = body(CONTINUE)
    assert json.loads(DIALECT.encode_request(read(data), "m").body) == json.loads(data)
    for thread in (CREATE, None, {}):
        with pytest.raises(BadRequest) as caught:
            DIALECT.read_head(body(thread), NOWHERE)
        assert (caught.value.code, caught.value.param) == ("invalid_value", "messages")


@pytest.mark.parametrize(("thread", "param"), [("create", "thread"), ([], "thread"), ({"type": 1}, "thread.type")])
def test_what_is_no_thread_is_refused(thread: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        DIALECT.read_head(body(thread, HELLO), NOWHERE)
    assert (caught.value.code, caught.value.param) == ("invalid_type", param)


@pytest.mark.parametrize("name", ["openai_chat", "openai_responses", "openai_completions", "gemini"])
@pytest.mark.parametrize(("thread", "details"), [(CREATE, UNSUPPORTED), (CONTINUE, {"error_code": "thread_not_found"})])
def test_other_formats_refuse_it_as_the_sdks_know_it(name: str, thread: Json, details: Json) -> None:
    kind = Registry().discover().dialects.get(name)
    with pytest.raises(BadRequest) as caught:
        encoded_for(kind(kind.Settings()), read(body(thread, HELLO)), "m")
    assert caught.value.status == 400
    said = json.loads(DIALECT.encode_error(caught.value, "req_1"))["error"]
    assert (said["type"], said["details"]) == ("invalid_request_error", details)
    assert said["param"].startswith("thread")


def test_requests_without_threads_and_other_needs_are_as_before() -> None:
    assert read(body(None, HELLO)).needs == ()
    for error in (
        BadRequest("`top_k` can only …", code="unsupported_parameter", param="top_k"),
        BadRequest("thread must be an object.", code="invalid_type", param="thread"),
        UpstreamRefused("No.", code="unsupported_parameter", param="thread"),  # a provider's of another format
    ):
        assert "details" not in json.loads(DIALECT.encode_error(error, ""))["error"]


@pytest.mark.parametrize(
    "message",
    [
        "thread: Extra inputs are not permitted",
        "Unexpected value(s) `message-threads-2026-08-12` for the `anthropic-beta` header.",
    ],
)
def test_a_provider_that_does_not_know_the_field_is_understood(message: str) -> None:
    for said in ({"error": {"type": "invalid_request_error", "message": message}}, {"message": message}):
        error = DIALECT.decode_error(400, {}, json.dumps(said).encode())
        assert isinstance(error, UpstreamRefused)
        told = json.loads(DIALECT.encode_error(error, ""))["error"]
        assert told["details"] == {"error_code": "thread_unsupported_request"}
    other = {"error": {"type": "invalid_request_error", "message": "threads: Extra inputs are not permitted"}}
    assert DIALECT.decode_error(400, {}, json.dumps(other).encode()).details is None


# The provider's own SDK, whose tool runner loops over threads.


def message(id: str, *content: Json, stop: str = "end_turn") -> Answer:
    said = {"id": id, "type": "message", "role": "assistant", "model": "claude", "content": list(content)}
    ended = {"stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 3}}
    return json_answer({**said, **ended})


def refused(status: int, kind: str, details: Json) -> Answer:
    said = {"type": kind, "message": "No.", "details": details}
    return json_answer({"type": "error", "error": said, "request_id": "req_9"}, status=status)


def completion(**said: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return json_answer(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "g", "choices": [choice], "usage": usage}
    )


class Setting:
    """Anthropic with two keys and a Chat provider, a hub before them, and the SDK before the hub."""

    def __init__(self, claude: FakeUpstream, chat: FakeUpstream, client: Any) -> None:
        self.claude, self.chat, self.client = claude, chat, client

    async def loop(self, model: str) -> str:
        @anthropic.beta_async_tool
        async def sky(city: str) -> str:
            """Looks up.

            Args:
                city: Where.
            """
            return f"clear over {city}"

        asked: Any = {"role": "user", "content": "How is the sky over Faro?"}
        runner = self.client.beta.messages.tool_runner(model=model, max_tokens=99, messages=[asked], tools=[sky])
        last = await runner.until_done()
        return "".join(block.text for block in last.content if block.type == "text")


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    async with FakeUpstream() as claude, FakeUpstream() as chat:
        config = provider("claude", claude.url, keys=2, kind="anthropic") + provider("chat", chat.url)
        config += route("claude-only", "claude/c") + route("chat-only", "chat/g") + route("both", "claude/c", "chat/g")
        async with (
            House(config) as house,
            anthropic.AsyncAnthropic(api_key="any", base_url=house.url, max_retries=0) as client,
        ):
            yield Setting(claude, chat, client)


USE: Json = {"type": "tool_use", "id": "toolu_1", "name": "sky", "input": {"city": "Faro"}}
CALLED: Json = {"id": "call_1", "type": "function", "function": {"name": "sky", "arguments": '{"city": "Faro"}'}}
CLEAR: Json = {"type": "text", "text": "Clear."}


async def test_a_loop_before_another_format_sends_everything(setting: Setting) -> None:
    setting.chat.script(completion(content=None, tool_calls=[CALLED]), completion(content="Clear."))
    assert await setting.loop("chat-only") == "Clear."
    first, second = (request.json["messages"] for request in setting.chat.requests)
    assert second[: len(first)] == first
    assert [each["role"] for each in second] == ["user", "assistant", "tool"]


async def test_a_loop_before_its_provider_sends_what_is_new(setting: Setting) -> None:
    setting.claude.script(message("msg_1", USE, stop="tool_use"), message("msg_2", CLEAR))
    assert await setting.loop("claude-only") == "Clear."
    first, second = (request.json for request in setting.claude.requests)
    assert (first["thread"], second["thread"]) == (CREATE, CONTINUE)
    assert [each["role"] for each in second["messages"]] == ["user"]


async def test_a_thread_of_another_key_is_refused_by_the_provider_itself(setting: Setting) -> None:
    """That it is not there is no fault of the key: no other one is asked, and the SDK starts anew."""
    setting.claude.script(
        message("msg_1", USE, stop="tool_use"),
        refused(404, "not_found_error", {"error_code": "thread_not_found"}),
        message("msg_2", CLEAR),
    )
    assert await setting.loop("claude-only") == "Clear."
    threads = [request.json["thread"] for request in setting.claude.requests]
    assert threads == [CREATE, CONTINUE, CREATE]
    assert [each["role"] for each in setting.claude.requests[2].json["messages"]] == ["user", "assistant", "user"]


async def test_the_providers_refusal_arrives_as_the_sdks_own_error(setting: Setting) -> None:
    setting.claude.script(refused(404, "not_found_error", {"error_code": "thread_not_found"}))
    with pytest.raises(anthropic.NotFoundError) as caught:
        await setting.client.beta.messages.create(model="claude-only", max_tokens=9, messages=[HELLO], thread=CONTINUE)
    assert caught.value.error_code == "thread_not_found"
    assert len(setting.claude.requests) == 1


async def test_a_thread_whose_provider_is_down_goes_on_elsewhere(setting: Setting) -> None:
    """Of the two candidates one has the thread and fails, the other has none: everything is sent again, to the first,
    and when that still fails without a thread to the second."""
    busy = json_answer({"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}, status=529)
    setting.claude.script(message("msg_1", USE, stop="tool_use"), *[busy] * 6)
    setting.chat.script(completion(content="Clear."))
    assert await setting.loop("both") == "Clear."
    assert [each["role"] for each in setting.chat.requests[0].json["messages"]] == ["user", "assistant", "tool"]
    assert len(setting.chat.requests) == 1
