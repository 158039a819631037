"""Asking the script: in which words, by which clock and on which day."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from llmhub_plugins.stores.redis import counters
from llmhub_plugins.stores.redis.counters import Days, Plan, Script, packed
from llmhub_plugins.stores.redis.line import AuthenticationError, Away, Line, NoScriptError

from llmhub_core.contracts import StartError

STALE = 1000
"""Milliseconds after which a question is not answered any more: whoever asked has gone on without Redis."""
TRIES = 3
"""So often a question is asked that Redis wants to hear again."""


class Asking:
    """`heard` is called with every answer that is one. StartError for an address that cannot be read."""

    def __init__(self, url: str, timeout: float, connect_timeout: float, heard: Callable[[list[int]], None]) -> None:
        try:
            self.line = Line(url, timeout, connect_timeout)
        except (ValueError, TypeError):  # its text may show the address, and with it a password
            raise StartError(
                "The address of Redis cannot be read; write redis://user:password@host:6379/0, or "
                "unix:///run/redis/redis.sock?db=0."
            ) from None
        self.days = Days(time.time())
        self._script = Script(counters.SOURCE)
        self._heard = heard
        self._patience = int(2000 * timeout)
        self._ahead: int | None = None  # of our monotonic clock is the server's, in milliseconds

    async def ask(self, plan: Plan, question: str, tail: Callable[[], list[int | str]]) -> Any:
        """Away if Redis does not answer. `tail` is made anew when Redis says that it is another day, or too late."""
        name = packed(question)
        for _ in range(TRIES):
            answer = await self.run(self._script, lambda script: plan.words(script, name, self.days, tail()))
            if self.understood(answer):
                return answer
        raise Away("its clock jumps")

    async def run(self, script: Script, words: Callable[[bytes], bytes]) -> Any:
        """What a script answers; `words` is given its name, or all of it."""
        try:
            try:
                return await self.line.ask(lambda: words(script.by_hash))
            except NoScriptError:
                return await self.line.ask(lambda: words(script.whole))
        except (AuthenticationError, NoScriptError) as error:
            raise refusal(error) from None

    def words(self, plan: Plan, question: bytes, tail: list[int | str], whole: bool) -> bytes:
        """The packed `question` of a plan; `whole` if Redis does not know the script."""
        return plan.words(self._script.whole if whole else self._script.by_hash, question, self.days, tail)

    def understood(self, answer: list[int]) -> bool:
        """False if it has to be asked again."""
        self._ahead = answer[1] - int(time.monotonic() * 1000)
        if answer[0] == 2:
            self.days.told(answer[1])
            return False
        self._heard(answer)
        return True

    def server_time(self, moment: float) -> int:
        """In milliseconds, of a monotonic moment."""
        return int(moment * 1000) + (self._ahead or 0)

    def stale(self) -> int:
        """By the server's clock: when nobody will wait for the answer any more; 0 if that is not known."""
        if self._ahead is None:
            return 0
        return int(time.monotonic() * 1000) + self._ahead + self._patience + STALE


def refusal(error: Exception) -> Away:
    return Away(f"{type(error).__name__}: {error}")
