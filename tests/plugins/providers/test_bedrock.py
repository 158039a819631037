"""Claude on Bedrock: addresses, bodies, signatures recomputed by botocore, and the binary event stream."""

from __future__ import annotations

import base64
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings
from llmhub_plugins.providers.bedrock import Bedrock, BedrockSettings, register_providers
from llmhub_plugins.providers.bedrock.credentials import read_secret
from llmhub_plugins.providers.bedrock.event_stream import EventStream

from llmhub_core.contracts import Call, Provider, UpstreamDenied, UpstreamGarbled, fold
from llmhub_core.testing.house import House
from llmhub_core.testing.provider import SECRET, ProviderSuite, no_fetch
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer

ID, KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
BODY: dict[str, Any] = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hé"}]}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with credentials in its variables and nothing else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDMACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "machine-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def bedrock(**more: Any) -> Bedrock:
    return Bedrock(BedrockSettings(**{"region": "us-east-1", **more}))


async def prepared(secret: str = f"{ID}:{KEY}", path: str = "/v1/messages", body: Any = None, **headers: str) -> Call:
    said = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    call = Call(path, said, json.dumps(BODY if body is None else body).encode())
    return await bedrock().prepare(call, secret, no_fetch)


def signature(method: str, url: str, headers: dict[str, str], body: bytes, key: str, token: str | None = None) -> str:
    """What botocore's own signer says to a request as it was received."""
    said = headers["authorization"]
    signed = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(method=method, url=url, data=body)
    for name in signed:
        if name != "host":
            request.headers[name] = headers[name]
    request.context["timestamp"] = headers["x-amz-date"]
    id = said.partition("Credential=")[2].partition("/")[0]
    auth = SigV4Auth(Credentials(id, key, token), "bedrock", "us-east-1")
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def said_signature(headers: dict[str, str]) -> str:
    return headers["authorization"].partition("Signature=")[2]


class _Suite(ProviderSuite):
    provider = Bedrock
    settings: ClassVar = {"region": "us-east-1"}

    async def test_its_models_can_be_asked_for(self) -> None:
        asked = self.make().models_call()
        assert asked is not None
        call = await self.prepared(f"{ID}:{KEY}", asked)
        assert call.url == "https://bedrock.us-east-1.amazonaws.com/foundation-models?byProvider=anthropic"
        assert said_signature(call.headers) == signature("GET", call.url, call.headers, b"", KEY)


class TestApiKeys(_Suite):
    """Keys that travel as they are; without one the machine's own sign."""

    async def test_a_call_has_exactly_one_credential(self) -> None:
        call, bare = await self.prepared(SECRET), await self.prepared("")
        assert call.headers["authorization"] == f"Bearer {SECRET}"
        assert "x-amz-date" not in call.headers
        assert "Credential=AKIDMACHINE/" in bare.headers["authorization"]


class TestSigningKeys(_Suite):
    """Keys that sign: what goes out is made of them, never they themselves."""

    @classmethod
    async def prepared(cls, secret: str, call: Call | None = None, **changes: Any) -> Call:
        secret = f"{ID}:{secret}" if secret == SECRET else secret
        return await cls.make(**changes).prepare(call or cls.call(), secret, no_fetch)

    async def test_a_call_has_exactly_one_credential(self) -> None:
        call = await self.prepared(SECRET)
        assert SECRET not in str(call.headers)
        assert f"Credential={ID}/" in call.headers["authorization"]
        assert call.headers.keys() - self.call().headers.keys() == {"authorization", "x-amz-date"}


# Requests.


async def test_the_model_goes_into_the_address_and_the_body_is_bedrocks() -> None:
    call = await prepared(body={**BODY, "stream": False, "service_tier": "auto"})
    assert call.url == (
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke"
    )
    assert json.loads(call.body) == {
        "max_tokens": 9,
        "messages": BODY["messages"],
        "anthropic_version": "bedrock-2023-05-31",
    }
    assert call.adapted == ["service_tier=dropped"]
    assert "anthropic-version" not in call.headers
    call = await prepared(body={**BODY, "stream": True}, anthropic_beta="a-2025-01-01, b-2025-02-02")
    assert call.url.endswith("/invoke-with-response-stream")
    assert json.loads(call.body)["anthropic_beta"] == ["a-2025-01-01", "b-2025-02-02"]
    assert "anthropic-beta" not in call.headers


