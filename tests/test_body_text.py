"""Bodies as people read them later: redacted, without what is no text, joined where they came in pieces, and cut."""

from __future__ import annotations

import base64
import json
import secrets
from typing import Any

import pytest
from houses import COMPLETION, STREAM, chunk

from llmhub_core.contracts import Dialect, Started, fold
from llmhub_core.contracts.chat_response import Finished, PartDelta, PartEnded, PartStarted
from llmhub_core.hub.body_text import BodyWriter
from llmhub_core.hub.redaction import REDACTED, Redaction
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.vault import Secret

KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


def a_writer(largest: int = 65536, media: bool = False) -> BodyWriter:
    return BodyWriter(Redaction([Secret(KEY)]), largest, media)


def dialect(name: str = "openai_chat") -> Dialect[Any]:
    found = next(cls for cls in Registry().discover().dialects if cls.name == name)
    made: Dialect[Any] = found(found.Settings())
    return made


def asked(value: Any, **how: Any) -> Any:
    return json.loads(a_writer(**how).request(json.dumps(value).encode(), JSON).text)


def test_json_stays_json() -> None:
    body = {"model": "fast", "messages": [{"role": "user", "content": "Grüße ☃"}], "temperature": 0.5, "stop": None}
    text = a_writer().request(json.dumps(body).encode(), JSON)
    assert (json.loads(text.text), text.form, text.cut) == (body, "json", False)
    assert text.size == len(json.dumps(body))


def test_credentials_go_wherever_they_stand() -> None:
    said = asked({
        "messages": [{"role": "user", "content": f"use {KEY} or sk-abc123def456ghi789"}],
        "api_key": "short",
        KEY: 1,
        "metadata": {"password": "x", "deep": [[f"Bearer {KEY}"]]},
        "tools": [{"function": {"arguments": json.dumps({"client_secret": "correct-horse"})}}],
        "type": "sk-abc123def456ghi789",
    })  # fmt: skip
    text = json.dumps(said)
    for secret in (KEY, "sk-abc123def456ghi789", "short", '"x"', "correct-horse"):
        assert secret not in text
    assert said["messages"][0]["content"] == f"use {REDACTED} or {REDACTED}"
    assert said["metadata"]["password"] == REDACTED


def test_what_is_no_text_is_told_by_its_type_and_size() -> None:
    picture = base64.b64encode(secrets.token_bytes(3000)).decode()
    said = asked({
        "a": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        "b": {"type": "base64", "media_type": "image/jpeg", "data": picture},
        "c": {"inlineData": {"mimeType": "audio/wav", "data": picture}},
        "d": {"input_audio": {"format": "mp3", "data": picture}},
        "e": f"see ![it](data:image/gif;base64,{picture}) there",
        "f": [0.25] * 1536,
        "g": picture,
    })  # fmt: skip
    assert said["a"]["image_url"]["url"] == "[image/png, 3,000 bytes]"
    assert said["b"]["data"] == "[image/jpeg, 3,000 bytes]"
    assert said["c"]["inlineData"]["data"] == "[audio/wav, 3,000 bytes]"
    assert said["d"]["input_audio"]["data"] == "[mp3, 3,000 bytes]"
    assert said["e"] == "see ![it]([image/gif, 3,000 bytes]) there"
    assert said["f"] == "[1,536 numbers]"
    assert said["g"] == "[base64, 3,000 bytes]"
    kept = asked({"a": picture, "f": [0.25] * 100}, media=True)
    assert kept == {"a": picture, "f": [0.25] * 100}
    form = a_writer(media=True).request(b"--x\r\n\xff" + b"\0" * 99, "multipart/form-data; boundary=x")
    assert (form.text, form.form) == ("[multipart/form-data, 105 bytes]", "none")


@pytest.mark.parametrize("largest", [1024, 5000, 65536])
def test_what_is_too_long_is_cut_and_says_so(largest: int) -> None:
    body = {"messages": [{"role": "user", "content": f"{n} lorem ipsum " * 40} for n in range(500)]}
    text = a_writer(largest).request(json.dumps(body).encode(), JSON)
    assert text.cut
    assert largest - 4 <= len(text.text.encode()) <= largest
    umlauts = a_writer(largest).request(json.dumps({"a": "ü" * 200_000}, ensure_ascii=False).encode(), JSON)
    assert umlauts.cut
    assert len(umlauts.text.encode()) <= largest


