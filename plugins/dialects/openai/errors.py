"""Errors: what a Chat provider says, as one of the UpstreamErrors; what the hub says, as Chat clients expect it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from llmhub_core.contracts import (
    HubError,
    LimitScope,
    UpstreamDenied,
    UpstreamError,
    UpstreamLimited,
    UpstreamModelMissing,
    UpstreamRefused,
    dump_json,
    limits_in_words,
    load_json,
    retry_after,
    safe_text,
    said_at,
    spent_until,
    upstream_error,
    wait_in_words,
)


class Said(Struct):
    """What an error body says, whatever its shape; `text` is everything that was written for people."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str | None = None
    text: str = ""
    status: int = 0
    headers: Mapping[str, str] = {}
    """What the provider's own provider said, where it passes that on (OpenRouter)."""


# Reading.


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error answer, JSON or not, as one of the UpstreamErrors."""
    return _error(status, headers, _said(body))


def stream_error(value: Any) -> UpstreamError:
    """An error object inside an answer that began well, from its `error` member."""
    said = _said_in({"error": value})
    return _error(said.status or _STATUS_OF_TYPE.get(said.type, 500), {}, said)


_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "tokens": 429,
    "requests": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
}


_ERROR_STATUS = re.compile(r"[45]\d\d")


def _said(body: bytes) -> Said:
    try:
        return _said_in(load_json(body))
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        # A page of a proxy says nothing to a caller.
        return Said(text=text) if text.startswith("<") else Said(message=text, text=text)


def _said_in(value: Any) -> Said:
    if isinstance(value, list) and value:
        value = value[0]  # Gemini's Chat endpoint
    if not isinstance(value, dict):
        return Said(message=str(value), text=str(value))
    inner = value.get("error")
    if isinstance(inner, dict):
        source = inner
    elif isinstance(inner, str):
        source = {"message": inner, "code": value.get("code")}  # xAI, Hugging Face
    elif "detail" in value:
        source = {"message": _detail(value["detail"])}  # Mistral, FastAPI servers
    else:
        source = value  # vLLM, Azure's gateway
    metadata = source.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    raw = metadata.get("raw")  # OpenRouter: what was said to it
    passed_on = metadata.get("headers")
    message = str(source.get("message") or "")
    code = source.get("code")
    status = str(source.get("status_code", source.get("status", code)))
    param = source.get("param")
    return Said(
        message=message,
        code="" if code is None or str(code).isdigit() else str(code),
        type=str(source.get("type") or ""),
        param=param if isinstance(param, str) else None,
        text=f"{message} {raw}" if isinstance(raw, str) else message,
        status=int(status) if _ERROR_STATUS.fullmatch(status) else 0,
        headers={name.lower(): str(value) for name, value in passed_on.items()} if isinstance(passed_on, dict) else {},
    )


def _detail(detail: Any) -> str:
    if isinstance(detail, list):
        return "; ".join(str(fault.get("msg", fault)) if isinstance(fault, dict) else str(fault) for fault in detail)
    return str(detail)


_NO_CREDIT = re.compile(
    r"exceeded your current quota|insufficient (?:balance|credits?|quota|funds)|credit (?:balance|limit)|no credits"
    r"|out of credits|used all available credits|payment required|billing hard limit|spending limit"
)
_OVERSIZED = re.compile(r"request too large|must be reduced in order to run")
_DAILY = re.compile(r"per[- ](?:day|month|week)|\b[rt]pd\b|\bdaily\b|\bmonthly\b|\bweekly\b")
_TOO_LONG = re.compile(
    r"maximum context length|context (?:length|window|size)|prompt (?:is )?too long|too many (?:input )?tokens"
)
_FILTERED = re.compile(r"content management policy|content[ _]filter|flagged by|content policy|requires moderation")
_BAD_KEY = re.compile(r"(?:incorrect|invalid|wrong) api[ _]key|api key not valid|invalid authentication")
_NO_MODEL = re.compile(
    r"(?:model|deployment).{0,120}(?:does not exist|not found|not available|do(?:es)? not have access)"
    r"|no (?:endpoints|such model)|unknown model|invalid model",
    re.DOTALL,
)
_QUOTA_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credit_limit", "insufficient_balance"}
)
_REGION_CODES = frozenset({"unsupported_country_region_territory", "unsupported_region"})
_REGION = re.compile(r"country, region,? or territory|region is not supported|not available in your (?:country|region)")
_ACCOUNT_CODES = frozenset(
    {"account_deactivated", "organization_restricted", "organization_deactivated", "ip_not_authorized"}
)
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
_MODEL_CODES = frozenset({"model_not_found", "deploymentnotfound", "model_not_available"})
_CODE = re.compile(r"[a-z][a-z0-9_]{1,63}")


def _error(status: int, headers: Mapping[str, str], said: Said) -> UpstreamError:
    if status < 300:
        status = said.status or 500
    error = _refined(status, headers, said)
    if isinstance(error, UpstreamRefused):
        error.param = said.param
    request_id = next((headers[name] for name in _REQUEST_IDS if name in headers), None)
    return error.said(
        status=status, code=said.code or said.type or None, request_id=request_id, detail=safe_text(said.text)
    )


_REQUEST_IDS = ("x-request-id", "request-id", "mistral-correlation-id", "apim-request-id", "x-ms-request-id")


def _refined(status: int, headers: Mapping[str, str], said: Said) -> UpstreamError:
    text, code = said.text.lower(), said.code.lower()
    message = safe_text(said.message)
    if 400 <= status < 500:
        if {code, said.type} & _QUOTA_CODES or status == 402 or _NO_CREDIT.search(text):
            return _out_of_credit()
        if status in (413, 429) and _OVERSIZED.search(text):
            return _oversized()
        if status == 429:
            return _limited({**said.headers, **headers}, text, code)
        if code in _FILTER_CODES or _FILTERED.search(text):
            return UpstreamRefused(message or "The provider's content filter refused it.", code=_POLICY, status=400)
        if code == "context_length_exceeded" or (status in (400, 413, 422) and _TOO_LONG.search(text)):
            return UpstreamRefused(message, code="context_length_exceeded", status=400)
        if code in _REGION_CODES or (status in (400, 403) and _REGION.search(text)):
            return _denied("provider")
        if code in _ACCOUNT_CODES:
            return _denied("group")
        if code == "invalid_api_key" or _BAD_KEY.search(text):
            return _denied("key")
        if code in _MODEL_CODES or (said.param in (None, "model") and _NO_MODEL.search(text)):
            return _missing_model()
        if status == 404 and said.param is None:
            return _missing_model()  # there is nothing else in a Chat request that might not be found
    error = upstream_error(status, message)
    if isinstance(error, UpstreamRefused) and _CODE.fullmatch(said.code):
        error.code = said.code  # clients know OpenAI's own (unsupported_parameter, invalid_value…)
    if error.retryable and error.retry_after is None:
        error.retry_after = retry_after(headers)
    return error


_POLICY = "content_policy_violation"


def _denied(scope: LimitScope) -> UpstreamError:
    error = UpstreamDenied(upstream_error(401, "").message)
    error.scope = scope
    return error


def _missing_model() -> UpstreamError:
    return UpstreamModelMissing("The provider does not serve this model (or not with this key).")


def _out_of_credit() -> UpstreamError:
    error = UpstreamLimited("The provider account has no credit left.", code="insufficient_quota")
    error.exhausted, error.scope = True, "group"
    return error


def _oversized() -> UpstreamError:
    error = UpstreamLimited("The request is larger than the provider's limit for this account; make it smaller.")
    error.oversized, error.scope = True, "group"
    return error


def _limited(headers: Mapping[str, str], text: str, code: str) -> UpstreamError:
    error = UpstreamLimited("The provider's rate limit is reached; try again later.", retry_after=_wait(headers, text))
    if "in organization" in text or "in project" in text or "your organization" in text:
        error.scope = "group"  # OpenAI and Groq count by organization, whichever of its keys asks
    elif "rate-limited upstream" in text:
        error.scope = "model"  # OpenRouter: everybody's share of one model
    elif code in _CAPACITY_CODES or _CAPACITY.search(text):
        error.scope = "model"  # not the account: the model itself has too much to do
    error.exhausted = _DAILY.search(text) is not None
    error.limits = limits_in_words(text)
    return error


_CAPACITY_CODES = frozenset(
    {"queue_exceeded", "model_overloaded", "engine_overloaded", "service_tier_capacity_exceeded"}
)
_CAPACITY = re.compile(r"model is (?:currently )?overloaded|capacity exceeded for this model|high traffic")


def _wait(headers: Mapping[str, str], text: str) -> float | None:
    """Seconds to wait: by the headers, else by the message, else until the spent counters start again."""
    # Azure sends `retry-after-ms: 0` beside `retry-after: 1`.
    wait = retry_after(headers) or retry_after({"retry-after": headers.get("retry-after", "")})
    if wait:
        # A spent day comes with the wait of a minute all the same.
        return max(wait, spent_until(headers) or 0.0) if _DAILY.search(text) else wait
    said = wait_in_words(text, said_at(headers))
    return spent_until(headers) if said is None else said


# Writing.


def error_type(error: HubError) -> str:
    """`type` as OpenAI pairs it with the status and code."""
    if error.code == "insufficient_quota":
        return "insufficient_quota"
    if error.status == 429:
        return "tokens" if "token" in error.message else "requests"
    if error.status == 403:
        return "permission_error"
    return "server_error" if error.status >= 500 else "invalid_request_error"


def encode_error(error: HubError) -> bytes:
    """``{"error": {…}}``; the members that OpenAI knows are always there."""
    return dump_json(
        {
            "error": {
                "message": error.message,
                "type": error_type(error),
                "param": error.param,
                "code": error.code,
                "source": error.source,
            }
        }
    )


def encode_stream_error(error: HubError) -> bytes:
    """The event that makes Chat clients raise; no ``[DONE]`` follows it."""
    return b"data: " + encode_error(error) + b"\n\n"
