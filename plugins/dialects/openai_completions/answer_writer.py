"""Events as a text completion: whole, or in chunks. Of what a chat model says only the text has a place here; thoughts
are left out, and an answer that was declined is the text in which it was."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmhub_plugins.dialects.openai.errors import encode_error, encode_stream_error
from llmhub_plugins.dialects.openai.finish import finish_word
from llmhub_plugins.dialects.openai.passing import DONE
from llmhub_plugins.dialects.openai.usage import usage_json
from llmhub_plugins.dialects.openai_completions.words import NAME

from llmhub_core.contracts import (
    ChatRequest,
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
    TokenLogprob,
    Usage,
    Used,
    dump_json,
)

Json = dict[str, Any]


def response_encoder(request: ChatRequest) -> ResponseEncoder:
    """A writer for one answer."""
    return StreamWriter(request) if request.stream else WholeWriter(request)


def _header(request: ChatRequest, started: Started | None) -> Json:
    said = started or Started("", "")
    return {
        "id": said.id or "cmpl-" + secrets.token_hex(12),
        "object": "text_completion",
        "created": said.created or int(time.time()),
        "model": said.model or request.model,
        **said.extras.get(NAME, {}),
    }


def _word(reason: FinishReason) -> str:
    """This format knows no calls."""
    word = finish_word(reason)
    return "stop" if word == "tool_calls" else word


def _own_logprobs(part: PartStarted) -> Json | None:
    """What this format's reader left in the extras of a part."""
    own = part.extras.get(NAME, {}).get("logprobs")
    return None if own is None else dict(own)


def _logprobs(tokens: Sequence[TokenLogprob]) -> Json | None:
    """The probabilities of tokens in this format's lists."""
    if not tokens:
        return None
    lists: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    offset = 0
    for token in tokens:
        lists["tokens"].append(token.token)
        lists["token_logprobs"].append(token.logprob)
        lists["top_logprobs"].append({other.token: other.logprob for other in token.top})
        lists["text_offset"].append(offset)
        offset += len(token.token)
    return lists


class StreamWriter(ResponseEncoder):
    """Server-sent events."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._head = b""
        self._tail = b',"usage":null}\n\n' if request.asked_usage else b"}\n\n"
        self._open: dict[int, tuple[bytes, bytes]] = {}
        self._finished: dict[int, bool] = {}
        self._usage: Usage | None = None
        self._over = False

    def write(self, event: Event) -> bytes:
        if self._over:
            return b""
        if isinstance(event, PartDelta):
            around = self._open.get(event.index)
            return around[0] + dump_json(event.text) + around[1] if around is not None and event.text else b""
        if isinstance(event, PartStarted):
            return self._begin(event)
        if isinstance(event, PartEnded):
            around, logprobs = self._open.get(event.index), _logprobs(event.logprobs)
            if around is None or logprobs is None:
                return b""
            return around[0] + b'""' + around[1].replace(b'"logprobs":null', b'"logprobs":' + dump_json(logprobs), 1)
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Finished):
            return self._finish(event.choice, event.reason)
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._over = True
            return encode_stream_error(event.error)
        return b""

    def close(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        ends = b"".join([self._finish(choice, "stop") for choice in self._finished or {0: False}])
        return ends + self._usage_chunk() + DONE

    def _start(self, event: Started | None) -> None:
        if not self._head:
            self._head = b"data: " + dump_json(_header(self._request, event))[:-1] + b',"choices":['

    def _begin(self, part: PartStarted) -> bytes:
        if self._finished.setdefault(part.choice, False):
            return b""
        if part.kind in ("text", "refusal"):
            before, _, after = self._chunk(part.choice, b"\0").partition(b"\0")
            self._open[part.index] = before, after
        logprobs = _own_logprobs(part)
        return b"" if logprobs is None else self._chunk(part.choice, logprobs=dump_json(logprobs))

    def _chunk(self, choice: int, text: bytes = b'""', logprobs: bytes = b"null", finish: bytes = b"null") -> bytes:
        self._start(None)
        said = b'{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b}]' % (text, choice, logprobs, finish)
        return self._head + said + self._tail

    def _finish(self, choice: int, reason: FinishReason) -> bytes:
        if self._finished.get(choice):
            return b""
        self._finished[choice] = True
        return self._chunk(choice, finish=b'"%b"' % _word(reason).encode())

    def _usage_chunk(self) -> bytes:
        if self._usage is None or not self._request.asked_usage:
            return b""
        return self._head + b'],"usage":' + dump_json(usage_json(self._usage)) + b"}\n\n"


@dataclass(slots=True)
class _Text:
    """One choice in the making."""

    texts: list[str] = field(default_factory=list)
    logprobs: Json | None = None
    finish: FinishReason | None = None


class WholeWriter(ResponseEncoder):
    """One JSON object, returned by close()."""

    content_type = "application/json"

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._started: Started | None = None
        self._choices: dict[int, _Text] = {}
        self._open: dict[int, _Text] = {}
        self._usage: Usage | None = None
        self._error: HubError | None = None

    def write(self, event: Event) -> bytes:
        if isinstance(event, PartDelta):
            if event.index in self._open:
                self._open[event.index].texts.append(event.text)
        elif isinstance(event, PartStarted):
            choice = self._choice(event.choice)
            if event.kind in ("text", "refusal") and choice.finish is None:
                self._open[event.index] = choice
            choice.logprobs = choice.logprobs or _own_logprobs(event)
        elif isinstance(event, PartEnded):
            if event.index in self._open:
                choice = self._open[event.index]
                choice.logprobs = choice.logprobs or _logprobs(event.logprobs)
        elif isinstance(event, Started):
            self._started = self._started or event
        elif isinstance(event, Finished):
            choice = self._choice(event.choice)
            choice.finish = choice.finish or event.reason
        elif isinstance(event, Used):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._error = self._error or event.error
        return b""

    def close(self) -> bytes:
        if self._error is not None:
            return encode_error(self._error)
        self._choice(0)
        answer = _header(self._request, self._started)
        answer["choices"] = [
            {
                "text": "".join(choice.texts),
                "index": number,
                "logprobs": choice.logprobs,
                "finish_reason": _word(choice.finish or "stop"),
            }
            for number, choice in sorted(self._choices.items())
        ]
        if self._usage is not None:
            answer["usage"] = usage_json(self._usage)
        return dump_json(answer)

    def _choice(self, number: int) -> _Text:
        return self._choices.setdefault(number, _Text())
