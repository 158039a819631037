"""One item of an answer for a caller, as it grows: its events, and at the end the item itself.

An item stays open until the next one begins or the answer ends, for only then is known whether the end cut it off.
"""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.openai.logprobs import write_tokens
from llmhub_plugins.dialects.openai_responses.input_writer import unwrapped
from llmhub_plugins.dialects.openai_responses.sealing import (
    Secret,
    is_foreign,
    parted,
    sealed_call_id,
    sealed_reasoning,
)
from llmhub_plugins.dialects.openai_responses.words import NAME, Json, made_id, texts_of

from llmhub_core.contracts import PartEnded, PartStarted, dump_json


class Teller:
    """Numbers and frames events; for a whole answer it stays silent."""

    def __init__(self, stream: bool) -> None:
        self.stream = stream
        self.number = 0

    def say(self, event: str, fields: Json) -> bytes:
        if not self.stream:
            return b""
        data = dump_json({"type": event, "sequence_number": self.number, **fields})
        self.number += 1
        return b"event: %b\ndata: %b\n\n" % (event.encode(), data)

    def piece(self, head: bytes, text: str, tail: bytes) -> bytes:
        """A delta: what is constant in it was made once, when its part began."""
        if not self.stream:
            return b""
        number = self.number
        self.number = number + 1
        return b'%b%d,"delta":%b%b' % (head, number, dump_json(text), tail)


def _head(event: str, where: Json) -> bytes:
    """How a delta begins, as far as its number."""
    name = event.encode()
    return b'event: %b\ndata: {"type":"%b",%b,"sequence_number":' % (name, name, dump_json(where)[1:-1])


class Item:
    """An item that is being written. `body` is the item as it stands."""

    kind = ""

    def __init__(self, teller: Teller, index: int, body: Json) -> None:
        self.body = body
        self._teller = teller
        self._place: Json = {"output_index": index}
        self._where: Json = {"item_id": body.get("id", ""), "output_index": index}
        self._texts: list[str] = []
        self._delta_head = b""
        self._delta_tail = b"}\n\n"

    def begin(self) -> bytes:
        return self._say("output_item.added", {**self._place, "item": self.body})

    def part(self, part: PartStarted) -> bytes:
        """A part of it begins."""
        return b""

    def delta(self, text: str) -> bytes:
        self._texts.append(text)
        return self._teller.piece(self._delta_head, text, self._delta_tail)

    def part_ended(self, ended: PartEnded) -> bytes:
        return b""

    def end(self, status: str) -> bytes:
        if "status" in self.body:
            self.body = {**self.body, "status": status}
        return self._say("output_item.done", {**self._place, "item": self.body})

    def _say(self, event: str, fields: Json) -> bytes:
        return self._teller.say("response." + event, fields)


def own_of(extras: Any) -> Json:
    """What this dialect's reader left in the extras of a part."""
    return dict(extras.get(NAME, ()))


class MessageItem(Item):
    """Texts and refusals, each a content of its own."""

    kind = "message"

    def __init__(self, teller: Teller, index: int, part: PartStarted) -> None:
        own = own_of(part.extras)
        more = {name: own[name] for name in own if name in ("id", "phase")}
        body = {"id": made_id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        super().__init__(teller, index, {**body, **more})
        self._content: list[Json] = []
        self._kind = ""
        self._at: Json = {}

    def takes(self, part: PartStarted) -> bool:
        """Whether a part is more of the same message: by the provider's id, if it has one."""
        own = own_of(part.extras)
        return part.kind in ("text", "refusal") and own.get("id", self.body["id"]) == self.body["id"]

    def part(self, part: PartStarted) -> bytes:
        self._kind = "output_text" if part.kind == "text" else "refusal"
        self._texts = []
        self._at = {**self._where, "content_index": len(self._content)}
        self._delta_head = _head(f"response.{self._kind}.delta", self._at)
        self._delta_tail = b',"logprobs":[]}\n\n' if self._kind == "output_text" else b"}\n\n"
        return self._say("content_part.added", {**self._at, "part": self._written("", {})})

    def _written(self, text: str, more: Json) -> Json:
        if self._kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "annotations": [], "logprobs": [], **more, "text": text}

    def part_ended(self, ended: PartEnded) -> bytes:
        text = "".join(self._texts)
        more = {name: value for name, value in own_of(ended.extras).items() if name not in ("id", "phase")}
        if ended.logprobs and "logprobs" not in more:
            more["logprobs"] = write_tokens(ended.logprobs)
        written = self._written(text, more)
        out = b""
        for number, annotation in enumerate(written.get("annotations", ())):
            noted = {**self._at, "annotation_index": number, "annotation": annotation}
            out += self._say("output_text.annotation.added", noted)
        if self._kind == "refusal":
            out += self._say("refusal.done", {**self._at, "refusal": text})
        else:
            out += self._say("output_text.done", {**self._at, "text": text, "logprobs": written["logprobs"]})
        self._content.append(written)
        return out + self._say("content_part.done", {**self._at, "part": written})

    def add_whole(self, content: list[Json]) -> bytes:
        """Contents of a kind that only this dialect knows."""
        out = b""
        for part in content:
            at = {**self._where, "content_index": len(self._content)}
            self._content.append(part)
            out += self._say("content_part.added", {**at, "part": part})
            out += self._say("content_part.done", {**at, "part": part})
        return out

    def end(self, status: str) -> bytes:
        self.body = {**self.body, "content": self._content}
        return super().end(status)


