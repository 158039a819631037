"""Errors of providers read, errors for callers written."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from llmhub_plugins.dialects.gemini.error_details import TYPE, shown_details
from llmhub_plugins.dialects.gemini.words import NAME

from llmhub_core.contracts import (
    HubError,
    SeenLimit,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamRefused,
    dump_json,
    load_json,
    retry_after,
    safe_text,
    said_at,
    upstream_error,
)

_DOMAIN = "llm-hub"

_STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""google.rpc.Code by HTTP status; other 4xx are INVALID_ARGUMENT, other 5xx INTERNAL."""

_STATUS_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_KEY_REASON = re.compile(r"API_KEY_|SERVICE_DISABLED|CONSUMER_INVALID|ACCESS_TOKEN_")
_PROJECT_REASONS = frozenset({"CONSUMER_SUSPENDED", "SERVICE_DISABLED"})
"""What is wrong with a project is wrong with all of its keys."""

_KEY_MESSAGE = re.compile(r"(?i)\bAPI key (?:not valid|expired|not found)")
_NOT_THE_KEYS_FAULT = re.compile(r"(?i)\b(?:file|cached ?content|tuned model)\b")
"""A 403 about one of these is about what the caller named; the key is as good as before."""

_REGION = re.compile(r"(?i)\buser location is not supported")
_NO_BILLING = re.compile(r"(?i)requires billing to be enabled")
_MODEL_MISSING = re.compile(r"(?i)\bmodels?\b")
_TOO_LONG = re.compile(r"(?i)token count .*exceeds the maximum|exceeds the maximum number of tokens")
_NO_CREDIT = re.compile(r"(?i)credits? (?:is|are) depleted|spend(?:ing)? cap|spend(?:ing)? limit")
_RETRY_IN = re.compile(r"(?i)retry in ([\d.]+)s")


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error answer of any shape. Streams fail with the same JSON as whole answers, whatever the content type
    says; without ``alt=sse`` it stands in an array."""
    try:
        value = load_json(body)
    except ValueError:
        text = safe_text(body.decode("utf-8", "replace").strip())
        return upstream_error(status, "" if text.startswith("<") else text).said(status=status, detail=text)
    if isinstance(value, list):
        value = value[0] if value else None
    found = value.get("error") if isinstance(value, dict) else value
    return _read(status, found, retry_after(headers), said_at(headers))


def error_in_answer(error: object) -> UpstreamError:
    """The error object inside an answer whose status was 200."""
    status: object = 0
    if isinstance(error, dict):
        status = error.get("code") or _STATUS_CODES.get(str(error.get("status")), 500)
    return _read(status if isinstance(status, int) and status >= 400 else 500, error, None, time.time())


def _read(status: int, error: object, wait: float | None, now: float) -> UpstreamError:
    if not isinstance(error, dict):
        text = safe_text(error) if isinstance(error, str) else ""
        return upstream_error(status, text).said(status=status, detail=text)
    message = safe_text(str(error.get("message") or ""))
    listed = error.get("details")
    details = [detail for detail in listed if isinstance(detail, dict)] if isinstance(listed, list) else []
    reason = next((str(detail["reason"]) for detail in details if detail.get("reason")), "")
    found = _kind(status, message, reason)
    found.retry_after = _delay(details, message) if wait is None else wait
    if isinstance(found, UpstreamLimited):
        _read_quota(found, details, message, now)
    elif _TOO_LONG.search(message):
        found.code = "context_length_exceeded"
    found.details, found.origin = shown_details(found, details), NAME
    return found.said(status=status, code=reason or str(error.get("status") or "") or None, detail=message)


def _kind(status: int, message: str, reason: str) -> UpstreamError:
    base = upstream_error(status, message)
    if status in (400, 403) and _REGION.search(message):
        denied = UpstreamDenied(upstream_error(401, "").message)
        denied.scope = "provider"
        return denied
    if status == 403 and (reason == "BILLING_DISABLED" or _NO_BILLING.search(message)):
        return upstream_error(402, message)
    if isinstance(base, UpstreamDenied) and reason in _PROJECT_REASONS:
        base.scope = "group"
    if status == 400 and (_KEY_REASON.match(reason) or _KEY_MESSAGE.search(message)):
        return upstream_error(401, message)
    if isinstance(base, UpstreamDenied) and status == 403 and not reason and _NOT_THE_KEYS_FAULT.search(message):
        return UpstreamRefused(message, status=403)
    if status == 404 and _MODEL_MISSING.search(message):
        return UpstreamModelMissing("The provider does not have this model.")
    return base


def _delay(details: list[dict[str, Any]], message: str) -> float | None:
    """Seconds to wait, from RetryInfo (``"48s"``) or the text; no header says it."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            try:
                return max(0.0, float(delay[:-1]))
            except ValueError:
                continue
    found = _RETRY_IN.search(message)
    return float(found[1].rstrip(".")) if found and found[1].count(".") < 2 else None


