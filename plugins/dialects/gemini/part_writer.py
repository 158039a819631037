"""Parts of messages, written in the format."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from llmhub_plugins.dialects.gemini.signatures import SIGNATURE
from llmhub_plugins.dialects.gemini.words import NAME, foreign_extras, is_invented, own_extras, put_back

from llmhub_core.contracts import (
    Audio,
    BadRequest,
    ContentPart,
    File,
    Image,
    Inline,
    Link,
    MediaSource,
    Opaque,
    Reasoning,
    Refusal,
    Stored,
    Text,
    ToolCall,
    ToolResult,
    load_json,
)

_MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "csv": "text/csv",
    "json": "application/json",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "mp4": "video/mp4",
    "mov": "video/mov",
    "webm": "video/webm",
}
"""By file extension: an own table, because the system's differs from machine to machine."""


def unsupported(where: str, reason: str) -> BadRequest:
    return BadRequest(f"`{where}` cannot be sent to this model: {reason}.", code="unsupported_content", param=where)


class PartWriter:
    """Writes parts one after another and remembers the calls, whose names their results need.

    `native` means that the request came in this dialect, `nested_media` that media of a result may stand
    inside it (Gemini 3); elsewhere they follow it. `places` tells of each written result which call, counted
    over the conversation, it answers (by the identity of the written part).
    """

    def __init__(self, *, native: bool, nested_media: bool, adapted: list[str]) -> None:
        self._native = native
        self._nested_media = nested_media
        self._adapted = adapted
        self._names: dict[str, str] = {}
        self._order: dict[str, int] = {}
        self.places: dict[int, int] = {}

    def write(self, part: ContentPart, where: str) -> list[dict[str, Any]]:
        """No part, one, or several. Raises BadRequest for what the format cannot say."""
        if isinstance(part, Text):
            return [self._finished({"text": part.text}, part, where)]
        if isinstance(part, ToolCall):
            return [self._finished(self._call(part, where), part, where)]
        if isinstance(part, ToolResult):
            return self._result(part, where)
        if isinstance(part, Reasoning):
            return self._reasoning(part, where)
        if isinstance(part, Opaque):
            if part.origin != NAME:
                raise unsupported(where, f"Gemini has no part `{part.kind}`; leave it out")
            return [dict(part.body)]
        if isinstance(part, Refusal):
            return [self._finished({"text": part.text}, part, where)]
        return [self._finished(self._media(part, where), part, where)]

    def _finished(self, written: dict[str, Any], part: Any, where: str) -> dict[str, Any]:
        """With what this dialect left in the extras; what others left there is listed as lost."""
        self._adapted += foreign_extras(part.extras, where)
        return put_back(written, own_extras(part.extras))

    def _reasoning(self, part: Reasoning, where: str) -> list[dict[str, Any]]:
        if not self._opens_here(part):
            self._drop_reasoning()
            return []
        written: dict[str, Any] = {"text": part.text, "thought": True}
        if part.signature is not None:
            written[SIGNATURE] = part.signature
        return [self._finished(written, part, where)]

    def _opens_here(self, part: Reasoning | ToolCall) -> bool:
        return part.origin == NAME or (part.origin is None and self._native)

    def _drop_reasoning(self) -> None:
        if "reasoning=dropped" not in self._adapted:
            self._adapted.append("reasoning=dropped")

    def _call(self, part: ToolCall, where: str) -> dict[str, Any]:
        self._order[part.id] = len(self._order)
        self._names[part.id] = part.name
        call: dict[str, Any] = {"name": part.name, "args": _arguments(part, where)}
        if not is_invented(part.id):
            call["id"] = part.id
        written: dict[str, Any] = {"functionCall": call}
        if part.signature is not None:
            if self._opens_here(part):
                written[SIGNATURE] = part.signature
            else:
                self._drop_reasoning()
        return written

    def _result(self, part: ToolResult, where: str) -> list[dict[str, Any]]:
        name = part.name or self._names.get(part.call_id)
        if name is None:
            raise BadRequest(
                f"`{where}` answers a call that no earlier message makes; send the assistant's turn with it.",
                code="invalid_value",
                param=where,
            )
        response: dict[str, Any] = {"name": name, "response": self._response(part, where)}
        if part.call_id and not is_invented(part.call_id):
            response["id"] = part.call_id
        media = [
            self._finished(self._media(entry, f"{where}.content[{number}]"), entry, f"{where}.content[{number}]")
            for number, entry in enumerate(part.content)
            if isinstance(entry, Image | Audio | File)
        ]
        if media and self._nested_media:
            response["parts"] = media
            media = []
        written = self._finished({"functionResponse": response}, part, where)
        self.places[id(written)] = self._order.get(part.call_id, len(self._order))
        return [written, *media]

    def _response(self, part: ToolResult, where: str) -> dict[str, Any]:
        texts = []
        for number, entry in enumerate(part.content):
            if isinstance(entry, Text | Refusal):
                self._adapted += foreign_extras(entry.extras, f"{where}.content[{number}]")
                texts.append(entry.text)
            elif not isinstance(entry, Image | Audio | File):
                raise unsupported(f"{where}.content[{number}]", "Gemini takes text and media only as a tool's result")
        text = "\n".join(texts)
        if part.is_error:
            return {"error": text}
        try:
            value = load_json(text)
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {"result": text}

    def _media(self, part: Image | Audio | File, where: str) -> dict[str, Any]:
        if isinstance(part, Image) and part.detail not in (None, "auto"):
            self._adapted.append(f"{where}.detail=dropped")
        name = part.name if isinstance(part, File) else None
        if name is not None and not self._native:
            self._adapted.append(f"{where}.name=dropped")
        title = {"displayName": name} if name is not None and self._native else {}
        source = part.source
        if isinstance(source, Inline):
            return {"inlineData": {"mimeType": source.media_type, "data": source.data, **title}}
        if isinstance(source, Stored) and not self._native:
            raise unsupported(where, "the file rests at another provider; send its content or a link")
        uri = source.id if isinstance(source, Stored) else source.url
        data = {"fileUri": uri, **title}
        media_type = source.media_type or self._guess(source, where)
        if media_type is not None:
            data["mimeType"] = media_type
        return {"fileData": data}

    def _guess(self, source: MediaSource, where: str) -> str | None:
        """The media type by the link's extension; Gemini needs one for links, but for those of its own callers
        (addresses of videos have none) it decides itself."""
        if self._native or not isinstance(source, Link):
            return None
        extension = urlsplit(source.url).path.rpartition(".")[2].lower()
        if extension not in _MEDIA_TYPES:
            raise unsupported(where, "the link does not tell what it is; send a link with a file extension or the data")
        return _MEDIA_TYPES[extension]


def _arguments(part: ToolCall, where: str) -> dict[str, Any]:
    if not part.arguments.strip():
        return {}
    try:
        arguments = load_json(part.arguments)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise BadRequest(
            f"`{where}`: the arguments of `{part.name}` are not a JSON object, which Gemini requires; correct them.",
            code="unsupported_content",  # another provider may take them as they are
            param=where,
        )
    return arguments
