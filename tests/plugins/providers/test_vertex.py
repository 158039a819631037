"""Gemini and Claude on Vertex AI: addresses, bodies, and tokens from a token endpoint on this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from llmhub_plugins.providers.vertex import Vertex, VertexSettings, register_providers

from llmhub_core.contracts import Call, Fetched, UpstreamDenied, UpstreamUnreachable
from llmhub_core.gateway.upstream import Answer as Answered
from llmhub_core.gateway.upstream import Upstream
from llmhub_core.testing.house import House
from llmhub_core.testing.provider import ProviderSuite, no_fetch
from llmhub_core.testing.upstream import Answer, FakeUpstream, ReceivedRequest, json_answer, sse_answer

TOKEN = "ya29.test-Token-0123456789abcdef"
OTHER_TOKEN = "ya29.test-Another-fedcba9876543210"
PROJECT = "my-project-123"
GOOGLE = f"/v1beta1/projects/{PROJECT}/locations/global/publishers/google/models/"
CLAUDE = f"/v1/projects/{PROJECT}/locations/us-east5/publishers/anthropic/models/"

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = _KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = _KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def vertex(**more: Any) -> Vertex:
    return Vertex(VertexSettings(**{"project": PROJECT, **more}))


def claude(**more: Any) -> Vertex:
    return vertex(publisher="anthropic", location="us-east5", **more)


def account(url: str, **more: Any) -> str:
    """The secret: a service account whose tokens come from `url`."""
    info = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "k1",
        "private_key": PRIVATE,
        "client_email": "hub@my-project-123.iam.gserviceaccount.com",
        "token_uri": f"{url}/token",
    }
    return json.dumps(info | more)


class _Suite(ProviderSuite):
    """Access tokens stand for keys: what the others have to fetch for that is tried further below."""

    provider = Vertex

    @classmethod
    async def prepared(cls, secret: str, call: Call | None = None, **changes: Any) -> Call:
        return await cls.make(**changes).prepare(call or cls.call(), secret and f"ya29.{secret}", empty_token)

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        file = tmp_path / "adc.json"
        file.write_text(account("http://127.0.0.1:1"), "utf-8")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))

    async def test_keys_do_not_mix(self) -> None:
        provider = self.make()
        first = await provider.prepare(self.call(), TOKEN, no_fetch)
        second = await provider.prepare(self.call(), OTHER_TOKEN, no_fetch)
        bare = await provider.prepare(self.call(), "", empty_token)
        assert TOKEN not in str([second.headers, second.url, bare.headers, bare.url])
        assert OTHER_TOKEN not in str([first.headers, first.url, bare.headers, bare.url])


async def empty_token(call: Call) -> Fetched:
    """What the machine's own credentials come to in the suite."""
    return Answered(200, {}, b'{"access_token":"ya29.machine","expires_in":3600}')


class TestGoogle(_Suite):
    settings: ClassVar = {"project": PROJECT}


class TestAnthropic(_Suite):
    settings: ClassVar = {"project": PROJECT, "publisher": "anthropic", "location": "us-east5"}


# Addresses and bodies.


async def prepared(provider: Vertex, path: str, body: Any, **headers: str) -> Call:
    call = Call(path, dict(headers), json.dumps(body).encode())
    return await provider.prepare(call, TOKEN, no_fetch)


async def test_gemini_is_called_by_project_and_location() -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    call = await prepared(vertex(), "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", body)
    assert call.url == f"https://aiplatform.googleapis.com{GOOGLE}gemini-2.5-pro:streamGenerateContent?alt=sse"
    assert call.headers == {"authorization": f"Bearer {TOKEN}"}
    assert json.loads(call.body) == body


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_locations_have_hosts_of_their_own(location: str, host: str) -> None:
    assert vertex(location=location).base_url == f"https://{host}"


async def test_contents_get_the_role_that_vertex_wants() -> None:
    path = "/v1beta/models/m:generateContent"
    call = await prepared(vertex(), path, {"contents": [{"parts": [{"text": "a"}]}, {"role": "model", "parts": []}]})
    assert [content["role"] for content in json.loads(call.body)["contents"]] == ["user", "model"]
    call = await prepared(vertex(), path, {"contents": {"parts": [{"text": "a"}]}})
    assert json.loads(call.body)["contents"]["role"] == "user"
    assert call.adapted == []


async def test_a_request_to_count_is_not_wrapped() -> None:
    inner = {"model": "models/m", "contents": [{"role": "user", "parts": []}], "systemInstruction": {"parts": []}}
    call = await prepared(vertex(), "/v1beta/models/m:countTokens", {"generateContentRequest": inner})
    assert call.url.endswith(f"{GOOGLE}m:countTokens")
    assert json.loads(call.body).keys() == {"contents", "systemInstruction"}


