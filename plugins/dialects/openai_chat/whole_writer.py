"""Events as one whole Chat answer."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from llmhub_plugins.dialects.openai.errors import encode_error
from llmhub_plugins.dialects.openai.logprobs import write_tokens
from llmhub_plugins.dialects.openai.usage import usage_json
from llmhub_plugins.dialects.openai_chat.sealing import Sealer, is_foreign
from llmhub_plugins.dialects.openai_chat.shape import Shape, thought_name
from llmhub_plugins.dialects.openai_chat.signatures import details_of
from llmhub_plugins.dialects.openai_chat.words import NAME

from llmhub_core.contracts import (
    Event,
    Failed,
    Finished,
    FinishReason,
    HubError,
    PartDelta,
    PartEnded,
    PartStarted,
    ResponseEncoder,
    Started,
    Usage,
    Used,
    dump_json,
)

Json = dict[str, Any]


@dataclass(slots=True)
class _Message:
    """One choice in the making. `texts` by the member that they stand in."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    calls: list[Json] = field(default_factory=list)
    more: Json = field(default_factory=dict)
    tokens: list[Json] = field(default_factory=list)  # log probabilities of the text
    audio: list[Json] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    sealer: Sealer = field(default_factory=Sealer)
    finish: FinishReason | None = None

    def text(self, name: str) -> str | None:
        texts = self.texts.get(name)
        return None if texts is None else "".join(texts)


class WholeWriter(ResponseEncoder):
    """One JSON object, returned by close()."""

    content_type = "application/json"

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._started: Started | None = None
        self._messages: dict[int, _Message] = {}
        self._open: dict[int, tuple[PartStarted, list[str]]] = {}
        self._usage: Usage | None = None
        self._error: HubError | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, PartDelta):
            if event.index in self._open:
                self._open[event.index][1].append(event.text)
        elif isinstance(event, PartStarted):
            self._begin(event)
        elif isinstance(event, PartEnded):
            self._end(event)
        elif isinstance(event, Started):
            self._started = self._started or event
        elif isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._error = self._error or event.error
        return b""

    def close(self) -> bytes:
        if self._error is not None:
            return encode_error(self._error)
        for index in list(self._open):
            self._end(PartEnded(index))
        if not self._messages:
            self._message(0)
        answer = self._shape.header(self._started, "chat.completion")
        answer["choices"] = [self._choice(number, self._messages[number]) for number in sorted(self._messages)]
        if self._usage is not None:
            answer["usage"] = usage_json(self._usage)
        return dump_json(answer)

    def _message(self, choice: int) -> _Message:
        return self._messages.setdefault(choice, _Message())

    def _begin(self, part: PartStarted) -> None:
        message = self._message(part.choice)
        if message.finish is None and part.index not in self._open:
            message.open.append(part.index)
            self._open[part.index] = (part, [])

    def _finish(self, event: Finished) -> None:
        message = self._message(event.choice)
        for index in message.open:
            self._end(PartEnded(index))
        message.finish = message.finish or event.reason

    def _end(self, ended: PartEnded) -> None:
        part, texts = self._open.pop(ended.index, (None, []))
        if part is None:
            return
        message = self._message(part.choice)
        if part.kind == "opaque":
            _note(message, part.extras.get(NAME, {}))
        elif part.kind == "tool_call":
            id = part.id
            if not self._shape.old_way:
                id = message.sealer.id_of(part, ended.signature if is_foreign(part) else None)
            message.calls.append(self._shape.call(part, id, "".join(texts), ended))
        elif part.kind == "reasoning":
            message.texts.setdefault(thought_name(part), []).extend(texts)
            _think(message, part, "".join(texts), ended)
        else:
            name = "content" if part.kind == "text" else "refusal"
            message.texts.setdefault(name, []).extend(texts)
            message.tokens += write_tokens(ended.logprobs)
            if part.kind == "text":
                message.sealer.said += sum(map(len, texts))

    def _choice(self, number: int, message: _Message) -> Json:
        calls = message.calls
        content, refusal = message.text("content"), message.text("refusal")
        said: Json = {
            "role": "assistant",
            "content": "" if content is None and refusal is None and not (calls or message.audio) else content,
            "refusal": refusal,
            "annotations": [],
        }
        for name in ("reasoning_content", "reasoning"):
            thoughts = message.text(name)
            if thoughts is not None:
                said[name] = thoughts
        if calls and self._shape.old_way:
            said["function_call"] = calls[0].get("function")
        elif calls:
            said["tool_calls"] = calls
        if message.audio:
            said["audio"] = _joined_audio(message.audio)
        logprobs = message.more.pop("logprobs", None)
        if message.tokens:
            logprobs = {**(logprobs or {}), "content": message.tokens}
        reason = message.finish or ("tool_calls" if calls else "stop")
        return {
            "index": number,
            "message": {**said, **message.more},
            "logprobs": None if logprobs is None else {"content": None, "refusal": None, **logprobs},
            "finish_reason": self._shape.finish(reason),
        }


def _note(message: _Message, own: Json) -> None:
    own = dict(own)
    call, audio = own.pop("tool_call", None), own.pop("audio", None)
    if call is not None:
        message.calls.append(call)
    if isinstance(audio, dict):
        message.audio.append(audio)
    message.more.update(own)


def _think(message: _Message, part: PartStarted, text: str, ended: PartEnded) -> None:
    if not is_foreign(part):
        details = details_of(ended.signature)
        if details:
            message.more.setdefault("reasoning_details", []).extend(details)
    elif ended.signature or ended.redacted:
        message.sealer.think(part, text, ended)


def _joined_audio(pieces: list[Json]) -> Json:
    """The sound of an answer that was streamed: base64 that was padded in pieces is none when strung together."""
    joined: Json = {}
    for piece in pieces:
        joined.update((name, value) for name, value in piece.items() if name not in ("data", "transcript"))
    transcript = [piece["transcript"] for piece in pieces if isinstance(piece.get("transcript"), str)]
    data = [piece["data"] for piece in pieces if isinstance(piece.get("data"), str)]
    if transcript:
        joined["transcript"] = "".join(transcript)
    if data:
        joined["data"] = _joined_base64(data)
    return joined


def _joined_base64(pieces: list[str]) -> str:
    if len(pieces) == 1 or all(len(piece) % 4 == 0 and not piece.endswith("=") for piece in pieces[:-1]):
        return "".join(pieces)
    try:
        return b64encode(b"".join(map(b64decode, pieces))).decode()
    except binascii.Error:
        return "".join(pieces)
