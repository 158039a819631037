"""What is asked and answered in the rows of the table: talks written in every dialect, and errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_FOLDERS = (Path(__file__).parent / "talks", Path(__file__).parents[1] / "conversations")


@dataclass(frozen=True)
class Talk:
    """A row: the folder of the request, that of the answer, and why the answer ends.

    `ends` is one of stop, stop_text, length, tool_calls and blocked. `thinks` says that a model is asked for which
    thinks; other rows ask the plain one.
    """

    title: str
    request: str
    answer: str = ""
    ends: str = "stop"
    thinks: bool = False

    def asked(self, dialect: str) -> Json | None:
        """The request of a caller; None where the dialect has no words for it."""
        path = _file(self.request, f"{dialect}.request.json")
        return None if path is None else json.loads(path.read_bytes())

    def answered(self, dialect: str) -> Json:
        """The provider's whole answer. Where a dialect has no words for what is asked, it answers the same text."""
        path = _file(self.answer or self.request, f"{dialect}.answer.json") or _file("plain", f"{dialect}.answer.json")
        assert path is not None
        answer: Json = json.loads(path.read_bytes())
        return answer

    def streamed(self, dialect: str) -> bytes:
        """The provider's answer as a stream."""
        path = _file(self.answer or self.request, f"{dialect}.stream.txt") or _file("plain", f"{dialect}.stream.txt")
        assert path is not None
        return path.read_bytes()


@cache
def _file(folder: str, name: str) -> Path | None:
    return next((path for each in _FOLDERS if (path := each / folder / name).is_file()), None)


TALKS = (
    Talk("plain", "plain"),
    Talk("system prompt", "system_prompt"),
    Talk("several turns", "multi_turn"),
    Talk("tool call", "tool_call", ends="tool_calls"),
    Talk("parallel tool calls", "parallel_tool_calls", ends="tool_calls"),
    Talk("tool result", "tool_result"),
    Talk("parallel tool results", "parallel_tool_results"),
    Talk("image", "image_base64"),
    Talk("PDF", "pdf", answer="plain"),
    Talk("thinking", "reasoning", thinks=True),
    Talk("structured output", "structured_output"),
    Talk("stop text", "stop_sequence", ends="stop_text"),
    Talk("token limit", "max_tokens", ends="length"),
    Talk("refusal, safety", "blocked", ends="blocked"),
    Talk("cached tokens", "cached_usage"),
    Talk("audio", "audio", answer="plain"),
    Talk("file stored at the provider", "stored_file", answer="plain"),
    Talk("search by the provider", "web_search", answer="plain"),
)


def is_impossible(talk: Talk, front: str, back: str) -> bool:
    """Whether a provider that speaks `back` cannot know what a caller of `front` asks for."""
    if talk.request == "audio":
        return back in ("anthropic", "openai_responses")
    if talk.request == "web_search":
        return front not in (back, "openai_chat")  # where it is a setting, which is dropped, and no tool
    return talk.request == "stored_file" and front != back


@dataclass(frozen=True)
class Fault:
    """A row: what the provider answers, and what the caller is told.

    `raised` are the names of the SDKs' classes: OpenAI's, Anthropic's, Google's.
    """

    status: int
    told: int
    code: str
    raised: tuple[str, str, str]

    @property
    def title(self) -> str:
        return f"error {self.status}"


FAULTS = (
    Fault(400, 400, "upstream_rejected", ("BadRequestError", "BadRequestError", "ClientError")),
    # The hub's own key is no business of the caller's.
    Fault(401, 503, "no_upstream_available", ("InternalServerError", "ServiceUnavailableError", "ServerError")),
    Fault(404, 404, "model_not_found", ("NotFoundError", "NotFoundError", "ClientError")),
    Fault(429, 429, "rate_limit_exceeded", ("RateLimitError", "RateLimitError", "ClientError")),
    Fault(500, 503, "overloaded", ("InternalServerError", "ServiceUnavailableError", "ServerError")),
    Fault(529, 503, "overloaded", ("InternalServerError", "ServiceUnavailableError", "ServerError")),
)
