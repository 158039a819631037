"""Conversations that the provider keeps (``thread``), of which a caller then sends only what is new.

The provider's SDKs loop over threads by default. Told by ``error.details`` that there is none, they send everything
again: after `thread_not_found` in a new thread, after `thread_unsupported_request` without one. Source: ThreadState in
@anthropic-ai/sdk 1.12, _thread_state in anthropic 2.12 for Python.
"""

from __future__ import annotations

import re
from typing import Any

from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import BadRequest, HubError, UpstreamError, UpstreamRefused

Json = dict[str, Any]

_NEW, _OLD = "thread", "thread.previous_message_id"

_UNSUPPORTED: Json = {"error_code": "thread_unsupported_request", "unsupported": ["translation"]}
_DETAILS: dict[str | None, Json] = {_NEW: _UNSUPPORTED, _OLD: {"error_code": "thread_not_found"}}


def thread_needs(said: Json) -> tuple[str, ...]:
    """What of a request's thread only a provider of this format can honour."""
    if "thread" not in said:
        return ()
    thread = said["thread"]
    if not isinstance(thread, dict):
        raise BadRequest("thread must be an object.", code="invalid_type", param="thread")
    return (_OLD if thread.get("type") == "continue" else _NEW,)


def refused_thread(error: HubError) -> Json | None:
    """The details with which an SDK sends the whole conversation, if `error` is the hub's refusal of `thread_needs`."""
    return _DETAILS.get(error.param) if error.code == "unsupported_parameter" and type(error) is BadRequest else None


# Vertex and Bedrock speak the format and know only some of its fields and betas.
_UNKNOWN = re.compile(r"\bthread: Extra inputs are not permitted|\bmessage-threads-\d{4}-\d\d-\d\d\b")


def explain_unknown_threads(error: UpstreamError) -> None:
    """A provider that does not know the field cannot say so in `details`."""
    if isinstance(error, UpstreamRefused) and not error.details and _UNKNOWN.search(error.detail):
        error.details, error.origin = {"error_code": _UNSUPPORTED["error_code"]}, NAME
