"""One request and all that the hub learns about it, one fact a step; and the record that remains of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from llmhub_core.contracts.candidate import CandidateStats, Limit
from llmhub_core.contracts.chat_request import ChatRequest, RequestHead, Where
from llmhub_core.contracts.chat_response import ChatResponse
from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.provider import NO_TIMEOUTS, Timeouts
from llmhub_core.contracts.usage import Usage

if TYPE_CHECKING:
    from llmhub_core.contracts.quota_store import Reservation

Outcome = Literal["served", "refused", "failed", "cancelled", "unknown"]
"""served: whole and finished · refused: by the hub, no provider was asked · failed: no provider served it, or
the answer broke off · cancelled: the caller left · unknown: the hub was killed in the middle."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking. `models` are patterns (``*`` at the end) of the public names allowed; limits are its own; `scopes`
    are the operations allowed, () for any."""

    name: str
    models: tuple[str, ...] = ("*",)
    limits: tuple[Limit, ...] = ()
    scopes: tuple[str, ...] = ()

    def may_use(self, model: str) -> bool:
        models = self.models
        if model in models or "*" in models:
            return True
        return any(pattern.endswith("*") and model.startswith(pattern[:-1]) for pattern in models)


class Attempt(msgspec.Struct, omit_defaults=True, gc=False):
    """One call to one candidate. Times in milliseconds from the request's arrival; None: never happened.

    `reason` is why it ended as it did, in one word or code: ``ok`` or an error's code.
    """

    provider: str
    model: str
    key: str
    started_ms: float
    reason: str = "unknown"
    status: int | None = None
    first_byte_ms: float | None = None
    ended_ms: float | None = None
    provider_code: str | None = None
    provider_request_id: str | None = None
    detail: str = ""


Numbers = dict[str, list[float | int | None]]
"""What live numbers were: for each name of `CandidateStats` one a candidate."""


class Decision(msgspec.Struct, omit_defaults=True, gc=False):
    """One order that a strategy made of candidates that could be used, with all that it depended on beside the
    configuration: made again, it is the same. Where there was but one candidate there was nothing to decide.

    order        labels of candidates, best first
    numbers      the live numbers that the strategy reads, as they were, one for each of `order`
    affinity     the conversation's key (a digest) and `warm` the label of who served it last, if the route asks for it
    of           how many candidates there were, if more than `order` has
    drawn        where in `order` those stand that were drawn, as they were, if most others rested and were set aside
    last_resort  they failed of late, all of them, and were asked because nobody else was left
    """

    route: str
    strategy: str
    turn: int
    draw: float
    order: list[str]
    numbers: Numbers = {}
    affinity: str = ""
    warm: str = ""
    of: int = 0
    drawn: list[int] = []
    last_resort: bool = False


class Plan(msgspec.Struct):
    """The candidates in the order in which they are tried, and why each other one was left out.

    `soonest` is in how many seconds the first of those left out returns; None if none will by itself.
    `timeouts`, `fallbacks_on` (other routes, by the code of a refusal) and `wait` (seconds that a request may stand in
    line) are the route's. `affinity` is the conversation's key and `warm` who served it last, if the route asks for it;
    `hedge` and `continues` are its wishes for slow answers and for broken ones. `decisions` are the orders that made
    `candidates`, one for each route in which there was a choice. `more`, where a route has very many candidates,
    appends further ones to the `candidates` of the plan it is given; False if there are none.
    """

    route: str
    strategy: str
    candidates: list[CandidateStats]
    left_out: list[tuple[str, str]] = []
    soonest: float | None = None
    timeouts: Timeouts = NO_TIMEOUTS
    fallbacks_on: Mapping[str, tuple[str, ...]] = {}
    wait: float = 0.0
    affinity: str = ""
    warm: str = ""
    hedge: bool = False
    continues: bool = False
    decisions: list[Decision] = []
    more: Callable[[Plan], bool] | None = None


class Record(msgspec.Struct, omit_defaults=True, gc=False):
    """The one line that remains of an admitted request. Built once, when the exchange is over.

    `arrived_at` is in seconds since 1970 (UTC), `cost` in 10⁻⁹ USD with None for unknown, tokens as in Usage.
    """

    id: str
    arrived_at: float
    caller: str
    dialect: str
    operation: str
    model: str
    stream: bool
    route: str = ""
    outcome: Outcome = "unknown"
    status: int = 0
    code: str = ""
    source: str = ""
    provider: str = ""
    served_model: str = ""
    key: str = ""
    lane: str = ""
    finish: str = ""
    attempts: list[Attempt] = []
    left_out: list[tuple[str, str]] = []
    adapted: list[str] = []
    first_byte_ms: float | None = None
    total_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    server_tool_calls: int = 0
    usage_estimated: bool = False
    cost: int | None = None
    client_request_id: str = ""
    tags: Mapping[str, str] = {}
    decisions: list[Decision] = []


class Exchange:
    """One request on its way through the chain. Each step writes its fact; reading one too early is an
    AttributeError, so that no step can be forgotten and no type is Optional for that reason alone."""

    dialect: Dialect[Any]  # open_exchange
    headers: Mapping[str, str]
    where: Where
    caller: Caller  # auth
    body: bytes  # normalize: the bytes as they came
    head: RequestHead
    plan: Plan  # route

    # What most exchanges never touch stands here and not in __init__, for that would cost each of them.
    tags: Mapping[str, str] = {}  # from the caller's header
    strict = False  # the caller takes a refusal rather than a request that says less than was asked
    request_: ChatRequest | None = None
    replaced = False
    fault = ""  # what the fault lab did to it, for the header that says so
    ready: ChatResponse | None = None  # an interceptor's answer: then no provider is called
    reservation: Reservation | None = None  # on the caller's limits and on those of the first candidate
    lease: Reservation | None = None  # on those of a later one
    served_by: CandidateStats | None = None
    first_byte: float | None = None
    error_passed_on = False  # the caller has read the provider's own error event, in the caller's dialect
    usage: Usage | None = None
    finish = ""
    lane = ""
    adapted: tuple[str, ...] = ()
    output_bytes = 0
    continuation: Any = None  # the relay's, of a stream that may be continued by another candidate
    lost = False  # of an attempt: another one beside it began first
    retried = False  # it took from the budget of further attempts
    waited = 0.0  # seconds in line for a key or a limit
    due: float | None = None  # when the time of the whole request is over, by the performance counter
    outcome: Outcome = "unknown"
    status = 0
    code = ""
    source = ""

    def __init__(self, id: str, dialect: Dialect[Any], headers: Mapping[str, str], where: Where) -> None:
        self.id = id
        self.dialect = dialect
        self.headers = headers
        self.where = where
        self.arrived = time.perf_counter()
        self.arrived_at = time.time()
        self.attempts: list[Attempt] = []

    @property
    def request(self) -> ChatRequest:
        """The whole request, taken apart when somebody first asks: the verbatim lane never does. Another operation
        than chat has another value here (`operations`)."""
        if self.request_ is None:
            self.request_ = self.dialect.decode_request(self.body, self.head, self.where)
        return self.request_

    def replace_request(self, request: ChatRequest) -> None:
        """An interceptor's other request: from now on the bytes as they came no longer say what is asked."""
        self.request_ = request
        self.replaced = True

    def elapsed_ms(self) -> float:
        # Microseconds as whole numbers first: rounding a float costs ten times as much.
        return int((time.perf_counter() - self.arrived) * 1e6) / 1000

    def first_byte_ms(self) -> float | None:
        """When the answer began (of a failed one: when its first byte came); None if nothing came."""
        return None if self.first_byte is None else int((self.first_byte - self.arrived) * 1e6) / 1000

    def ended(self, outcome: Outcome, status: int, code: str = "", source: str = "") -> None:
        """How it came out; relay and chain say it, the last word counts."""
        self.outcome, self.status, self.code, self.source = outcome, status, code, source

    def record(self) -> Record:
        """What remains. Call once, when everything is known."""
        head, usage = self.head, self.usage or _NOTHING_USED
        plan: Plan | None = getattr(self, "plan", None)
        provider = served_model = key = ""
        if self.served_by is not None:
            candidate = self.served_by.candidate
            deployment = candidate.deployment
            provider, served_model, key = deployment.provider, deployment.model, candidate.key.name
        # By position, and no more than 30 of them: with names, or with all of them, it costs several times as much.
        record = Record(
            self.id,
            self.arrived_at,
            self.caller.name,
            self.dialect.name,
            head.operation,
            head.model,
            head.stream,
            "" if plan is None else plan.route,
            self.outcome,
            self.status,
            self.code,
            self.source,
            provider,
            served_model,
            key,
            self.lane,
            self.finish,
            self.attempts,
            [] if plan is None else plan.left_out,
            [*self.adapted] if self.adapted else [],
            self.first_byte_ms(),
            self.elapsed_ms(),
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.cache_write_tokens,
            usage.cache_write_1h_tokens,
            usage.reasoning_tokens,
            usage.audio_input_tokens,
            usage.audio_output_tokens,
        )
        if usage.server_tool_calls:
            record.server_tool_calls = usage.server_tool_calls
        if usage.estimated:
            record.usage_estimated = True
        if client_request_id := self.headers.get("x-client-request-id"):
            record.client_request_id = client_request_id[:128]
        if self.tags:
            record.tags = self.tags
        if plan is not None and plan.decisions:
            record.decisions = plan.decisions
        return record


_NOTHING_USED = Usage()
