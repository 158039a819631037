"""One attempt's way there and back: the outgoing body, the call, the lane, the answer carried to the caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llmhub_core.contracts.chat_request import ChatRequest
from llmhub_core.contracts.dialect import Dialect, EncodedRequest
from llmhub_core.contracts.errors import (
    BadRequest,
    HubError,
    Unavailable,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
)
from llmhub_core.contracts.exchange import Exchange
from llmhub_core.contracts.operations import CHAT
from llmhub_core.contracts.provider import Call, Envelope, ProviderAnswer
from llmhub_core.contracts.seal import SEALED
from llmhub_core.contracts.wire import LONG_STRING, FrameSplitter, dump_json, load_json, read_frame, skim
from llmhub_core.gateway.faults import stage
from llmhub_core.gateway.lanes import Lane, Translated, VerbatimBytes, VerbatimStream, VerbatimWhole
from llmhub_core.gateway.reply import Reply
from llmhub_core.gateway.upstream import Upstream, UpstreamResponse
from llmhub_core.hub.catalog import Standing
from llmhub_core.hub.fault_lab import FaultLab
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.ledger import unrecorded
from llmhub_core.hub.vault import Secret

MAX_ANSWER = 64 * 1024 * 1024
MAX_ERROR = 1024 * 1024

MAX_HELD = 64 * 1024
"""Bytes of a stream held back at most while its answer has not begun."""

_BLOCKED = frozenset(
    {"content_filter", "refusal"}
    | {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
)
"""Providers' words for an answer that ended because of what was asked or said: Chat's, Anthropic's and Gemini's."""

NONE_FORWARDED: Mapping[str, str] = {}


class Passage:
    """open → carry → close. The two halves are chosen apart: the body goes out verbatim if the dialects are
    equal and no interceptor changed the request, the answer comes back verbatim if they are and none looks on."""

    __slots__ = (
        "_answer", "_began", "_call", "_exchange", "_held", "_hub", "_place", "_same", "_stats", "_target", "adapted",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, hub: Hub, stats: Standing, began: float) -> None:
        """`began` is when, by the performance counter."""
        place = stats.place
        target = hub.target(exchange.dialect, place)
        assert target is not None  # noqa: S101 — the plan leaves out whoever cannot be asked
        self._exchange = exchange
        self._hub = hub
        self._stats = stats
        self._place = place
        self._target: Dialect[Any] = target
        self._same = target is exchange.dialect
        self._call: Call | None = None
        self._answer: ProviderAnswer | None = None
        self._held = b""
        self._began = began
        self.adapted: tuple[str, ...] = ()

    @property
    def sent(self) -> bool:
        """Whether the provider was asked at all."""
        return self._call is not None

    @property
    def status(self) -> int | None:
        """Of the provider's answer, if there is one."""
        return None if self._answer is None else self._answer.status

    async def open(self, upstream: Upstream) -> None:
        """Send the request; returns when a good answer has begun. UpstreamError for any other answer, BadRequest
        if the target's dialect cannot say what is asked."""
        exchange, target, candidate = self._exchange, self._target, self._stats.candidate
        model, forwarded = candidate.deployment.model, NONE_FORWARDED
        if self._same:
            if target.forwards:
                have = exchange.headers
                forwarded = {name: have[name] for name in target.forwards if name in have}
            # find, for `in` asks first whether the bytes are a number, and that takes ten times as long.
            sent = exchange.body
            verbatim = not exchange.replaced and (sent if len(sent) < LONG_STRING else skim(sent)).find(SEALED) < 0
        else:
            verbatim = False
        if verbatim:
            body = target.outgoing_body(exchange.body, exchange.head, model)
        else:
            encoded = encoded_for(target, exchange.request, model)
            body, self.adapted = encoded.body, encoded.adapted
        call = Call(
            target.path(exchange.head, model), target.request_headers(forwarded), body, timeouts=exchange.plan.timeouts
        )
        place = self._place
        call = await place.provider.prepare(call, self._stats.secret.reveal(), upstream.fetch)
        if call.adapted:
            self.adapted += tuple(call.adapted)
        if self.adapted and exchange.strict:
            raise _refused_adaptation(self.adapted)
        self._call = call
        try:
            if self._hub.faults is None:
                answer = await self._serve(call) if place.serves else None
                if answer is None:
                    answer = await upstream.open(call)
            else:
                answer = await self._open_in_the_lab(self._hub.faults, upstream, call)
        except Unavailable:
            self._call = None  # the journal refused, so nobody was asked
            raise
        self._answer = answer
        if self._began >= self._stats.look_at:
            self._hub.learning.look(self._stats, answer.headers, self._began)
        if not 200 <= answer.status < 300:
            problem = await answer.read(MAX_ERROR)
            raise target.decode_error(answer.status, answer.headers, self._hidden(problem))

    async def _serve(self, call: Call) -> ProviderAnswer | None:
        """By the provider itself, behind the journal as well."""
        if not self._hub.ledger.flush():
            raise unrecorded()
        return await self._place.provider.serve(call)

    def _hidden(self, said: bytes) -> bytes:
        """What a provider says of its refusal, without the key that it may repeat there, nor the tokens and signatures
        that were made of it: headers that neither the format nor the caller brought."""
        assert self._call is not None  # noqa: S101 — it was sent
        plain = {*self._target.request_headers(NONE_FORWARDED).values(), *self._exchange.headers.values()}
        added = [value for value in self._call.headers.values() if value not in plain]
        for credential in (self._stats.secret.reveal(), *added):
            said = Secret(credential).hidden_in(said)
        return said

    def _hide(self, error: HubError) -> None:
        """The same for a refusal in the middle of an answer."""
        if not isinstance(error, UpstreamError) or self._call is None:
            return
        said = [error.message, error.detail, error.provider_code, error.details]
        known = load_json(self._hidden(dump_json(said)))
        if known != said:
            error.message, error.detail, error.provider_code, error.details = known
            error.args = (error.message,)

    async def _open_in_the_lab(self, lab: FaultLab, upstream: Upstream, call: Call) -> ProviderAnswer:
        """The same while faults on purpose are active; whoever is struck by one has it in header and record."""
        exchange = self._exchange

        async def ask() -> ProviderAnswer:
            answer = await self._serve(call) if self._place.serves else None
            return answer if answer is not None else await upstream.open(call)

        fault = lab.strike(self._stats.candidate)
        if fault is not None:
            exchange.attempts[-1].detail = f"fault lab: {fault.kind}"
            said = f"{self._place.name}={fault.kind}"
            exchange.fault = f"{exchange.fault}, {said}" if exchange.fault else said
        if exchange.fault:
            self.adapted += ("fault_lab=active",)
        if fault is None:
            return await ask()
        return await stage(fault, self._target, call, exchange.head.stream, ask)

    async def carry(self, reply: Reply, headers: Mapping[str, str]) -> None:
        """The answer to the caller. Raises the HubError that ended it; `reply.started` tells whether it is too
        late for another candidate."""
        answer, exchange = self._answer, self._exchange
        assert answer is not None  # noqa: S101 — open() went before
        head = exchange.head
        streamed = head.stream and self._is_stream(answer.content_type)
        lane = self._lane(streamed)
        exchange.lane = lane.name
        if head.operation != CHAT:
            self._take_on(answer.content_type, lane)
        envelope = None
        if self._place.unwraps:
            assert self._call is not None  # noqa: S101 — open() went before
            envelope = self._place.provider.envelope(streamed, self._call)
        try:
            if head.stream and not isinstance(lane, VerbatimWhole):
                await self._carry_stream(answer, lane, envelope, reply, headers)
            else:
                body = await answer.read(MAX_ANSWER)
                exchange.first_byte = time.perf_counter()
                if envelope is not None:
                    body = envelope.feed(body) + envelope.close()
                out = lane.whole(body)
                if lane.failed is not None:
                    raise lane.failed
                self._check_block(lane)
                if self._hub.sees_responses:
                    out += await self._exchanged(lane)
                await reply.send(200, lane.content_type, out, headers)
        except HubError as error:
            self._hide(error)
            continuation = exchange.continuation
            if reply.started and isinstance(lane, Translated) and not (continuation and continuation.possible):
                await reply.write(lane.failure(error))
                exchange.error_passed_on = True
            raise
        finally:
            exchange.output_bytes = lane.output_bytes
            if lane.usage is not None:
                exchange.usage = lane.usage
            exchange.finish = lane.finish

    def _is_stream(self, kind: str) -> bool:
        """Whether the answer is the stream that was asked for: some places answer whole all the same. Chat servers are
        careless with the content-type of a stream; the other operations have whole answers of many types."""
        if self._exchange.head.operation == CHAT:
            return not kind.startswith("application/json")
        return not kind or kind.startswith("text/event-stream")

    def _take_on(self, kind: str, lane: Lane) -> None:
        """Other operations answer in many types, and the caller is told the provider's own."""
        if self._same and kind and kind.isascii() and kind.isprintable():
            lane.content_type = kind
        if isinstance(lane, VerbatimBytes):
            self._exchange.error_passed_on = True  # an error told in the midst of sound would be played

    def _lane(self, streamed: bool) -> Lane:
        exchange, hub = self._exchange, self._hub
        head = exchange.head
        if head.framing == "bytes":
            return VerbatimBytes()
        looked_at = (hub.sees_events or hub.sees_responses) and head.operation == CHAT
        if self._same and not looked_at and head.framing != "json_array" and exchange.continuation is None:
            if streamed:
                return VerbatimStream(exchange.dialect, head)
            if not (head.stream and self._target.translates):
                return VerbatimWhole(exchange.dialect, head)
        continuation = exchange.continuation
        if continuation is not None:
            looks = [partial(each.event, exchange) for each in hub.sees_events]
            decoder = self._target.response_decoder(streamed)
            return Translated(decoder, continuation.encoder, [*looks, continuation.look])
        filters = [partial(each.event, exchange) for each in hub.sees_events] if looked_at else []
        return Translated(
            self._target.response_decoder(streamed),
            exchange.dialect.response_encoder(exchange.request),
            filters,
            hold=bool(looked_at and hub.sees_responses),
        )

    async def _carry_stream(
        self, answer: ProviderAnswer, lane: Lane, envelope: Envelope | None, reply: Reply, headers: Mapping[str, str]
    ) -> None:
        feed, put = lane.feed, reply.put
        passed = b""

        def take(data: bytes) -> bool:
            """Called for each read, where it arrives: what is not an ordinary event is left to the task."""
            nonlocal passed
            if envelope is not None:
                data = envelope.feed(data)
            out = feed(data)
            if lane.failed is not None:
                if not (reply.started and lane.error_shown):
                    passed = out
                    return False
                out = self._hidden(out)  # a provider's own error event goes to the caller, and may repeat the key
            if reply.started:
                return put(out)
            return self._hold(answer, lane, out, reply, headers)

        def pings(data: bytes) -> bool:
            """Whether nothing of the answer is in a short piece; before its first word they may be all there is."""
            return reply.started and not self._says_something(data)

        while not await _pump(answer, take, None if envelope is not None else pings):
            if lane.failed is not None and not lane.error_shown:
                await self._fail(lane, passed, reply)
            await reply.drain()
        tail = feed(envelope.close()) if envelope is not None else b""
        tail += lane.close()
        if lane.failed is not None:
            await self._fail(lane, tail, reply)
        if self._hub.sees_responses:
            tail += await self._exchanged(lane)
        if reply.started:
            reply.put(tail)
        elif lane.begun(tail):
            self._begin(answer, lane, tail, reply, headers)
        else:
            raise UpstreamGarbled("The provider's answer was empty; try again.")
        await reply.finish()

    def _says_something(self, piece: bytes) -> bool:
        frames = FrameSplitter()
        whole = [read_frame(frame)[1] for frame in frames.feed(piece)]
        return bool(frames.pending) or any(data and self._target.begins(data) for data in whole)

    def _hold(self, answer: ProviderAnswer, lane: Lane, out: bytes, reply: Reply, headers: Mapping[str, str]) -> bool:
        """What comes before the answer itself (roles, ids, pings) is held back, for until then another candidate may
        still give it: after an early error, an end without a word, or when the first token is late."""
        exchange = self._exchange
        if out and (lane.begun(out) or len(self._held) + len(out) > MAX_HELD):
            return self._begin(answer, lane, out, reply, headers)
        if exchange.first_byte is None:
            exchange.first_byte = time.perf_counter()
            limit = exchange.plan.timeouts.first_token
            if limit is not None and isinstance(answer, UpstreamResponse):
                answer.hurry(max(0.001, limit - exchange.first_byte + self._began))
        self._held += out
        return True

    def _begin(self, answer: ProviderAnswer, lane: Lane, out: bytes, reply: Reply, headers: Mapping[str, str]) -> bool:
        """From here on there is no other candidate."""
        exchange = self._exchange
        self._check_block(lane)
        if exchange.first_byte is not None and isinstance(answer, UpstreamResponse):
            answer.take_time()
        exchange.first_byte = time.perf_counter()
        return reply.begin(lane.content_type, headers, self._held + out)

    def _check_block(self, lane: Lane) -> None:
        """An answer that a filter took the words from is a refusal to a route that knows who else may answer."""
        elsewhere = self._exchange.plan.fallbacks_on
        if elsewhere and "content_filter" in elsewhere and lane.finish in _BLOCKED:
            raise UpstreamRefused(
                "The provider's content filter blocked the answer; change the content.", code="content_policy_violation"
            ).said(status=self.status, code=lane.finish)

    async def _fail(self, lane: Lane, passed: bytes, reply: Reply) -> None:
        """Events before the failing one still go to a caller who has read some already; a provider's own error
        event, in the caller's dialect, is then all the error that is needed."""
        assert lane.failed is not None  # noqa: S101 — the caller looked
        if reply.started:
            if passed:
                await reply.write(self._hidden(passed))
            self._exchange.error_passed_on = lane.error_shown
        raise lane.failed

    async def _exchanged(self, lane: Lane) -> bytes:
        """The held-back answer after the interceptors saw it whole."""
        if not isinstance(lane, Translated):
            return b""
        response = lane.folded()
        if response is None:
            return b""
        for interceptor in self._hub.sees_responses:
            response = await interceptor.response(self._exchange, response)
        return lane.write_out(response)

    def close(self) -> None:
        """Give up whatever is still open; nothing happens after a clean end."""
        if self._answer is not None:
            self._answer.abort()