async def test_an_arn_is_one_segment() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2"
    call = await prepared(body={**BODY, "model": arn})
    assert "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2/" in call.url
    assert said_signature(call.headers) == signature("POST", call.url, call.headers, call.body, KEY)


async def test_what_is_not_ours_stays_as_it_was_written() -> None:
    body = b'{"model":"m","max_tokens":9,"temperature":0.50,"messages":[{"role":"user","content":"\\u00e9 1"}]}'
    call = await bedrock().prepare(Call("/v1/messages", {}, body), SECRET, no_fetch)
    assert b'"temperature":0.50' in call.body
    assert b'"content":"\\u00e9 1"' in call.body


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "bedrock-runtime.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_regions_have_hosts_of_their_own(region: str, host: str) -> None:
    assert bedrock(region=region).base_url == f"https://{host}"


@pytest.mark.parametrize("settings", [{"region": "us"}, {"region": "a/b"}, {"region": "us-east-1", "base_url": "x"}])
def test_an_address_that_cannot_be_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        BedrockSettings(**settings)


async def test_tokens_are_counted_by_the_body_that_would_be_sent() -> None:
    call = await prepared(path="/v1/messages/count_tokens", body={"model": "m", "messages": BODY["messages"]})
    assert call.url.endswith("/model/m/count-tokens")
    inner = json.loads(base64.b64decode(json.loads(call.body)["input"]["invokeModel"]["body"]))
    assert inner == {"max_tokens": 1, "messages": BODY["messages"], "anthropic_version": "bedrock-2023-05-31"}
    envelope = bedrock().envelope(False, call)
    assert envelope is not None
    assert envelope.feed(b'{"inputTo') + envelope.feed(b'kens":7}') + envelope.close() == b'{"input_tokens":7}'


# Credentials.


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("A:b", ("A", "b", None)),
        ("A:b:t:u", ("A", "b", "t:u")),
        ('{"aws_access_key_id": "A", "aws_secret_access_key": "b"}', ("A", "b", None)),
        ('{"Credentials": {"AccessKeyId": "A", "SecretAccessKey": "b", "SessionToken": "t"}}', ("A", "b", "t")),
    ],
)
def test_secrets_are_read_in_many_forms(secret: str, expected: tuple[str, str, str | None]) -> None:
    assert read_secret(secret) == expected


@pytest.mark.parametrize("secret", [":", "A:", ":b", "{", "{}", '{"aws_access_key_id": 1}', '{"Credentials": {}}'])
def test_what_are_no_credentials_denies_the_key(secret: str) -> None:
    with pytest.raises(UpstreamDenied) as caught:
        read_secret(secret)
    assert secret not in str(caught.value) or len(secret) < 3


async def test_a_session_token_is_signed_with_the_rest() -> None:
    call = await prepared(f"{ID}:{KEY}:the-token")
    assert call.headers["x-amz-security-token"] == "the-token"
    assert said_signature(call.headers) == signature("POST", call.url, call.headers, call.body, KEY, "the-token")


async def test_a_machine_without_credentials_denies_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(UpstreamDenied):
        await prepared("")


async def test_a_profile_that_is_not_there_denies_the_key() -> None:
    with pytest.raises(UpstreamDenied) as caught:
        await bedrock(profile="nobody").prepare(Call("/x", {}, b""), "", no_fetch)
    assert caught.value.detail == "ProfileNotFound"


def test_without_the_driver_the_kind_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(ValueError, match=r"pip install 'llm-hub\[bedrock\]'"):
        bedrock()
    assert list(register_providers()) == [Bedrock]


# The event stream.