def _read_quota(error: UpstreamLimited, details: list[dict[str, Any]], message: str, now: float) -> None:
    """Quotas count by project and model. A spent daily one comes with a RetryInfo of seconds all the same: what
    holds is the next midnight in California, when days begin."""
    error.scope = "model"
    if error.exhausted or _NO_CREDIT.search(message):
        error.exhausted, error.scope, error.retry_after, error.code = True, "group", None, "insufficient_quota"
        return
    violations = [
        violation
        for detail in details
        if isinstance(detail.get("violations"), list)
        for violation in detail["violations"]
        if isinstance(violation, dict)
    ]
    quotas = [str(violation.get("quotaId") or "") for violation in violations]
    error.limits = [limit for violation in violations if (limit := _seen(violation)) is not None]
    if any(quotas) and not any("PerModel" in quota for quota in quotas):
        error.scope = "group"
    if any("PerDay" in quota for quota in quotas):
        error.exhausted = True
        error.retry_after = seconds_to_reset(datetime.fromtimestamp(now, UTC))
    elif any(str(violation.get("quotaValue")) == "0" for violation in violations):
        error.exhausted, error.retry_after = True, None


def _seen(violation: dict[str, Any]) -> SeenLimit | None:
    """``GenerateRequestsPerDayPerProjectPerModel-FreeTier`` with quotaValue "50" as a limit."""
    quota, value = str(violation.get("quotaId") or ""), str(violation.get("quotaValue") or "")
    window = next((seconds for name, seconds in _WINDOWS.items() if name in quota), None)
    if window is None or not value.isdigit() or not int(value):
        return None
    kind: Literal["requests", "tokens"] = "tokens" if "Token" in quota else "requests"
    return SeenLimit(kind, window, int(value), zone="America/Los_Angeles" if window == 86_400 else None)


_WINDOWS = {"PerDay": 86_400, "PerHour": 3600, "PerMinute": 60}


def seconds_to_reset(now: datetime) -> float:
    """Seconds from `now` until the next midnight in California (documented reset of the daily quotas)."""
    zone: tzinfo
    try:
        zone = ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:  # systems without a time zone database
        zone = timezone(timedelta(hours=-8))
    local = now.astimezone(zone)
    midnight = (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight.astimezone(UTC) - now).total_seconds()


def write_error(error: HubError, request_id: str) -> bytes:
    """The body of an error answer: Google's shape, with the hub's code as ErrorInfo and `source` beside. Details of a
    provider of this format follow."""
    info = {
        "@type": TYPE + "ErrorInfo",
        "reason": error.code.upper(),
        "domain": _DOMAIN,
        "metadata": {"source": error.source},
    }
    details: list[dict[str, Any]] = [info]
    said = error.details or () if error.origin == NAME else ()
    if error.param is not None and not said:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append(
            {"@type": TYPE + "RetryInfo", "retryDelay": f"{error.retry_after:.3f}".rstrip("0").rstrip(".") + "s"}
        )
    if request_id:
        details.append({"@type": TYPE + "RequestInfo", "requestId": request_id})
    details += said
    word = _STATUS_WORDS.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    return dump_json(
        {
            "error": {
                "code": error.status,
                "message": error.message,
                "status": word,
                "details": details,
                "source": error.source,
            }
        }
    )


def write_stream_error(error: HubError, request_id: str) -> bytes:
    """The event that ends a broken stream. google-genai raises on an object that begins with `error`."""
    return b"data: " + write_error(error, request_id) + b"\r\n\r\n"
