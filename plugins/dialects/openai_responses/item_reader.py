"""One item of a provider's answer as parts of the neutral one.

A message has a part for each of its contents, thoughts and calls have one each; kinds of items that only OpenAI knows
are opaque parts, and come when they are done.
"""

from __future__ import annotations

import secrets
from typing import Any

from llmhub_plugins.dialects.openai.logprobs import read_tokens
from llmhub_plugins.dialects.openai_responses.frames import Frame
from llmhub_plugins.dialects.openai_responses.sealing import joined
from llmhub_plugins.dialects.openai_responses.words import NAME, Json, texts_of

from llmhub_core.contracts import Event, PartDelta, PartEnded, PartKind, PartStarted, dump_json


class Parts:
    """The parts of an answer so far; at most one is open."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.called = False
        self._count = 0
        self._open = False

    def start(self, kind: PartKind, extras: Json, id: str = "", name: str = "", origin: str = "") -> None:
        self.events.append(PartStarted(self._count, kind, id, name, extras={NAME: extras}, origin=origin))
        self._open = True

    def delta(self, text: str) -> None:
        if text:
            self.events.append(PartDelta(self._count, text))

    def end(self, extras: Json | None = None, signature: str | None = None) -> None:
        if self._open:
            kept = {NAME: extras} if extras is not None else {}
            tokens = read_tokens((extras or {}).get("logprobs"))
            self.events.append(PartEnded(self._count, signature, extras=kept, logprobs=tokens))
            self._count += 1
            self._open = False


_CONTENT: dict[str, tuple[PartKind, str]] = {"output_text": ("text", "text"), "refusal": ("refusal", "refusal")}
_MESSAGE_FIELDS = frozenset({"type", "role", "content", "status"})
_CALL_FIELDS = frozenset({"type", "call_id", "name", "arguments", "input", "status"})
_TEXT_DELTAS: dict[str, PartKind] = {"response.output_text.delta": "text", "response.refusal.delta": "refusal"}
_TEXT_DONE = {"response.output_text.done": "text", "response.refusal.done": "refusal"}
_THOUGHT_DELTAS = {
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_text.delta": "content",
}


class ItemReader:
    """The item that is being received."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._item: Json = {}
        self._kind = ""
        self._begun = False  # whether the open part, or the call, was begun
        self._content = -1  # the place of the open content
        self._written = False  # whether anything of it was said
        self._ends: dict[int, Json] = {}
        self._thoughts = ("", -1)
        self.done = False

    def add(self, frame: Frame) -> None:
        kind = frame.type
        if kind == "response.output_item.added":
            if self._begun:
                return
            self._take(frame.item or {})
            if self._kind in ("function_call", "custom_tool_call"):
                self._begin_call()
        elif kind == "response.output_item.done":
            self.whole(frame.item or self._item)
        elif kind in _TEXT_DELTAS:
            self._text(_TEXT_DELTAS[kind], frame.content_index or 0, frame.delta or "")
        elif kind in _TEXT_DONE:
            if not (self._written and self._content == (frame.content_index or 0)):
                text = frame.text if kind == "response.output_text.done" else frame.refusal
                self._text("text" if _TEXT_DONE[kind] == "text" else "refusal", frame.content_index or 0, text or "")
        elif kind == "response.content_part.done":
            self._ends[frame.content_index or 0] = frame.part or {}
        elif kind in _THOUGHT_DELTAS:
            self._think(_THOUGHT_DELTAS[kind], frame.summary_index or frame.content_index or 0, frame.delta or "")
        elif kind == "response.function_call_arguments.delta":
            self._argue(frame.delta or "")
        elif kind == "response.custom_tool_call_input.delta":
            self._argue(dump_json(frame.delta or "")[1:-1].decode())

    def _take(self, item: Json) -> None:
        self._item = item
        kind = item.get("type")
        self._kind = kind if isinstance(kind, str) else self._kind

    def whole(self, item: Json) -> None:
        """The item as it is at its end; what was not streamed of it is said now."""
        begun_as = self._kind
        self._take(item)
        if self._begun and self._kind != begun_as:
            self._kind = begun_as
            self.finish()  # it says that it is another than it was: what was said of it stands
            self.done = True
            return
        self.done = True
        if self._kind == "message":
            self._finish_message(item)
        elif self._kind == "reasoning":
            self._finish_reasoning(item)
        elif self._kind in ("function_call", "custom_tool_call"):
            self._finish_call(item)
        elif self._kind:
            self._parts.start("opaque", item)
            self._parts.end()

    def finish(self) -> None:
        """Nothing more will come, done or not."""
        if self._begun and not self.done:
            self._close_input()
            self._parts.end()

    # messages

    def _extras(self) -> Json:
        return {name: value for name, value in self._item.items() if name not in _MESSAGE_FIELDS and value is not None}

    def _text(self, kind: PartKind, place: int, text: str) -> None:
        if self._content != place:
            if self._begun:
                self._end_content(self._ends.get(self._content, {}))
            self._kind = self._kind or "message"
            self._parts.start(kind, self._extras())
            self._begun, self._written, self._content = True, False, place
        self._parts.delta(text)
        self._written = self._written or bool(text)

    def _end_content(self, part: Json) -> None:
        more = {name: value for name, value in part.items() if name not in ("type", "text", "refusal") and value}
        self._parts.end({**self._extras(), **more})
        self._begun = False

    def _finish_message(self, item: Json) -> None:
        content = item.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(part, dict) or place < self._content:
                continue
            kind, member = _CONTENT.get(str(part.get("type")), (None, ""))
            text = part.get(member)
            if kind is None or not isinstance(text, str):
                self._unknown_content(item, part)
                continue
            if not (self._content == place and self._written):
                self._text(kind, place, text)
            self._end_content(part)
        if self._begun:
            self._end_content(self._ends.get(self._content, {}))

    def _unknown_content(self, item: Json, part: Json) -> None:
        if self._begun:
            self._end_content(self._ends.get(self._content, {}))
        self._parts.start("opaque", {**item, "content": [part]})
        self._parts.end()

    # thoughts

    def _think(self, member: str, place: int, text: str) -> None:
        if not self._begun:
            self._begin_thoughts(member)
        elif self._thoughts[0] != member:
            return  # a summary beside the thoughts themselves, which are read already
        elif self._thoughts[1] != place:
            self._parts.delta("\n\n")
        self._thoughts = (member, place)
        self._parts.delta(text)

    def _begin_thoughts(self, member: str) -> None:
        self._begun, self._kind = True, self._kind or "reasoning"
        self._parts.start("reasoning", {"id": self._item.get("id", ""), "as": member}, origin=NAME)

    def _finish_reasoning(self, item: Json) -> None:
        if not self._begun:
            texts = {member: texts_of(item.get(member)) for member in ("summary", "content")}
            member = "summary" if texts["summary"] or not texts["content"] else "content"
            self._begin_thoughts(member)
            self._parts.delta("\n\n".join(texts[member]))
        member = self._thoughts[0] or "summary"
        encrypted = item.get("encrypted_content")
        signature = joined(str(item.get("id") or ""), encrypted) if isinstance(encrypted, str) else None
        rest = {name: value for name, value in item.items() if name not in ("type", "encrypted_content")}
        self._parts.end(rest, signature)

    # calls

    def _begin_call(self) -> None:
        item = self._item
        extras = {name: value for name, value in item.items() if name not in _CALL_FIELDS and value is not None}
        if self._kind == "custom_tool_call":
            extras["custom"] = True
        id, name = item.get("call_id"), item.get("name")
        self._begun = self._parts.called = True
        self._parts.start("tool_call", extras, _word(id) or "call_" + secrets.token_hex(12), _word(name) or "unnamed")

    def _argue(self, text: str) -> None:
        if not self._begun or not text:
            return
        if self._kind == "custom_tool_call" and not self._written:
            self._parts.delta('{"input":"')
        self._written = True
        self._parts.delta(text)

    def _finish_call(self, item: Json) -> None:
        if not self._begun:
            self._begin_call()
        if not self._written:
            if self._kind == "function_call":
                arguments = item.get("arguments")
                self._argue(arguments if isinstance(arguments, str) else "")
            else:
                self._argue(dump_json(str(item.get("input") or ""))[1:-1].decode())
        self._close_input()
        self._parts.end()

    def _close_input(self) -> None:
        if self._kind == "custom_tool_call":
            self._parts.delta('"}' if self._written else '{"input":""}')


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
