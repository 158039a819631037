"""The provider ``echo``: answers without a network."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from llmhub_plugins.providers.echo import Echo, EchoSettings

from llmhub_core.contracts import Call, Fetched, ProviderAnswer, UpstreamGarbled


async def fetch(call: Call) -> Fetched:
    raise AssertionError("nothing needs to be fetched")


async def ask(body: Mapping[str, Any] | bytes, delay: float = 0.0, path: str = "/chat/completions") -> ProviderAnswer:
    provider = Echo(EchoSettings(delay=delay))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await provider.serve(await provider.prepare(Call(path, {}, raw), "", fetch))
    assert answer is not None
    return answer


async def events(answer: ProviderAnswer) -> list[Any]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = b""
    while piece := await answer.chunk():
        assert piece.endswith(b"\n\n")
        found += piece
    *frames, rest = found.split(b"\n\n")
    assert rest == b""
    assert frames.pop() == b"data: [DONE]"
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


def said(text: object, **more: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize(
    ("messages", "reply"),
    [
        ([{"role": "user", "content": "Grüß  Gott\n"}], "You said: Grüß  Gott\n"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            "You said: a b",
        ),
        ([{"role": "user", "content": "first"}, {"role": "assistant", "content": "x"}], "You said: first"),
        ([{"role": "user", "content": "first"}, {"role": "user", "content": "last"}], "You said: last"),
        ([{"role": "system", "content": "x"}, 3], "You said nothing."),
    ],
)
async def test_it_says_back_what_the_user_said_last(messages: list[Any], reply: str) -> None:
    answer = await ask({"model": "mine", "messages": messages})
    body = json.loads(await answer.read(10_000))
    assert (answer.status, body["object"], body["model"]) == (200, "chat.completion", "mine")
    assert body["choices"][0]["message"] == {"role": "assistant", "content": reply, "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"


async def test_a_stream_is_the_whole_answer_word_by_word() -> None:
    found = await events(await ask(said("one two  three", stream=True)))
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    words = [chunk["choices"][0]["delta"]["content"] for chunk in found[1:-1]]
    assert words == ["You ", "said: ", "one ", "two  ", "three"]
    assert found[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in found}) == 1
    assert all("usage" not in chunk for chunk in found)


async def test_usage_is_counted_and_streamed_when_asked_for() -> None:
    expected = {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    whole = await ask(said("one two"))
    assert json.loads(await whole.read(10_000))["usage"] == expected
    found = await events(await ask(said("one two", stream=True, stream_options={"include_usage": True})))
    assert [chunk["usage"] for chunk in found[:-1]] == [None] * (len(found) - 1)
    assert (found[-1]["choices"], found[-1]["usage"]) == ([], expected)


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_is_kept(limit: str) -> None:
    body = json.loads(await (await ask(said("one two", **{limit: 3}))).read(10_000))
    assert body["choices"][0]["message"]["content"] == "You said: one "
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 3
    exact = json.loads(await (await ask(said("one two", **{limit: 4}))).read(10_000))
    assert exact["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("body", [b"", b"{", b"3", b"{}", b'{"messages": []}', b'{"messages": "Hi"}'])
async def test_what_it_cannot_read_it_refuses(body: bytes) -> None:
    answer = await ask(body)
    assert answer.status == 400
    error = json.loads(await answer.read(10_000))["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", None)
    assert error["code"] in ("invalid_json", "invalid_body")


async def test_words_wait_for_each_other() -> None:
    answer = await ask(said("one", stream=True), delay=0.2)
    begun = time.perf_counter()
    await answer.chunk()
    assert time.perf_counter() - begun < 0.2, "the first event does not wait"
    await answer.chunk()
    assert time.perf_counter() - begun >= 0.2


async def test_an_aborted_answer_is_over_and_a_large_one_is_refused() -> None:
    answer = await ask(said("one", stream=True))
    await answer.chunk()
    answer.abort()
    answer.abort()
    assert await answer.chunk() == b""
    with pytest.raises(UpstreamGarbled):
        await (await ask(said("one"))).read(10)


async def test_its_model_can_be_listed() -> None:
    provider = Echo(EchoSettings())
    call = provider.models_call()
    assert call is not None
    answer = await provider.serve(await provider.prepare(call, "", fetch))
    assert answer is not None
    assert [model["id"] for model in json.loads(await answer.read(10_000))["data"]] == ["echo"]


# Other operations.


async def told(path: str, **body: Any) -> Any:
    answer = await ask(body, path=path)
    return json.loads(await answer.read(1_000_000)) if answer.status == 200 else answer.status


async def test_texts_with_words_in_common_lie_near_each_other() -> None:
    inputs = ["the cat sat on a mat", "the cat sat on the mat", "prices rose in October"]
    said = await told("/embeddings", model="mine", input=inputs, dimensions=256)
    cat, other_cat, prices = (each["embedding"] for each in said["data"])
    assert [len(vector) for vector in (cat, other_cat, prices)] == [256] * 3
    assert sum(value * value for value in cat) == pytest.approx(1)
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (other_cat, prices))
    assert near > 0.7 > 0.3 > far
    assert (said["model"], said["usage"]) == ("mine", {"prompt_tokens": 16, "total_tokens": 16})
    again = await told("/embeddings", model="mine", input=inputs[0], dimensions=256)
    assert again["data"] == [{"object": "embedding", "index": 0, "embedding": cat}]


@pytest.mark.parametrize(("given", "count"), [([5, 6], 1), ([[5], [6]], 2), (" ", 1), (["a"], 1)])
async def test_vectors_for_whatever_can_be_asked(given: Any, count: int) -> None:
    said = await told("/embeddings", input=given)
    assert [len(each["embedding"]) for each in said["data"]] == [64] * count


async def test_a_category_applies_where_its_name_is_said() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a.b/c"}}
    said = await told("/moderations", input=["kind words", "graphic Violence !", picture])
    assert [each["flagged"] for each in said["results"]] == [False, True, False]
    assert [name for name, applies in said["results"][1]["categories"].items() if applies] == ["violence"]


async def test_words_are_counted() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "one two"}, {"type": "image"}]}]
    path = "/v1/messages/count_tokens"
    assert await told(path, messages=messages) == {"input_tokens": 2}
    assert await told(path, messages=messages, system="be brief") == {"input_tokens": 4}


@pytest.mark.parametrize("path", ["/embeddings", "/moderations", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("given", [None, [], 5])
async def test_nothing_to_work_on_is_refused(path: str, given: Any) -> None:
    assert await told(path, input=given, messages=given) == 400
