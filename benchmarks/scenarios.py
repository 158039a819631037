"""What is asked of a target, and what a good answer looks like."""

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness import Broken, Server
from targets import Target

EVENTS = 100  # text events in a stream
WORD = "fjord"  # each text event holds it once, the whole answer twice
WHOLE_TEXT = (
    "fjord and hill and fjord again, said the old ferryman, who had crossed that water every day for forty years."
)
PATH = "/v1/chat/completions"
# What the OpenAI SDK sends; but no compression, which some gateways would do at a cost that the others do not have.
SDK_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
    "User-Agent": "AsyncOpenAI/Python 3.54.0",
    "X-Stainless-Lang": "python",
    "X-Stainless-Package-Version": "3.54.0",
    "X-Stainless-OS": "Linux",
    "X-Stainless-Arch": "x64",
    "X-Stainless-Runtime": "CPython",
    "X-Stainless-Runtime-Version": "3.11.7",
    "X-Stainless-Async": "async:asyncio",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}


@dataclass(frozen=True)
class Scenario:
    name: str
    streamed: bool = False
    translated: bool = False
    prompt_bytes: int = 0  # text added to the prompt
    image_bytes: int = 0  # base64 of an image in the last message

    def suits(self, target: Target) -> bool:
        return bool(target.translated_model) or not self.translated

    @property
    def word_times(self) -> int:
        return EVENTS if self.streamed else WHOLE_TEXT.count(WORD)

    @property
    def end(self) -> str:
        return "data: [DONE]" if self.streamed else "}"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("whole"),
        Scenario("stream", streamed=True),
        Scenario("large", prompt_bytes=100_000),
        Scenario("translated", streamed=True, translated=True),
        Scenario("image", image_bytes=2_000_000),
        Scenario("image_translated", image_bytes=2_000_000, translated=True),
    )
}


def request_body(scenario: Scenario, target: Target) -> bytes:
    sentence = "The ferry leaves the north shore at seven and is back before the tide turns. "
    last: str | list[dict[str, Any]] = "And then?" + sentence * (scenario.prompt_bytes // len(sentence))
    if scenario.image_bytes:
        image = {"url": "data:image/png;base64," + "iVBORw0KGgoA" * (scenario.image_bytes // 12)}
        last = [{"type": "text", "text": last}, {"type": "image_url", "image_url": image}]
    messages = [
        {"role": "system", "content": "You are a careful assistant. Answer in short, plain sentences. " * 5},
        {"role": "user", "content": "What did the ferryman say about the crossing? " * 4},
        {"role": "assistant", "content": "That he had made it every day for forty years."},
        {"role": "user", "content": last},
    ]
    body: dict[str, object] = {  # in the SDK's order: the model comes after the messages
        "messages": messages,
        "model": target.translated_model if scenario.translated else target.model,
        "max_tokens": 256,
        "temperature": 0.7,
    }
    if scenario.streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body, separators=(",", ":")).encode()


def request_headers(server: Server) -> dict[str, str]:
    more = {name: server.fill(value) for name, value in server.target.headers.items()}
    return SDK_HEADERS | {"Authorization": f"Bearer {server.target.token}"} | more


def raw_request(scenario: Scenario, server: Server) -> bytes:
    """The request as the load generator sends it."""
    body = request_body(scenario, server.target)
    headers = {"Host": f"127.0.0.1:{server.port}"} | request_headers(server) | {"Content-Length": str(len(body))}
    head = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def check(scenario: Scenario, server: Server) -> None:
    """Ask once, and look at everything in the answer that a client lives on. The load itself checks less."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("POST", PATH, request_body(scenario, server.target), request_headers(server))
        response = connection.getresponse()
        status, text = response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"no answer: {error!r}") from error
    finally:
        connection.close()
    if status != 200:
        raise Broken(f"status {status}: {text[:300]}")
    try:
        said, has_usage = _streamed(text) if scenario.streamed else _whole(text)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Broken(f"not an OpenAI answer ({error!r}): {text[:300]}") from error
    if said != (f" {WORD}" * EVENTS if scenario.streamed else WHOLE_TEXT):
        raise Broken(f"not the upstream's text: {said[:300]!r}")
    if not has_usage:
        raise Broken(f"no usage: {text[-300:]}")


def _whole(text: str) -> tuple[str, bool]:
    answer = json.loads(text)
    return answer["choices"][0]["message"]["content"], _has_usage([answer])


def _streamed(text: str) -> tuple[str, bool]:
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    if lines.count("[DONE]") != 1 or lines[-1] != "[DONE]":
        raise Broken(f"does not end with one [DONE]: {text[-300:]!r}")
    events = [json.loads(line) for line in lines[:-1]]
    deltas = (choice["delta"] for event in events for choice in event["choices"])
    return "".join(delta.get("content") or "" for delta in deltas), _has_usage(events)


def _has_usage(events: Iterable[dict[str, Any]]) -> bool:
    return any((event.get("usage") or {}).get("completion_tokens") for event in events)
