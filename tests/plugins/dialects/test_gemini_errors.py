"""Errors in Gemini's words, and what its frames tell in passing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from llmhub_plugins.dialects.gemini.errors import seconds_to_reset
from speaking_gemini import (
    ERROR,
    candidate,
    dialect,
)

from llmhub_core.contracts import (
    HubError,
    QuotaExceeded,
    RequestHead,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    Usage,
)
from llmhub_core.hub.registry import Registry


def failure(status: int, *details: object, message: str = "No.", word: str = "X") -> bytes:
    error = {"code": status, "message": message, "status": word, "details": list(details)}
    return json.dumps({"error": error}).encode()


def quota(name: str, value: str = "50") -> dict[str, Any]:
    return {"@type": "…QuotaFailure", "violations": [{"quotaId": name, "quotaValue": value}]}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "22.5s"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, failure(400, {"reason": "API_KEY_INVALID"}), UpstreamDenied),
        (400, failure(400, message="API key expired. Please renew the API key."), UpstreamDenied),
        (400, failure(400), UpstreamRefused),
        (
            400,
            failure(400, message="User location is not supported for the API use.", word="FAILED_PRECONDITION"),
            UpstreamDenied,
        ),
        (401, b"", UpstreamDenied),
        (403, failure(403, word="PERMISSION_DENIED"), UpstreamDenied),
        (403, failure(403, message="You do not have permission to access the File abc."), UpstreamRefused),
        (404, failure(404, message="models/x is not found for API version v1beta"), UpstreamModelMissing),
        (404, failure(404, message="Requested entity was not found."), UpstreamRefused),
        (404, b"<html>404</html>", UpstreamRefused),
        (429, failure(429), UpstreamLimited),
        (500, failure(500), UpstreamOverloaded),
        (502, b"<html>bad gateway</html>", UpstreamOverloaded),
        (503, json.dumps([{"error": ERROR}]).encode(), UpstreamOverloaded),
        (504, failure(504), UpstreamTimeout),
        (400, b'{"error": "text"}', UpstreamRefused),
        (400, b"[]", UpstreamRefused),
        (400, b"3", UpstreamRefused),
    ],
)
def test_errors_of_providers(status: int, body: bytes, kind: type[Exception]) -> None:
    error = dialect.decode_error(status, {"content-type": "text/event-stream"}, body)
    assert type(error) is kind
    assert error.provider_status == status


def test_limits_say_whose_they_are_and_for_how_long() -> None:
    def limit(*details: object, message: str = "No.") -> UpstreamLimited:
        error = dialect.decode_error(429, {}, failure(429, *details, message=message))
        assert isinstance(error, UpstreamLimited)
        return error

    minute = limit(quota("GenerateRequestsPerMinutePerProjectPerModel"), RETRY)
    assert (minute.retry_after, minute.scope, minute.exhausted) == (22.5, "model", False)
    assert limit(message="Please retry in 48.9s.").retry_after == 48.9
    day = limit(quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), RETRY)
    assert day.exhausted
    assert 0 < (day.retry_after or 0) <= 25 * 3600
    assert day.retry_after != 22.5
    assert limit(quota("RequestsPerDayPerProject")).scope == "group"
    assert limit(quota("TokensPerModelPerMinute", "0"), RETRY).exhausted
    broke = limit(message="Your prepayment credits are depleted.")
    assert (broke.code, broke.scope, broke.exhausted) == ("insufficient_quota", "group", True)
    header = dialect.decode_error(503, {"retry-after": "9"}, failure(503, RETRY))
    assert header.retry_after == 9


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (datetime(2026, 1, 10, 7, 0, tzinfo=UTC), 1),
        (datetime(2026, 7, 10, 7, 0, tzinfo=UTC), 24),
        (datetime(2026, 3, 8, 8, 0, tzinfo=UTC), 23),
    ],
)
def test_days_begin_in_california(now: datetime, hours: int) -> None:
    assert seconds_to_reset(now) == hours * 3600


def test_a_context_that_is_too_long_has_the_hubs_code() -> None:
    message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    error = dialect.decode_error(400, {}, failure(400, message=message))
    assert (type(error), error.code, error.message) == (UpstreamRefused, "context_length_exceeded", message)


def test_secrets_do_not_come_through() -> None:
    error = dialect.decode_error(400, {}, failure(400, message="Bad key AIzaSyA0123456789 here"))
    assert "AIzaSyA" not in error.message + error.detail


def test_errors_for_callers() -> None:
    error = QuotaExceeded("Wait.", retry_after=3, param="contents")
    assert json.loads(dialect.encode_error(error, "req_1")) == {
        "error": {
            "code": 429,
            "message": "Wait.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "RATE_LIMIT_EXCEEDED",
                    "domain": "llm-hub",
                    "metadata": {"source": "gateway"},
                },
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{"field": "contents", "description": "Wait."}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"},
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req_1"},
            ],
            "source": "gateway",
        }
    }
    event = dialect.encode_stream_error(error, "")
    assert event.startswith(b'data: {"error":{')
    assert event.endswith(b"}\r\n\r\n")


GOOGLE = "type.googleapis.com/google.rpc."
INVALID = {
    "@type": GOOGLE + "BadRequest",
    "fieldViolations": [{"field": "generation_config.top_k", "description": "top_k must be at most 40", "code": 7}],
}
SHOWN = {
    "@type": GOOGLE + "BadRequest",
    "fieldViolations": [{"field": "generation_config.top_k", "description": "top_k must be at most 40"}],
}
OPERATORS = [
    {"@type": GOOGLE + "ErrorInfo", "reason": "X", "domain": "googleapis.com", "metadata": {"consumer": "projects/77"}},
    {"@type": GOOGLE + "Help", "links": [{"url": "https://console.developers.google.com/?project=77"}]},
    {"@type": GOOGLE + "DebugInfo", "detail": "projects/77"},
    {"@type": GOOGLE + "ResourceInfo", "owner": "projects/77"},
    {"@type": "type.googleapis.com/of.Tomorrow", "violations": [{"field": "projects/77"}]},
    {"violations": [{"field": "projects/77"}]},
]


def told(error: HubError) -> list[Any]:
    """The details that a caller reads, but the hub's own."""
    details = json.loads(dialect.encode_error(error, ""))["error"]["details"]
    assert details[0]["domain"] == "llm-hub"
    return list(details[1:])


