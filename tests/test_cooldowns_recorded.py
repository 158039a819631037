"""What providers really said when they refused, as recorded → who rests, how long, as what, and in which processes.

The recordings lie beside some checkouts only; the same table with words of our own is in `test_cooldowns`.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from llmhub_plugins.stores.sqlite_quota import SqliteQuotaSettings, SqliteQuotaStore
from test_cooldowns import DATE, DIALECTS, EXHAUSTED, NOT_SAID, Case, Process, assert_rests, refused, subject_of

from llmhub_core.hub.health import Health
from llmhub_core.hub.pool import Pool

NOBODY = ("", "active", None)
KEY_INVALID = ("own key", "invalid", None)

MEANS: dict[str, tuple[str, str, float | None]] = {
    "anthropic-msg-0ef9da9b": ("group", "exhausted", EXHAUSTED),
    "anthropic-msg-201b95a4": KEY_INVALID,
    "anthropic-msg-21c9bdeb": KEY_INVALID,
    "anthropic-msg-2ee4c15d": ("breaker", "active", None),
    "anthropic-msg-5af94816": ("group", "cooling", 505.0),
    "anthropic-msg-fa8c8910": ("group", "cooling", NOT_SAID),  # its stamps are past
    "azure-chat-fa161a81": KEY_INVALID,
    "azure-emb-91127026": KEY_INVALID,
    "cohere-v2-chat-08f8b9ef": KEY_INVALID,
    "deepseek-chat-e048d4c3": KEY_INVALID,
    "gemini-gen-39358b25": ("group", "invalid", None),
    "gemini-gen-c83d68a8": ("model", "cooling", 48.0),
    "gemini-gen-d7b0d40d": KEY_INVALID,
    "gemini-stream-c26ca27a": KEY_INVALID,
    "openai-chat-646105d5": KEY_INVALID,
    "openai-chat-da5f981b": ("group", "cooling", 18.642),
    "openai-resp-12e83bf3": ("group", "cooling", 0.644),
    "openai-resp-5ced6e4a": KEY_INVALID,
    "openrouter-chat-d78aa681": ("model", "cooling", NOT_SAID),
    "perplexity-chat-fdc29bca": KEY_INVALID,
    "xai-resp-b54fb7cd": KEY_INVALID,
}
"""All others say nothing of a key, an account or a provider: callers' mistakes, models that are not there, failures."""


def dialect_of(provider: str, api: str) -> str:
    if provider in ("anthropic", "gemini", "vertex"):
        return {"vertex": "gemini"}.get(provider, provider)
    return "openai_responses" if api == "responses" else "openai_chat"


def recorded(traffic: Path) -> list[tuple[Case, bytes]]:
    found = []
    for path in sorted(traffic.glob("*/*/*.json")):
        told = json.loads(path.read_text("utf-8"))
        answer, provider = told["response"], told["provider"]
        if answer["status"] < 400 or provider == "bedrock":  # which has a format of its own
            continue
        scope, state, seconds = MEANS.get(told["id"], NOBODY)
        body = (
            json.dumps(answer["body"]) if answer["body"] is not None else answer["stream"] or answer.get("text") or ""
        )
        headers, dialect = {**DATE, **answer["headers"]}, dialect_of(provider, told["api"])
        case = Case(told["id"], dialect, answer["status"], None, scope, state, seconds, headers)
        found.append((case, body.encode()))
    return found


def error_of(case: Case, body: bytes) -> Any:
    return DIALECTS[case.dialect].decode_error(case.status, case.headers, body)


def test_recorded_answers_mean(traffic: Path) -> None:
    cases = recorded(traffic)
    assert len(cases) >= 40
    assert {case.id for case, _ in cases} >= {*MEANS}
    for case, body in cases:
        pool, health, one = Pool(NOT_SAID, EXHAUSTED, lambda change: None), Health(1, 10.0), refused("p")
        error = error_of(case, body)
        pool.note(one, error)
        if case.scope in ("", "breaker"):
            assert pool.calm, (case.id, [*pool.marks.values()])
            health.begin(one)
            health.end(one, error, None, b"{}")
            assert bool(health.breaker("p")) == (case.scope == "breaker"), case.id
        else:
            assert [*pool.marks] == [subject_of(case, "p")], case.id
            assert_rests(pool, case, "p")


async def test_the_next_and_another_process_know_the_same(traffic: Path, tmp_path: Path) -> None:
    resting = [(f"p{n}", *each) for n, each in enumerate(recorded(traffic)) if each[0].scope not in ("", "breaker")]
    lasting = [(place, case) for place, case, _ in resting if (case.seconds or 60.0) > 10.0]

    def process() -> Process:
        return Process(SqliteQuotaStore(SqliteQuotaSettings(url=f"sqlite:///{tmp_path}/quota.db")))

    one, other = process(), process()
    await one.start()
    await other.start()
    for place, case, body in resting:
        one.pool.note(refused(place), error_of(case, body))
    for hold in one.told:
        await one.store.hold(hold)
    began = time.monotonic()
    while not all(subject_of(case, place) in other.pool.marks for place, case in lasting):
        assert time.monotonic() < began + 5.0
        await asyncio.sleep(0.005)
    await one.store.stop()
    after = process()
    await after.start()
    for place, case in lasting:
        assert_rests(other.pool, case, place)
        assert_rests(after.pool, case, place)
    await other.store.stop()
    await after.store.stop()
