"""One choice of an answer: deltas in, parts out.

Chat has no marks where a part begins or ends; they are made here. Providers may also mix the deltas of parallel
calls, while parts of one choice never overlap: so while a call's arguments are not yet whole, whatever else comes is
held back.
"""

from __future__ import annotations

from typing import Any

from llmhub_plugins.dialects.openai.finish import finish_reason
from llmhub_plugins.dialects.openai.logprobs import read_tokens
from llmhub_plugins.dialects.openai_chat.chunks import CallPiece, FunctionPiece, Piece
from llmhub_plugins.dialects.openai_chat.signatures import details_signature, joined_details, take_signature
from llmhub_plugins.dialects.openai_chat.words import NAME, invented_call_id

from llmhub_core.contracts import (
    NO_EXTRAS,
    Event,
    Finished,
    PartDelta,
    PartEnded,
    PartKind,
    PartStarted,
    UpstreamError,
    UpstreamGarbled,
    is_json,
)

GARBLED = "The provider's answer could not be understood."


class _Part:
    """A part on its way: waiting (`index` -1), open or ended. `texts` are what waits, and a call's arguments."""

    __slots__ = ("body", "details", "ended", "extra", "id", "index", "kind", "name", "texts")

    def __init__(self, kind: PartKind, id: str = "", name: str = "", body: dict[str, Any] | None = None) -> None:
        self.kind: PartKind = kind
        self.id = id
        self.name = name
        self.body = body
        self.index = -1
        self.ended = False
        self.texts: list[str] = []
        self.extra: dict[str, Any] | None = None  # a call's `extra_content`
        self.details: list[Any] = []  # a thought's `reasoning_details`

    def whole(self) -> bool:
        """Whether it may end for another to begin."""
        return self.kind != "tool_call" or is_json("".join(self.texts).encode("utf-8", "replace"))


class Output:
    """Where the choices of one answer put their events, and what counts the parts over all of them."""

    __slots__ = ("events", "parts")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.parts = 0


