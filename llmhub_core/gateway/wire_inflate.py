"""Undoing a content coding that we did not ask for, in bounded steps."""

from __future__ import annotations

import zlib

from llmhub_core.contracts.errors import UpstreamGarbled

STEP = 256 * 1024
"""Bytes that one step may yield, however small its input."""
MAX_DECODED = 64 * 1024 * 1024
"""Bytes that one answer may decode to in all."""

_CODED = "The provider sent its answer in a coding that was not asked for and cannot be undone; use another provider."
_BROKEN = "The provider's compressed answer is damaged or broke off; try again."
_LARGE = "The provider's compressed answer decodes to more than allowed; ask for less at once."


class Inflate:
    """gzip or deflate. Feed, then take `more` until it yields nothing; `finish` at the end of the input."""

    __slots__ = ("_fed", "_gzip", "_inner", "_left", "_rest")

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._inner = zlib.decompressobj(31) if gzip else None
        self._fed = False
        self._left = MAX_DECODED
        self._rest = b""

    @classmethod
    def of(cls, coding: str) -> Inflate | None:
        """For a content-encoding; None if it changes nothing. Raises UpstreamGarbled for any other coding."""
        coding = coding.strip().lower()
        if coding in ("", "identity"):
            return None
        if coding in ("gzip", "x-gzip", "deflate"):
            return cls(coding != "deflate")
        raise UpstreamGarbled(_CODED)

    def feed(self, data: bytes) -> None:
        """More input; what was fed before must have been taken."""
        if self._inner is None:
            # "deflate" means zlib's wrapping, but some send it bare; zlib's first byte tells.
            self._inner = zlib.decompressobj(15 if data[0] & 0x8F == 8 else -15)
        self._fed = True
        self._rest = data

    def more(self) -> bytes:
        """Up to STEP bytes of output; b"" if more input is needed. Raises UpstreamGarbled."""
        if self._inner is None:
            return b""
        inner, data = self._inner, self._rest
        if inner.eof:
            if data or inner.unused_data:  # further members: as rare as they are costly to follow
                raise UpstreamGarbled(_BROKEN)
            return b""
        failed = False
        out = b""
        try:
            out = inner.decompress(data, STEP)
        except zlib.error:
            failed = True
        if failed or (not out and inner.unused_data):
            raise UpstreamGarbled(_BROKEN)
        self._rest = inner.unconsumed_tail
        self._left -= len(out)
        if self._left < 0:
            raise UpstreamGarbled(_LARGE)
        return out

    def finish(self) -> None:
        """The input ended. Raises UpstreamGarbled if the coding had not."""
        if self._fed and not (self._inner is not None and self._inner.eof):
            raise UpstreamGarbled(_BROKEN)
