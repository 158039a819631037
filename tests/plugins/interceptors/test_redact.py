"""Redaction: what must go goes, what must stay stays, and a clean request leaves as it came."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from llmhub_plugins.interceptors.redact import Redact, RedactSettings

from llmhub_core.contracts import (
    ChatRequest,
    ContentPart,
    Image,
    Link,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from llmhub_core.testing.house import House
from llmhub_core.testing.interceptor import InterceptorSuite, an_exchange
from llmhub_core.testing.upstream import FakeUpstream, json_answer

VISA = "4111 1111 1111 1111"
AMEX = "3782-822463-10005"


class TestRedact(InterceptorSuite):
    @classmethod
    def make(cls) -> Redact:
        return Redact(RedactSettings())


async def redacted(*parts: ContentPart, settings: RedactSettings | None = None) -> tuple[ContentPart, ...] | None:
    """The parts of the only message afterwards; None if the request was left as it was."""
    request = ChatRequest("openai_chat", "fast", (Message("user", parts),))
    said = await Redact(settings or RedactSettings()).request(an_exchange(request))
    return None if said is None else said.messages[0].content


async def in_text(text: str, settings: RedactSettings | None = None) -> str:
    parts = await redacted(Text(text), settings=settings)
    if parts is None:
        return text
    (part,) = parts
    assert isinstance(part, Text)
    return part.text


@pytest.mark.parametrize(
    "secret",
    [
        "ada@example.com",
        "ada.lovelace+news@mail.example.co.uk",
        "jürgen@müller.example",
        "sk-proj-abcDEF0123456789abcDEF",
        "sk-ant-api03-AbCd_0123456789-xyzABCDEF",
        "AIzaSyA0123456789abcdefghijklmnopqrstuv",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "AKIAIOSFODNN7EXAMPLE",
        "sk_live_0123456789abcdefABCDEF",
        "lh-0123456789abcdefABCDEF",
        "xoxb-1234567890-abcdefghij",
        VISA,
        "4111-1111-1111-1111",
        "4111111111111111",
        AMEX,
        "378282246310005",
        "6011000990139424",
    ],
)
@pytest.mark.parametrize("around", ["{}", "Take {}, please.", "({})", '{{"value":"{}"}}', "a\n{}\nb", "“{}”", "<{}>"])
async def test_what_must_go_goes(secret: str, around: str) -> None:
    assert await in_text(around.format(secret)) == around.format("[redacted]")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "You know what to do @ 5, see user@localhost and a@b.",
        "4111 1111 1111 1112 has no check digit, nor has 1234567890123456.",
        "Pi is 3.1415926535897932 and not 3.4111111111111111.",
        "The number 41111111111111111111 is too long, 411111111111 too short.",
        "sk-learn and sk-this-is-a-name-with-dashes are no keys; task-0123456789abcdefghij is none either.",
        "00000000-0000-4000-8000-000000000000",
        "2026-11-22T14:00:00Z +1 (555) 010-9999",
    ],
)
async def test_what_must_stay_stays(text: str) -> None:
    assert await in_text(text) == text


async def test_a_card_is_found_beside_other_numbers() -> None:
    assert await in_text(f"Order 1 {VISA} 2") == "Order 1 [redacted] 2"
    assert await in_text(f"In 2024 {VISA} was charged") == "In 2024 [redacted] was charged"
    assert await in_text(f"{VISA} {AMEX}") == "[redacted] [redacted]"


async def test_several_in_one_text() -> None:
    assert await in_text(f"a@b.example, {VISA}; c@d.example") == "[redacted], [redacted]; [redacted]"


async def test_every_text_is_looked_at_and_nothing_else_is_touched() -> None:
    image = Image(Link("https://example.com/ada@example.com.png"))
    thought = Reasoning("ada@example.com", signature="c2ln", origin="anthropic")
    call = ToolCall("call_1", "mail", '{"to":["ada@example.com"],"n":1.50}', {"anthropic": {"a": 1}})
    result = ToolResult("call_1", (Text("sent to ada@example.com"), image), name="mail")
    parts = await redacted(
        Text("clean"), Text(VISA, {"anthropic": {"b": 2}}), Refusal(AMEX), image, thought, call, result
    )
    assert parts == (
        Text("clean"),
        Text("[redacted]", {"anthropic": {"b": 2}}),
        Refusal("[redacted]"),
        image,
        thought,
        ToolCall("call_1", "mail", '{"to":["[redacted]"],"n":1.5}', {"anthropic": {"a": 1}}),
        ToolResult("call_1", (Text("sent to [redacted]"), image), name="mail"),
    )


@pytest.mark.parametrize("arguments", ["", '{"a":1.0E5, "b" : "x"}', "[" * 5000, "not json", '{"n":4111111111111111}'])
async def test_arguments_in_which_nothing_is_found_keep_their_writing(arguments: str) -> None:
    assert await redacted(ToolCall("call_1", "f", arguments)) is None


async def test_arguments_that_are_no_json_are_text() -> None:
    parts = await redacted(ToolCall("call_1", "f", '{"to":"ada@example.com'))
    assert parts == (ToolCall("call_1", "f", '{"to":"[redacted]'),)


async def test_patterns_and_replacement_are_settings() -> None:
    settings = RedactSettings(patterns=(r"secret-\d+", r"#(?P<luhn>\d+)"), replacement=r"\1 <gone>")
    assert await in_text("secret-1 a@b.example #18 #19", settings) == r"\1 <gone> a@b.example \1 <gone> #19"


@pytest.mark.timeout(10)
async def test_a_pattern_that_matches_nothing_does_no_harm() -> None:
    assert await in_text("abc", RedactSettings(patterns=("x*", "$"))) == "abc"


@pytest.mark.parametrize(
    "piece", ["a", "a.", "1", "1 ", "1111 ", "sk-", "sk-a", "a@", "a@a.", "a@1.", "AIza", "é"], ids=repr
)
async def test_the_time_grows_with_the_length_and_no_faster(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    begun = time.perf_counter()
    await in_text(text)
    assert time.perf_counter() - begun < 5  # quadratic would be minutes


def test_a_wrong_pattern_is_named_when_the_hub_starts() -> None:
    (patterns,) = (field for field in RedactSettings.__dataclass_fields__.values() if field.name == "patterns")
    with pytest.raises(ValueError, match="must be a regular expression"):
        patterns.metadata["parse"]("(")


CONFIG = """
[interceptors.redact]
[[providers]]
name = "main"
kind = "openai_compatible"
base_url = "{url}/v1"
[[routes]]
model = "fast"
deployments = [{{ provider = "main", model = "small" }}]
"""

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "small",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
}


async def test_in_a_running_hub(client: Any, upstream: FakeUpstream) -> None:
    upstream.script(json_answer(COMPLETION), json_answer(COMPLETION))
    async with House(CONFIG.format(url=upstream.url)) as house:
        for content in ("I am ada@example.com", "I am Ada"):
            body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": content}], "x": 1.50})
            headers = {"content-type": "application/json"}
            async with client.post(f"{house.url}/v1/chat/completions", data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
    found, clean = upstream.requests
    assert found.json["messages"][0]["content"] == "I am [redacted]"
    # Nothing found: the bytes as they came, but for the model's name.
    assert clean.body == body.replace('"fast"', '"small"').encode()
