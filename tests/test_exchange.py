"""What remains of an exchange: each fact in its own field of the record."""

from __future__ import annotations

from typing import Any

import pytest

from llmhub_core.contracts import (
    Attempt,
    Caller,
    Candidate,
    CandidateStats,
    Deployment,
    Exchange,
    Plan,
    ProviderKey,
    Record,
    RequestHead,
    Usage,
    Where,
)


class Dialect:
    name = "openai_chat"


def exchange(headers: dict[str, str] | None = None) -> Exchange:
    made = Exchange("req_1", Dialect(), headers or {}, Where({}, {}))  # type: ignore[arg-type]
    made.caller = Caller("app")
    made.head = RequestHead("fast", stream=True, operation="embeddings")
    return made


def facts(record: Record) -> dict[str, Any]:
    """All but the two times, which a test cannot know."""
    names = [name for name in record.__struct_fields__ if name not in {"total_ms", "first_byte_ms"}]
    return {name: getattr(record, name) for name in names}


def test_every_fact_stands_in_its_own_field() -> None:
    made = exchange({"x-client-request-id": "c" * 200})
    stats = CandidateStats(Candidate(Deployment("openai", "gpt"), ProviderKey("openai", "main")))
    made.plan = Plan("the-route", "priority", [stats], [("a/m#k", "cooling")])
    made.served_by, made.attempts = stats, [Attempt("openai", "gpt", "main", 1.0)]
    made.first_byte = made.arrived + 0.25
    counts = [name for name in Usage.__struct_fields__ if name != "estimated"]
    made.usage = Usage(**{name: place for place, name in enumerate(counts, 1)}, estimated=True)
    made.lane, made.finish, made.adapted, made.tags = "verbatim", "stop", ("seed=dropped",), {"team": "red"}
    made.ended("failed", 502, "upstream_error", "network")
    record = made.record()
    assert facts(record) == facts(
        Record(
            id="req_1",
            arrived_at=made.arrived_at,
            caller="app",
            dialect="openai_chat",
            operation="embeddings",
            model="fast",
            stream=True,
            route="the-route",
            outcome="failed",
            status=502,
            code="upstream_error",
            source="network",
            provider="openai",
            served_model="gpt",
            key="main",
            lane="verbatim",
            finish="stop",
            attempts=[Attempt("openai", "gpt", "main", 1.0)],
            left_out=[("a/m#k", "cooling")],
            adapted=["seed=dropped"],
            **{name: place for place, name in enumerate(counts, 1)},
            usage_estimated=True,
            client_request_id="c" * 128,
            tags={"team": "red"},
        )
    )
    assert record.first_byte_ms == pytest.approx(250, abs=0.01)
    assert 0 < record.total_ms < 10_000


def test_what_never_happened_is_empty() -> None:
    made = exchange()
    made.ended("refused", 429, "rate_limit_exceeded", "gateway")
    record = made.record()
    assert facts(record) == facts(
        Record("req_1", made.arrived_at, "app", "openai_chat", "embeddings", "fast", True, outcome="refused",
               status=429, code="rate_limit_exceeded", source="gateway")
    )  # fmt: skip
    assert record.first_byte_ms is None


def test_the_records_of_two_exchanges_share_nothing() -> None:
    one, other = exchange().record(), exchange().record()
    for name in ("attempts", "left_out", "adapted", "tags"):
        assert getattr(one, name) is not getattr(other, name)
