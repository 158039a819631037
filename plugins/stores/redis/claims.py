"""Whose request tries again what had to rest: asked by requests, so on the quick connection and with its patience."""

from __future__ import annotations

from pathlib import Path

from llmhub_plugins.stores.redis.counters import Script, packed
from llmhub_plugins.stores.redis.exact import Exact
from llmhub_plugins.stores.redis.line import Away

SOURCE = Path(__file__).with_name("claims.lua").read_text("utf-8")


class Claims:
    """`held` is the key of what is held, and `process` the name under which this process holds it."""

    def __init__(self, exact: Exact, held: str, process: str) -> None:
        self._exact = exact
        self._held = held
        self._process = process
        self._script = Script(SOURCE)

    async def claim(self, subject: str, lasts: float) -> float:
        """While Redis is away each process tries for itself."""
        question = packed(2, self._held, claim_key(self._held, subject), self._process, int(lasts * 1000))
        try:
            return int(await self._exact.ask(self._script, 5, question)) / 1000
        except Away:
            return 0.0


def claim_key(held: str, subject: str) -> str:
    return f"{held}:tried:{subject}"