async def _pump(answer: ProviderAnswer, take: Callable[[bytes], bool], pings: Callable[[bytes], bool] | None) -> bool:
    """The answer's pieces to `take`; True at the clean end, False when `take` had enough for now."""
    if isinstance(answer, UpstreamResponse):
        return await answer.pump(take, pings)
    while data := await answer.chunk():
        if not take(data):
            return False
    return True


def encoded_for(target: Dialect[Any], request: Any, model: str) -> EncodedRequest:
    """The request in the target's words. BadRequest for what it cannot say, and for what only a provider of the
    request's own dialect could honour."""
    if isinstance(request, ChatRequest) and request.needs and request.dialect != target.name:
        named = ", ".join(f"`{name}`" for name in request.needs)
        raise BadRequest(
            f"{named} can only be honoured by a provider that speaks {request.dialect}, and the one of this model "
            f"speaks {target.name}; send what it stands for instead, or choose another model.",
            code="unsupported_parameter",
            param=request.needs[0],
        )
    return target.encode_request(request, model)


def _refused_adaptation(adapted: tuple[str, ...]) -> BadRequest:
    lost = ", ".join(adapted)[:400]
    return BadRequest(
        f"The provider's wire format cannot say all of this request ({lost}) and x-llmhub-strict is set; leave these "
        "out, choose another model, or drop the header.",
        code="adaptation_refused",
        param=adapted[0].partition("=")[0],
    )
