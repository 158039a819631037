"""Every error as the caller's own SDK expects it, with what helps it to do the right thing by itself."""

from __future__ import annotations

import logging
import math
import random
import time
from typing import Any

from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.errors import HubError, Internal, MethodNotAllowed
from llmhub_core.gateway.incoming import Incoming
from llmhub_core.gateway.reply import CallerGone, Reply

log = logging.getLogger("llmhub.gateway")

# An id names a request and protects nothing: asking the kernel for randomness each time would cost 30 µs.
_bits = random.Random().getrandbits  # noqa: S311

FAULT = "x-llmhub-fault-lab"
"""Names the faults on purpose that an answer met on its way."""

LONGEST_WAIT = 120.0
"""Seconds: above it OpenAI's SDK gives up by itself, and Anthropic's would sleep for as long as it is told."""


def new_id() -> str:
    """A request id: ``req_``, the time in milliseconds (so that a database can keep them in order), 80 random bits."""
    return f"req_{int(time.time() * 1000):012x}{_bits(80):020x}"


def error_headers(error: HubError, request_id: str, dialect: Dialect[Any] | None) -> dict[str, str]:
    headers = {"x-request-id": request_id}
    if dialect is not None and dialect.request_id_header != "x-request-id":
        headers[dialect.request_id_header] = request_id
    retry = error.should_retry
    wait = error.retry_after
    if wait is not None:
        headers["retry-after"] = str(math.ceil(wait))
        headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        if retry is None:
            retry = wait <= LONGEST_WAIT
    if retry is not None:
        headers["x-should-retry"] = "true" if retry else "false"
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allow)
    return headers


async def refuse(request: Incoming, request_id: str, dialect: Dialect[Any], error: Exception) -> Reply:
    """Answer with an error. An exception that is none of ours is our fault: the log has it under the request id,
    by its kind and place and without its text, which could hold anything."""
    if isinstance(error, CallerGone):
        raise error
    if not isinstance(error, HubError):
        log.error("%s failed: %s at %s", request_id, type(error).__name__, _place(error))
        error = Internal(f"The hub failed on this request; its log has the details under {request_id}.")
    reply = Reply(request)
    content = request.content
    if not content.is_eof():
        # Whoever is refused before the body was read is not read out to the end.
        reply.keep_alive = False
    body = dialect.encode_error(error, request_id)
    headers = error_headers(error, request_id, dialect)
    if (exchange := getattr(request, "exchange", None)) is not None and exchange.fault:
        headers[FAULT] = exchange.fault
    if request.hub.bodies is not None:
        request.hub.bodies.refused(request_id, "application/json", body)
    await reply.send(error.status, "application/json", body, headers)
    return reply


def _place(error: BaseException) -> str:
    place: Any = error.__traceback__
    where = "?"
    while place is not None:
        code = place.tb_frame.f_code
        where = f"{code.co_filename.rpartition('/')[2]}:{place.tb_lineno} in {code.co_name}"
        place = place.tb_next
    return where
