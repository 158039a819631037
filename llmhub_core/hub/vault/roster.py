"""Which hubs run on a database, as far as others must know it: the root keys that each knows, and where it counts
quotas. A line of its own for each process in one fact, renewed while it lives, and taken away when it stops.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llmhub_core.contracts.configuration import ConfigurationStore

log = logging.getLogger("llmhub.roster")

ROSTER = "hubs"
"""The fact's name."""

RENEW_EVERY = 60.0
GONE_AFTER = 180.0
"""Seconds; a process that was killed counts as there for so long."""

_MOST_TRIES = 50


@dataclass(frozen=True, slots=True)
class Present:
    """A process that serves. `keys` are ids of root keys, `quota` says where it counts, `at` when it last said so."""

    name: str
    keys: tuple[str, ...]
    quota: str
    at: float


async def present(store: ConfigurationStore, now: float) -> Mapping[str, Present]:
    """All that run now, as far as one can know."""
    return _read(await store.fact(ROSTER), now)


class Roster:
    """One process's own line. `told` is called once of each other that counts quotas elsewhere."""

    def __init__(
        self, store: ConfigurationStore, keys: Sequence[str], quota: str, told: Callable[[Present], None]
    ) -> None:
        self._store = store
        self._id = secrets.token_hex(6)
        self._name = f"{os.uname().nodename}, process {os.getpid()}"
        self._keys = tuple(keys)
        self._quota = quota
        self._tell = told
        self._told: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Be seen from now on."""
        await self._renew()
        self._task = asyncio.create_task(self._keep(), name="roster")

    async def leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
            try:
                async with asyncio.timeout(2.0):
                    await self._write(None)
            except Exception as error:
                log.info("another process is told of this one's end only by and by: %s", type(error).__name__)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY * random.uniform(0.8, 1.0))  # noqa: S311 — no secret
            try:
                await self._renew()
            except Exception as error:
                log.info("the database does not know for the moment that this hub runs: %s", type(error).__name__)

    async def _renew(self) -> None:
        others = await self._write(Present(self._name, self._keys, self._quota, time.time()))
        for id, other in others.items():
            if other.quota != self._quota and id not in self._told:
                self._told.add(id)
                self._tell(other)

    async def _write(self, own: Present | None) -> Mapping[str, Present]:
        """The others. All write the one fact, each only if nobody else wrote it meanwhile."""
        for _ in range(_MOST_TRIES):
            was = await self._store.fact(ROSTER)
            others = {id: each for id, each in _read(was, time.time()).items() if id != self._id}
            lines = {**others, self._id: own} if own is not None else others
            if await self._store.keep_fact(ROSTER, _text(lines), was):
                return others
            await asyncio.sleep(random.random() * 0.05)  # noqa: S311 — no secret
        return {}


def _text(lines: Mapping[str, Present]) -> str:
    return json.dumps({id: [each.at, each.name, each.quota, *each.keys] for id, each in lines.items()})


def _read(text: str, now: float) -> dict[str, Present]:
    """Nobody, if another version wrote it in a way that this one does not know."""
    try:
        lines = json.loads(text) if text else {}
        found = {id: Present(name, tuple(keys), quota, float(at)) for id, (at, name, quota, *keys) in lines.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
    return {id: each for id, each in found.items() if each.at > now - GONE_AFTER}