@pytest.mark.parametrize(("stream", "verb"), [(True, "streamRawPredict"), (False, "rawPredict")])
async def test_claude_is_called_by_raw_predict(stream: bool, verb: str) -> None:
    body = {"model": "claude-sonnet-4-5@20250929", "max_tokens": 9, "messages": [], "stream": stream}
    versions = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-1"}
    call = await prepared(claude(), "/v1/messages", body, **versions)
    assert call.url == f"https://us-east5-aiplatform.googleapis.com{CLAUDE}claude-sonnet-4-5@20250929:{verb}"
    del body["model"]
    assert json.loads(call.body) == {**body, "anthropic_version": "vertex-2023-10-16"}
    assert call.headers == {"anthropic-beta": "a-1", "authorization": f"Bearer {TOKEN}"}


async def test_claudes_tokens_are_counted_by_a_model_of_that_name() -> None:
    call = await prepared(claude(), "/v1/messages/count_tokens", {"model": "claude", "messages": []})
    assert call.url.endswith(f"{CLAUDE}count-tokens:rawPredict")
    assert json.loads(call.body) == {"model": "claude", "messages": [], "anthropic_version": "vertex-2023-10-16"}


def test_a_table_speaks_what_its_publisher_does() -> None:
    assert (vertex().speaks[0], claude().speaks[0]) == ("gemini", "anthropic")


async def test_recorded_requests_are_what_leaves(traffic: Path) -> None:
    for path in sorted((traffic / "vertex").glob("anthropic.*/*.json")):
        request = json.loads(path.read_text("utf-8"))["request"]
        model = request["path"].rpartition("/")[2].partition(":")[0]
        call = await prepared(claude(), "/v1/messages", {"model": model, **request["body"]})
        assert call.url.rpartition("/")[2] == request["path"].rpartition("/")[2]
        assert json.loads(call.body) == request["body"]


@pytest.mark.parametrize("settings", [{"project": ""}, {"project": "a/b"}, {"location": "a.b"}, {"base_url": "x"}])
def test_an_address_that_cannot_be_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        vertex(**settings)


def test_without_the_driver_the_kind_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(ValueError, match=r"pip install 'llm-hub\[vertex\]'"):
        vertex()
    assert list(register_providers()) == [Vertex]


# Tokens.


def token_answer(number: int, lasts: int = 3600) -> Answer:
    return json_answer({"access_token": f"ya29.fetched-{number}", "expires_in": lasts, "token_type": "Bearer"})


async def fetched(provider: Vertex, secret: str, upstream: Upstream) -> Call:
    return await provider.prepare(Call("/x", {}, b"{}"), secret, upstream.fetch)


