"""One connection to Redis: what a turn of the event loop asks is sent together when the turn is over, and answered in
order.

redis.asyncio connects, with TLS and password; everything after that has to be quick: an answer that does not come in
time breaks the line, for whatever stands behind it would come late as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

TARDY = 0.02
"""Seconds by which this process itself may be late before it gives Redis more time: it was not heard, not silent."""

__all__ = ["AuthenticationError", "Away", "Line", "NoScriptError"]


class Away(Exception):
    """No answer, or none that is one. The text is for the log and holds no secret."""


class Question(Protocol):
    """`words` are asked for at the moment when they are sent, so that a question may grow until then; without any it is
    not sent, and not answered. `answered` is called with the answer, or with Away, NoScriptError or
    AuthenticationError."""

    def words(self) -> bytes: ...

    def answered(self, answer: Any) -> None: ...


class _Waited:
    """The question of somebody who waits for the answer."""

    __slots__ = ("answer", "words_of")

    def __init__(self, words: Callable[[], bytes]) -> None:
        self.words_of = words
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def words(self) -> bytes:
        return b"" if self.answer.done() else self.words_of()

    def answered(self, answer: Any) -> None:
        if self.answer.done():  # cancelled
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class Line:
    """Connects at the first question, and again after it broke; ValueError for an address that cannot be read."""

    def __init__(self, url: str, timeout: float, connect_timeout: float) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,  # each answer is waited for here, and not by a timer of its own
            socket_connect_timeout=connect_timeout,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
        )
        self._make()  # reads what the address says
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._link: _Link | None = None
        self._waiting: list[Question] = []  # for the connection
        self._connecting: asyncio.Task[None] | None = None

    def _make(self) -> AbstractConnection:
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return made

    def say(self, question: Question) -> None:
        """Ask it when this turn of the loop is over, or as soon as there is a connection."""
        link = self._link
        if link is not None and not link.broken:
            link.say(question)
            return
        self._waiting.append(question)
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())

    async def ask(self, words: Callable[[], bytes]) -> Any:
        """The answer to a packed command. Away if there is none in time; NoScriptError and AuthenticationError as they
        are. Whoever is cancelled leaves the line whole."""
        question = _Waited(words)
        self.say(question)
        return await question.answer

    async def _connect(self) -> None:
        failure: Exception = Away("closed")
        connection = self._make()
        try:
            async with asyncio.timeout(2 * self._connect_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
            self._link = _Link(connection, self._timeout)
        except AuthenticationError as error:
            failure = error
        except (RedisError, OSError) as error:
            await _close(connection)
            failure = Away(_reason(error))
        finally:
            waiting, self._waiting = self._waiting, []
            for question in waiting:
                if self._link is None or self._link.broken:
                    question.answered(failure)
                else:
                    self._link.say(question)

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._link is not None:
            await self._link.close()


class _Link:
    """The connection as long as it stands."""

    def __init__(self, connection: AbstractConnection, timeout: float) -> None:
        self.broken = False
        self._connection = connection
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._asked: deque[tuple[Question, float]] = deque()
        self._outgoing: list[Question] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._read()))

    def say(self, question: Question) -> None:
        if not self._outgoing:
            self._wake.set()
        self._outgoing.append(question)

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                now = self._loop.time()
                packed = []
                for question in self._outgoing:
                    if words := question.words():
                        packed.append(words)
                        self._asked.append((question, now))
                self._outgoing.clear()
                if packed:
                    if self._timer is None:
                        self._watch(now + self._timeout)
                    await self._connection.send_packed_command(b"".join(packed), check_health=False)
        except Exception as error:  # whatever it is, nobody may wait for an answer that will not come
            self._break(_reason(error))

    async def _read(self) -> None:
        try:
            while True:
                answer: Any
                try:
                    answer = await self._connection.read_response()
                except ResponseError as refusal:
                    answer = refusal
                question, _ = self._asked.popleft()
                if isinstance(answer, Exception) and not isinstance(answer, NoScriptError | AuthenticationError):
                    answer = Away(_reason(answer))
                question.answered(answer)
        except Exception as error:
            self._break(_reason(error))

    def _watch(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        """Has the one that waits longest waited too long?"""
        self._timer = None
        if not self._asked:
            return
        now = self._loop.time()
        oldest = self._asked[0][1] + self._timeout
        if oldest > now + 0.001:
            self._watch(oldest)
        elif now - due > TARDY:
            self._watch(now + self._timeout / 2)
        else:
            self._break("no answer in time")

    def _break(self, reason: str) -> None:
        if self.broken:
            return
        self.broken = True
        if self._timer is not None:
            self._timer.cancel()
        unheard = [question for question, _ in self._asked] + self._outgoing
        self._asked.clear()
        self._outgoing = []
        for question in unheard:
            question.answered(Away(reason))
        self._closing = self._loop.create_task(self.close())

    async def close(self) -> None:
        self._break("closed")
        mine = asyncio.current_task()
        for task in self._tasks:
            if task is not mine:
                task.cancel()
        await asyncio.gather(*(task for task in self._tasks if task is not mine), return_exceptions=True)
        await _close(self._connection)


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


def _reason(error: BaseException) -> str:
    """Kind and text; the texts of redis-py name the address without its password."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
