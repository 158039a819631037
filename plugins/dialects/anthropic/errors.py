"""Errors, both ways: what a provider answered as an UpstreamError, and ours in this format's shape."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from llmhub_plugins.dialects.anthropic.threads import explain_unknown_threads, refused_thread
from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import (
    HubError,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamRefused,
    dump_json,
    limits_in_words,
    load_json,
    retry_after,
    safe_text,
    said_at,
    upstream_error,
)

Json = dict[str, Any]

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The API's error types with the HTTP status that each has outside of streams."""

_TYPE_OF_STATUS = {status: type for type, status in _STATUS_OF_TYPE.items()} | {
    408: "timeout_error",
    422: "invalid_request_error",
    502: "api_error",
    503: "overloaded_error",
}

# Wordings that tell more than the type does (recorded or widely reported; matched loosely, and only to be kinder).
_NO_CREDIT = re.compile(r"credit balance is too low|purchase credits", re.IGNORECASE)
_SPENT = re.compile(r"reached your specified .*usage limits", re.IGNORECASE)
_REGAIN = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")
_TOO_LONG = re.compile(
    r"(?:prompt|input) is too long|exceed(?:s|ed)? (?:the )?(?:model's )?context (?:limit|window)", re.IGNORECASE
)
_REGION = re.compile(r"not available in your (?:country|region)|unsupported (?:country|region)", re.IGNORECASE)
_ORGANIZATION = re.compile(r"organization has been (?:disabled|suspended)", re.IGNORECASE)
# The model is not there, or not for this account, said by Bedrock and Vertex AI; the key may be good for others.
_NO_MODEL = re.compile(
    r"access to the model|model access is denied|provided model identifier|model use case details"
    r"|model version has reached the end of its life|on resource: \S*(?:foundation-model|inference-profile)"
    r"|^publisher model .*not found",
    re.IGNORECASE | re.DOTALL,
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error answer, JSON or an edge's HTML or nothing at all, as the error that it means.

    Bedrock says ``{"message": …}`` and its kind of error in a header, which AWS' reference of common errors lists.
    """
    try:
        said = load_json(body)
    except ValueError:
        said = None
    found, now = said.get("error") if isinstance(said, dict) else None, said_at(headers)
    if isinstance(found, dict):
        error = _error(status, found, said.get("request_id"), now)
    elif isinstance(said, dict) and isinstance(said.get("message"), str):
        kind = headers.get("x-amzn-errortype", "").partition(":")[0]
        error = _error(status, {"type": safe_text(kind), "message": said["message"]}, None, now)
    else:
        text = body[:2000].decode("utf-8", "replace").strip()
        message = "" if text.startswith(("<", "{", "[")) else safe_text(text)
        error = upstream_error(status, message).said(status=status, detail=safe_text(text))
    error.provider_request_id = (
        headers.get("request-id") or headers.get("x-amzn-requestid") or error.provider_request_id
    )
    explain_unknown_threads(error)
    if error.retry_after is None:
        wait = retry_after(headers)
        error.retry_after = _until_reset(headers) if wait is None and isinstance(error, UpstreamLimited) else wait
    if isinstance(error, UpstreamOverloaded) and (status == 529 or error.provider_code == "overloaded_error"):
        error.scope = "provider"
    return error


def decode_stream_error(said: Any) -> UpstreamError:
    """An error event inside a stream, or an error under status 200: the type stands for the status."""
    said = said if isinstance(said, dict) else {"error": said}
    found = said.get("error")
    if not isinstance(found, dict):
        found = {"message": found if isinstance(found, str) else ""}
    return _error(_STATUS_OF_TYPE.get(str(found.get("type")), 500), found, said.get("request_id"), time.time())


def _error(status: int, found: Mapping[str, Any], request_id: Any, now: float) -> UpstreamError:
    kind = str(found.get("type") or "")
    message = safe_text(str(found.get("message") or ""))
    error = upstream_error(_meant(status, kind, message), message)
    if isinstance(error, UpstreamLimited):
        error.scope = "group"  # limits and credit belong to the organisation, not to one of its keys
        if regain := _REGAIN.search(message):
            back = datetime.fromisoformat(f"{regain[1]}T{regain[2]}+00:00").timestamp()
            error.retry_after = max(0.0, back - now)
        error.limits = limits_in_words(message)
    elif isinstance(error, UpstreamDenied) and _REGION.search(message):
        error.scope = "provider"
    elif isinstance(error, UpstreamDenied) and _ORGANIZATION.search(message):
        error.scope = "group"
    elif (status == 404 and message.startswith("model:")) or (status in (400, 403, 404) and _NO_MODEL.search(message)):
        error = UpstreamModelMissing("The provider does not have this model.")
    elif error.status == 400 and _TOO_LONG.search(message):
        error.code = "context_length_exceeded"
    if isinstance(error, UpstreamRefused):  # of others they tell about the account
        error.details, error.origin = _safe_details(found.get("details")), NAME
    request = request_id if isinstance(request_id, str) else None
    return error.said(status=status, code=kind or None, request_id=request, detail=message)


def _meant(status: int, kind: str, message: str) -> int:
    """The status that tells the kind of error; the type outranks the number, telling words outrank both."""
    if _NO_CREDIT.search(message) or _SPENT.search(message):
        return 402  # comes as 400 invalid_request_error
    if kind in ("invalid_request_error", "not_found_error") and 400 <= status < 500:
        return status if status not in (401, 402, 403, 408, 429) else _STATUS_OF_TYPE[kind]
    return _STATUS_OF_TYPE.get(kind, status)


_LARGEST = 4096
_DEEPEST = 8


def _safe_details(details: Any) -> Json | None:
    """`details` without anything that looks like a credential; None if there are none, or too many."""
    if not isinstance(details, dict) or len(dump_json(details)) > _LARGEST:
        return None
    safe: Json | None = _safe(details, _DEEPEST)
    return safe


def _safe(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return safe_text(value, _LARGEST)
    if not isinstance(value, dict | list):
        return value
    if not depth:
        return None
    if isinstance(value, list):
        return [_safe(item, depth - 1) for item in value]
    return {safe_text(name, _LARGEST): _safe(item, depth - 1) for name, item in value.items()}


_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limits that are used up are whole again, from the rate limit headers (RFC 3339 times)."""
    waits, now = list[tuple[bool, float]](), said_at(headers)
    for limit in _LIMITS:
        try:
            reset = datetime.fromisoformat(headers.get(f"anthropic-ratelimit-{limit}-reset", ""))
        except ValueError:
            continue
        wait = reset.replace(tzinfo=reset.tzinfo or UTC).timestamp() - now
        if wait > 0:
            waits.append((headers.get(f"anthropic-ratelimit-{limit}-remaining") == "0", wait))
    spent = [wait for used_up, wait in waits if used_up]
    return max(spent) if spent else min((wait for _, wait in waits), default=None)


def encode_error(error: HubError, request_id: str) -> bytes:
    """The body of an error answer; `code`, `source` and `param` are additions that the SDKs pass over, `details` what
    a provider of this format said."""
    kind = _TYPE_OF_STATUS.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.status < 500 else "api_error"
    said: dict[str, Any] = {"type": kind, "message": error.message, "code": error.code, "source": error.source}
    if error.param is not None:
        said["param"] = error.param
    own = error.details if error.origin == NAME else refused_thread(error)
    if own:
        said["details"] = own
    return dump_json({"type": "error", "error": said, "request_id": request_id or None})


def encode_stream_error(error: HubError, request_id: str) -> bytes:
    """The last event of a broken stream; the SDKs raise on it."""
    return b"event: error\ndata: " + encode_error(error, request_id) + b"\n\n"