class Choice:
    """One of the answers asked for: its parts in order, at most one of them open."""

    def __init__(self, number: int, output: Output) -> None:
        self.number = number
        self.output = output
        self.fault: UpstreamError | None = None
        self.open: _Part | None = None
        self.waiting: list[_Part] = []
        self.calls: dict[int, _Part] = {}
        self.last_call: _Part | None = None
        self.notes: dict[str, Any] = {}
        self.tokens: list[Any] = []  # log probabilities of the text that is open
        self.native: str | None = None
        self.seen = False

    # what comes

    def take(self, piece: Piece, logprobs: dict[str, Any] | None) -> None:
        if self.native is not None:
            return  # repeated or late: the first end counts
        if logprobs:
            self._weigh(logprobs)
        thoughts = piece.reasoning_content or piece.reasoning
        if thoughts or piece.reasoning_details:
            self._think(thoughts or "", piece)
        content = piece.content
        if content:
            if isinstance(content, str):
                self._say("text", content)
            else:
                self._list(content)
        if piece.refusal:
            self._say("refusal", piece.refusal)
        if piece.audio:
            self._begin(_Part("opaque", body={"audio": piece.audio}))
        if piece.tool_calls:
            for call in piece.tool_calls:
                self._call(call)
        if piece.function_call is not None and (piece.function_call.name or piece.function_call.arguments):
            self._call(CallPiece(index=-1, function=piece.function_call))
        if piece.annotations or piece.images or piece.extra_content:
            self._note(piece)

    def finish(self, native: str) -> None:
        self.native = native
        self._advance(force=True)
        self._end()
        if self.tokens:  # of something that is no text
            self.notes.setdefault("logprobs", {})["content"] = self.tokens
        if self.notes:
            self._open(_Part("opaque", body=self.notes))
            self._end()

    def finished(self) -> Finished:
        native = self.native or ""
        return Finished(finish_reason(native, bool(self.last_call)), self.number, native)

    # parts

    def _say(self, kind: PartKind, text: str) -> None:
        current = self.waiting[-1] if self.waiting else self.open
        if current is None or current.kind != kind:
            current = self._begin(_Part(kind))
        self._more(current, text)

    def _think(self, text: str, piece: Piece) -> None:
        current = self.waiting[-1] if self.waiting else self.open
        if current is None or current.kind != "reasoning":
            named = piece.reasoning_content is not None  # else as OpenRouter and Groq name it
            current = self._begin(_Part("reasoning", body=None if named else {"field": "reasoning"}))
        if piece.reasoning_details:
            current.details.extend(piece.reasoning_details)
        if text:
            self._more(current, text)

    def _begin(self, part: _Part) -> _Part:
        self.waiting.append(part)
        self._advance()
        return part

    def _more(self, part: _Part, text: str) -> None:
        if part is self.open:
            self.output.events.append(PartDelta(part.index, text))
            if part.kind == "tool_call":
                part.texts.append(text)
                if self.waiting:
                    self._advance()
        elif not part.ended:
            part.texts.append(text)
        elif text.strip() and text != "".join(part.texts):  # blanks and repetitions lose nothing
            self.fault = UpstreamGarbled(GARBLED).said(detail="more of a tool call came after its end")

    def _advance(self, force: bool = False) -> None:
        """Begin as many waiting parts as may; all of them if forced."""
        while self.waiting:
            part = self.waiting[0]
            if not force:
                if (part.body and "tool_call" in part.body) or (part.kind == "tool_call" and not part.name):
                    return  # not yet known well enough to be begun
                if self.open is not None and not self.open.whole():
                    return
            self._end()
            del self.waiting[0]
            self._open(part)

    def _open(self, part: _Part) -> None:
        output = self.output
        part.index, output.parts = output.parts, output.parts + 1
        extras = NO_EXTRAS if part.body is None else {NAME: part.body}
        origin = NAME if part.kind == "reasoning" or part.extra else ""
        output.events.append(PartStarted(part.index, part.kind, part.id, part.name, self.number, extras, origin))
        if part.texts and part.kind != "opaque":
            output.events.append(PartDelta(part.index, "".join(part.texts)))
        self.open = part

    def _end(self) -> None:
        if self.open is not None:
            self.open.ended = True
            if self.open.kind == "text" and self.tokens:
                self.output.events.append(PartEnded(self.open.index, logprobs=read_tokens(self.tokens)))
                self.tokens = []
            else:
                self.output.events.append(_ended(self.open))
            self.open = None

    # calls

    def _call(self, piece: CallPiece) -> None:
        if piece.custom is not None:
            self._custom(piece)
            return
        function = piece.function or FunctionPiece()
        part = self._addressed(piece, function)
        if part is None:
            part = _Part("tool_call", piece.id or invented_call_id(), function.name or "")
            part.extra = piece.extra_content
            self.calls[len(self.calls) if piece.index is None else piece.index] = self.last_call = part
            self._begin(part)
        elif piece.extra_content:
            part.extra = {**(part.extra or {}), **piece.extra_content}
        if not part.name and function.name:
            part.name = function.name
            self._advance()
        if function.arguments:
            self._more(part, function.arguments)

    def _addressed(self, piece: CallPiece, function: FunctionPiece) -> _Part | None:
        """The call that `piece` continues; None if it begins one. Some providers give no index, some give the same to
        all calls and other ids."""
        part = self.last_call if piece.index is None else self.calls.get(piece.index)
        if part is None or part.kind != "tool_call":
            return None
        begins = bool(piece.id and function.name and piece.id != part.id)
        return None if begins or (piece.index is None and function.name and piece.id != part.id) else part

    def _custom(self, piece: CallPiece) -> None:
        """A call of a free-form tool: no other dialect knows it, so it is opaque, and whole at the end."""
        custom = piece.custom
        index = len(self.calls) if piece.index is None else piece.index
        part = self.calls.get(index)
        if part is None or part.body is None:
            id = piece.id or invented_call_id()
            body = {"id": id, "type": "custom", "custom": {"name": "", "input": ""}}
            part = self.calls[index] = self.last_call = _Part("opaque", id, body={"tool_call": body})
            self.waiting.append(part)
        if custom is not None and part.body is not None:
            said = part.body["tool_call"]["custom"]
            said["name"] = said["name"] or custom.name or ""
            said["input"] += custom.input or ""

    # the rest

    def _list(self, content: list[Any]) -> None:
        """Mistral's reasoning models: thoughts and text as parts."""
        for part in content:
            if not isinstance(part, dict):
                continue
            if part.get("type") == "thinking" and isinstance(part.get("thinking"), list):
                inner = part["thinking"]
                thoughts = "".join(more["text"] for more in inner if isinstance(more, dict) and _is_text(more))
                if thoughts:
                    self._say("reasoning", thoughts)
            elif _is_text(part) and part["text"]:
                self._say("text", part["text"])

    def _weigh(self, logprobs: dict[str, Any]) -> None:
        """Tokens of the text go with it; all else that stands beside them is for Chat's own clients."""
        for name, tokens in logprobs.items():
            if isinstance(tokens, list) and tokens:
                kept = self.tokens if name == "content" else self.notes.setdefault("logprobs", {}).setdefault(name, [])
                kept.extend(tokens)

    def _note(self, piece: Piece) -> None:
        """What only Chat's own clients can use is gathered and goes out as one opaque part at the end."""
        for name in ("annotations", "images"):
            more = getattr(piece, name)
            if more:
                self.notes.setdefault(name, []).extend(more)
        for name, value in (piece.extra_content or {}).items():
            known = self.notes.setdefault("extra_content", {})
            more = known.get(name)
            known[name] = {**more, **value} if isinstance(more, dict) and isinstance(value, dict) else value


def _ended(part: _Part) -> PartEnded:
    if part.details:
        return PartEnded(part.index, details_signature(joined_details(part.details)))
    if not part.extra:
        return PartEnded(part.index)
    signature, rest = take_signature(part.extra)
    return PartEnded(part.index, signature, extras={NAME: {"extra_content": rest}} if rest else NO_EXTRAS)


def _is_text(part: dict[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)
