"""A run of a scenario: the whole chain of the gateway with its real pool, quotas, health and lines, over the scripted
providers, in virtual time."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from accounts import Network
from multidict import CIMultiDict, CIMultiDictProxy
from scenario import Request, Scenario
from sharing import Place, Plugin, SharedQuotaStore
from virtual_time import Clock, virtual_time

from llmhub_core.cli.common import known
from llmhub_core.contracts.usage import tokens_of_bytes
from llmhub_core.gateway.chain import chained
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings_file import load

TOKEN = "lh-" + "t" * 39


@cache
def registry() -> Registry:
    registry = Registry().discover()
    registry.admit_module(Plugin(), "sharing")
    return registry


@dataclass
class Result:
    """`served` and `refused` have when each request came and ended; `statuses` what callers were told at last."""

    served: list[tuple[Request, float]] = field(default_factory=list)
    refused: list[tuple[Request, float]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    upstream: Counter[int] = field(default_factory=Counter)
    left: int = 0
    """What is still reserved at the end."""


class _Ledger:
    """Records are another matter."""

    backlog = 0

    def intend(self, exchange: Any) -> None: ...

    def close(self, record: Any) -> None: ...


class _Wire:
    """A caller's connection: what is written to it is the answer."""

    _paused = False

    def __init__(self) -> None:
        self.transport = self
        self.said = b""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.said += data


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def is_eof(self) -> bool:
        return True

    def read_nowait(self, size: int) -> bytes:
        return self._body


def token_of(caller: int) -> str:
    return f"{TOKEN}{caller}"


class Run:
    """On one hub, or on `hubs` of them that share a quota store and what they learn, and get requests by chance."""

    def __init__(self, scenario: Scenario, clock: Clock, hubs: int = 1) -> None:
        self.scenario, self.clock = scenario, clock
        random.seed(scenario.seed)
        self.result = Result()
        place = SharedQuotaStore.place = Place()
        config = scenario.config() if hubs == 1 else scenario.config("shared:")
        for caller, rpm in enumerate(scenario.callers):
            limits = f"limits = {{ rpm = {rpm} }}\n" if rpm else ""
            digest = sha256(token_of(caller).encode()).hexdigest()
            config += f'[[tokens]]\nname = "c{caller}"\nhash = "sha256:{digest}"\n{limits}'
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "config.toml")
            path.write_text(config)
            loaded = load(path, {}, known(registry()))
            self.hubs = [Hub(loaded.settings, registry(), Path(folder)) for _ in range(hubs)]
        self.hub = self.hubs[0]
        chance = random.Random(scenario.seed)
        self._whose = [chance.randrange(hubs) for _ in scenario.requests]
        for hub in self.hubs:
            hub.ledger = _Ledger()  # type: ignore[assignment]
            hub.store = SimpleNamespace(configuration=None if hubs == 1 else place)  # type: ignore[assignment]
            hub.learning.clock = clock.wall
        every = [account for some in scenario.accounts for account in some]
        self.accounts = {f"sk-{account.name}": account for account in every}
        self.network = Network(self.accounts)
        self.handler = chained(self.hub.dialects["openai_chat"])

    async def play(self) -> Result:
        for hub in self.hubs:
            await hub.shared_holds.start()
            await hub.standings.start()
            await hub.learning.start()
            hub.leases.start()
        loop = asyncio.get_running_loop()
        for when, seconds in self.scenario.steps:
            loop.call_later(when, self._set_clock, seconds)
        began = self.clock.now
        async with asyncio.TaskGroup() as callers:
            for request in self.scenario.requests:
                await asyncio.sleep(began + request.at - self.clock.now)
                callers.create_task(self._call(request, began))
        every = [limit for each in self.hub.catalog.places.values() for key in each.keys for limit in key.limits]
        self.result.left = sum(level.reserved for level in await self.hub.quota.levels(every))
        for account in self.accounts.values():
            self.result.upstream += account.said
        for hub in self.hubs:
            await hub.leases.stop()
            await hub.learning.stop()
            await hub.standings.stop()
            hub.shared_holds.stop()
        return self.result

    def _set_clock(self, seconds: float) -> None:
        self.clock.ahead += seconds

    async def _call(self, request: Request, began: float) -> None:
        """As an SDK does: two more tries after a failure, none after a refusal that had its time."""
        status = 0
        for again in (0.5, 1.0, None):
            status = await self._ask(request)
            if status < 500 or again is None:
                break
            await asyncio.sleep(again)
        self.result.statuses[status] += 1
        now = self.clock.now - began
        (self.result.served if status == 200 else self.result.refused).append((request, now))

    async def _ask(self, request: Request) -> int:
        body = body_of(request)
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {token_of(request.caller)}",
            "x-llmhub-wait": f"{self.scenario.patience:g}s",
        }
        wire = _Wire()
        incoming: Any = SimpleNamespace(
            hub=self.hubs[self._whose[request.number]], upstream=self.network, protocol=wire,
            outbox=None, known=None,
            headers=CIMultiDictProxy(CIMultiDict(headers)),
            content=_Body(body), target="/v1/chat/completions", keep_alive=True, chunked=True, variables={}, query={},
        )  # fmt: skip
        await self.handler(incoming)
        return int(wire.said[9:12])


def body_of(request: Request) -> bytes:
    secret = f"{request.number} {request.inputs} {request.used} {request.pace:.4f} {request.luck:.4f}"
    text = "x" * (3 * request.inputs)
    return (
        f'{{"model":"fast","max_tokens":{request.output},"user":"{secret}",'
        f'"messages":[{{"role":"user","content":"{text}"}}]}}'
    ).encode()


def estimate_of(request: Request) -> int:
    return tokens_of_bytes(len(body_of(request))) + request.output


def play(scenario: Scenario) -> Result:
    with virtual_time() as clock:
        return clock.run(Run(scenario, clock).play())
