"""What happened: sums of use, and requests with their attempts and decisions."""

from __future__ import annotations

from typing import Literal

from llmhub_core.admin.views.base import View


class UsageLine(View):
    """One group; `group` has a value for each of `by`."""

    group: list[str]
    requests: int
    served: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: int
    unpriced: int


class UsageView(View):
    by: list[str]
    since: float
    until: float
    total: UsageLine
    items: list[UsageLine]
    kept_since: float = 0.0
    """Before it sums are of whole hours, for single requests are kept no longer."""


class RequestPage(View):
    """`next` as of every page. Requests from before `kept_since` (seconds since 1970) are kept no longer."""

    items: list[RequestLine]
    next: str | None = None
    kept_since: float = 0.0


class RequestLine(View):
    id: str
    arrived_at: float
    caller: str
    model: str
    outcome: str
    status: int
    code: str
    provider: str
    served_model: str
    key: str
    stream: bool
    attempts: int
    first_byte_ms: float | None
    total_ms: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: int | None


class AttemptView(View):
    provider: str
    model: str
    key: str
    started_ms: float
    first_byte_ms: float | None
    ended_ms: float | None
    reason: str
    status: int | None
    provider_code: str | None
    provider_request_id: str | None
    detail: str


class LeftOut(View):
    """A candidate that was not tried, and why."""

    candidate: str
    why: str


class DecisionView(View):
    """An order that a strategy made, with what it depended on: `numbers` has the live numbers that the strategy looks
    at, each as a list in the order of `order`. `of` is how many candidates there were, if more than `order` has."""

    route: str
    strategy: str
    order: list[str]
    numbers: dict[str, list[float | int | None]]
    turn: int
    draw: float
    warm: str
    of: int
    last_resort: bool


class RequestView(RequestLine):
    """`body_kept`: what was asked and answered is kept too, for owners."""

    dialect: str
    operation: str
    route: str
    source: str
    lane: str
    finish: str
    reasoning_tokens: int
    cache_write_tokens: int
    usage_estimated: bool
    client_request_id: str
    tags: dict[str, str]
    adapted: list[str]
    tried: list[AttemptView]
    left_out: list[LeftOut]
    decisions: list[DecisionView]
    body_kept: bool


class BodyTextView(View):
    """`form` is json, text, joined (what a stream said), events (a stream as it came) or none (nothing but a note).
    `media_type` and `size` (bytes) are of what passed; `cut` tells that `text` is only the beginning of it."""

    text: str
    form: Literal["json", "text", "joined", "events", "none"]
    media_type: str
    size: int
    cut: bool


class BodyView(View):
    """What is kept of one request. `why` tells why nothing is, where nothing is; `answer` is None too where the caller
    left before there was any."""

    id: str
    request: BodyTextView | None = None
    answer: BodyTextView | None = None
    why: str = ""
