"""Embeddings across formats: neutral values in and out, vectors in both spellings, recorded answers."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from llmhub_plugins.dialects.openai_operations import vectors
from llmhub_plugins.dialects.openai_operations.embeddings import OpenAIEmbeddings

from llmhub_core.contracts import (
    Answered,
    BadRequest,
    EmbeddingRequest,
    Embeddings,
    Event,
    Failed,
    NoSettings,
    Usage,
    Used,
    Where,
    load_json,
)

DIALECT = OpenAIEmbeddings(NoSettings())
WHERE = Where({}, {})


def read(**fields: Any) -> EmbeddingRequest:
    body = json.dumps(fields).encode()
    return DIALECT.decode_request(body, DIALECT.read_head(body, WHERE), WHERE)


def written(request: EmbeddingRequest, *events: Event) -> Any:
    writer = DIALECT.response_encoder(request)
    assert b"".join(writer.write(event) for event in events) == b""
    return load_json(writer.close())


def answered(body: bytes, size: int = 1 << 20) -> list[Event]:
    reader = DIALECT.response_decoder(False)
    events = [event for at in range(0, len(body), size) for event in reader.feed(body[at : at + size])]
    return [*events, *reader.close()]


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("Hi", ("Hi",)),
        (["Hi"], ("Hi",)),
        (["Hi", "Ho"], ("Hi", "Ho")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_a_request_written_back_asks_the_same(given: Any, inputs: tuple[Any, ...]) -> None:
    request = read(model="m", input=given, dimensions=256, encoding_format="base64", user="u", input_type="query")
    assert request == EmbeddingRequest(
        "openai_embeddings", "m", inputs, 256, "base64", user="u", extras={"input_type": "query"}
    )
    encoded = DIALECT.encode_request(request, "m")
    assert encoded.adapted == ()
    assert read(**load_json(encoded.body)) == request


def test_what_the_format_lacks_is_named() -> None:
    asked = EmbeddingRequest("gemini_embeddings", "x", ("Hi",), 8, "base64", "RETRIEVAL_QUERY", "T", extras={"odd": 1})
    encoded = DIALECT.encode_request(asked, "m")
    assert load_json(encoded.body) == {"model": "m", "input": "Hi", "dimensions": 8}
    assert encoded.adapted == ("taskType=dropped", "title=dropped", "odd=dropped")


def test_what_only_one_server_can_embed_is_not_translated() -> None:
    with pytest.raises(BadRequest) as refused:
        read(model="m", input=["Hi", {"image": "https://a.b/c"}])
    assert (refused.value.code, refused.value.param) == ("unsupported_content", "input[1]")


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_answers_are_read_in_the_order_of_the_inputs(size: int) -> None:
    items = [{"index": 1, "embedding": packed(0.5, -2)}, {"index": 0, "embedding": [1, 0.25]}]
    body = json.dumps({"data": items, "model": "m-1", "usage": {"prompt_tokens": 3}, "new": {}}).encode()
    assert answered(body, size) == [Answered(Embeddings(((1.0, 0.25), (0.5, -2.0)), "m-1")), Used(Usage(3))]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[]}',
        b'{"data":[{}]}',
        b'{"data":[5]}',
        b'{"data":{"embedding":[1]}}',
        b'{"data":[{"embedding":"AAA"}]}',
        b'{"data":[{"embedding":"AAAA"}]}',
        b'{"data":[{"embedding":[[1]]}]}',
        b'{"data":[{"embedding":[true]}]}',
        b'{"error":{"message":"busy"}}',
    ],
)
def test_what_holds_no_vectors_fails(body: bytes) -> None:
    (event,) = answered(body)
    assert isinstance(event, Failed)
    assert event.error.status >= 500


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_an_answer_is_written_as_it_was_asked_for(encoding: str) -> None:
    request = read(model="m", input=["Hi", "Ho"], encoding_format=encoding)
    body = written(request, Answered(Embeddings(((1.0, 0.25), (0.5, -2.0)))), Used(Usage(3)))
    given = [[1.0, 0.25], [0.5, -2.0]] if encoding == "float" else [packed(1, 0.25), packed(0.5, -2)]
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(given)],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


def test_usage_that_nobody_told_is_estimated_and_marked() -> None:
    request = read(model="m", input=[[1, 2], [3]])
    body = written(request, Answered(Embeddings(((1.0,), (2.0,)), "m-1")))
    assert (body["model"], body["usage"]) == ("m-1", {"prompt_tokens": 3, "total_tokens": 3, "estimated": True})


def test_a_failure_writes_nothing() -> None:
    failed = answered(b"garbage")[0]
    writer = DIALECT.response_encoder(read(model="m", input="Hi"))
    assert writer.write(failed) + writer.close() == b""


@pytest.mark.parametrize("numbers", [(), (1.0,), (0.1, -3.4e38, 1e-45, float("inf"))])
def test_packed_vectors_are_little_endian_floats(numbers: tuple[float, ...]) -> None:
    assert vectors.pack(numbers) == packed(*numbers)
    assert vectors.unpack(packed(*numbers)) == struct.unpack(
        f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}f", *numbers)
    )


class TestInPassing:
    """The SDKs ask for base64 by themselves, and one of them reads numbers as zeros."""

    asked = b'{"model":"m","input":["a","b"],"encoding_format":"base64"}'

    def inspect(self, answer: bytes, asked: bytes = asked) -> bytes | None:
        return DIALECT.inspect_answer(answer, DIALECT.read_head(asked, WHERE)).instead

    def test_numbers_are_packed_where_that_was_asked_for(self) -> None:
        answer = (
            b'{"data":[{"embedding":[1,0.5],"index":0,"x":1E2},{"embedding":[2,3]}],"usage":{"cost":6e-08},"o":null}'
        )
        instead = self.inspect(answer)
        assert instead is not None
        said = load_json(instead)
        assert [item["embedding"] for item in said["data"]] == [packed(1, 0.5), packed(2, 3)]
        assert (said["usage"], said["o"], said["data"][0]["x"]) == ({"cost": 6e-08}, None, 100.0)

    @pytest.mark.parametrize("wish", [b'"encoding_format":"float"', b'"encoding_format":null', b'"user":"u"'])
    def test_numbers_pass_where_numbers_were_asked_for(self, wish: bytes) -> None:
        asked = self.asked.replace(b'"encoding_format":"base64"', wish)
        assert self.inspect(b'{"data":[{"embedding":[1]},{"embedding":[2]}]}', asked) is None

    def test_what_is_packed_already_passes(self) -> None:
        assert self.inspect(b'{"data":[{"embedding":"AACAPw=="},{"embedding":"AACAPw=="}]}') is None

    def test_several_vectors_in_one_pass_as_they_are(self) -> None:
        answer = b'{"data":[{"embedding":[[1],[2]]},{"embedding":[[3]]}]}'
        assert self.inspect(answer) in (None, answer)
        assert self.inspect(b'{"data":[{"embeddings":[[1],[2]]},{"embeddings":[[3]]}]}') is None

    def test_fewer_vectors_than_inputs_are_no_answer(self) -> None:
        with pytest.raises(ValueError, match="every input"):
            self.inspect(b'{"data":[{"embedding":[1]}]}')


def recorded(traffic: Path) -> list[Any]:
    cases = []
    for place in ("openai", "azure", "mistral", "openrouter"):
        cases += [json.loads(path.read_text()) for path in sorted((traffic / place / "embeddings").glob("*.json"))]
    assert len(cases) >= 10
    return cases


def test_recorded_answers_pass_and_are_read(traffic: Path) -> None:
    schema = json.loads((traffic / "specs" / "openai.schema.json").read_text())
    valid = jsonschema.Draft202012Validator({**schema, "$ref": "#/$defs/CreateEmbeddingResponse"})
    served = 0
    for case in recorded(traffic):
        asked, said = json.dumps(case["request"]["body"]).encode(), json.dumps(case["response"]["body"]).encode()
        head, status = DIALECT.read_head(asked, WHERE), case["response"]["status"]
        if status != 200:
            assert DIALECT.decode_error(status, case["response"]["headers"], said).provider_status == status
            continue
        served += 1
        request = DIALECT.decode_request(asked, head, WHERE)
        told, usage = case["response"]["body"], case["response"]["body"]["usage"]["prompt_tokens"]
        info = DIALECT.inspect_answer(said, head)
        assert (info.usage, info.instead) == (Usage(usage), None)
        answer, used = answered(said)
        assert isinstance(answer, Answered)
        assert isinstance(answer.value, Embeddings)
        assert used == Used(Usage(usage))
        assert len(answer.value.vectors) == len(request.inputs)
        assert len({len(vector) for vector in answer.value.vectors}) == 1
        as_numbers = written(replace(request, encoding="float"), answer, used)
        valid.validate(as_numbers)
        assert (as_numbers["model"], as_numbers["usage"]["prompt_tokens"]) == (told["model"], usage)
        if request.encoding == "base64":
            again = written(request, answer, used)
            assert [item["embedding"] for item in again["data"]] == [item["embedding"] for item in told["data"]]
    assert served >= 6