def test_details_of_a_refusal_reach_callers_of_the_format() -> None:
    error = dialect.decode_error(400, {}, failure(400, *OPERATORS, INVALID))
    assert isinstance(error, UpstreamRefused)
    assert (error.details, error.origin) == ([SHOWN], "gemini")
    assert told(error) == [SHOWN]
    error.param = "contents"  # one list of fields at fault is enough
    assert told(error) == [SHOWN]
    for other in Registry().discover().dialects:
        if not other.name.startswith("gemini"):
            assert b"top_k" not in other(other.Settings()).encode_error(error, "")
    error.origin = "anthropic"
    assert [detail["fieldViolations"] for detail in told(error)] == [[{"field": "contents", "description": "No."}]]


def test_a_quota_is_told_without_its_owner() -> None:
    """How long to wait is told once, by the hub."""
    violation = {
        "subject": "project:77",
        "description": "Limit of project 77",
        "quotaMetric": "generativelanguage.googleapis.com/requests",
        "quotaId": "RequestsPerMinutePerProjectPerModel",
        "quotaDimensions": {"model": "gemini-3-flash", "location": "global", "consumer": "projects/77", "n": 7},
        "quotaValue": "50",
    }
    failed = {"@type": GOOGLE + "QuotaFailure", "violations": [violation, "odd"]}
    error = dialect.decode_error(429, {}, failure(429, *OPERATORS, INVALID, failed, RETRY))
    shown = {name: violation[name] for name in ("quotaMetric", "quotaId", "quotaValue")}
    shown["quotaDimensions"] = {"model": "gemini-3-flash", "location": "global"}
    assert told(error) == [
        {"@type": GOOGLE + "RetryInfo", "retryDelay": "22.5s"},
        {"@type": GOOGLE + "QuotaFailure", "violations": [shown]},
    ]
    refused = dialect.decode_error(400, {}, failure(400, failed))
    assert told(refused) == []


