"""A JSON object of which only the members that are asked for are parsed; all others go out as they came."""

from __future__ import annotations

from typing import Any

import msgspec

from llmhub_core.contracts import dump_json, load_json

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Body:
    """`adapted` gathers what a change loses. Changes are not seen in what get() returned before."""

    def __init__(self, body: bytes) -> None:
        self.adapted: list[str] = []
        self._whole = body
        self._changed = False
        try:
            self._members: dict[str, Any] = dict(_MEMBERS.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            # What only the lenient parser reads (NaN, half a surrogate pair), or no object at all.
            value = load_json(body)
            self._members = {key: msgspec.Raw(dump_json(one)) for key, one in value.items()}

    def get(self, name: str) -> Any:
        """The parsed value; None if it is not there."""
        raw = self._members.get(name)
        return None if raw is None else load_json(bytes(raw))

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def set(self, name: str, value: Any) -> None:
        self._members[name] = msgspec.Raw(dump_json(value))
        self._changed = True

    def pop(self, name: str) -> Any:
        """Take it out; the parsed value, None if it was not there."""
        value = self.get(name)
        if self._members.pop(name, None) is not None:
            self._changed = True
        return value

    def drop(self, name: str) -> None:
        """Take it out, and note the loss if it said something."""
        if self.pop(name) is not None:
            self.adapted.append(f"{name}=dropped")

    def rename(self, name: str, other: str) -> None:
        raw = self._members.pop(name, None)
        if raw is not None:
            self._members.setdefault(other, raw)
            self._changed = True

    def bytes(self) -> bytes:
        """The object; byte for byte as it came if nothing was changed."""
        return msgspec.json.encode(self._members) if self._changed else self._whole
