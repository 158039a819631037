"""Where the bytes of images, sounds and documents are, as Chat says it: ``data:`` URLs, links, formats."""

from __future__ import annotations

import re
from mimetypes import guess_type

from llmhub_core.contracts import Inline, Link

_DATA = re.compile(r"data:([^,;]{0,128})(?:;[^,;]{1,128}){0,8};base64,", re.IGNORECASE)
_WEB = re.compile(r"https?://[^\s/]", re.IGNORECASE)
_METADATA_HOST = re.compile(r"https?://(?:[^/@]*@)?(?:169\.254\.|\[fe80:|metadata\.google\.internal)", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]*").fullmatch

_AUDIO_TYPES = {"mp3": "audio/mpeg", "pcm16": "audio/pcm"}
_AUDIO_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/pcm": "pcm16",
    "audio/x-flac": "flac",
}


def fault_of(url: str) -> str | None:
    """What is wrong with an address that a provider shall fetch or read; None if nothing is.

    Only a taste of the base64 is looked at, for this runs on every request. Addresses of the link-local range are
    refused: no picture lies there, but the credentials of cloud machines do, and self-hosted servers would fetch them.
    """
    if url[:5].lower() == "data:":
        found = _DATA.match(url)
        if found is None or not (
            _BASE64(url[found.end() : found.end() + 64]) and _BASE64(url[-64:].rpartition(",")[2])
        ):
            return "must hold its data as base64 (data:<type>;base64,…)"
        return None
    if not _WEB.match(url) or _METADATA_HOST.match(url):
        return "must be an https://, http:// or data: address that the provider may fetch"
    return None


def read_url(url: str) -> Inline | Link:
    """A ``data:`` URL or a link."""
    found = _DATA.match(url)
    return Link(url) if found is None else Inline(found[1] or "application/octet-stream", url[found.end() :])


def data_url(source: Inline) -> str:
    """The reverse of read_url for what lies in the request itself."""
    return f"data:{source.media_type};base64,{source.data}"


def read_file_data(data: str, name: str | None) -> Inline | Link:
    """`file_data`: a ``data:`` URL, a link (OpenRouter), or bare base64 whose type only the name tells."""
    if data[:5].lower() == "data:" or _WEB.match(data):
        return read_url(data)
    return Inline((name and guess_type(name)[0]) or "application/pdf", data)


def audio_type(format: str) -> str:
    """The media type of an `input_audio` format."""
    return _AUDIO_TYPES.get(format, "audio/" + format)


def audio_format(media_type: str) -> str:
    """The `input_audio` format of a media type."""
    return _AUDIO_FORMATS.get(media_type) or media_type.partition("/")[2]
