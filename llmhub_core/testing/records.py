"""Records of exchanges as suites and tests need them: of every outcome, and one that means harm."""

from __future__ import annotations

from typing import Any

from llmhub_core.contracts import Attempt, Record

HOSTILE = 'x\r\n\n{a="b"} 1\t\x00\x1b[31m\\" \u2028\u202e\ud800 ünï'
"""What a caller may choose as the name of a model, a tag or an id: line ends, quotes, half a surrogate."""

NOON = 1_764_000_000.0 // 86_400 * 86_400 + 43_200
"""Seconds since 1970, twelve o'clock UTC."""


def a_record(id: str = "r-1", **changes: Any) -> Record:
    """A record of a served request, with whatever a test wants otherwise."""
    facts: dict[str, Any] = {
        "arrived_at": NOON,
        "caller": "anyone",
        "dialect": "openai_chat",
        "operation": "chat",
        "model": "fast",
        "stream": True,
        "route": "fast",
        "outcome": "served",
        "status": 200,
        "provider": "b",
        "served_model": "m2",
        "key": "k",
        "lane": "verbatim",
        "finish": "stop",
        "attempts": [_failed(), Attempt("b", "m2", "k", 21.0, "ok", 200, 90.0, 400.0)],
        "left_out": [("a/m#k2", "cooling")],
        "adapted": ["seed=dropped"],
        "first_byte_ms": 90.0,
        "total_ms": 401.5,
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_tokens": 60,
        "reasoning_tokens": 5,
        "cost": 1_234_567,
        "tags": {"team": "red"},
    }
    return Record(id, **{**facts, **changes})


def _failed() -> Attempt:
    return Attempt("a", "m", "k1", 1.0, "rate_limit_exceeded", 429, None, 20.0, "slow_down", "req_1", "too many")


def records() -> list[Record]:
    """One of each kind of end that an exchange can come to."""
    nobody: dict[str, Any] = {
        "provider": "",
        "served_model": "",
        "key": "",
        "lane": "",
        "finish": "",
        "first_byte_ms": None,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost": None,
    }
    return [
        a_record("r-1"),
        a_record("r-2", outcome="refused", status=429, code="rate_limit_exceeded", **{**nobody, "attempts": []}),
        a_record("r-3", outcome="cancelled", status=499, **{**nobody, "attempts": [_failed()]}),
        a_record("r-4", outcome="unknown", status=0, total_ms=0.0, **{**nobody, "route": "", "attempts": []}),
        a_record("r-5", outcome="failed", status=502, code="upstream_error", source="network", usage_estimated=True),
        hostile_record("r-6"),
    ]


def hostile_record(id: str, text: str = HOSTILE) -> Record:
    """A record in which everything that a caller or a provider chooses is chosen to do harm."""
    return a_record(
        id,
        caller=text,
        model=text,
        route=text,
        outcome="failed",
        code=text,
        provider=text,
        served_model=text,
        key=text,
        finish=text,
        attempts=[Attempt(text, text, text, 0.0, text, 500, 1.0, 2.0, text, text, text)],
        client_request_id=text,
        tags={text: text, "long": "x" * 10_000},
    )