def message(payload: bytes, **headers: str) -> bytes:
    """One message as AWS would write it; header names with `_` for `-`, and a leading colon."""
    head = b"".join(
        bytes([len(name) + 1])
        + b":"
        + name.replace("_", "-").encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + head + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def chunk(event: dict[str, Any] | bytes) -> bytes:
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    payload = json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abcd"}).encode()
    return message(payload, event_type="chunk", content_type="application/json", message_type="event")


EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_bdrk_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 3, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüß\u2028Gott"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 5},
    },
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
]
STREAM = b"".join(map(chunk, EVENTS))


def unwrapped(stream: bytes, size: int) -> bytes:
    envelope = EventStream()
    out = b"".join(envelope.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    return out + envelope.close()


@pytest.mark.parametrize("size", [1, 2, 3, 11, 12, 13, 100, 100_000])
def test_messages_become_events_wherever_reads_end(size: int) -> None:
    expected = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
    assert unwrapped(STREAM, size).decode() == expected


def test_an_event_with_line_ends_stays_one_event() -> None:
    assert unwrapped(chunk(b'{\n "type":"ping"\r\n}'), 5) == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize("at", range(0, len(chunk(EVENTS[3])), 7))
def test_a_flipped_bit_is_found(at: int) -> None:
    broken = bytearray(chunk(EVENTS[3]))
    broken[at] ^= 4
    with pytest.raises(UpstreamGarbled):
        unwrapped(bytes(broken), 1000)


def test_a_stream_that_breaks_off_in_a_message_is_broken() -> None:
    with pytest.raises(UpstreamGarbled, match="broke off"):
        unwrapped(STREAM[:-3], 50)


@pytest.mark.parametrize("payload", [b"", b"{", b'{"bytes":"***"}', b'{"bytes":"' + base64.b64encode(b"{") + b'"}'])
def test_a_payload_that_is_none_is_garbled(payload: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        unwrapped(message(payload, message_type="event"), 10)


def test_other_kinds_of_messages_are_passed_over() -> None:
    later = message(b'{"something":1}', event_type="later", message_type="event")
    assert unwrapped(later + chunk(EVENTS[3]), 8) == unwrapped(chunk(EVENTS[3]), 8)


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("throttlingException", "rate_limit_error"),
        ("modelStreamErrorException", "api_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("validationException", "invalid_request_error"),
        ("newException", "api_error"),
    ],
)
def test_exceptions_in_the_stream_are_anthropics_errors(exception: str, kind: str) -> None:
    said = message(b'{"message":"Too many"}', exception_type=exception, message_type="exception")
    name, data = unwrapped(said, 9).decode().rstrip("\n").split("\n")
    assert name == "event: error"
    assert json.loads(data[6:]) == {"type": "error", "error": {"type": kind, "message": "Too many"}}


def test_errors_of_the_framing_itself_are_errors() -> None:
    said = message(b"", error_code="500", error_message="Gone wrong", message_type="error")
    assert b'"message":"Gone wrong"' in unwrapped(said, 9)


def recorded(traffic: Path, api: str) -> Iterator[dict[str, Any]]:
    for path in sorted((traffic / "bedrock" / api).glob("*.json")):
        yield json.loads(path.read_text("utf-8"))


def test_recorded_streams_are_read_to_their_end(traffic: Path) -> None:
    seen = 0
    for case in recorded(traffic, "invoke-with-response-stream"):
        stream = base64.b64decode(case["response"]["stream_base64"])
        texts = []
        for size in (1, 1000, len(stream)):
            reader = Anthropic(AnthropicSettings()).response_decoder(True)
            answer = fold([*reader.feed(unwrapped(stream, size)), *reader.close()])
            assert answer.failed is None
            assert answer.usage is not None
            assert answer.usage.output_tokens > 0
            texts.append([part.text for part in answer.parts])
        assert texts[0] == texts[1] == texts[2]
        assert any(texts[0])
        seen += 1
    assert seen == 3


async def test_recorded_requests_are_what_leaves(traffic: Path) -> None:
    for case in (*recorded(traffic, "invoke"), *recorded(traffic, "invoke-with-response-stream")):
        if "anthropic" not in case["request"]["path"] or case["request"].get("synthesised"):
            continue
        model = case["request"]["path"].split("/")[2].replace("%3A", ":")
        stream = case["request"]["path"].endswith("stream")
        call = await prepared(body={"model": model, "stream": stream, **case["request"]["body"]})
        assert call.url.endswith(case["request"]["path"])
        assert json.loads(call.body) == case["request"]["body"]


# Through the hub.


def config(url: str) -> str:
    return f"""
        [[providers]]
        name = "aws"
        kind = "bedrock"
        region = "us-east-1"
        base_url = "{url}"
        keys = [{{ name = "k", secret = "{ID}:{KEY}" }}]
        [[routes]]
        model = "haiku"
        deployments = [{{ provider = "aws", model = "{MODEL}" }}]
    """


def stream_answer(stream: bytes = STREAM, piece: int = 17) -> Answer:
    return Answer(200, {"Content-Type": "application/vnd.amazon.eventstream"}, stream, piece=piece)


def was_signed(request: ReceivedRequest, url: str) -> bool:
    headers = dict(request.headers)
    path = f"{url}/model/{MODEL.replace(':', '%3A')}/{request.path.rpartition('/')[2]}"
    return said_signature(headers) == signature(request.method, path, headers, request.body, KEY)


async def test_a_stream_through_the_hub_to_both_fronts() -> None:
    async with FakeUpstream() as aws, House(config(aws.url)) as house, aiohttp.ClientSession() as client:
        aws.script(stream_answer())
        body = {"model": "haiku", "max_tokens": 9, "stream": True, "messages": BODY["messages"]}
        async with client.post(f"{house.url}/v1/messages", json=body) as answer:
            text = await answer.text()
            assert (answer.status, text.count("event: message_stop")) == (200, 1)
            assert "Grüß\u2028Gott" in text or "Gr\\u00fc\\u00df\\u2028Gott" in text
        async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:
            text = await answer.text()
            assert "data: [DONE]" in text
        assert all(was_signed(request, aws.url) for request in aws.requests)
        first, second = await house.records()
        assert (first.lane, second.lane) == ("verbatim", "translated")
        assert (first.input_tokens, first.output_tokens) == (second.input_tokens, second.output_tokens) == (3, 5)


ASKED = {"model": "haiku", "max_tokens": 9, "stream": True, "messages": BODY["messages"]}


async def test_an_exception_inside_a_stream_reaches_the_caller() -> None:
    async with FakeUpstream() as aws, House(config(aws.url)) as house, aiohttp.ClientSession() as client:
        throttled = message(b'{"message":"Slow down"}', exception_type="throttlingException", message_type="exception")
        aws.script(stream_answer(b"".join(map(chunk, EVENTS[:3])) + throttled))
        seen = b""
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.post(f"{house.url}/v1/messages", json=ASKED) as answer:
                async for piece in answer.content.iter_any():
                    seen += piece
        assert b"event: error" in seen
        assert b"message_stop" not in seen


@pytest.mark.parametrize(
    ("status", "kind", "text", "outcome"),
    [
        (400, "ValidationException", "max_tokens: must be greater than 0", 400),
        (429, "ThrottlingException", "Too many requests, please wait before trying again.", 429),
        (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", 503),
    ],
)
async def test_errors_before_a_stream_are_anthropics(status: int, kind: str, text: str, outcome: int) -> None:
    async with FakeUpstream() as aws, House(config(aws.url)) as house, aiohttp.ClientSession() as client:
        aws.script(json_answer({"message": text}, status, {"x-amzn-errortype": kind}))
        async with client.post(f"{house.url}/v1/messages", json=ASKED) as answer:
            assert answer.status == outcome
            assert (await answer.json())["type"] == "error"
        (record,) = await house.records()
        assert text in record.attempts[0].detail


def test_it_is_a_provider_as_others_are() -> None:
    assert issubclass(Bedrock, Provider)
    assert bedrock().envelope(False, Call("https://x/model/m/invoke", {}, b"")) is None
