"""What a provider says in `details` of its errors, as far as it is the caller's business.

Types and members are Google's (google/rpc/error_details.proto), those of QuotaFailure as recorded. Only what is known
to tell of the request passes: the rest (ErrorInfo, Help, DebugInfo, a violation's `subject`) may name the operator's
project. RetryInfo is not among it, for how long to wait is said by the hub, which may have other keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmhub_core.contracts import UpstreamError, UpstreamLimited, UpstreamRefused, dump_json, safe_text

TYPE = "type.googleapis.com/google.rpc."

_LARGEST = 4096

_OF_REQUEST: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "BadRequest": ("fieldViolations", ("field", "description", "reason")),
    "PreconditionFailure": ("violations", ("type", "description")),
}
_OF_QUOTA: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "QuotaFailure": ("violations", ("quotaMetric", "quotaId", "quotaDimensions", "quotaValue")),
}
"""By type: the member that lists violations, and the members of one that pass."""

_DIMENSIONS = ("model", "base_model", "location", "region")


def shown_details(error: UpstreamError, details: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The details that a caller of this format gets of `error`; None if there are none, or too many."""
    if isinstance(error, UpstreamRefused):
        known = _OF_REQUEST
    elif isinstance(error, UpstreamLimited):
        known = _OF_QUOTA
    else:
        return None
    shown: list[dict[str, Any]] = []
    for detail in details:
        kind = str(detail.get("@type", "")).removeprefix(TYPE)
        name, members = known.get(kind, ("", ()))
        listed = detail.get(name)
        if isinstance(listed, list):
            violations = [_safe(violation, members) for violation in listed if isinstance(violation, dict)]
            shown.append({"@type": TYPE + kind, name: violations})
    return shown if shown and len(dump_json(shown)) <= _LARGEST else None


def _safe(violation: Mapping[str, Any], members: tuple[str, ...]) -> dict[str, Any]:
    """The texts among `members`, and of maps what names model and place, without anything that looks like a
    credential."""
    safe: dict[str, Any] = {}
    for name in members:
        value = violation.get(name)
        if isinstance(value, str):
            safe[name] = safe_text(value, _LARGEST)
        elif isinstance(value, dict):
            texts = {key: text for key, text in value.items() if key in _DIMENSIONS and isinstance(text, str)}
            safe[name] = {key: safe_text(text) for key, text in texts.items()}
    return safe
