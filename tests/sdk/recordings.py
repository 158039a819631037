"""The recorded traffic as test cases: what was asked, what was answered, byte for byte."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TRAFFIC = Path(os.environ.get("LLMHUB_TRAFFIC", Path(__file__).parents[2] / ".." / "shared" / "traffic"))

FOLDERS = {
    "openai_chat": ("openai/chat.completions",),
    "anthropic": ("anthropic/messages",),
    "gemini": ("gemini/generateContent", "gemini/streamGenerateContent"),
}
PROVIDERS = {"openai_chat": "openai", "anthropic": "anthropic", "gemini": "gemini"}
"""The provider of each dialect: its name in the configuration, and its kind."""

CUT_EVERYWHERE = {
    "openai_chat": ("openai-chat-6f5fd754", "openai-chat-c1b633ff", "openai-chat-e9625ab8"),
    "anthropic": ("anthropic-msg-41d6f27e", "anthropic-msg-7f542e11", "anthropic-msg-23c62c81"),
    "gemini": ("gemini-stream-b76a53aa", "gemini-stream-6174e742", "gemini-stream-1110c3bc"),
}
"""Short streams that are sent byte by byte."""


@dataclass(frozen=True)
class Case:
    """One recorded interaction."""

    dialect: str
    id: str
    path: str
    features: frozenset[str]
    status: int
    body: bytes
    streamed: bool
    asked: dict[str, Any] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    synthesised: bool = False

    @property
    def model(self) -> str:
        """The name under which the hub has the case, without any route."""
        return f"{PROVIDERS[self.dialect]}/case-{self.id}"

    @property
    def is_stream(self) -> bool:
        """Whether it was asked for as a stream, however it was answered."""
        return ":streamGenerateContent" in self.path or self.asked.get("stream") is True

    @property
    def breaks(self) -> bool:
        """Whether the recorded answer is none: it broke off, or tells an error in its stream."""
        return bool(self.features & {"truncated_stream", "error_in_stream"})


@cache
def recorded(dialect: str) -> tuple[Case, ...]:
    """Every case of a dialect's own provider; empty where there is no traffic."""
    paths = [path for folder in FOLDERS[dialect] for path in sorted((TRAFFIC / folder).glob("*.json"))]
    return tuple(_read(dialect, json.loads(path.read_text(encoding="utf-8"))) for path in paths)


def _read(dialect: str, case: dict[str, Any]) -> Case:
    answer, asked = case["response"], case["request"]
    stream = answer.get("stream")
    if stream is not None:
        body = stream.encode()
    elif answer.get("body") is not None:
        body = json.dumps(answer["body"], ensure_ascii=False).encode()
    else:
        body = (answer.get("text") or "").encode()
    return Case(
        dialect,
        case["id"],
        asked["path"],
        frozenset(case["features"]),
        answer["status"],
        body,
        stream is not None and answer["status"] == 200,
        asked["body"],
        asked["headers"],
        bool(asked.get("synthesised")),
    )


def those(wanted: Callable[[Case], bool], dialects: Sequence[str] = tuple(PROVIDERS)) -> list[Any]:
    """Parameters for a test: the cases wanted, by their id; one that skips where there are none."""
    cases = [case for dialect in dialects for case in recorded(dialect) if wanted(case)]
    if not cases and not any(recorded(dialect) for dialect in dialects):
        return [pytest.param(None, marks=pytest.mark.skip(f"no recorded traffic at {TRAFFIC}"), id="none")]
    return [pytest.param(case, id=case.id) for case in cases]
