"""What is held against keys and accounts, in Redis: told to all hubs as it happens, and asked for after every break.

Off the way of requests, so that redis.asyncio does the talking: one connection listens, another asks. While Redis is
away this hub remembers what it has to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from llmhub_plugins.stores.redis.claims import claim_key
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from llmhub_core.contracts import Hold

if TYPE_CHECKING:
    from llmhub_plugins.stores.redis import RedisQuotaSettings

log = logging.getLogger("llmhub.quota")

PATIENCE = 1.0
"""Seconds for an answer at least: nobody waits for it."""
LOOK = 2.0
"""Seconds of silence after which it is asked whether something was missed; also the pause between two attempts."""

AWAY = (RedisError, OSError, TimeoutError)

SOURCE = Path(__file__).with_name("holds.lua").read_text("utf-8")


class Holds:
    """`start` does not wait for Redis."""

    def __init__(self, settings: RedisQuotaSettings, told: Callable[[Hold], None]) -> None:
        self._redis: Redis = Redis.from_url(
            settings.url,
            protocol=2,
            socket_timeout=max(PATIENCE, settings.timeout),
            socket_connect_timeout=max(PATIENCE, settings.connect_timeout),
            retry=Retry(NoBackoff(), 0),
        )
        self.key = f"{{{settings.prefix}}}:holds"
        self._keys = [self.key, f"{self.key}:changes"]
        self._channel = self.key
        self._script = self._redis.register_script(SOURCE)
        self.process = f"{os.getpid():x}-{os.urandom(4).hex()}"
        self._told = told
        self._known: dict[str, tuple[Hold, float]] = {}  # by subject, and when it was told
        self._mine: set[str] = set()  # what this hub held, for a Redis that loses it
        self._waiting: set[str] = set()  # what Redis has to be told
        self._wake = asyncio.Event()
        self._latest = -1
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._tell())]

    async def stop(self) -> None:
        self._stopping = True  # a cancellation may be lost where a connection breaks at the same moment
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(PATIENCE):
                await self._tell_waiting()
        with contextlib.suppress(*AWAY):
            await self._redis.aclose()

    def put(self, hold: Hold) -> None:
        now, known = time.monotonic(), self._known.get(hold.subject)
        if known is not None and known[0].state != "active" != hold.state and _lasts(*known):
            was, at = known
            if was.lasts is None or (hold.lasts is not None and now + hold.lasts <= at + was.lasts):
                return
        self._known[hold.subject] = hold, now
        self._mine.add(hold.subject)
        self._waiting.add(hold.subject)
        self._wake.set()

    async def all(self) -> list[Hold]:
        """None while Redis is away."""
        try:
            return await self._all()
        except AWAY:
            return []

    async def _all(self) -> list[Hold]:
        async with asyncio.timeout(PATIENCE):
            now, self._latest, found = await self._script(keys=self._keys, args=["list"])
        holds = []
        for subject, held in zip(found[::2], found[1::2], strict=True):
            state, reason, since, until, _ = msgspec.json.decode(held)
            lasts = None if until < 0 else (until - now) / 1000
            holds.append(Hold(subject.decode(), state, reason, lasts, max(0.0, now - since) / 1000))
        return holds

    async def _tell(self) -> None:
        while not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._tell_waiting()
            except AWAY:
                await asyncio.sleep(LOOK / 4)
                self._wake.set()

    async def _tell_waiting(self) -> None:
        while self._waiting:
            subject = next(iter(self._waiting))
            known = self._known.get(subject)
            if known is not None and _lasts(*known):
                hold, passed = known[0], time.monotonic() - known[1]
                lasts = -1 if hold.lasts is None else int((hold.lasts - passed) * 1000)
                words: list[str | int] = [subject, hold.state, hold.reason, int((hold.age + passed) * 1000), lasts]
                async with asyncio.timeout(PATIENCE):
                    keys = [*self._keys, claim_key(self.key, subject)]
                    await self._script(keys=keys, args=["put", *words, self.process, self._channel])
            if self._known.get(subject) is known:
                self._waiting.discard(subject)
                if known is not None and known[0].state == "active":
                    self._forget(subject)

    async def _listen(self) -> None:
        while not self._stopping:
            try:
                async with self._redis.pubsub() as listener:
                    await listener.subscribe(self._channel)
                    await self._catch_up()
                    await self._hear(listener)
            except AWAY as error:
                log.info("what other hubs hold cannot be heard: %s", type(error).__name__)
                await asyncio.sleep(LOOK / 4)

    async def _hear(self, listener: PubSub) -> None:
        while not self._stopping:
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=LOOK)
            if message is None:
                async with asyncio.timeout(PATIENCE):
                    changes = int(await self._redis.get(self._keys[1]) or 0)
                if changes != self._latest:
                    await self._catch_up()
            elif message["type"] == "message":
                await self._heard(msgspec.json.decode(message["data"]))

    async def _heard(self, change: list[Any]) -> None:
        number, process, subject, state, reason, age, lasts = change
        missed = number > self._latest + 1
        self._latest = max(self._latest, number)
        if process != self.process:
            self._take(Hold(subject, state, reason, None if lasts < 0 else lasts / 1000, age / 1000))
        if missed:
            await self._catch_up()

    def _take(self, hold: Hold) -> None:
        """From another hub."""
        self._forget(hold.subject)
        if hold.state != "active":
            self._known[hold.subject] = hold, time.monotonic()
        self._told(hold)

    def _forget(self, subject: str) -> None:
        self._known.pop(subject, None)
        self._mine.discard(subject)
        self._waiting.discard(subject)

    async def _catch_up(self) -> None:
        """After a break: what was held and lifted meanwhile. If Redis lost it, it is told anew what this hub held."""
        before = self._latest
        holds = await self._all()
        lost = self._latest < before
        for subject in [subject for subject, known in self._known.items() if not _lasts(*known)]:
            self._forget(subject)
        if lost:
            self._waiting |= self._mine
            self._wake.set()
        else:
            there = {hold.subject for hold in holds}
            for subject in self._known.keys() - there - self._waiting:
                self._take(Hold(subject, "active"))
        for hold in holds:
            if hold.subject not in self._mine:
                self._take(hold)


def _lasts(hold: Hold, at: float) -> bool:
    return hold.lasts is None or at + hold.lasts > time.monotonic()
