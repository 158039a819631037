"""The words of the format, and small readers that every room shares.

Facts are from the published API description (ai.google.dev/api/generate-content) and from recorded traffic.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from llmhub_core.contracts import BadRequest, Extras, FinishReason, Usage

NAME = "gemini"

SAME_TURN: Extras = {NAME: {}}
"""The extras of a message that stood in one `content` with the message before it, and goes back there. They hold
nothing, so that other dialects have nothing to report as lost."""

_FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)

_OUTWARD: Mapping[FinishReason, str] = {
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}

KNOWN_FINISHES = _FILTERED | {
    "STOP",
    "MAX_TOKENS",
    "OTHER",
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "CONTINUATION",
    "IMAGE_OTHER",
    "NO_IMAGE",
}


def is_finish(native: object) -> bool:
    """Whether a `finishReason` says that the answer ended; the enum's zero value says nothing."""
    return isinstance(native, str) and native not in ("", "FINISH_REASON_UNSPECIFIED")


def finish_reason(native: str, called: bool) -> FinishReason:
    """The neutral word. The format has none for tool calls: `called` says whether there were any."""
    if native == "MAX_TOKENS":
        return "length"
    if native in _FILTERED:
        return "content_filter"
    return "tool_calls" if called and native in ("STOP", "") else "stop"


def finish_word(reason: FinishReason, native: str) -> str:
    """The format's word; the provider's own where it already is one."""
    return native if native in KNOWN_FINISHES else _OUTWARD.get(reason, "STOP")


# Members: camelCase and snake_case are both accepted on input, and null means: not there.

_UNDERSCORE = re.compile(r"_([a-z0-9])")


@lru_cache(maxsize=1024)
def _camel_name(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found.group(1).upper(), name)


def camel(members: Mapping[str, Any]) -> dict[str, Any]:
    """One level of an object with its names in camelCase and without nulls."""
    return {_camel_name(name) if "_" in name else name: value for name, value in members.items() if value is not None}


def wrong_type(where: str, wanted: str) -> BadRequest:
    return BadRequest(f"`{where}` must be {wanted}.", code="invalid_type", param=where)


def as_object(value: object, where: str) -> dict[str, Any]:
    """`value` with names in camelCase; BadRequest naming `where` if it is no object."""
    if not isinstance(value, dict):
        raise wrong_type(where, "an object")
    return camel(value)


def as_object_untouched(value: object, where: str) -> dict[str, Any]:
    """The caller's own data: its names are not the format's and stay as they are."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(where, "an object")
    return value


def as_list(value: object, where: str) -> list[Any]:
    """A list; a single object stands for a list of one, as the API itself accepts."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise wrong_type(where, "an array")
    return value


def as_text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(where, "a string")
    return value


def own(extras: Mapping[str, Any]) -> Extras:
    """Extras as they are kept on parts and messages: under the dialect's name, none if empty."""
    return {NAME: dict(extras)} if extras else {}


def own_extras(extras: Extras) -> dict[str, Any]:
    """What this dialect itself left in the extras of a part, message or tool."""
    found = extras.get(NAME)
    return found if isinstance(found, dict) else {}


_BESIDE = ("candidate", "answer")


def beside_content(candidate: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside a candidate's content, and beside all candidates: extras of its last part, of its end if
    it has none."""
    return {name: dict(members) for name, members in zip(_BESIDE, (candidate, answer), strict=True) if members}


def without_beside(extras: Mapping[str, Any]) -> dict[str, Any]:
    """The extras that belong to the part itself."""
    return {name: value for name, value in extras.items() if name not in _BESIDE}


def foreign_extras(extras: Extras, where: str) -> list[str]:
    """What other dialects left in `extras`, as losses."""
    return [
        f"{where}.{name}=dropped"
        for owner, fields in extras.items()
        if owner != NAME and isinstance(fields, Mapping)
        for name in fields
    ]


# Extras are named by where they stood, as fine as can be (``generationConfig.thinkingConfig.includeThoughts``):
# other dialects list them by these names as lost, and must not say so of what they did write.

PARAMETERS_ORDER = "parameters.propertyOrdering"
RESPONSE_ORDER = "generationConfig.responseSchema.propertyOrdering"
"""Whole schemas of the format's own language, kept where they order properties, which JSON Schema cannot say."""

_OUTER = frozenset(
    {
        "generationConfig",
        "thinkingConfig",
        "toolConfig",
        "functionCallingConfig",
        "functionCall",
        "functionResponse",
        "inlineData",
        "fileData",
    }
)


def beneath(outer: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the object `outer` as extras of what it stands in."""
    return {f"{outer}.{name}": value for name, value in members.items()}


def put_back(written: dict[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    """`written` with `extras`, each in the object it was taken from."""
    for name, value in extras.items():
        outer, _, inner = name.partition(".")
        if inner and outer in _OUTER:
            put_back(written.setdefault(outer, {}), {inner: value})
        else:
            written[name] = value
    return written


# Call ids: older models give none. Those that the hub invents have a form of their own, so that they are
# recognised on the way back and taken out again.

_INVENTED = re.compile(r"call_[0-9a-f]{24}")


def invented_id() -> str:
    return "call_" + secrets.token_hex(12)


def is_invented(call_id: str) -> bool:
    return _INVENTED.fullmatch(call_id) is not None


# Usage.


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _audio(details: object) -> int:
    if not isinstance(details, Sequence):
        return 0
    return sum(
        _count(entry, "tokenCount") for entry in details if isinstance(entry, dict) and entry.get("modality") == "AUDIO"
    )


_READ_DETAILS = ("promptTokensDetails", "toolUsePromptTokensDetails")


def tells_usage(metadata: Mapping[str, Any]) -> bool:
    """Whether it counts anything: chunks in the middle may only name the kind of traffic."""
    return any(name.endswith("TokenCount") for name in metadata)


def usage_of(metadata: Mapping[str, Any]) -> Usage:
    """`usageMetadata` in the hub's arithmetic: thoughts and tool prompts stand apart there, cached tokens inside."""
    thoughts = _count(metadata, "thoughtsTokenCount")
    return Usage(
        input_tokens=_count(metadata, "promptTokenCount") + _count(metadata, "toolUsePromptTokenCount"),
        output_tokens=_count(metadata, "candidatesTokenCount") + thoughts,
        cached_tokens=_count(metadata, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        audio_input_tokens=sum(map(_audio, map(metadata.get, _READ_DETAILS))),
        audio_output_tokens=_audio(metadata.get("candidatesTokensDetails")),
    )


def usage_metadata(usage: Usage) -> dict[str, Any]:
    """The hub's usage as `usageMetadata`."""
    answer = usage.output_tokens - usage.reasoning_tokens
    metadata: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": answer,
        "totalTokenCount": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        metadata["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_tokens:
        metadata["cachedContentTokenCount"] = usage.cached_tokens
    if usage.audio_input_tokens:
        metadata["promptTokensDetails"] = _by_modality(usage.input_tokens, usage.audio_input_tokens)
    if usage.audio_output_tokens:
        metadata["candidatesTokensDetails"] = _by_modality(answer, usage.audio_output_tokens)
    return metadata


def _by_modality(total: int, audio: int) -> list[dict[str, Any]]:
    return [
        {"modality": "TEXT", "tokenCount": max(0, total - audio)},
        {"modality": "AUDIO", "tokenCount": audio},
    ]
