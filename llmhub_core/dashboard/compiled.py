"""Templates as Python's bytecode, kept beside them as Python keeps that of modules: to make it takes tens of
milliseconds for each, in which no caller is served.

In ``__pycache__``, or where ``PYTHONPYCACHEPREFIX`` says; nowhere where Python shall write none, or may not.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any
from zlib import crc32

from jinja2 import BytecodeCache, FileSystemBytecodeCache
from jinja2.bccache import Bucket


class _Kept(FileSystemBytecodeCache):
    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):  # a full disk: it is made again the next time
            super().dump_bytecode(bucket)


def kept_in(templates: Path, options: dict[str, Any]) -> BytecodeCache | None:
    """`options` are those that templates are compiled with: under others they are compiled anew."""
    if sys.dont_write_bytecode:
        return None
    place = Path(cache_from_source(str(templates / "template.py"))).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    mark = f"{sys.implementation.cache_tag}-{crc32(repr(sorted(options.items())).encode()):08x}"
    return _Kept(str(place), f"%s.{mark}.jinja")