@pytest.mark.parametrize("status", [401, 403, 500, 503, 504])
def test_details_of_other_errors_reach_nobody(status: int) -> None:
    error = dialect.decode_error(status, {}, failure(status, *OPERATORS, INVALID))
    assert error.details is None
    assert told(error) == []


def test_details_never_hold_secrets_and_are_small() -> None:
    def refusal(description: str) -> UpstreamError:
        fault = {"@type": GOOGLE + "BadRequest", "fieldViolations": [{"description": description}]}
        return dialect.decode_error(400, {}, failure(400, fault))

    assert refusal("Bad key AIzaSyA0123456789 here").details[0]["fieldViolations"] == [
        {"description": "Bad key *** here"}
    ]
    assert refusal("x" * 3900).details is not None
    assert refusal("x" * 4096).details is None
    for odd in (
        {"@type": GOOGLE + "BadRequest"},
        {"@type": GOOGLE + "BadRequest", "fieldViolations": 3},
        {"@type": []},
    ):
        assert dialect.decode_error(400, {}, failure(400, odd)).details is None


# The verbatim lane.


def test_what_frames_tell_in_passing() -> None:
    head = RequestHead("m", True, "sse")
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2}
    frame = json.dumps({**candidate({"text": "\ud83d"}, finish="STOP"), "usageMetadata": usage}).encode()
    for data in (frame, frame.replace(b"\\ud83d", b"x")):
        assert dialect.telling.search(data)
        info = dialect.inspect_frame(data, head)
        assert (info.finish, info.complete, info.usage) == ("STOP", True, Usage(3, 2))
    middle = dialect.inspect_frame(b'{"candidates":[{}],"usageMetadata":{"trafficType":"X"}}', head)
    assert (middle.finish, middle.complete, middle.usage) == (None, False, None)
    thinking = b'{"candidates":[{}],"usageMetadata":{"thoughtsTokenCount":7}}'
    assert dialect.telling.search(thinking)
    assert dialect.inspect_frame(thinking, head).usage == Usage(0, 7, reasoning_tokens=7)
    blocked = b'{"promptFeedback": {"blockReason": "OTHER"}}'
    assert dialect.telling.search(blocked)
    assert dialect.inspect_frame(blocked, head).complete
    broken = json.dumps({"error": ERROR}).encode()
    assert dialect.telling.search(broken)
    assert isinstance(dialect.inspect_frame(broken, head).error, UpstreamOverloaded)
    quoted = json.dumps(candidate({"text": '"finishReason": "error":'})).encode()
    assert not dialect.telling.search(quoted)
    for garbage in (b"{", b"3", b"[]"):
        with pytest.raises(ValueError):
            dialect.inspect_frame(garbage, head)


def test_what_whole_answers_tell_in_passing() -> None:
    head = RequestHead("m")
    info = dialect.inspect_answer(json.dumps({"candidates": [{"content": {"parts": []}}]}).encode(), head)
    assert (info.complete, info.finish) == (True, None)
    assert dialect.inspect_answer(json.dumps({"error": ERROR}).encode(), head).error is not None
    for garbage in (b"<html>", b"{}", b'{"this": 1}', b"3"):
        with pytest.raises(ValueError):
            dialect.inspect_answer(garbage, head)
    assert dialect.outgoing_body(b'{"contents": 1e-7}', head, "m") == b'{"contents": 1e-7}'