def test_no_half_of_a_credential_is_left_where_it_is_cut() -> None:
    for place in range(900, 1100):
        body = json.dumps({"a": "x " * (place // 2) + KEY + " y" * 9000}).encode()
        text = a_writer(1024).request(body, JSON).text
        assert KEY[:8] not in text, place
    big = b"z" * 20_000
    for seen in range(len(big) + 1, len(big) + len(KEY)):  # of a body of which only the beginning was held
        held = (big + KEY.encode())[:seen]
        assert KEY[:8] not in a_writer(65536).answer(dialect(), held, "text/plain", 99_999).text


def events(*texts: str) -> bytes:
    return "".join([*(chunk({"content": text}) for text in texts), chunk({}, "stop"), "data: [DONE]\n\n"]).encode()


def test_a_stream_becomes_what_it_said() -> None:
    body = "".join(STREAM).encode()
    text = a_writer().answer(dialect(), body, SSE, len(body))
    assert (text.form, text.cut, text.size) == ("joined", False, len(body))
    assert json.loads(text.text) == {"content": [{"type": "text", "text": "Hello!"}], "finish": ["stop"]}


def test_a_credential_in_many_events_is_recognised() -> None:
    body = events("my key: ", *KEY, " and ", "sk-", "abc123", "def456ghi789", ".")
    text = a_writer().answer(dialect(), body, SSE, len(body)).text
    assert json.loads(text)["content"][0]["text"] == f"my key: {REDACTED} and {REDACTED}."


@pytest.mark.parametrize("name", ["openai_chat", "openai_responses", "anthropic", "gemini"])
def test_streams_of_every_format(name: str) -> None:
    spoken = dialect(name)
    request = dialect("openai_chat").decode_request(
        json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode(),
        *_head(),
    )
    encoder = spoken.response_encoder(request)
    call = PartStarted(1, "tool_call", id="call_1", name="look")
    said = (
        Started("id", "m"), PartStarted(0, "text"), PartDelta(0, KEY[:9]), PartDelta(0, KEY[9:]), PartEnded(0),
        call, PartDelta(1, '{"password": "hun'), PartDelta(1, 'ter2", "n": 1}'), PartEnded(1), Finished("tool_calls"),
    )  # fmt: skip
    assert fold(said).tool_calls
    body = b"".join([*(encoder.write(event) for event in said), encoder.close()])
    kept = a_writer().answer(spoken, body, SSE, len(body))
    assert kept.form == "joined"
    content = json.loads(kept.text)["content"]
    assert [each["type"] for each in content] == ["text", "tool_call"]
    assert content[0]["text"] == REDACTED
    assert content[1]["arguments"] == {"password": REDACTED, "n": 1}
    half = a_writer().answer(spoken, body[: len(body) // 2], SSE, len(body))
    assert half.cut or half.form == "none"
    assert KEY[:9] not in half.text


def _head() -> Any:
    from llmhub_core.contracts import Where

    where = Where({}, {})
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()
    return dialect("openai_chat").read_head(body, where), where


def test_a_streamed_array_of_geminis() -> None:
    first = {"candidates": [{"content": {"role": "model", "parts": [{"text": KEY[:9]}]}}]}
    last = {"candidates": [{"content": {"role": "model", "parts": [{"text": KEY[9:]}]}, "finishReason": "STOP"}]}
    body = f"[{json.dumps(first)},\r\n{json.dumps(last)}]".encode()
    for sent in (body, body[:-1]):
        kept = a_writer().answer(dialect("gemini"), sent, JSON, len(body))
        assert json.loads(kept.text)["content"] == [{"type": "text", "text": REDACTED}] or kept.cut
        assert KEY[:9] not in kept.text


@pytest.mark.parametrize("body", [b"", b"data: {", b"data: nonsense\n\n", b"\0\xff" * 50, b"event: x\ndata: []\n\n"])
def test_a_stream_that_is_none_harms_nothing(body: bytes) -> None:
    kept = a_writer().answer(dialect(), body, SSE, len(body))
    assert kept.form in ("none", "joined")


def test_likelihoods_do_not_say_the_text_once_more() -> None:
    tokens = [{"token": KEY[:9], "logprob": -0.1, "top_logprobs": []}, {"token": KEY[9:], "logprob": -0.1}]
    choice = {**COMPLETION["choices"][0], "logprobs": {"content": tokens}}  # type: ignore[index]
    body = json.dumps({**COMPLETION, "choices": [choice]}).encode()
    assert KEY[:9] not in a_writer().answer(dialect(), body, JSON, len(body)).text


def test_sound_is_a_note() -> None:
    kept = a_writer().answer(dialect("openai_speech"), b"\xff\xf3" * 50, "audio/mpeg", 100)
    assert (kept.text, kept.form) == ("[audio/mpeg, 100 bytes]", "none")