class ReasoningItem(Item):
    """Thoughts. Those of another family are shown as a summary, which is what callers of this format show."""

    kind = "reasoning"

    def __init__(self, teller: Teller, index: int, part: PartStarted) -> None:
        own = own_of(part.extras)
        super().__init__(teller, index, {"id": own.get("id") or made_id("rs"), "type": "reasoning", "summary": []})
        self._origin = part.origin
        self._member = "content" if own.get("as") == "content" else "summary"
        self._shown = False

    def delta(self, text: str) -> bytes:
        return (b"" if self._shown else self._show()) + super().delta(text)

    def _show(self) -> bytes:
        self._shown = True
        if self._member == "content":
            at = {**self._where, "content_index": 0}
            self._delta_head = _head("response.reasoning_text.delta", at)
            return self._say("content_part.added", {**at, "part": {"type": "reasoning_text", "text": ""}})
        at = {**self._where, "summary_index": 0}
        self._delta_head = _head("response.reasoning_summary_text.delta", at)
        return self._say("reasoning_summary_part.added", {**at, "part": {"type": "summary_text", "text": ""}})

    def part_ended(self, ended: PartEnded) -> bytes:
        text, out = "".join(self._texts), b""
        if self._shown and self._member == "content":
            at, part = {**self._where, "content_index": 0}, {"type": "reasoning_text", "text": text}
            out = self._say("reasoning_text.done", {**at, "text": text})
            out += self._say("content_part.done", {**at, "part": part})
            self.body["content"] = [part]
        elif self._shown:
            at, part = {**self._where, "summary_index": 0}, {"type": "summary_text", "text": text}
            out = self._say("reasoning_summary_text.done", {**at, "text": text})
            out += self._say("reasoning_summary_part.done", {**at, "part": part})
            self.body["summary"] = [part]
        own = own_of(ended.extras)
        if "\n\n".join(texts_of(own.get(self._member))) != text:  # somebody changed it on the way
            own = {name: value for name, value in own.items() if name not in ("summary", "content")}
        self.body = {**self.body, **own}
        encrypted = self._encrypted(ended)
        if encrypted is not None:
            self.body["encrypted_content"] = encrypted
        return out

    def _encrypted(self, ended: PartEnded) -> str | None:
        if is_foreign(self._origin):
            return sealed_reasoning(Secret(self._origin, ended.signature, ended.redacted))
        return parted(ended.signature)[1]


class CallItem(Item):
    """A call of a function. The id of a call that another family signed holds the signature, which comes last: such a
    call is written when it is complete."""

    kind = "tool_call"

    def __init__(self, teller: Teller, index: int, part: PartStarted) -> None:
        own = own_of(part.extras)
        body = {"id": own.get("id") or made_id("fc"), "type": "function_call", "status": "in_progress"}
        body |= {"arguments": "", "call_id": part.id, "name": part.name, **own}
        super().__init__(teller, index, body)
        self._origin = part.origin
        self._held = is_foreign(part.origin)
        self._delta_head = _head("response.function_call_arguments.delta", self._where)

    def begin(self) -> bytes:
        return b"" if self._held else super().begin()

    def delta(self, text: str) -> bytes:
        if self._held:
            self._texts.append(text)
            return b""
        return super().delta(text)

    def part_ended(self, ended: PartEnded) -> bytes:
        arguments, out = "".join(self._texts), b""
        if self._held:
            self.body["call_id"] = sealed_call_id(self.body["call_id"], self._origin, ended.signature)
            out = super().begin()
        if self._held or not arguments:  # clients parse the arguments, and nothing is no JSON
            arguments = arguments or "{}"
            out += self._teller.piece(self._delta_head, arguments, self._delta_tail)
        self.body = {**self.body, "arguments": arguments}
        done = {**self._where, "name": self.body["name"], "arguments": arguments}
        return out + self._say("function_call_arguments.done", done)


class CustomCallItem(CallItem):
    """A call of a tool that takes free text: its arguments are unwrapped when they are complete."""

    def __init__(self, teller: Teller, index: int, part: PartStarted) -> None:
        super().__init__(teller, index, part)
        own = {name: value for name, value in own_of(part.extras).items() if name != "custom"}
        body: Json = {"id": own.get("id") or made_id("ctc"), "type": "custom_tool_call", "status": "in_progress"}
        self.body = {**body, "call_id": part.id, "name": part.name, "input": "", **own}
        self._where["item_id"] = self.body["id"]
        self._held = True

    def part_ended(self, ended: PartEnded) -> bytes:
        text = unwrapped("".join(self._texts))
        self.body["call_id"] = sealed_call_id(self.body["call_id"], self._origin, ended.signature)
        out = Item.begin(self)
        out += self._say("custom_tool_call_input.delta", {**self._where, "delta": text})
        self.body = {**self.body, "input": text}
        return out + self._say("custom_tool_call_input.done", {**self._where, "input": text})


class OpaqueItem(Item):
    """An item that only this dialect knows, as the provider said it."""

    kind = "opaque"

    def end(self, status: str) -> bytes:
        return self._say("output_item.done", {**self._place, "item": self.body})
