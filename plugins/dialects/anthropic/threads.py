"""Conversations that the provider keeps (``thread``), of which a caller then sends only what is new.

The provider's SDKs loop over threads by default. Told by ``error.details`` that there is none, they send everything
again: after `thread_not_found` in a new thread, after `thread_unsupported_request` without one. Source: ThreadState in
@anthropic-ai/sdk 1.12, _thread_state in anthropic 2.12 for Python.
"""

from __future__ import annotations

import re
from typing import Any

from llmhub_plugins.dialects.anthropic.words import NAME

from llmhub_core.contracts import BadRequest, ContentPart, HubError, Message, Opaque, UpstreamError, UpstreamRefused

Json = dict[str, Any]

_MARK = "message_thread_"
_MARKED = re.compile(rf"\b{_MARK}(create|continue)\b")


def thread_mark(thread: Any) -> Message:
    """What stands at a conversation's beginning that belongs to a thread: a part that only this format knows, so that
    every other one refuses the request instead of answering half a conversation. Written, it is nothing."""
    if not isinstance(thread, dict):
        raise BadRequest("thread must be an object.", code="invalid_type", param="thread")
    kind = "continue" if thread.get("type") == "continue" else "create"
    return Message("user", (Opaque(NAME, _MARK + kind, thread),))


def is_thread_mark(part: ContentPart) -> bool:
    return isinstance(part, Opaque) and part.origin == NAME and part.kind.startswith(_MARK)


_UNSUPPORTED: Json = {"error_code": "thread_unsupported_request", "unsupported": ["translation"]}
_NOT_FOUND: Json = {"error_code": "thread_not_found"}


def thread_refusal(error: HubError) -> Json | None:
    """Members of the error with which an SDK sends the whole conversation, if `error` is another format's refusal of
    the mark, which it names as every part that it cannot say."""
    found = _MARKED.search(error.message) if error.code == "unsupported_content" else None
    if found is None:
        return None
    message = "`thread` needs the memory of a provider that speaks the Messages API itself, and this request has to be "
    message += "translated for its model; send the whole conversation without it."
    details = _NOT_FOUND if found[1] == "continue" else _UNSUPPORTED
    return {"message": message, "param": "thread", "details": details}


# Vertex and Bedrock speak the format and know only some of its fields and betas.
_UNKNOWN = re.compile(r"\bthread: Extra inputs are not permitted|\bmessage-threads-\d{4}-\d\d-\d\d\b")


def explain_unknown_threads(error: UpstreamError) -> None:
    """A provider that does not know the field cannot say so in `details`."""
    if isinstance(error, UpstreamRefused) and not error.details and _UNKNOWN.search(error.detail):
        error.details, error.origin = {"error_code": _UNSUPPORTED["error_code"]}, NAME
