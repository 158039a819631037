"""Counting tokens and embeddings as Google's API has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from llmhub_plugins.dialects.gemini.count_tokens import GeminiCountTokens
from llmhub_plugins.dialects.gemini.embeddings import GeminiEmbeddings
from speaking_gemini import TRAFFIC, foreign, user

from llmhub_core.contracts import (
    Answered,
    AnswerFormat,
    BadRequest,
    Dialect,
    EmbeddingRequest,
    Embeddings,
    Failed,
    NoSettings,
    RequestHead,
    Sampling,
    TokenCount,
    Tool,
    UpstreamDenied,
    UpstreamGarbled,
    UpstreamModelMissing,
    UpstreamOverloaded,
    Usage,
    Used,
    Where,
    fold,
)

COUNT = GeminiCountTokens(NoSettings())
EMBED = GeminiEmbeddings(NoSettings())


def where(verb: str, model: str = "public") -> Where:
    return Where({"model": model, "verb": verb}, {})


def recorded(api: str, status: int = 200) -> list[dict[str, Any]]:
    cases = [json.loads(path.read_text()) for path in sorted((TRAFFIC / "gemini" / api).glob("*.json"))]
    return [case for case in cases if case["response"]["status"] == status]


with_traffic = pytest.mark.skipif(not recorded("countTokens"), reason=f"no recorded traffic at {TRAFFIC}")


def read(dialect: Dialect[Any], body: Mapping[str, Any], verb: str) -> tuple[RequestHead, Any]:
    raw = json.dumps(body).encode()
    head = dialect.read_head(raw, where(verb))
    return head, dialect.decode_request(raw, head, where(verb))


def told(dialect: Dialect[Any], raw: bytes) -> list[Any]:
    """The events of an answer that comes byte by byte."""
    decoder = dialect.response_decoder(False)
    events = [event for byte in raw for event in decoder.feed(bytes([byte]))]
    return [*events, *decoder.close()]


def written(dialect: Dialect[Any], request: Any, *events: Any) -> Any:
    encoder = dialect.response_encoder(request)
    assert encoder.content_type == "application/json"
    assert b"".join(map(encoder.write, events)) == b""
    return json.loads(encoder.close())


# Counting tokens.

PROMPT = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
WHOLE = {**PROMPT, "systemInstruction": {"parts": [{"text": "Be brief."}]}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (PROMPT, PROMPT),
        ({"generateContentRequest": {**PROMPT, "model": "models/public"}}, PROMPT),
        (
            {"generate_content_request": {**WHOLE, "model": "models/public"}},
            {"generateContentRequest": {"model": "models/real", **WHOLE}},
        ),
        (WHOLE, {"generateContentRequest": {"model": "models/real", **WHOLE}}),
    ],
)
def test_a_request_to_count_is_read_in_both_shapes(body: dict[str, Any], expected: dict[str, Any]) -> None:
    head, request = read(COUNT, body, "countTokens")
    assert (head.model, head.operation, head.stream) == ("public", "count_tokens", False)
    assert request.messages[-1] == user("Hi")
    encoded = COUNT.encode_request(request, "real")
    assert (json.loads(encoded.body), encoded.adapted) == (expected, ())
    assert COUNT.path(head, "real") == "/v1beta/models/real:countTokens"


def test_of_foreign_settings_only_what_is_read_is_counted() -> None:
    request = foreign(
        user(),
        tools=(Tool("f", parameters={"type": "object"}),),
        sampling=Sampling(
            temperature=9.0, logprobs=True, answer_format=AnswerFormat("json_schema", {"type": "object"})
        ),
        extras={"store": True},
    )
    encoded = COUNT.encode_request(request, "gemini-3-flash")
    assert encoded.adapted == ()
    inner = json.loads(encoded.body)["generateContentRequest"]
    assert inner["model"] == "models/gemini-3-flash"
    assert inner["tools"][0]["functionDeclarations"][0]["name"] == "f"
    assert inner["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }


def test_only_the_inner_models_name_is_changed_on_the_way_out() -> None:
    raw = (
        b'{ "generateContentRequest" : {"model": "models/public", '
        b'"contents": [{"parts":[{"text":"\\u00e9"}]}], "x":1.0E5}}'
    )
    head = COUNT.read_head(raw, where("countTokens"))
    assert COUNT.outgoing_body(raw, head, "real") == raw.replace(b"models/public", b"models/real")
    assert COUNT.outgoing_body(json.dumps(PROMPT).encode(), head, "real") == json.dumps(PROMPT).encode()


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_field", "contents"),
        ({"generateContentRequest": {}}, "missing_field", "generateContentRequest.contents"),
        ({"generateContentRequest": 3}, "invalid_body", "generateContentRequest"),
        (
            {"generateContentRequest": {"contents": [{"role": "robot"}]}},
            "invalid_value",
            "generateContentRequest.contents[0].role",
        ),
        ({"generateContentRequest": {"contents": [{"parts": 3}]}}, "invalid_type", None),
    ],
)
def test_a_bad_request_to_count_is_refused_by_name(body: dict[str, Any], code: str, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        read(COUNT, body, "countTokens")
    assert caught.value.code == code
    assert caught.value.param == (param or "generateContentRequest.contents[0].parts")
    assert f"`{caught.value.param}`" in caught.value.message or code == "invalid_body"


def test_counts_are_told() -> None:
    raw = b'{"totalTokens": 31, "cachedContentTokenCount": 4, "promptTokensDetails": []}'
    assert told(COUNT, raw) == [Answered(TokenCount(31, 4))]
    assert COUNT.inspect_answer(raw, RequestHead("m")).complete
    _, request = read(COUNT, PROMPT, "countTokens")
    assert written(COUNT, request, Answered(TokenCount(31, 4))) == {"totalTokens": 31, "cachedContentTokenCount": 4}
    assert written(COUNT, request, Answered(TokenCount(7, estimated=True))) == {"totalTokens": 7}


@with_traffic
@pytest.mark.parametrize("case", recorded("countTokens"), ids=lambda case: case["id"])
def test_recorded_counts(case: dict[str, Any]) -> None:
    body, answer = case["request"]["body"], case["response"]["body"]
    _, request = read(COUNT, body, "countTokens")
    model = case["request"]["path"].split("models/")[1].split(":")[0]
    encoded = json.loads(COUNT.encode_request(request, model).body)
    assert encoded["contents"] == body.get("generateContentRequest", body)["contents"]
    raw = json.dumps(answer).encode()
    assert told(COUNT, raw) == [Answered(TokenCount(answer["totalTokens"]))]
    assert COUNT.inspect_answer(raw, RequestHead(model)).complete


# Embeddings.


def part(text: str) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}]}}


def test_a_batch_is_read_and_goes_back_as_it_was() -> None:
    entry = {**part("a"), "model": "models/public", "task_type": "RETRIEVAL_QUERY", "outputDimensionality": 8, "odd": 1}
    head, request = read(EMBED, {"requests": [entry, {**entry, **part("b")}]}, "batchEmbedContents")
    assert (head.model, head.operation) == ("public", "embeddings")
    assert request.inputs == ("a", "b")
    assert (request.dimensions, request.task, request.title) == (8, "RETRIEVAL_QUERY", None)
    assert (request.encoding, request.extras) == ("float", {"odd": 1})
    assert EMBED.path(head, "real") == "/v1beta/models/real:batchEmbedContents"
    again = json.loads(EMBED.encode_request(request, "real").body)["requests"]
    assert [entry["model"] for entry in again] == ["models/real"] * 2
    assert again[1]["taskType"] == "RETRIEVAL_QUERY"


def test_one_alone_has_its_own_shape() -> None:
    body = {
        "content": {"parts": [{"text": "a"}, {"text": "b"}]},
        "embedContentConfig": {"taskType": "CLUSTERING", "title": "T", "output_dimensionality": 3},
    }
    head, request = read(EMBED, body, "embedContent")
    assert EMBED.path(head, "real") == "/v1beta/models/real:embedContent"
    assert request.inputs == ("a\nb",)
    assert (request.dimensions, request.task, request.title) == (3, "CLUSTERING", "T")
    assert json.loads(EMBED.encode_request(request, "real").body) == {**body, "model": "models/real"}
    answer = written(EMBED, request, Answered(Embeddings(((1.0, 0.5),))), Used(Usage(4)))
    assert answer == {
        "embedding": {"values": [1.0, 0.5]},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
    }


def test_wishes_that_differ_are_named_and_lengths_that_differ_refused() -> None:
    body = {"requests": [{**part("a"), "title": "A"}, {**part("b"), "title": "B"}]}
    _, request = read(EMBED, body, "batchEmbedContents")
    assert (request.title, request.extras) == (None, {"title": ["A", "B"]})
    with pytest.raises(BadRequest) as caught:
        read(EMBED, {"requests": [{**part("a"), "outputDimensionality": 3}, part("b")]}, "batchEmbedContents")
    assert caught.value.param == "requests[1].outputDimensionality"


def test_foreign_requests_become_a_batch() -> None:
    asked = EmbeddingRequest("openai_embeddings", "x", ("a", "b"), 8, "base64", "CLUSTERING", "T", "me", {"odd": 1})
    encoded = EMBED.encode_request(asked, "gemini-embedding-001")
    common = {"model": "models/gemini-embedding-001", "taskType": "CLUSTERING", "title": "T", "outputDimensionality": 8}
    assert json.loads(encoded.body) == {"requests": [{**common, **part(text)} for text in "ab"]}
    assert encoded.adapted == ("odd=dropped", "user=dropped")
    assert EMBED.path(RequestHead("x", operation="embeddings"), "m") == "/v1beta/models/m:batchEmbedContents"
    with pytest.raises(BadRequest) as caught:
        EMBED.encode_request(EmbeddingRequest("openai_embeddings", "x", ("a", (1, 2))), "m")
    assert (caught.value.code, caught.value.param) == ("unsupported_content", "input[1]")


@pytest.mark.parametrize(
    ("body", "verb", "code", "param"),
    [
        ({}, "batchEmbedContents", "missing_field", "requests"),
        ({"requests": []}, "batchEmbedContents", "invalid_value", "requests"),
        ({"requests": [{}]}, "batchEmbedContents", "missing_field", "requests[0].content"),
        ({"requests": [3]}, "batchEmbedContents", "invalid_type", "requests[0]"),
        ({}, "embedContent", "missing_field", "content"),
        ({"content": 3}, "embedContent", "invalid_type", "content"),
        ({"content": {"parts": [{"text": 3}]}}, "embedContent", "invalid_type", "content.parts[0].text"),
        ({**part("a"), "taskType": 3}, "embedContent", "invalid_type", "taskType"),
        ({**part("a"), "outputDimensionality": "8"}, "embedContent", "invalid_type", "outputDimensionality"),
        (
            {"requests": [part("a"), {"content": {"parts": [{"text": "b"}, {"inlineData": {}}]}}]},
            "batchEmbedContents",
            "unsupported_content",
            "requests[1].content.parts[1]",
        ),
    ],
)
def test_a_bad_request_to_embed_is_refused_by_name(body: dict[str, Any], verb: str, code: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(EMBED, body, verb)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_only_the_models_names_are_changed_on_the_way_out() -> None:
    raw = (
        b'{"requests": [{"model":"models/public", "content":{"parts":[{"text":"\\u00e9 1.0"}]}},'
        b'{"content":{}, "x":1.0E5}]}'
    )
    head = EMBED.read_head(raw, where("batchEmbedContents"))
    out = EMBED.outgoing_body(raw, head, "real")
    assert [entry["model"] for entry in json.loads(out)["requests"]] == ["models/real"] * 2
    assert b'"text":"\\u00e9 1.0"' in out
    assert b'"x":1.0E5' in out
    alone = EMBED.read_head(b'{"content": {}}', where("embedContent"))
    assert EMBED.outgoing_body(b'{"content": {}}', alone, "real") == b'{"model":"models/real","content": {}}'
    lenient = b'{"requests": {"content": {}}}'
    assert EMBED.outgoing_body(lenient, head, "real") == b'{"requests": [{"model":"models/real","content":{}}]}'


def test_vectors_are_told() -> None:
    many = b'{"embeddings": [{"values": [1, 0.5]}, {"values": [2]}], "usageMetadata": {"promptTokenCount": 6}}'
    assert told(EMBED, many) == [Answered(Embeddings(((1.0, 0.5), (2.0,)))), Used(Usage(6))]
    assert told(EMBED, b'{"embedding": {"values": [1e-7]}}') == [Answered(Embeddings(((1e-7,),)))]
    _, request = read(EMBED, {"requests": [part("a"), part("b")]}, "batchEmbedContents")
    assert written(EMBED, request, *told(EMBED, many)) == {
        "embeddings": [{"values": [1.0, 0.5]}, {"values": [2.0]}],
        "usageMetadata": {"promptTokenCount": 6, "totalTokenCount": 6},
    }


def test_an_answer_must_have_a_vector_for_every_input() -> None:
    head, _ = read(EMBED, {"requests": [part("a"), part("b")]}, "batchEmbedContents")
    info = EMBED.inspect_answer(b'{"embeddings": [{"values": []}, {"values": []}]}', head)
    assert (info.complete, info.usage) == (True, None)
    counted = b'{"embeddings": [{"values": []}, {"values": []}], "usageMetadata": {"promptTokenCount": 3}}'
    assert EMBED.inspect_answer(counted, head).usage == Usage(3)
    for raw in (b'{"embeddings": [{"values": []}]}', b"{}", b"busy", b"[]"):
        with pytest.raises(ValueError, match=r"\w"):
            EMBED.inspect_answer(raw, head)


@with_traffic
@pytest.mark.parametrize("case", recorded("batchEmbedContents"), ids=lambda case: case["id"])
def test_recorded_embeddings(case: dict[str, Any]) -> None:
    body, answer = case["request"]["body"], case["response"]["body"]
    head, request = read(EMBED, body, "batchEmbedContents")
    model = case["request"]["path"].split("models/")[1].split(":")[0]
    assert json.loads(EMBED.encode_request(request, model).body) == body
    assert request.dimensions == body["requests"][0]["outputDimensionality"]
    raw = json.dumps(answer).encode()
    assert EMBED.inspect_answer(raw, head).complete
    answered, *counted = told(EMBED, raw)
    assert [event.usage.input_tokens for event in counted] == [
        usage["promptTokenCount"] for usage in [answer.get("usageMetadata")] if usage
    ]
    assert [list(vector) for vector in answered.value.vectors] == [entry["values"] for entry in answer["embeddings"]]
    assert written(EMBED, request, answered) == {"embeddings": answer["embeddings"]}


@with_traffic
def test_a_recorded_error_of_embeddings() -> None:
    (case,) = recorded("batchEmbedContents", 404)
    error = EMBED.decode_error(404, {}, json.dumps(case["response"]["body"]).encode())
    assert isinstance(error, UpstreamModelMissing)


# Both.


@pytest.mark.parametrize("dialect", [COUNT, EMBED], ids=["count", "embed"])
def test_what_is_no_answer_fails(dialect: Dialect[Any]) -> None:
    for raw in (
        b"",
        b"busy",
        b"{}",
        b"[]",
        b'{"totalTokens": "many", "embeddings": [{}]}',
        b'{"embeddings": [{"values": ["x"]}]}',
    ):
        (failed,) = told(dialect, raw)
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, UpstreamGarbled)
    raw = b'{"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}}'
    (failed,) = told(dialect, raw)
    assert isinstance(failed.error, UpstreamOverloaded)
    assert isinstance(dialect.inspect_answer(raw, RequestHead("m")).error, UpstreamOverloaded)
    assert dialect.inspect_frame(b"{}", RequestHead("m")).usage is None


@pytest.mark.parametrize("dialect", [COUNT, EMBED], ids=["count", "embed"])
def test_who_asks_and_errors_are_as_in_chat(dialect: Dialect[Any]) -> None:
    assert dialect.credentials({"x-goog-api-key": "k"}, {}) == "k"
    assert dialect.credentials({}, {"key": "q"}) == "q"
    versions = {path[: path.index("/{model")] for path in dialect.paths}
    assert versions == {"/v1", "/v1beta", "/v1/models", "/v1beta/models"}
    said = json.loads(dialect.encode_error(UpstreamDenied("No key."), "r"))["error"]
    assert (said["code"], said["status"], said["source"]) == (503, "UNAVAILABLE", "capacity")
    with pytest.raises(BadRequest):
        dialect.path(RequestHead("m"), "../files/x")
    failed = fold([Failed(UpstreamDenied("No key."))])
    assert failed.failed is not None
    with pytest.raises(BadRequest) as caught:
        dialect.read_head(b"{", where("countTokens"))
    assert caught.value.code == "invalid_json"
