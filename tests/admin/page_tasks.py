"""What the tests of the page process ask of it: by name, so in a module that both processes find."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.errors import Unavailable
from llmhub_core.contracts.metadata_store import MetadataStore


def is_page_process() -> bool:
    """And not the process of the tests."""
    return b"page_program" in Path("/proc/self/cmdline").read_bytes()


async def whose(store: MetadataStore) -> int:
    return os.getpid()


async def stuck(store: MetadataStore, after: float) -> int:
    if is_page_process():
        time.sleep(after)  # noqa: ASYNC251 — that is the point
    return os.getpid()


async def slow(store: MetadataStore) -> int:
    await asyncio.sleep(0.5)
    return os.getpid()


async def refused(store: MetadataStore, kind: str) -> None:
    if kind == "denied":
        raise Denied(404, "not_found", "There is no such thing here.", "Look elsewhere.", field="name", retry_after=3.0)
    raise Unavailable("The database needs too long.", code="query_timeout")


async def fallen(store: MetadataStore) -> int:
    if is_page_process():
        raise RuntimeError
    return os.getpid()


async def fallen_late(store: MetadataStore) -> int:
    if is_page_process():
        await asyncio.sleep(0.1)
        raise RuntimeError
    return os.getpid()


async def unsendable(store: MetadataStore) -> Any:
    return (each for each in (os.getpid(),))


async def asked_of(store: MetadataStore, question: Any) -> int:
    return os.getpid()
