"""Bodies as people read them later: without credentials, without what is no text, and no longer than asked for.

JSON stays JSON, written anew. A stream becomes what it said: its deltas are joined, for a credential in two of them
would not be recognised. All is redacted before it is cut, so that no half of a credential is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from llmhub_core.contracts.chat_response import ChatResponse, Fold, ResponsePart
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import UpstreamError
from llmhub_core.contracts.operations import CHAT
from llmhub_core.contracts.wire import dump_json, load_json
from llmhub_core.hub.redaction import REDACTED, Redaction, names_a_secret

Form = Literal["json", "text", "joined", "events", "none"]
"""joined: what a stream said; events: a stream as it came; none: a note of what there was."""

MARGIN = 4096
"""Characters that are looked at behind the end and never kept: few credentials are longer."""

SHORTEST_MEDIA = 512
"""Characters of base64 from which on they are taken for something else than text."""

_DATA_ADDRESS = re.compile(
    r"data:(?P<type>[\w.+-]{1,64}/[\w.+-]{1,64})(?:;[\w.=-]{1,64}){0,4};base64,(?P<data>[A-Za-z0-9+/_-]{16,}={0,2})"
)
_CODED = re.compile(rf"(?<![A-Za-z0-9+/_-])(?P<data>[A-Za-z0-9+/_-]{{{SHORTEST_MEDIA},}}={{0,2}})")
_ALPHABET = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_TYPES = ("media_type", "mimeType", "mime_type", "format", "type")
"""Where wire formats say what the piece of base64 beside it is."""

_LIKELIHOODS = frozenset({"logprobs", "top_logprobs", "logprobsResult"})
"""Fields that have the text once more, token by token."""

LEFT_OUT = "[left out]"

_NUMBERS = 64
"""Longer lists of numbers are vectors or tokens: nobody reads them."""


class BodyText(msgspec.Struct, omit_defaults=True):
    """One body. `media_type` and `size` (bytes) are of what passed; `cut` tells that `text` is only the beginning."""

    text: str
    form: Form
    media_type: str = ""
    size: int = 0
    cut: bool = False


class BodyWriter:
    """`largest` is how many bytes of a text are kept; with `media` images and the like are as well."""

    def __init__(self, redaction: Redaction, largest: int, media: bool) -> None:
        self._redaction = redaction
        self._largest = largest
        self._media = media

    def request(self, body: bytes, media_type: str) -> BodyText:
        return self._plain(body, media_type, len(body))

    def answer(self, dialect: Dialect[Any], body: bytes, media_type: str, size: int) -> BodyText:
        """`body` may be the beginning of the `size` bytes that passed."""
        if dialect.operation != CHAT or not dialect.translates:
            return self._plain(body, media_type, size)
        if media_type.startswith("text/event-stream"):
            events = body
        elif body.startswith(b"["):
            events = _as_events(body)
        else:
            return self._plain(body, media_type, size)
        breaks_off = len(body) < size
        response, room = _folded(dialect, events, breaks_off), _Room(self._redaction, self._largest, self._media)
        if not events or not (response.parts or response.failed):
            return _note(media_type, size)
        said = dump_json(room.response(response, breaks_off))
        return self._kept(said, "joined", media_type, size, room.cut or breaks_off)

    def _plain(self, body: bytes, media_type: str, size: int) -> BodyText:
        kind, room = media_type.partition(";")[0].strip().lower(), _Room(self._redaction, self._largest, self._media)
        if kind.endswith("json"):
            try:
                return self._kept(dump_json(room.value(load_json(body))), "json", media_type, size, room.cut)
            except (ValueError, RecursionError):
                pass  # it breaks off
        elif not kind.startswith("text/"):
            return _note(media_type, size)
        text = room.text(body.decode("utf-8", "replace"), breaks_off=len(body) < size)
        form: Form = "events" if kind == "text/event-stream" else "text"
        return self._kept(text.encode("utf-8", "replace"), form, media_type, size, room.cut)

    def _kept(self, text: bytes, form: Form, media_type: str, size: int, cut: bool) -> BodyText:
        whole = len(text) <= self._largest
        return BodyText(text[: self._largest].decode("utf-8", "ignore"), form, media_type, size, cut or not whole)


def _note(media_type: str, size: int) -> BodyText:
    return BodyText(f"[{media_type.partition(';')[0].strip() or 'bytes'}, {size:,} bytes]", "none", media_type, size)


def _as_events(array: bytes) -> bytes:
    """A stream that came as an array, perhaps without its end, as the events that it stands for; b"" if it is none."""
    for end in (b"", b"]"):
        try:
            return b"".join(b"data: %b\n\n" % dump_json(each) for each in load_json(array.rstrip(b" ,\r\n") + end))
        except (ValueError, TypeError, RecursionError):
            continue
    return b""


def _folded(dialect: Dialect[Any], events: bytes, breaks_off: bool) -> ChatResponse:
    """What can be understood of a stream."""
    fold, decoder = Fold(), dialect.response_decoder(True)
    try:
        for event in decoder.feed(events):
            fold.add(event)
        for event in () if breaks_off else decoder.close():
            fold.add(event)
    except Exception:  # noqa: S110 — whatever a provider sent: what was understood before it is all there is
        pass
    return fold.response()


class _Room:
    """The values of one body, within so many characters: `cut` tells that these did not do."""

    def __init__(self, redaction: Redaction, left: int, media: bool) -> None:
        self._redaction = redaction
        self._left = left
        self._media = media
        self.cut = False

    def response(self, response: ChatResponse, breaks_off: bool) -> dict[str, Any]:
        parts = response.parts
        said: dict[str, Any] = {
            "content": [self._part(part, breaks_off and part is parts[-1]) for part in parts],
        }
        if response.finished:
            said["finish"] = [each.native or each.reason for each in response.finished.values()]
        if (error := response.failed) is not None:
            told = error.detail if isinstance(error, UpstreamError) else ""
            said["error"] = {"code": error.code, "message": self.text(told or error.message)}
        return said

    def _part(self, part: ResponsePart, breaks_off: bool) -> dict[str, Any]:
        said: dict[str, Any] = {"type": part.kind}
        if part.choice:
            said["choice"] = part.choice
        if part.kind == "tool_call":
            said |= {"id": self.text(part.id), "name": self.text(part.name)}
            try:
                said["arguments"] = self.value(load_json(part.text))
            except (ValueError, RecursionError):
                said["arguments"] = self.text(part.text, breaks_off=breaks_off)
        elif part.text or part.kind != "opaque":
            said["text"] = self.text(part.text, breaks_off=breaks_off)
        else:
            said["value"] = self.value(part.extras)
        return said

    def value(self, value: Any, name: str = "", kind: str = "") -> Any:
        """`name` is that of the field, `kind` what stands beside it about its type."""
        if self._left <= 0:
            self.cut = True
            return LEFT_OUT
        if isinstance(value, str):
            return REDACTED if value and names_a_secret(name) else self.text(value, kind)
        if isinstance(value, Mapping):
            kind = next((value[each] for each in _TYPES if isinstance(value.get(each), str)), "")
            return {self.text(key): self.value(each, key, kind) for key, each in value.items()}
        if isinstance(value, list | tuple):
            if name in _LIKELIHOODS:
                return LEFT_OUT
            if len(value) > _NUMBERS and not self._media and isinstance(value[0], int | float):
                return f"[{len(value):,} numbers]"
            return [self.value(each, name, kind) for each in value]
        self._left -= 4
        return value

    def text(self, text: str, kind: str = "", *, breaks_off: bool = False) -> str:
        """Redacted. `breaks_off` tells that its end may be the half of something."""
        if not self._media and len(text) > SHORTEST_MEDIA and (note := self._media_note(text, kind)):
            return note
        if len(text) > self._left + MARGIN:
            text, breaks_off, self.cut = text[: self._left + MARGIN], True, True
        if not self._media:
            text = _CODED.sub(_coded, _DATA_ADDRESS.sub(_coded, text))
        text = self._redaction.text(text)
        if breaks_off:
            text = text[: max(0, len(text) - MARGIN)]
        if len(text) > self._left:
            text, self.cut = text[: self._left], True
        self._left -= len(text)
        return text

    def _media_note(self, text: str, kind: str) -> str:
        """What stands for a text that is all base64, "" if it is not; megabytes of it are not looked at."""
        start = 0
        if (found := _DATA_ADDRESS.match(text, 0, 2 * SHORTEST_MEDIA)) is not None:
            kind, start = found["type"], found.start("data")
        if not (_ALPHABET.fullmatch(text, start, start + SHORTEST_MEDIA) and _ALPHABET.fullmatch(text, len(text) - 8)):
            return ""
        known = kind if len(kind) <= 64 else ""
        return f"[{self._redaction.text(known) or 'base64'}, {(len(text) - start) * 3 // 4:,} bytes]"


def _coded(found: re.Match[str]) -> str:
    return f"[{found.groupdict().get('type') or 'base64'}, {len(found['data']) * 3 // 4:,} bytes]"
