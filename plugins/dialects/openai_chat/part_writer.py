"""The parts of a message as a Chat provider takes them."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from llmhub_plugins.dialects.openai.media import audio_format, data_url
from llmhub_plugins.dialects.openai_chat.words import NAME

from llmhub_core.contracts import (
    Audio,
    BadRequest,
    ContentPart,
    Extras,
    File,
    Image,
    Inline,
    Link,
    Opaque,
    Refusal,
    Stored,
    Text,
)

Json = dict[str, Any]


class PartWriter:
    """`own` says that the request came in this dialect; `adapted` gathers what could not be said."""

    def __init__(self, own: bool, adapted: list[str]) -> None:
        self.own = own
        self.adapted = adapted

    def content(self, parts: Sequence[Json], joint: str | None) -> Any:
        """A string where that says it all; `joint` is what stands between texts that another dialect had apart."""
        plain = all(len(part) == 2 and part["type"] == "text" for part in parts)
        if plain and len(parts) == 1:
            return parts[0]["text"]
        if plain and not self.own and joint is not None:
            return joint.join(part["text"] for part in parts)
        if not parts:
            return [] if self.own else ""
        return list(parts)

    def part(self, part: ContentPart, path: str) -> Json:
        """One part; BadRequest by its name for what Chat cannot say."""
        if isinstance(part, Opaque):
            if part.origin != NAME:
                refuse_part(part, path)
            return dict(part.body)
        written = self._plain(part, path)
        for name, value in part.extras.get(NAME, {}).items():
            inner = written.get(name)
            written[name] = {**inner, **value} if isinstance(inner, dict) else value
        self.drop_foreign(part.extras, path)
        return written

    def drop_foreign(self, extras: Extras, path: str) -> None:
        """List what only another dialect knows of a value."""
        for dialect, fields in extras.items():
            if dialect != NAME and isinstance(fields, Mapping):
                self.adapted += [f"{path}.{name}=dropped" for name in fields]

    def _plain(self, part: ContentPart, path: str) -> Json:
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if isinstance(part, Image) and not isinstance(part.source, Stored):
            url = part.source.url if isinstance(part.source, Link) else data_url(part.source)
            detail = {"detail": part.detail} if part.detail else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        if isinstance(part, Audio) and isinstance(part.source, Inline):
            sound = {"data": part.source.data, "format": audio_format(part.source.media_type)}
            return {"type": "input_audio", "input_audio": sound}
        if not isinstance(part, File):
            refuse_part(part, path)
        return self._text_of(part, path) or {"type": "file", "file": self._file(part, path)}

    def _text_of(self, file: File, path: str) -> Json | None:
        """Another dialect's text document is text here: of documents, Chat servers read PDF alone."""
        if self.own or not isinstance(file.source, Inline) or not file.source.media_type.startswith("text/"):
            return None
        try:
            text = b64decode(file.source.data).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        self.adapted.append(f"{path}=inlined")
        return {"type": "text", "text": f"{file.name}:\n{text}" if file.name else text}

    def _file(self, file: File, path: str) -> Json:
        if isinstance(file.source, Inline):
            # OpenAI wants a name beside the data.
            return {"filename": file.name or "file.pdf", "file_data": data_url(file.source)}
        if not self.own:
            refuse_part(file, path)
        name = {"filename": file.name} if file.name else {}
        if isinstance(file.source, Stored):
            return {**name, "file_id": file.source.id}
        return {**name, "file_data": file.source.url}


def refuse_part(part: ContentPart, path: str) -> NoReturn:
    """BadRequest that names the part and says what to do."""
    kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
    source = getattr(part, "source", None)
    if isinstance(source, Stored):
        kind, hint = f"stored {kind}", "send its data instead"
    elif isinstance(source, Link):
        kind, hint = f"linked {kind}", "send its data instead"
    else:
        hint = "leave it out or use a model that is served in the dialect of this request"
    raise BadRequest(
        f"`{path}` is a {kind}, which an OpenAI Chat provider cannot be given here; {hint}.",
        code="unsupported_content",
        param=path,
    )
