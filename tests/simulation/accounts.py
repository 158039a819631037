"""Providers with limits of their own, which they tell nobody, and with bad days."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from llmhub_core.contracts import Call, UpstreamUnreachable

TRUTH = Literal["exact", "whole", "none", "short"]
"""What an account says of when to come again: to the millisecond, in whole seconds, nothing, or half of it."""


class Asked(msgspec.Struct):
    """What of a request's body is looked at; `user` says what only a provider finds out."""

    model: str
    max_tokens: int
    user: str

    @property
    def secret(self) -> tuple[int, int, int, float, float]:
        """Number, tokens of the input and in all, pace and luck of the request."""
        number, inputs, used, pace, luck = self.user.split()
        return int(number), int(inputs), int(used), float(pace), float(luck)


@dataclass(eq=False)
class Account:
    """Counts as providers do: each request and its tokens from the moment when it arrives, in windows that slide.

    rpm, tpm, rpd    what may arrive in a minute, and requests in a day; 0: any number
    concurrency      how many may run at once; 0: any number
    seconds          how long an answer takes, at least and at most
    outages          (from, until, status) in seconds of the run; status 0: nobody answers at all
    noise            the share of requests that fail with 500 for no reason
    """

    name: str
    rpm: int = 0
    tpm: int = 0
    rpd: int = 0
    concurrency: int = 0
    seconds: tuple[float, float] = (0.5, 3.0)
    outages: tuple[tuple[float, float, int], ...] = ()
    noise: float = 0.0
    truth: TRUTH = "exact"
    tells: bool = False
    """Whether answers have headers with the limit of requests."""

    running: int = 0
    uses: deque[tuple[float, int]] = field(default_factory=deque)
    day: int = 0
    said: Counter[int] = field(default_factory=Counter)
    """Answers, by status."""
    refused_at: list[float] = field(default_factory=list)

    def out(self, now: float) -> int | None:
        return next((status for since, until, status in self.outages if since <= now < until), None)

    def takes(self, pace: float) -> float:
        shortest, longest = self.seconds
        return shortest + pace * (longest - shortest)

    def wait(self, now: float, tokens: int) -> float:
        """Seconds until there is room for such a request; inf while only an answer that ends can make room."""
        while self.uses and self.uses[0][0] + 60.0 <= now:
            self.uses.popleft()
        if (self.concurrency and self.running >= self.concurrency) or (self.rpd and self.day >= self.rpd):
            return math.inf
        waits = [0.0]
        if self.rpm and len(self.uses) >= self.rpm:
            waits.append(self.uses[len(self.uses) - self.rpm][0] + 60.0 - now)
        if self.tpm:
            excess = sum(used for _, used in self.uses) + tokens - self.tpm
            for at, used in self.uses if excess > 0 else ():
                excess -= used
                if excess <= 0:
                    waits.append(at + 60.0 - now)
                    break
        return max(waits)

    def take(self, now: float, tokens: int) -> tuple[float, int]:
        use = (now, tokens)
        self.uses.append(use)
        self.day += 1
        self.running += 1
        return use

    def headers(self, now: float) -> Mapping[str, str]:
        if not self.tells:
            return {}
        reset = self.uses[0][0] + 60.0 - now if self.uses else 0.0
        told = {"limit": self.rpm, "remaining": max(0, self.rpm - len(self.uses)), "reset": max(0.0, reset)}
        return {f"x-ratelimit-{name}-requests-minute": f"{value:g}" for name, value in told.items()}

    def settle(self, use: tuple[float, int], tokens: int) -> None:
        for place, known in enumerate(self.uses):
            if known is use:
                self.uses[place] = (known[0], tokens)


@dataclass
class Answer:
    """As the gateway reads it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    content_type: str = "application/json"

    async def read(self, limit: int) -> bytes:
        return self.body

    async def chunk(self) -> bytes:
        body, self.body = self.body, b""
        return body

    def abort(self) -> None:
        """Nothing is left of it."""


def refusal(account: Account, wait: float) -> Answer:
    headers: dict[str, str] = {}
    if math.isinf(wait):
        wait = 6 * 3600.0 if account.day >= account.rpd > 0 else 1.0
    if account.truth == "exact":
        headers["retry-after-ms"] = str(math.ceil(wait * 1000))
    elif account.truth == "whole":
        headers["retry-after"] = str(math.ceil(wait))
    elif account.truth == "short":
        headers["retry-after"] = str(max(1, int(wait / 2)))
    return Answer(429, headers, b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}')


def failure(status: int) -> Answer:
    return Answer(status, {}, b'{"error":{"message":"Internal error"}}')


def completion(inputs: int, total: int, headers: Mapping[str, str]) -> Answer:
    usage = f'{{"prompt_tokens":{inputs},"completion_tokens":{total - inputs},"total_tokens":{total}}}'
    said = '{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}'
    body = f'{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{said}],"usage":{usage}}}'
    return Answer(200, headers, body.encode())


class Network:
    """The way to all accounts, by the secret of a key: in the place of the hub's own."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self.accounts = accounts
        self._unlucky: set[int] = set()

    async def fetch(self, call: Call) -> Answer:
        raise AssertionError("these providers want no calls of their own")

    async def open(self, call: Call) -> Answer:
        loop = asyncio.get_running_loop()
        account = self.accounts[call.headers["authorization"].removeprefix("Bearer ")]
        asked = msgspec.json.decode(call.body, type=Asked)
        number, inputs, total, pace, luck = asked.secret
        now = loop.time()
        out = account.out(now)
        if out is not None:
            await asyncio.sleep(0.05)
            if not out:
                raise UpstreamUnreachable("The provider cannot be reached; try again.")
            account.said[out] += 1
            return failure(out)
        wait = account.wait(now, total)
        if wait > 0:
            await asyncio.sleep(0.02)
            account.said[429] += 1
            account.refused_at.append(now)
            return refusal(account, wait)
        use = account.take(now, total)
        try:
            if luck < account.noise and number not in self._unlucky:
                self._unlucky.add(number)
                account.settle(use, 0)
                await asyncio.sleep(0.05)
                account.said[500] += 1
                return failure(500)
            await asyncio.sleep(account.takes(pace))
        finally:
            account.running -= 1
        account.said[200] += 1
        return completion(inputs, total, account.headers(loop.time()))
