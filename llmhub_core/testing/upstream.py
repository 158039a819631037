"""A provider that runs in the test process: a real socket, scripted answers, and every way to misbehave.

    async with FakeUpstream() as upstream:
        upstream.script(json_answer({"error": {"message": "slow down"}}, status=429), sse_answer(text, piece=7))
        ...  # send requests to upstream.url
        await upstream.wait_for(2)
        assert upstream.requests[1].json["model"] == "small"

It speaks HTTP/1.1 by hand, because a server library would not let an answer be cut, stalled or garbled.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from urllib.parse import parse_qsl

from llmhub_core.testing.answers import Answer as Answer
from llmhub_core.testing.answers import ReceivedRequest as ReceivedRequest
from llmhub_core.testing.answers import json_answer as json_answer
from llmhub_core.testing.answers import sse_answer as sse_answer

_READ = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends a reset


class Gone(asyncio.Event):
    """Set when a client hung up before its answer was complete. `times` has the loop's time of each."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    @property
    def at(self) -> float | None:
        """When it last happened."""
        return self.times[-1] if self.times else None

    def note(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.set()


class FakeUpstream:
    """The provider. Use as an async context manager; leaving it drops every connection and leaves no task.

    url               http://127.0.0.1:port
    requests          everything that arrived, in order
    connections       how many connections were ever opened
    open_connections  how many are open now
    gone              set when a client hung up before its answer was complete
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.gone = Gone()
        self._script: list[Answer] = []
        self._choose: Callable[[ReceivedRequest], Answer | None] = lambda request: None
        self._open: set[asyncio.Task[None]] = set()
        self._errors: list[Exception] = []
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def script(self, *answers: Answer) -> None:
        """Answer with these, one a request, replacing what was scripted; the last one repeats."""
        self._script = list(answers)

    def on(self, choose: Callable[[ReceivedRequest], Answer | None]) -> None:
        """Let `choose` pick the answer by the request; where it returns None the script goes on."""
        self._choose = choose

    async def wait_for(self, count: int, within: float = 10.0) -> None:
        """Wait until `count` requests have arrived; TimeoutError after `within` seconds."""
        await self.until(lambda: len(self.requests) >= count, within)

    async def until(self, condition: Callable[[], bool], within: float = 10.0) -> None:
        """Wait until `condition` holds; it is asked whenever a request, a connection or a hang-up is noted."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(condition)

    async def __aenter__(self) -> FakeUpstream:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self._errors and error is None:
            raise self._errors[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        task = asyncio.create_task(self._serve(connection, self.connections))
        self.connections += 1
        self._open.add(task)

    async def _serve(self, connection: _Connection, number: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._notify()
            while (request := await connection.next_request(number)) is not None:
                self.requests.append(request)
                await self._notify()
                answer = self._choose(request) or self._scripted(request)
                if await connection.answer(answer):
                    self.gone.note()
                    break
                if answer.cut_after is not None or _is_last(request, answer):
                    break
        except Exception as error:  # a mistake of the test's own (in `on`, say): raised where the test sees it
            self._errors.append(error)
        finally:
            await connection.close()
            self._open.discard(task)
            await self._notify()

    def _scripted(self, request: ReceivedRequest) -> Answer:
        if not self._script:
            return json_answer({"error": {"message": f"nothing scripted for {request.path}"}}, status=500)
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _is_last(request: ReceivedRequest, answer: Answer) -> bool:
    return (
        answer.close_delimited
        or answer.hang_up
        or answer.raw is not None
        or request.headers.get("connection", "").lower() == "close"
    )


class _Connection:
    """One client: its requests, read from an own buffer so that a hang-up is seen while an answer is written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        # drain() shall wait until the system has taken every byte: "written" then means sent.
        writer.transport.set_write_buffer_limits(high=0)

    async def next_request(self, number: int) -> ReceivedRequest | None:
        """The next request of this connection, which is the `number`th; None when the client is done."""
        head = await self._take_until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "transfer-encoding" in headers:
            raise ValueError("the fake upstream reads request bodies that have a content-length, no others")
        body = await self._take(int(headers.get("content-length", 0)))
        if body is None:
            return None
        method, target, _ = first.split(" ", 2)
        path, _, query = target.partition("?")
        now = asyncio.get_running_loop().time()
        asked = dict(parse_qsl(query, keep_blank_values=True))
        return ReceivedRequest(method, path, asked, headers, body, number, now)

    async def _take_until(self, mark: bytes) -> bytes | None:
        while (end := self._buffer.find(mark)) < 0:
            if not await self._more():
                return None
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return taken

    async def _take(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if not await self._more():
                return None
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def answer(self, answer: Answer) -> bool:
        """Write the answer; whether the client hung up before it was complete."""
        writing = asyncio.create_task(self._write(answer))
        hang_up = asyncio.create_task(self._hang_up())
        try:
            await asyncio.wait((writing, hang_up), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, hang_up):
                task.cancel()
            await asyncio.gather(writing, hang_up, return_exceptions=True)
        if writing.cancelled():
            return True
        error = writing.exception()
        if error is not None and not isinstance(error, ConnectionError):
            raise error
        return error is not None

    async def _write(self, answer: Answer) -> None:
        await asyncio.sleep(answer.delay_first)
        written = False
        for part, fault in answer.steps():
            if fault == "stall":
                await (answer.resume or asyncio.Event()).wait()
            elif fault == "cut":
                self._cut(answer.reset)
            else:
                if written:
                    # Twice around the loop: then a client in this process has read one piece before the next.
                    await asyncio.sleep(answer.delay)
                    await asyncio.sleep(0)
                self._writer.write(part)
                await self._writer.drain()
                written = True

    def _cut(self, reset: bool) -> None:
        if reset:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    async def _hang_up(self) -> None:
        while await self._more():
            pass

    async def _more(self) -> bool:
        try:
            data = await self._reader.read(_READ)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)

    async def close(self) -> None:
        self._writer.transport.abort()  # polite all the same, for nothing is left unsent after a whole answer
        with suppress(ConnectionError):
            await self._writer.wait_closed()