async def test_a_service_account_signs_for_a_token_that_is_kept() -> None:
    async with FakeUpstream() as google:
        google.script(token_answer(1), token_answer(2))
        provider, upstream = vertex(), Upstream()
        secret = account(google.url)
        calls = await asyncio.gather(*(fetched(provider, secret, upstream) for _ in range(20)))
        assert {call.headers["authorization"] for call in calls} == {"Bearer ya29.fetched-1"}
        (request,) = google.requests
        said = parse_qs(request.body.decode())
        assert said["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        claims = jwt.decode(said["assertion"][0], PUBLIC, audience="https://oauth2.googleapis.com/token")  # type: ignore[no-untyped-call]
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        assert "PRIVATE KEY" not in request.body.decode()
        other = account(google.url, client_email="other@x.iam.gserviceaccount.com", quota_project_id="billed")
        assert (await fetched(provider, other, upstream)).headers["authorization"] == "Bearer ya29.fetched-2"
        await upstream.stop()


async def test_a_token_that_runs_out_is_renewed() -> None:
    async with FakeUpstream() as google:
        google.script(token_answer(1, lasts=30), token_answer(2))
        provider, upstream, secret = vertex(), Upstream(), account(google.url)
        assert (await fetched(provider, secret, upstream)).headers["authorization"] == "Bearer ya29.fetched-1"
        assert (await fetched(provider, secret, upstream)).headers["authorization"] == "Bearer ya29.fetched-2"
        assert (await fetched(provider, secret, upstream)).headers["authorization"] == "Bearer ya29.fetched-2"
        assert len(google.requests) == 2
        await upstream.stop()


async def test_a_users_own_credentials_are_refreshed() -> None:
    async with FakeUpstream() as google:
        google.script(token_answer(1))
        info = {"client_id": "c", "client_secret": "s", "refresh_token": "r", "quota_project_id": "billed"}
        upstream = Upstream()

        async def fetch(call: Call) -> Fetched:
            assert call.url == "https://oauth2.googleapis.com/token", "users' tokens come from Google itself"
            call.url = google.url + "/token"
            return await upstream.fetch(call)

        secret = json.dumps({"type": "authorized_user", **info})
        call = await vertex().prepare(Call("/x", {}, b"{}"), secret, fetch)
        assert call.headers == {"authorization": "Bearer ya29.fetched-1", "x-goog-user-project": "billed"}
        assert parse_qs(google.requests[0].body.decode())["refresh_token"] == ["r"]
        await upstream.stop()


@pytest.mark.parametrize("secret", ["no json", "[1]", "{}", '{"type": "service_account"}', '{"type": "unheard-of"}'])
async def test_what_are_no_credentials_denies_the_key(secret: str) -> None:
    with pytest.raises(UpstreamDenied) as caught:
        await vertex().prepare(Call("/x", {}, b""), secret, no_fetch)
    assert secret not in caught.value.message


async def test_a_token_that_is_refused_denies_the_key() -> None:
    async with FakeUpstream() as google:
        google.script(json_answer({"error": "invalid_grant", "error_description": "Account not found"}, 400))
        upstream = Upstream()
        with pytest.raises(UpstreamDenied) as caught:
            await fetched(vertex(), account(google.url), upstream)
        assert caught.value.detail == "RefreshError"
        await upstream.stop()


async def test_a_token_endpoint_that_is_not_there_is_no_fault_of_the_key() -> None:
    async def gone(call: Call) -> Fetched:
        raise UpstreamUnreachable("The provider could not be reached; try again or use another provider.")

    provider = vertex()
    with pytest.raises(UpstreamUnreachable):
        await provider.prepare(Call("/x", {}, b""), account("http://127.0.0.1:1"), gone)


async def test_a_machine_without_credentials_denies_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(UpstreamDenied) as caught:
        await vertex().prepare(Call("/x", {}, b""), "", no_fetch)
    assert caught.value.detail == "DefaultCredentialsError"


async def test_the_machines_own_credentials_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with FakeUpstream() as google:
        google.script(token_answer(7))
        file = tmp_path / "adc.json"
        file.write_text(account(google.url), "utf-8")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        upstream = Upstream()
        assert (await fetched(vertex(), "", upstream)).headers["authorization"] == "Bearer ya29.fetched-7"
        await upstream.stop()


# Through the hub.


def config(url: str, folder: Path) -> str:
    (folder / "account.json").write_text(account(url), "utf-8")
    tables = ""
    for publisher in ("google", "anthropic"):
        tables += f"""
            [[providers]]
            name = "{publisher}"
            kind = "vertex"
            project = "{PROJECT}"
            publisher = "{publisher}"
            base_url = "{url}"
            keys = [{{ name = "k", secret = "file:account.json" }}]
        """
    return tables


def gemini_event(text: str, finish: str | None = None) -> str:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    more = {"finishReason": finish} if finish else {}
    return "data: " + json.dumps({"candidates": [candidate | more], "usageMetadata": usage}) + "\r\n\r\n"


async def test_both_publishers_through_the_hub(tmp_path: Path) -> None:
    message = {
        "id": "msg_vrtx_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello!"}],
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }

    def choose(request: ReceivedRequest) -> Answer:
        if request.path == "/token":
            return token_answer(1)
        assert request.headers["authorization"] == "Bearer ya29.fetched-1"
        if request.path.endswith(":rawPredict"):
            return json_answer(message)
        return sse_answer([gemini_event("Hel"), gemini_event("lo!", "STOP")])

    async with FakeUpstream() as google, aiohttp.ClientSession() as client:
        google.on(choose)
        async with House(config(google.url, tmp_path), folder=tmp_path) as house:
            chat = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
            url = f"{house.url}/v1/chat/completions"
            async with client.post(url, json={**chat, "model": "google/gemini-2.5-flash"}) as answer:
                assert answer.status == 200
                text = await answer.text()
                assert '"content":"Hel"' in text and "data: [DONE]" in text
            async with client.post(url, json={**chat, "model": "anthropic/claude-x", "stream": False}) as answer:
                assert (await answer.json())["choices"][0]["message"]["content"] == "Hello!"
            asked = {"model": "anthropic/claude-x", "max_tokens": 9, "messages": chat["messages"]}
            async with client.post(f"{house.url}/v1/messages", json=asked) as answer:
                assert await answer.json() == message
        paths = [request.path for request in google.requests if request.path != "/token"]
        assert paths == [
            f"{GOOGLE}gemini-2.5-flash:streamGenerateContent",
            *[f"/v1/projects/{PROJECT}/locations/global/publishers/anthropic/models/claude-x:rawPredict"] * 2,
        ]
