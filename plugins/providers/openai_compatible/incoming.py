"""A place's answer as OpenAI would give it: usage added up as everywhere else, an answer that came as a call put back
into text. Frames in which nothing is to be changed pass as they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llmhub_plugins.providers.openai_compatible.preset import Quirks
from llmhub_plugins.providers.openai_compatible.structured import ANSWER

from llmhub_core.contracts import (
    Envelope,
    FrameSplitter,
    FrameTooLarge,
    UpstreamGarbled,
    dump_json,
    load_json,
    read_frame,
)

Edit = Callable[[dict[str, Any]], bool]
"""Changes a parsed answer or chunk in place; whether it did."""


class Rewritten(Envelope):
    """Passes the answer on, with `edits` made in whatever `tells` finds worth parsing."""

    def __init__(self, stream: bool, tells: Callable[[bytes], bool], edits: Sequence[Edit]) -> None:
        self._stream = stream
        self._tells = tells
        self._edits = edits
        self._frames = FrameSplitter()
        self._whole: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """UpstreamGarbled for an event larger than any may be."""
        if not self._stream:
            self._whole.append(chunk)
            return b""
        try:
            return b"".join(map(self._frame, self._frames.feed(chunk)))
        except FrameTooLarge:
            raise UpstreamGarbled("The provider sent something that is not an answer; try again.") from None

    def close(self) -> bytes:
        if self._stream:
            return self._frame(self._frames.rest())
        body = b"".join(self._whole)
        return self._edited(body) or body

    def _frame(self, frame: bytes) -> bytes:
        if not self._tells(frame):
            return frame
        _, data = read_frame(frame)
        edited = self._edited(data)
        return frame if edited is None else b"data: " + edited + b"\n\n"

    def _edited(self, data: bytes) -> bytes | None:
        """None if nothing was changed, or if it is not for us to understand."""
        try:
            value = load_json(data)
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        changed = [edit(value) for edit in self._edits]
        return dump_json(value) if any(changed) else None


# Usage.


def mentions_beside(frame: bytes) -> bool:
    """Whether there may be counts to add up."""
    return b'"reasoning_tokens"' in frame or b'"audio_tokens"' in frame


def add_up(quirks: Quirks) -> Edit:
    """Usage whose totals include their parts."""

    def edit(value: dict[str, Any]) -> bool:
        usage = value.get("usage")
        if not isinstance(usage, dict):
            return False
        changed = False
        if quirks.reasoning_beside:
            changed |= _include(usage, "completion_tokens", "reasoning_tokens")
        if quirks.sound_beside:
            changed |= _include(usage, "prompt_tokens", "audio_tokens")
        return changed

    return edit


def _include(usage: dict[str, Any], total: str, part: str) -> bool:
    details = usage.get(f"{total}_details")
    beside = details.get(part) if isinstance(details, dict) else None
    prompt, completion, everything = (usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if not (isinstance(prompt, int) and isinstance(completion, int) and isinstance(beside, int)) or beside <= 0:
        return False
    # Some models behind the same address count as OpenAI does: the sum, or a part larger than its whole, tells.
    if everything != prompt + completion + beside and beside <= usage[total]:
        return False
    usage[total] += beside
    usage["total_tokens"] = prompt + completion + beside
    return True


# Answers given as a call.


class AnswerOfCall:
    """Takes the arguments of the call to ANSWER for the text of the answer, whole or in deltas; one answer each.

    What the model says beside the call is kept back until it is sure that there is no such call: in front of JSON it
    would spoil it.
    """

    def __init__(self) -> None:
        self._choices: dict[Any, _Choice] = {}

    def __call__(self, value: dict[str, Any]) -> bool:
        changed = False
        for choice in value.get("choices") or ():
            if isinstance(choice, dict):
                state = self._choices.setdefault(choice.get("index"), _Choice())
                changed |= state.take(choice)
        return changed


class _Choice:
    """One choice of an answer."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._answers: list[Any] = []  # indexes of calls to ANSWER; the first counts
        self._others = False

    def take(self, choice: dict[str, Any]) -> bool:
        name = "message" if isinstance(choice.get("message"), dict) else "delta"
        piece = choice.get(name)
        if not isinstance(piece, dict):
            piece = {}
        text = piece.get("content")
        if isinstance(text, str) and text:
            self._kept.append(text)
            piece["content"] = ""
        calls = piece.pop("tool_calls", None)
        if isinstance(calls, list):
            self._calls(piece, calls)
        if choice.get("finish_reason"):
            if self._kept and not self._answers:
                piece["content"] = "".join(self._kept)
                choice[name] = piece
            if self._answers and not self._others and choice["finish_reason"] == "tool_calls":
                choice["finish_reason"] = "stop"
        return True

    def _calls(self, piece: dict[str, Any], calls: list[Any]) -> None:
        others: list[Any] = []
        for place, call in enumerate(calls):
            if not isinstance(call, dict):
                continue
            index, function = call.get("index", place), call.get("function")
            function = function if isinstance(function, dict) else {}
            if function.get("name") == ANSWER and index not in self._answers:
                self._answers.append(index)
            if index in self._answers:
                if index == self._answers[0]:
                    piece["content"] = (piece.get("content") or "") + str(function.get("arguments") or "")
                continue
            self._others = True
            if isinstance(call.get("index"), int):
                # SDKs keep calls in a list: the one that was taken out must leave no gap.
                call["index"] -= sum(1 for answer in self._answers if answer < call["index"])
            others.append(call)
        if others:
            piece["tool_calls"] = others
