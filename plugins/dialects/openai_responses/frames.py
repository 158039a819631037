"""Events and whole answers as providers write them: typed for speed, read leniently where the types do not fit."""

from __future__ import annotations

from typing import Any

import msgspec
from llmhub_plugins.dialects.openai.errors import stream_error
from llmhub_plugins.dialects.openai_responses.words import BILLED_TOOLS, Json, WireUsage, read_usage
from msgspec import Struct

from llmhub_core.contracts import UpstreamError, Usage, load_json


class Frame(Struct):
    """One event's data; which members it has depends on its `type`."""

    type: str = ""
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    item: Json | None = None
    part: Json | None = None
    annotation: Json | None = None
    summary_index: int | None = None
    response: Json | None = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


_read = msgspec.json.Decoder(Frame).decode
_KINDS: dict[str, type] = {
    **dict.fromkeys(("type", "item_id", "delta", "text", "refusal", "arguments", "input"), str),
    **dict.fromkeys(("output_index", "content_index", "summary_index"), int),
    **dict.fromkeys(("item", "part", "annotation", "response"), dict),
    **dict.fromkeys(("error", "code", "message", "param"), object),
}


def read_event(data: bytes) -> Frame:
    """`data` as a Frame; members of another type than agreed count as absent. ValueError if it is no JSON object."""
    try:
        return _read(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = load_json(data)
    if isinstance(value, dict):
        return Frame(
            **{name: value[name] for name, kind in _KINDS.items() if name in value and isinstance(value[name], kind)}
        )
    raise ValueError("not a JSON object")


def read_answer(body: bytes) -> Json:
    """A whole answer; ValueError if it is none."""
    value = load_json(body)
    if not isinstance(value, dict) or not (isinstance(value.get("output"), list) or error_in(value)):
        raise ValueError("not an answer of the Responses API")
    return value


def output_of(response: Json) -> list[Json]:
    """The items of an answer."""
    output = response.get("output")
    return [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []


def usage_of(response: Json) -> Usage | None:
    """What an answer used, as far as it says so."""
    said = response.get("usage")
    if not isinstance(said, dict):
        return None
    try:
        wire = msgspec.convert(said, WireUsage, strict=False)
    except (msgspec.ValidationError, ValueError):
        # Its totals may still be numbers where a detail is not.
        counts = {name: said[name] for name in ("input_tokens", "output_tokens") if isinstance(said.get(name), int)}
        wire = WireUsage(**counts)
    return read_usage(wire, sum(item.get("type") in BILLED_TOOLS for item in output_of(response)))


_REQUEST_FAULTS = frozenset(
    {"invalid_prompt", "context_length_exceeded", "bio_policy", "cyber_policy", "content_policy_violation"}
)


def error_in(response: Json) -> UpstreamError | None:
    """Why an answer failed; None if it did not."""
    error = response.get("error")
    if not error and response.get("status") != "failed":
        return None
    return failure(error)


def failure(error: Any) -> UpstreamError:
    """An `error` object of an answer or of an error event, which may lack the type that tells its kind."""
    said = dict(error) if isinstance(error, dict) else {"message": str(error or "The provider's answer failed.")}
    if not said.get("type") or said["type"] == "error":
        code = str(said.get("code") or "")
        at_fault = code in _REQUEST_FAULTS or "image" in code
        said["type"] = "invalid_request_error" if at_fault else code
    return stream_error(said)
