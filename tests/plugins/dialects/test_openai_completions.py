"""Text completions: what is refused, what passes as it is, what a chat is asked in their place; recorded traffic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from llmhub_plugins.dialects.openai_completions import OpenAICompletions, register_dialects

from llmhub_core.contracts import (
    BadRequest,
    ChatRequest,
    Event,
    Failed,
    Finished,
    Image,
    Inline,
    Message,
    Opaque,
    PartDelta,
    PartEnded,
    PartStarted,
    RequestHead,
    Sampling,
    Started,
    Text,
    TokenLogprob,
    Tool,
    UpstreamError,
    UpstreamGarbled,
    UpstreamLimited,
    UpstreamOverloaded,
    Usage,
    Used,
    Where,
    fold,
    read_frame,
)
from llmhub_core.testing.conversations import decode, encode

TRAFFIC = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[3] / ".." / "shared" / "traffic"))
LEGACY = OpenAICompletions(OpenAICompletions.Settings())
HERE = Where({}, {})
ASK: dict[str, Any] = {"model": "m", "prompt": "Once upon"}


def head(**fields: Any) -> RequestHead:
    return LEGACY.read_head(json.dumps({**ASK, **fields}).encode(), HERE)


def read(**fields: Any) -> ChatRequest:
    body = json.dumps({**ASK, **fields}).encode()
    return LEGACY.decode_request(body, LEGACY.read_head(body, HERE), HERE)


def write(request: ChatRequest) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(LEGACY.encode_request(request, "m").body)
    return written


# Requests.


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ""}, "invalid_value", "model"),
        ({"prompt": None}, "invalid_type", "prompt"),
        ({"prompt": {}}, "invalid_type", "prompt"),
        ({"prompt": []}, "invalid_value", "prompt"),
        ({"max_tokens": -1}, "invalid_value", "max_tokens"),
        ({"n": 0}, "invalid_value", "n"),
        ({"logprobs": True}, "invalid_type", "logprobs"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"stream": 1}, "invalid_type", "stream"),
        ({"stop": [""]}, "invalid_value", "stop[0]"),
        ({"echo": "yes"}, "invalid_type", "echo"),
        ({"api_base": "x"}, "unknown_field", "api_base"),
        ({"user": "a\n"}, "invalid_value", "user"),
    ],
)
def test_a_body_that_no_server_takes_is_refused_by_field(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        head(**fields)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"model":"m"}', b'{"prompt":"x"}', b'{"model":"m","prompt":"\xff"}'])
def test_a_body_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        LEGACY.read_head(raw, HERE)


def test_the_head_tells_what_the_chain_must_know() -> None:
    assert head() == RequestHead("m", max_output=16)
    asked = head(stream=True, stream_options={"include_usage": True}, max_tokens=0, n=2, prompt=["a", "b", "c"])
    assert asked == RequestHead("m", True, "sse", 0, True, 6)
    assert head(prompt=[1, 2, 3]).n == 1
    assert head(prompt=[[1], [2]]).n == 2
    assert head(stream=True).asked_usage is False


FULL: dict[str, Any] = {
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 4,
    "n": 2,
    "best_of": 3,
    "stop": ["a"],
    "seed": 7,
    "presence_penalty": 1,
    "frequency_penalty": -1,
    "logprobs": 3,
    "logit_bias": {"5": 1},
    "user": "u",
}


def test_settings_are_read_into_the_neutral_words_and_written_back() -> None:
    request = read(**FULL)
    assert request.messages == (Message("user", (Text("Once upon"),)),)
    assert request.sampling == Sampling(
        max_output=5,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop=("a",),
        seed=7,
        presence_penalty=1,
        frequency_penalty=-1,
        n=2,
        logprobs=True,
        top_logprobs=3,
        user="u",
    )
    assert request.extras == {"best_of": 3, "logit_bias": {"5": 1}}
    assert write(request) == {**ASK, **FULL}
    assert LEGACY.encode_request(request, "m").adapted == ()


def test_what_says_nothing_is_no_loss() -> None:
    request = read(suffix="", echo=False, logit_bias={}, best_of=1, stop=None, stream_options={"include_usage": True})
    assert (request.extras, request.messages[0].content) == ({}, (Text("Once upon"),))
    assert read(prompt=["One"]).messages[0].content == (Text("One"),)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"prompt": ["a", "b"], "n": 2}, "prompt of several texts or of tokens"),
        ({"prompt": [1, 2]}, "prompt of several texts or of tokens"),
        ({"suffix": "The end."}, "suffix"),
        ({"echo": True}, "echo"),
    ],
)
def test_what_no_chat_can_be_asked_is_opaque_and_goes_back_whole(fields: dict[str, Any], kind: str) -> None:
    request = read(**fields)
    [part] = request.messages[0].content
    assert isinstance(part, Opaque)
    assert (part.origin, part.kind) == ("openai_completions", kind)
    assert write(request) == {**ASK, "max_tokens": 16, **fields}


def test_a_stream_always_asks_for_its_usage() -> None:
    own = read(stream=True, stream_options={"include_obfuscation": False})
    assert write(own)["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    body = b'{"model": "a", "prompt": "x", "stream": true}'
    out = json.loads(LEGACY.outgoing_body(body, LEGACY.read_head(body, HERE), "b"))
    assert out == {"model": "b", "prompt": "x", "stream": True, "stream_options": {"include_usage": True}}


def chat(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest("anthropic", "m", messages or (Message("user", (Text("A"), Text("B"))),), **fields)


def test_a_chat_of_one_text_can_be_said() -> None:
    sampling = Sampling(top_k=1, effort="low", reasoning_tokens=5, parallel_tools=True, temperature=0.5)
    encoded = LEGACY.encode_request(chat(sampling=sampling, extras={"metadata": {}}), "m")
    assert json.loads(encoded.body) == {"model": "m", "prompt": "A\n\nB", "temperature": 0.5, "max_tokens": 4096}
    assert set(encoded.adapted) == {
        "top_k=dropped",
        "effort=dropped",
        "reasoning_tokens=dropped",
        "parallel_tools=dropped",
        "metadata=dropped",
    }


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(Message("system", (Text("S"),)), Message("user", (Text("A"),))), "messages[0]"),
        (chat(Message("user", (Text("A"),)), Message("assistant", (Text("B"),))), "messages[1]"),
        (chat(Message("user", (Text("A"), Image(Inline("image/png", "AAAA"))))), "messages[0].content[1]"),
        (chat(Message("user", (Opaque("gemini", "x", {}),))), "messages[0].content[0]"),
        (chat(tools=(Tool("f"),)), "tools[0]"),
    ],
)
def test_any_other_chat_is_refused_by_name(request_: ChatRequest, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        LEGACY.encode_request(request_, "m")
    assert (caught.value.code, caught.value.param) == ("unsupported_content", param)


# Answers.


def chunk(text: str = "", finish: str | None = None, choice: int = 0, **fields: Any) -> bytes:
    value = {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m"}
    choices = [{"text": text, "index": choice, "logprobs": None, "finish_reason": finish}]
    return b"data: " + json.dumps({**value, "choices": choices, **fields}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def test_a_stream_becomes_events_in_order() -> None:
    frames = [chunk("a"), chunk("b"), chunk("", "length"), chunk(choices=[], usage=USAGE), DONE]
    assert decode(LEGACY.response_decoder(True), b"".join(frames)) == [
        Started("cmpl-1", "m", 7),
        PartStarted(0, "text"),
        PartDelta(0, "a"),
        PartDelta(0, "b"),
        PartEnded(0),
        Finished("length", 0, "length"),
        Used(Usage(5, 3)),
    ]


@pytest.mark.parametrize(
    ("frames", "whole"),
    [
        ([chunk("a"), chunk("", "stop"), DONE], True),
        ([chunk("a"), chunk("", "stop")], True),
        ([chunk("a"), chunk("", "stop").rstrip()], True),
        ([chunk("a"), DONE], True),
        ([chunk("a")], False),
        ([chunk("a", "stop", 0), chunk("b", None, 1)], False),
        ([b": ping\n\n"], False),
        ([], False),
    ],
)
def test_an_end_without_evidence_is_a_failure(frames: Sequence[bytes], whole: bool) -> None:
    response = fold(decode(LEGACY.response_decoder(True), b"".join(frames)))
    assert (response.failed is None) is whole
    assert whole or isinstance(response.failed, UpstreamGarbled)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'data: {"error":{"message":"x","code":429}}\n\n', UpstreamLimited),
        (b'data: {"error":"busy"}\n\n', UpstreamOverloaded),
        (b"data: {broken\n\n", UpstreamGarbled),
        (b"data: [1]\n\n", UpstreamGarbled),
    ],
)
def test_an_error_in_the_stream_ends_it(data: bytes, kind: type[UpstreamError]) -> None:
    events = decode(LEGACY.response_decoder(True), chunk("a", usage=USAGE) + data + chunk("b", "stop") + DONE)
    assert isinstance(events[-1], Failed)
    assert type(events[-1].error) is kind
    assert (fold(events).text, fold(events).usage) == ("a", Usage(5, 3))


def test_odd_types_are_read_around() -> None:
    odd = b'data: {"id":5,"choices":[{"index":"0","text":7},"x",{"text":"\\ud800"}],"usage":"many"}\n\n'
    assert fold(decode(LEGACY.response_decoder(True), odd + chunk("", "eos") + DONE)).finished[0].reason == "stop"
    for body in (b"", b"<html>", b"[]", b"{}", b'{"choices":[]}'):
        assert isinstance(fold(decode(LEGACY.response_decoder(False), body)).failed, UpstreamGarbled)


ANSWER: list[Event] = [
    Started("", "", 0),
    PartStarted(0, "reasoning", origin="anthropic"),
    PartDelta(0, "hm"),
    PartEnded(0, "sig"),
    PartStarted(1, "text"),
    PartDelta(1, 'a"é'),
    PartEnded(1),
    PartStarted(2, "text", choice=1),
    PartDelta(2, "b"),
    PartEnded(2),
    PartStarted(3, "refusal", choice=1),
    PartDelta(3, " no"),
    PartEnded(3),
    Used(Usage(5, 3, cached_tokens=2)),
    Finished("stop_sequence", 0),
    Finished("refusal", 1),
]


def written(events: Sequence[Event], stream: bool, asked_usage: bool = True) -> bytes:
    request = ChatRequest("openai_completions", "public", (), stream=stream, asked_usage=asked_usage)
    return encode(LEGACY.response_encoder(request), events)


def schema() -> Any:
    path = TRAFFIC / "specs" / "openai.schema.json"
    if not path.exists():
        pytest.skip(f"no recorded traffic at {TRAFFIC}")
    whole = json.loads(path.read_text())
    return jsonschema.Draft202012Validator({"$ref": "#/$defs/CreateCompletionResponse", "$defs": whole["$defs"]})


def values(data: bytes) -> Iterator[dict[str, Any]]:
    for frame in data.split(b"\n\n"):
        said = read_frame(frame + b"\n\n")[1]
        if said.startswith(b"{"):
            yield json.loads(said)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chats_answer_is_its_text(stream: bool) -> None:
    data = written(ANSWER, stream)
    response = fold(decode(LEGACY.response_decoder(stream), data))
    assert [(part.choice, part.text) for part in response.parts] == [(0, 'a"é'), (1, "b no")]
    assert {number: end.native for number, end in response.finished.items()} == {0: "stop", 1: "content_filter"}
    assert response.usage == Usage(5, 3, cached_tokens=2)
    assert (response.model, response.id.startswith("cmpl-")) == ("public", True)
    assert response.created > 1_700_000_000
    if not stream:
        schema().validate(json.loads(data))


def test_chunks_are_written_as_openai_writes_them() -> None:
    data = written(ANSWER, stream=True)
    assert data.endswith(b"\n\n" + DONE)
    *said, usage = values(data)
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 8)
    assert all(value["usage"] is None and value["object"] == "text_completion" for value in said)
    assert [value["choices"][0]["text"] for value in said] == ['a"é', "b", " no", "", ""]
    assert [value["choices"][0]["index"] for value in said] == [0, 1, 1, 0, 1]
    assert all("usage" not in value and value["choices"] for value in values(written(ANSWER, True, asked_usage=False)))


def test_a_failure_ends_the_stream_without_done() -> None:
    failed = Failed(UpstreamOverloaded("The provider is overloaded; try again later."))
    data = written([*ANSWER[:6], failed, *ANSWER[6:]], stream=True)
    assert b"[DONE]" not in data
    assert [*values(data)][-1]["error"]["code"] == "overloaded"
    assert json.loads(written([failed], stream=False))["error"]["code"] == "overloaded"


def test_an_answer_without_anything_is_an_empty_one() -> None:
    for stream in (False, True):
        response = fold(decode(LEGACY.response_decoder(stream), written([], stream)))
        assert (response.text, response.failed, set(response.finished)) == ("", None, {0})


TOKENS = (TokenLogprob("He", -0.5, b"He", (TokenLogprob("He", -0.5),)), TokenLogprob("llo", -1.0))
LISTS = {
    "tokens": ["He", "llo"],
    "token_logprobs": [-0.5, -1.0],
    "top_logprobs": [{"He": -0.5}, {}],
    "text_offset": [0, 2],
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_probabilities_of_tokens_are_carried(stream: bool, own: bool) -> None:
    """As its own reader leaves them, and as those of other formats do."""
    kept = {"openai_completions": {"logprobs": LISTS}}
    events: list[Event] = [
        Started("c", "m", 7),
        *(PartStarted(0, "text"), PartDelta(0, "Hello"), PartEnded(0, logprobs=() if own else TOKENS)),
        *((PartStarted(1, "opaque", extras=kept), PartEnded(1)) if own else ()),
        Finished("stop"),
    ]
    data = written(events, stream)
    text, notes = fold(decode(LEGACY.response_decoder(stream), data)).parts
    assert (text.text, notes.extras) == ("Hello", {"openai_completions": {"logprobs": LISTS}})
    found = [choice["logprobs"] for value in [*values(data), *([] if stream else [json.loads(data)])]
             for choice in value["choices"] if choice["logprobs"]]  # fmt: skip
    assert found == [LISTS]


# In passing, and the rest.


def test_frames_tell_usage_ends_and_errors() -> None:
    quiet = RequestHead("m", True, "sse", asked_usage=False)
    info = LEGACY.inspect_frame(read_frame(chunk(choices=[], usage=USAGE))[1], quiet)
    assert (info.usage, info.hidden, info.complete) == (Usage(5, 3), True, False)
    last = read_frame(chunk("", "stop"))[1]
    assert LEGACY.inspect_frame(last, quiet).finish == "stop"
    assert LEGACY.inspect_frame(last, RequestHead("m", True, "sse", n=2)).finish is None
    assert LEGACY.inspect_frame(b"[DONE]", quiet).complete
    assert isinstance(LEGACY.inspect_frame(b'{"error":{"message":"x","code":429}}', quiet).error, UpstreamLimited)
    whole = json.dumps({"choices": [{"text": "a", "finish_reason": "length"}], "usage": USAGE}).encode()
    info = LEGACY.inspect_answer(whole, RequestHead("m"))
    assert (info.usage, info.finish, info.complete) == (Usage(5, 3), "length", True)
    for none in (b"", b"[]", b"{}"):
        with pytest.raises(ValueError):
            LEGACY.inspect_answer(none, RequestHead("m"))


def test_paths_claims_and_credentials() -> None:
    assert LEGACY.path(RequestHead("m"), "x") == "/completions"
    assert not LEGACY.claims({"user-agent": "OpenAI/Python 3.54.0"}, "/v1/models")
    assert LEGACY.credentials({"authorization": "Bearer lh-1"}, {}) == "lh-1"
    assert isinstance(LEGACY.decode_error(500, {}, b""), UpstreamOverloaded)
    assert LEGACY.stream_end() == DONE
    assert list(register_dialects()) == [OpenAICompletions]


# Recorded.


def cases() -> list[Any]:
    paths = sorted(TRAFFIC.glob("*/completions/*.json"))
    if not paths:
        return [pytest.param(None, marks=pytest.mark.skip(f"no recorded traffic at {TRAFFIC}"))]
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in paths]


@pytest.mark.parametrize("case", cases())
def test_recorded_traffic_is_read_and_written_again(case: dict[str, Any]) -> None:
    asked, answer = case["request"]["body"], case["response"]
    body = json.dumps(asked).encode()
    where = LEGACY.read_head(body, HERE)
    encoded = LEGACY.encode_request(LEGACY.decode_request(body, where, HERE), asked["model"])
    said = {name: value for name, value in json.loads(encoded.body).items() if name != "stream_options"}
    wanted = {name: value for name, value in asked.items() if value not in (None, {}) and name != "stream_options"}
    wanted |= {"max_tokens": asked.get("max_tokens", 16)}
    if isinstance(asked["prompt"], list):
        [wanted["prompt"]] = asked["prompt"]
    if wanted.get("n") == 1:
        del wanted["n"]
    assert (said, encoded.adapted) == (wanted, ())

    stream = answer.get("stream") is not None
    raw = answer["stream"].encode() if stream else json.dumps(answer["body"]).encode()
    chunks = [*values(raw)] if stream else [answer["body"]]
    text = "".join(choice["text"] for value in chunks for choice in value["choices"])
    used = next((value["usage"] for value in reversed(chunks) if value.get("usage")), None)
    for size in (1, 7, 1 << 30):
        events = decode(LEGACY.response_decoder(stream), raw, size)
        response = fold(events)
        assert (response.text, response.failed) == (text, None)
        assert response.usage == (used and Usage(used["prompt_tokens"], used["completion_tokens"]))
    for again in (False, True):
        data = written(events, again)
        response = fold(decode(LEGACY.response_decoder(again), data))
        assert (response.text, response.usage) == (text, fold(events).usage)
        if not again:
            schema().validate(json.loads(data))
