"""SQLAlchemy's engine for asyncio without its ORM, which `sqlalchemy.ext.asyncio` brings along and nobody here uses:
6 MB, and a tenth of a second of every start.

The modules are the package's own: whoever imports the package itself, before or after, has the same classes.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

_PACKAGE = "sqlalchemy.ext.asyncio"

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
else:
    whole = _PACKAGE in sys.modules
    if not whole:
        # Its modules have it as their parent, but need nothing of what it imports.
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(importlib.util.find_spec(_PACKAGE))
    try:
        engine = importlib.import_module(f"{_PACKAGE}.engine")
    finally:
        if not whole:
            del sys.modules[_PACKAGE]
    AsyncConnection, AsyncEngine = engine.AsyncConnection, engine.AsyncEngine
    create_async_engine = engine.create_async_engine

__all__ = ("AsyncConnection", "AsyncEngine", "create_async_engine")
