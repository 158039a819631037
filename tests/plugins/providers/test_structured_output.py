"""Answers in a JSON Schema where the place takes none: the request reworded, the answer put back, cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llmhub_plugins.providers.openai_compatible import OpenAICompatible, OpenAICompatibleSettings
from llmhub_plugins.providers.openai_compatible.structured import ANSWER

from llmhub_core.contracts import BadRequest, Call
from llmhub_core.testing.provider import no_fetch

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "look_up"}}
USER = {"role": "user", "content": "How old?"}


def place(preset: str = "", **more: Any) -> OpenAICompatible:
    base = {} if preset else {"base_url": "http://127.0.0.1:1/v1"}
    return OpenAICompatible(OpenAICompatibleSettings(preset=preset, **base, **more))


async def asked(provider: OpenAICompatible, **body: Any) -> tuple[Call, dict[str, Any]]:
    whole = {"model": "m", "messages": [USER], "response_format": FORMAT, **body}
    call = await provider.prepare(Call("/chat/completions", {}, json.dumps(whole).encode()), "", no_fetch)
    return call, json.loads(call.body)


async def test_a_place_that_takes_schemas_gets_them() -> None:
    for provider in (place("openrouter"), place(), place("deepseek", structured_output="native")):
        call, body = await asked(provider)
        assert body["response_format"] == FORMAT
        assert call.adapted == []
        assert provider.envelope(True, call) is None


async def test_the_json_mode_gets_the_schema_as_an_instruction() -> None:
    call, body = await asked(place("deepseek"))
    assert body["response_format"] == {"type": "json_object"}
    system, user = body["messages"]
    assert system["role"] == "system"
    assert json.dumps(SCHEMA, separators=(",", ":")) in system["content"]
    assert user == USER
    assert call.adapted == ["response_format=emulated"]
    _, body = await asked(place("deepseek"), messages=[{"role": "developer", "content": "Be kind."}, USER])
    assert len(body["messages"]) == 2
    assert body["messages"][0]["content"].startswith("Be kind.\n\nAnswer with a JSON")
    parts = [{"type": "text", "text": "Be kind."}]
    _, body = await asked(place(structured_output="json_object"), messages=[{"role": "system", "content": parts}, USER])
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "text"]


async def test_a_place_without_a_json_mode_is_asked_for_any_object() -> None:
    call, body = await asked(place("lm_studio"), response_format={"type": "json_object"})
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert call.adapted == []


async def test_schemas_can_be_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        await asked(place("groq", structured_output="refuse"))
    assert (caught.value.code, caught.value.param) == ("unsupported_content", "response_format")


@pytest.mark.parametrize(
    ("model", "more", "native"),
    [
        ("openai/gpt-oss-20b", {}, True),
        ("openai/gpt-oss-20b", {"stream": True}, False),
        ("openai/gpt-oss-20b", {"stream": False, "tools": []}, True),
        ("openai/gpt-oss-20b", {"tools": [TOOL]}, False),
        ("llama-3.1-8b-instant", {}, False),
    ],
)
async def test_groq_takes_schemas_for_some_models_alone_and_whole(model: str, more: Any, native: bool) -> None:
    call, body = await asked(place("groq"), model=model, **more)
    assert ("response_format" in body) is native
    assert call.adapted == ([] if native else ["response_format=emulated"])


async def test_a_function_that_must_be_called() -> None:
    _, body = await asked(place(structured_output="forced_tool"))
    (tool,) = body["tools"]
    assert (tool["function"]["name"], tool["function"]["parameters"]) == (ANSWER, SCHEMA)
    assert body["tool_choice"] == {"type": "function", "function": {"name": ANSWER}}
    assert "response_format" not in body


async def test_the_callers_own_functions_stay_callable() -> None:
    forced = place(structured_output="forced_tool")
    _, body = await asked(forced, tools=[TOOL], tool_choice="auto")
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look_up", ANSWER]
    assert body["tool_choice"] == "required"
    _, body = await asked(forced, tools=[TOOL], tool_choice="none")
    assert [tool["function"]["name"] for tool in body["tools"]] == [ANSWER]
    call, body = await asked(forced, tools=[TOOL], tool_choice=NAMED)
    assert (body["tools"], body["tool_choice"]) == ([TOOL], NAMED)
    assert call.adapted == ["response_format=dropped"]
    assert forced.envelope(True, call) is None


# The way back.


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], **more}).encode() + b"\n\n"


def call_of(index: int, name: str | None, arguments: str) -> dict[str, Any]:
    named = {"id": f"call_{index}", "type": "function"} if name else {}
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, **named, "function": function}


STREAM = [
    b": hello\r\n\r\n",
    chunk({"role": "assistant", "content": None}),
    chunk({"content": "I will answer: "}),
    chunk({"tool_calls": [call_of(0, ANSWER, "")]}),
    chunk({"tool_calls": [call_of(0, None, '{"age":')]}),
    chunk({"tool_calls": [call_of(0, None, " 7}")]}),
    chunk({}, "tool_calls"),
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n',
    b"data: [DONE]\n\n",
]


async def passed(stream: list[bytes], size: int, **more: Any) -> list[dict[str, Any]]:
    """What the caller reads of `stream`, which arrives in pieces of `size` bytes."""
    provider = place(structured_output="forced_tool")
    call, _ = await asked(provider, stream=True, **more)
    envelope = provider.envelope(True, call)
    assert envelope is not None
    whole = b"".join(stream)
    out = b"".join(envelope.feed(whole[at : at + size]) for at in range(0, len(whole), size)) + envelope.close()
    assert out.endswith(b"data: [DONE]\n\n")
    lines = [line[6:] for line in out.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


def calls_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for chunk in chunks for c in chunk["choices"] for call in c["delta"].get("tool_calls") or ()]


def finish_of(chunks: list[dict[str, Any]]) -> list[str]:
    return [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
async def test_the_arguments_are_the_answer(size: int) -> None:
    chunks = await passed(STREAM, size)
    assert json.loads(text_of(chunks)) == {"age": 7}
    assert (calls_of(chunks), finish_of(chunks)) == ([], ["stop"])
    assert chunks[-1]["usage"]["total_tokens"] == 7


async def test_a_model_that_answers_in_text_all_the_same_is_heard() -> None:
    stream = [chunk({"content": '{"age"'}), chunk({"content": ": 7}"}), chunk({}, "stop"), STREAM[-1]]
    chunks = await passed(stream, 5)
    assert json.loads(text_of(chunks)) == {"age": 7}
    assert finish_of(chunks) == ["stop"]


async def test_the_callers_own_calls_pass_with_the_text_before_them() -> None:
    stream = [
        chunk({"content": "Let me look."}),
        chunk({"tool_calls": [call_of(0, "look_up", "{}")]}),
        chunk({}, "tool_calls"),
        STREAM[-1],
    ]
    chunks = await passed(stream, 9, tools=[TOOL])
    assert text_of(chunks) == "Let me look."
    assert [call["function"]["name"] for call in calls_of(chunks)] == ["look_up"]
    assert finish_of(chunks) == ["tool_calls"]


async def test_calls_beside_the_answer_leave_no_gap() -> None:
    stream = [
        chunk({"tool_calls": [call_of(0, ANSWER, '{"age":7}')]}),
        chunk({"tool_calls": [call_of(1, "look_up", "{")]}),
        chunk({"tool_calls": [call_of(1, None, "}"), call_of(2, ANSWER, '{"age":8}')]}),
        chunk({}, "tool_calls"),
        STREAM[-1],
    ]
    chunks = await passed(stream, 11, tools=[TOOL])
    assert text_of(chunks) == '{"age":7}', "one answer is enough"
    assert [call["index"] for call in calls_of(chunks)] == [0, 0]
    assert finish_of(chunks) == ["tool_calls"]


@pytest.mark.parametrize("beside", ["I will answer: ", None])
async def test_a_whole_answer(beside: str | None) -> None:
    provider = place(structured_output="forced_tool")
    call, _ = await asked(provider)
    envelope = provider.envelope(False, call)
    assert envelope is not None
    function = {"name": ANSWER, "arguments": '{"age":7}'}
    message = {
        "role": "assistant",
        "content": beside,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    answer = {
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"total_tokens": 1},
    }
    said = json.dumps(answer).encode()
    assert envelope.feed(said[:20]) + envelope.feed(said[20:]) == b""
    out = json.loads(envelope.close())
    assert out["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": '{"age":7}'},
        "finish_reason": "stop",
    }
    assert out["usage"] == {"total_tokens": 1}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"choices":[1,{"message":2}]}', b'{"choices":null}'])
async def test_what_is_no_answer_is_left_to_the_dialect(body: bytes) -> None:
    provider = place(structured_output="forced_tool")
    call, _ = await asked(provider)
    envelope = provider.envelope(False, call)
    assert envelope is not None
    assert envelope.feed(body) == b""
    out = envelope.close()
    assert out == body or json.loads(out) == json.loads(body)
