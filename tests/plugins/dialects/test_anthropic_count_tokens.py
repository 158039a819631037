"""The anthropic_count_tokens dialect: questions read and written, counts read and written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic.count_tokens import AnthropicCountTokens, register_dialects

from llmhub_core.contracts import (
    COUNT_TOKENS,
    Answered,
    AnswerFormat,
    BadRequest,
    ChatRequest,
    Failed,
    Message,
    NoSettings,
    Sampling,
    Text,
    TokenCount,
    Tool,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamOverloaded,
    Where,
)

TRAFFIC = Path(
    os.environ.get("LLMHUB_TRAFFIC") or Path(__file__).resolve().parents[3] / ".." / "shared" / "traffic"
).resolve()
CASES = [json.loads(path.read_text()) for path in sorted((TRAFFIC / "anthropic/count_tokens").glob("*.json"))]
with_traffic = pytest.mark.skipif(not CASES, reason="the recorded traffic is not beside this checkout")

DIALECT = AnthropicCountTokens(NoSettings())
NOWHERE = Where({}, {})
Json = dict[str, Any]


def read(body: Json) -> ChatRequest:
    data = json.dumps(body).encode()
    return DIALECT.decode_request(data, DIALECT.read_head(data, NOWHERE), NOWHERE)


def count(body: Any) -> Any:
    decoder = DIALECT.response_decoder(False)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    (event,) = [*decoder.feed(data[:5]), *decoder.feed(data[5:]), *decoder.close()]
    return event


def test_it_is_an_operation_of_its_own() -> None:
    assert list(register_dialects()) == [AnthropicCountTokens]
    head = DIALECT.read_head(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', NOWHERE)
    assert (head.model, head.operation, head.stream, head.max_output) == ("m", COUNT_TOKENS, False, None)
    assert DIALECT.path(head, "x") == "/v1/messages/count_tokens"
    assert DIALECT.request_headers({"anthropic-beta": "b"})["anthropic-beta"] == "b"
    assert not DIALECT.claims({"anthropic-version": "2023-06-01"}, "/v1/models")
    body = b'{"model": "public", "messages": [], "x": 1.0e1}'
    assert DIALECT.outgoing_body(body, head, "real") == body.replace(b"public", b"real")
    for wrong in ({"messages": []}, {"model": "m", "messages": [{"role": "robot", "content": "x"}]}, {"model": "m"}):
        with pytest.raises(BadRequest):
            read(wrong)


@with_traffic
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_recorded_questions_and_counts(case: Json) -> None:
    asked, response = case["request"]["body"], case["response"]
    again = json.loads(DIALECT.encode_request(read(asked), asked["model"]).body)
    assert read(again) == read(asked)
    assert again.keys() == asked.keys()
    body = json.dumps(response["body"]).encode()
    head = DIALECT.read_head(json.dumps(asked).encode(), NOWHERE)
    if response["status"] != 200:
        assert isinstance(DIALECT.decode_error(response["status"], {}, body), UpstreamModelMissing)
        return
    assert count(body) == Answered(TokenCount(response["body"]["input_tokens"]))
    assert DIALECT.inspect_answer(body, head).complete


def test_another_formats_question_has_only_what_is_counted() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    request = ChatRequest(
        "gemini",
        "public",
        (Message("system", (Text("s"),)), Message("user", (Text("hi", {"gemini": {"mark": 1}}),))),
        (Tool("f", "does f", schema),),
        Sampling(
            max_output=9, temperature=0.5, stop=("x",), seed=3, user="u", answer_format=AnswerFormat("json_object")
        ),
        stream=True,
        extras={"safetySettings": [1]},
    )
    written = DIALECT.encode_request(request, "claude-opus-4-8")
    body = json.loads(written.body)
    assert body.keys() == {"model", "system", "tools", "tool_choice", "messages"}
    assert (body["system"], body["messages"]) == ("s", [{"role": "user", "content": "hi"}])
    assert set(written.adapted) == {"messages[1].content[0].mark=dropped", "response_format=emulated"}


def test_this_formats_question_is_written_as_it_was() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "mcp_servers": [{"type": "url"}],
        "cache_control": {"type": "ephemeral"},
    }
    assert json.loads(DIALECT.encode_request(read(body), "m").body) == body


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b"{}", b'{"input_tokens":"5"}', b'{"input_tokens":-1}'])
def test_what_is_no_count_fails(answer: bytes) -> None:
    event = count(answer)
    assert isinstance(event, Failed)
    assert isinstance(event.error, UpstreamGarbled)
    with pytest.raises(ValueError):
        DIALECT.inspect_answer(
            answer, DIALECT.read_head(b'{"model":"m","messages":[{"role":"user","content":""}]}', NOWHERE)
        )


def test_an_error_under_a_good_status_fails() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    assert isinstance(count(error).error, UpstreamOverloaded)
    info = DIALECT.inspect_answer(
        json.dumps(error).encode(),
        DIALECT.read_head(b'{"model":"m","messages":[{"role":"user","content":""}]}', NOWHERE),
    )
    assert isinstance(info.error, UpstreamOverloaded)


def test_counts_are_written() -> None:
    def written(*events: Any) -> Any:
        encoder = DIALECT.response_encoder(ChatRequest("anthropic", "m", ()))
        assert b"".join(map(encoder.write, events)) == b""
        return json.loads(encoder.close())

    assert written(Answered(TokenCount(588))) == {"input_tokens": 588}
    assert written(Answered(TokenCount(5, estimated=True))) == {"input_tokens": 5, "estimated": True}
    assert written(Failed(UpstreamLimited("slow down")))["error"]["type"] == "rate_limit_error"
