"""Log probabilities asked for in one format arrive in it, whichever format with such a thing the provider speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llmhub_plugins.dialects.gemini import Gemini
from llmhub_plugins.dialects.openai_chat import OpenAIChat
from llmhub_plugins.dialects.openai_completions import OpenAICompletions
from llmhub_plugins.dialects.openai_responses import OpenAIResponses

from llmhub_core.contracts import ChatRequest, Dialect, TokenLogprob, fold

CHAT_TOKENS = [
    {
        "token": "Ja",
        "logprob": -0.25,
        "bytes": [74, 97],
        "top_logprobs": [
            {"token": "Ja", "logprob": -0.25, "bytes": [74, 97]},
            {"token": "No", "logprob": -1.5, "bytes": [78, 111]},
        ],
    },
    {"token": " \\xe2", "logprob": -2.0, "bytes": [32, 226], "top_logprobs": []},
]
CHAT = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Ja …"},
            "logprobs": {"content": CHAT_TOKENS, "refusal": None},
            "finish_reason": "stop",
        }
    ],
}
RESPONSES = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Ja …", "annotations": [], "logprobs": CHAT_TOKENS}],
        }
    ],
}
GEMINI = {
    "candidates": [
        {
            "content": {"parts": [{"text": "Ja …"}], "role": "model"},
            "finishReason": "STOP",
            "index": 0,
            "avgLogprobs": -1.125,
            "logprobsResult": {
                "chosenCandidates": [
                    {"token": "Ja", "tokenId": 7, "logProbability": -0.25},
                    {"token": " \\xe2", "logProbability": -2.0},
                ],
                "topCandidates": [
                    {
                        "candidates": [
                            {"token": "Ja", "logProbability": -0.25},
                            {"token": "No", "logProbability": -1.5},
                        ]
                    },
                    {"candidates": []},
                ],
            },
        }
    ],
    "modelVersion": "m",
}
ANSWERS: dict[type[Dialect[Any]], dict[str, Any]] = {OpenAIChat: CHAT, OpenAIResponses: RESPONSES, Gemini: GEMINI}


def made(kind: type[Dialect[Any]]) -> Any:
    return kind(kind.Settings())


def events_of(kind: type[Dialect[Any]]) -> list[Any]:
    decoder = made(kind).response_decoder(False)
    return [*decoder.feed(json.dumps(ANSWERS[kind]).encode()), *decoder.close()]


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_tokens_are_read(kind: type[Dialect[Any]]) -> None:
    tokens = [token for part in fold(events_of(kind)).parts for token in part.logprobs]
    raws = [None, None] if kind is Gemini else [b"Ja", b" \xe2"]
    assert [(token.token, token.logprob, token.raw) for token in tokens] == [
        ("Ja", -0.25, raws[0]),
        (" \\xe2", -2.0, raws[1]),
    ]
    assert [other.token for other in tokens[0].top] == ["Ja", "No"]
    assert tokens[1].top == ()
    assert isinstance(tokens[0], TokenLogprob)


def written(kind: type[Dialect[Any]], source: type[Dialect[Any]], stream: bool) -> bytes:
    request = ChatRequest(
        dialect=made(kind).name, model="m", messages=(), stream=stream, framing="sse" if stream else "json"
    )
    encoder = made(kind).response_encoder(request)
    return b"".join([encoder.write(event) for event in events_of(source)]) + encoder.close()  # type: ignore[no-any-return]


def frames(stream: bytes) -> list[Any]:
    lines = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("source", ANSWERS)
@pytest.mark.parametrize("stream", [False, True])
def test_chat_gets_them(source: type[Dialect[Any]], stream: bool) -> None:
    said = written(OpenAIChat, source, stream)
    answers = frames(said) if stream else [json.loads(said)]
    tokens = [
        token
        for answer in answers
        for choice in answer["choices"]
        for token in (choice["logprobs"] or {}).get("content") or ()
    ]
    assert [(token["token"], token["logprob"]) for token in tokens] == [("Ja", -0.25), (" \\xe2", -2.0)]
    assert [other["token"] for other in tokens[0]["top_logprobs"]] == ["Ja", "No"]
    assert tokens[0]["bytes"] == [74, 97]
    if source is not Gemini:
        assert tokens == CHAT_TOKENS
    text = [choice.get("delta", choice.get("message")).get("content") for a in answers for choice in a["choices"]]
    assert "".join(piece or "" for piece in text) == "Ja …"


@pytest.mark.parametrize("source", ANSWERS)
@pytest.mark.parametrize("stream", [False, True])
def test_responses_gets_them(source: type[Dialect[Any]], stream: bool) -> None:
    said = written(OpenAIResponses, source, stream)
    whole = frames(said)[-1]["response"] if stream else json.loads(said)
    content = whole["output"][0]["content"][0]
    assert content["text"] == "Ja …"
    assert [(token["token"], token["logprob"]) for token in content["logprobs"]] == [("Ja", -0.25), (" \\xe2", -2.0)]
    assert [other["token"] for other in content["logprobs"][0]["top_logprobs"]] == ["Ja", "No"]


@pytest.mark.parametrize("source", ANSWERS)
@pytest.mark.parametrize("stream", [False, True])
def test_gemini_gets_them(source: type[Dialect[Any]], stream: bool) -> None:
    said = written(Gemini, source, stream)
    candidates = [c for answer in (frames(said) if stream else [json.loads(said)]) for c in answer["candidates"]]
    last = candidates[-1]
    chosen = last["logprobsResult"]["chosenCandidates"]
    assert [(token["token"], token["logProbability"]) for token in chosen] == [("Ja", -0.25), (" \\xe2", -2.0)]
    assert last["avgLogprobs"] == -1.125
    likeliest = last["logprobsResult"]["topCandidates"][0]["candidates"]
    assert [other["token"] for other in likeliest] == ["Ja", "No"]


@pytest.mark.parametrize("source", ANSWERS)
@pytest.mark.parametrize("stream", [False, True])
def test_completions_gets_them(source: type[Dialect[Any]], stream: bool) -> None:
    said = written(OpenAICompletions, source, stream)
    answers = frames(said) if stream else [json.loads(said)]
    told = [choice["logprobs"] for answer in answers for choice in answer["choices"] if choice["logprobs"]]
    assert len(told) == 1
    assert told[0]["tokens"] == ["Ja", " \\xe2"]
    assert told[0]["token_logprobs"] == [-0.25, -2.0]
    assert told[0]["top_logprobs"][0] == {"Ja": -0.25, "No": -1.5}
