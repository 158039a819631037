"""What servers of this dialect sign thoughts and calls with, as the hub's one `signature` and back.

Chat itself has no signatures. Gemini's Chat endpoint puts one into ``extra_content.google.thought_signature`` of a
call and refuses a history without it (https://ai.google.dev/gemini-api/docs/thought-signatures); OpenRouter's
`reasoning_details` of a message hold those of whatever model is behind it, and must go back as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmhub_core.contracts import dump_json, load_json

Json = dict[str, Any]


def take_signature(extra_content: Mapping[str, Any]) -> tuple[str | None, Json]:
    """Google's signature in a call's `extra_content`, and what else stands there."""
    google = extra_content.get("google")
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    if not isinstance(signature, str):
        return None, dict(extra_content)
    rest = {name: value for name, value in extra_content.items() if name != "google"}
    others = {name: value for name, value in google.items() if name != "thought_signature"} if google else {}
    return signature, {**rest, "google": others} if others else rest


def with_signature(extra_content: Mapping[str, Any], signature: str | None) -> Json:
    """`extra_content` with Google's signature in it; empty if there is nothing to say."""
    if signature is None:
        return dict(extra_content)
    return {**extra_content, "google": {**extra_content.get("google", {}), "thought_signature": signature}}


def joined_details(pieces: Iterable[Any]) -> list[Json]:
    """`reasoning_details` as they would stand in a whole answer: a stream sends the text of one in pieces."""
    joined: list[Json] = []
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        last = joined[-1] if joined else None
        if last is None or any(last.get(name) != piece.get(name) for name in ("type", "index")):
            joined.append(dict(piece))
            continue
        for name, value in piece.items():
            grows = name in ("text", "summary") and isinstance(value, str) and isinstance(last.get(name), str)
            if grows:
                last[name] += value
            elif value is not None:
                last[name] = value
    return joined


def details_signature(details: list[Json]) -> str | None:
    """`reasoning_details` as a signature; None if there are none."""
    return dump_json(details).decode() if details else None


def details_of(signature: str | None) -> list[Json] | None:
    """The `reasoning_details` of a signature; None if it is none of ours."""
    if signature is None or not signature.startswith("["):
        return None
    try:
        details = load_json(signature)
    except ValueError:
        return None
    return details if isinstance(details, list) else None
