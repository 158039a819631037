"""The anthropic dialect: errors of providers understood, ours said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from llmhub_plugins.dialects.anthropic import Anthropic, AnthropicSettings

from llmhub_core.contracts import (
    BadRequest,
    HubError,
    NoCandidateLeft,
    RequestHead,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)
from llmhub_core.hub.registry import Registry

DIALECT = Anthropic(AnthropicSettings())


def answer(status: int, kind: str = "", message: str = "", **headers: str) -> UpstreamError:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_body"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return DIALECT.decode_error(status, named, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "kind", "message", "meant", "code"),
    [
        (400, "invalid_request_error", "bad", UpstreamRefused, "upstream_rejected"),
        (400, "invalid_request_error", "prompt is too long: 9 > 8", UpstreamRefused, "context_length_exceeded"),
        (400, "invalid_request_error", "Your credit balance is too low", UpstreamLimited, "insufficient_quota"),
        (401, "authentication_error", "invalid x-api-key", UpstreamDenied, "no_upstream_available"),
        (402, "billing_error", "pay", UpstreamLimited, "insufficient_quota"),
        (403, "permission_error", "no", UpstreamDenied, "no_upstream_available"),
        (404, "not_found_error", "model: claude-0", UpstreamModelMissing, "model_not_found"),
        (400, "invalid_request_error", "model: String should be longer", UpstreamRefused, "upstream_rejected"),
        (404, "NOT_FOUND", "Publisher Model `projects/p/x` was not found.", UpstreamModelMissing, "model_not_found"),
        (404, "not_found_error", "no such file", UpstreamRefused, "upstream_rejected"),
        (413, "request_too_large", "big", UpstreamRefused, "upstream_rejected"),
        (429, "rate_limit_error", "slow", UpstreamLimited, "rate_limit_exceeded"),
        (500, "api_error", "oops", UpstreamOverloaded, "overloaded"),
        (504, "timeout_error", "late", UpstreamTimeout, "upstream_timeout"),
        (529, "overloaded_error", "Overloaded", UpstreamOverloaded, "overloaded"),
        (418, "teapot_error", "?", UpstreamRefused, "upstream_rejected"),
    ],
)
def test_a_providers_error_is_understood(
    status: int, kind: str, message: str, meant: type[UpstreamError], code: str
) -> None:
    error = answer(status, kind, message, request_id="req_1")
    assert type(error) is meant
    assert (error.code, error.provider_status, error.provider_code) == (code, status, kind)
    assert (error.provider_request_id, error.detail) == ("req_1", message)
    if isinstance(error, UpstreamLimited):
        assert error.scope == "group"
        assert error.exhausted is (code == "insufficient_quota")
    if isinstance(error, UpstreamRefused):
        assert (error.status, error.message) == (status, message)


@pytest.mark.parametrize(
    ("status", "kind", "message", "meant"),
    [
        (403, "AccessDeniedException", "You don't have access to the model with …", "no model"),
        (403, "AccessDeniedException", "Model access is denied due to IAM user or service role …", "no model"),
        (403, "AccessDeniedException", "x may not, on resource: arn:aws:bedrock:::foundation-model/y", "no model"),
        (400, "ValidationException", "The provided model identifier is invalid.", "no model"),
        (404, "ResourceNotFoundException", "This model version has reached the end of its life.", "no model"),
        (404, "FTUFormNotFilled", "Model use case details have not been submitted …", "no model"),
        (403, "UnrecognizedClientException", "The security token included in the request is invalid.", "denied"),
        (403, "ExpiredTokenException", "The security token included in the request is expired", "denied"),
        (403, "AccessDeniedException", "User: x is not authorized on resource: arn:aws:iam::1:role/y", "denied"),
        (400, "ValidationException", "messages: at least one message is required", "refused"),
        (429, "ThrottlingException", "Too many requests, please wait before trying again.", "limited"),
        (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", "overloaded"),
    ],
)  # fmt: skip
def test_what_bedrock_says_is_understood(status: int, kind: str, message: str, meant: str) -> None:
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/x/", "x-amzn-requestid": "aws-1"}
    error = DIALECT.decode_error(status, headers, json.dumps({"message": message}).encode())
    kinds = {
        "no model": UpstreamModelMissing,
        "denied": UpstreamDenied,
        "refused": UpstreamRefused,
        "limited": UpstreamLimited,
        "overloaded": UpstreamOverloaded,
    }
    assert type(error) is kinds[meant]
    assert (error.provider_status, error.provider_code, error.provider_request_id) == (status, kind, "aws-1")
    assert (error.message == message) is (meant == "refused")
    assert error.detail


@pytest.mark.parametrize(
    "body", [b"", b"<html>sk-ant-secret</html>", b"upstream connect error", b"[1]", b'{"error":1}']
)
@pytest.mark.parametrize(
    ("status", "meant"), [(502, UpstreamOverloaded), (413, UpstreamRefused), (403, UpstreamDenied)]
)
def test_errors_without_json_are_understood(status: int, meant: type[UpstreamError], body: bytes) -> None:
    error = DIALECT.decode_error(status, {}, body)
    assert type(error) is meant
    assert "<" not in error.message
    assert "sk-ant-secret" not in error.detail


def test_the_wait_is_the_headers_or_the_resets() -> None:
    def at(seconds: int) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert answer(429, "rate_limit_error", retry_after="505").retry_after == 505
    both = {"anthropic_ratelimit_requests_reset": at(10), "anthropic_ratelimit_requests_remaining": "3"}
    spent = {"anthropic_ratelimit_input_tokens_reset": at(40), "anthropic_ratelimit_input_tokens_remaining": "0"}
    assert answer(429, "rate_limit_error", **both, **spent).retry_after == pytest.approx(40, abs=2)
    more = {"anthropic_ratelimit_output_tokens_reset": at(70), "anthropic_ratelimit_output_tokens_remaining": "0"}
    assert answer(429, "rate_limit_error", **spent, **more).retry_after == pytest.approx(70, abs=2)
    assert answer(429, "rate_limit_error", **both).retry_after == pytest.approx(10, abs=2)
    past = {"anthropic_ratelimit_requests_reset": "2024-03-26T20:00:00Z"}
    assert answer(429, "rate_limit_error", **past).retry_after is None
    assert answer(529, "overloaded_error", **both).retry_after is None
    day = datetime.now(UTC) + timedelta(days=2)
    text = f"You have reached your specified API usage limits. You will regain access on {day:%Y-%m-%d} at 00:00 UTC."
    error = answer(400, "invalid_request_error", text)
    assert isinstance(error, UpstreamLimited)
    assert error.exhausted
    assert 86_000 < (error.retry_after or 0) <= 2 * 86_400


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("m", param="messages[0]"), "invalid_request_error"),
        (HubError("m", status=401), "authentication_error"),
        (HubError("m", status=402), "billing_error"),
        (HubError("m", status=403), "permission_error"),
        (HubError("m", status=404), "not_found_error"),
        (HubError("m", status=413), "request_too_large"),
        (HubError("m", status=415), "invalid_request_error"),
        (HubError("m", status=429), "rate_limit_error"),
        (HubError("m", status=500), "api_error"),
        (HubError("m", status=502), "api_error"),
        (NoCandidateLeft("m"), "overloaded_error"),
        (HubError("m", status=504), "timeout_error"),
        (HubError("m", status=529), "overloaded_error"),
    ],
)
def test_our_errors_have_the_formats_shape(error: HubError, kind: str) -> None:
    said = json.loads(DIALECT.encode_error(error, "req_1"))
    assert (said["type"], said["request_id"]) == ("error", "req_1")
    param = {"param": error.param} if error.param else {}
    assert said["error"] == {"type": kind, "message": "m", "code": error.code, "source": error.source, **param}
    assert DIALECT.encode_stream_error(error, "req_1") == (
        b"event: error\ndata: " + DIALECT.encode_error(error, "req_1") + b"\n\n"
    )


def with_details(status: int, kind: str, details: Any, message: str = "No.") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, "details": details}}).encode()


DETAILS = {"error_code": "image_dimensions_too_large", "max_edge": 8000, "blocks": [{"index": 3, "ok": None}], "x": 1.5}


def test_details_of_a_refusal_reach_callers_of_the_format() -> None:
    body = with_details(400, "invalid_request_error", DETAILS)
    error = DIALECT.decode_error(400, {}, body)
    assert (error.details, error.origin) == (DETAILS, "anthropic")
    assert json.loads(DIALECT.encode_error(error, ""))["error"]["details"] == DETAILS
    in_stream = DIALECT.inspect_frame(body, RequestHead("m", True, "sse")).error
    assert in_stream is not None
    assert in_stream.details == DETAILS
    for other in Registry().discover().dialects:
        if not other.name.startswith("anthropic"):
            assert b"image_dimensions" not in other(other.Settings()).encode_error(error, "")
    foreign = UpstreamRefused("No.").said(status=400)
    foreign.details, foreign.origin = DETAILS, "gemini"
    assert "details" not in json.loads(DIALECT.encode_error(foreign, ""))["error"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_details_of_the_account_reach_nobody(status: int, kind: str) -> None:
    error = DIALECT.decode_error(status, {}, with_details(status, kind, DETAILS, "model: claude-0"))
    assert not isinstance(error, UpstreamRefused)
    assert error.details is None
    assert b"details" not in DIALECT.encode_error(error, "")


def test_details_never_hold_secrets_and_are_small() -> None:
    def details(value: Any) -> Any:
        return DIALECT.decode_error(400, {}, with_details(400, "invalid_request_error", value)).details

    secret = "sk-ant-api03-0123456789"
    assert details({"key": secret, secret: ["Bearer abc", {"url": "https://x/?key=abc"}]}) == {
        "key": "***",
        "***": ["***", {"url": "https://x/?key=***"}],
    }
    assert details({"text": "x" * 4000}) is not None
    assert details({"text": "x" * 4096}) is None
    deep: Any = secret
    for _ in range(400):
        deep = [deep]
    assert secret not in json.dumps(details({"a": deep}))
    assert [details(odd) for odd in (None, "text", [1], {}, 3)] == [None, None, None, {}, None]
    assert b"details" not in DIALECT.encode_error(
        DIALECT.decode_error(400, {}, with_details(400, "invalid_request_error", {})), ""
    )
