"""What providers say when they refuse → who rests, how long, as what: here, after a restart, and in another process.

The shapes are those of real answers (documented or recorded), the words and numbers our own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from llmhub_plugins.stores.memory import MemoryQuotaStore, MemorySettings
from llmhub_plugins.stores.redis import RedisQuotaSettings, RedisQuotaStore
from llmhub_plugins.stores.sqlite_quota import SqliteQuotaSettings, SqliteQuotaStore
from redis_server import Server, needs_redis

from llmhub_core.contracts import Candidate, CandidateStats, Deployment, Hold, NoSettings, ProviderKey, QuotaStore
from llmhub_core.hub.health import Health
from llmhub_core.hub.pool import Pool
from llmhub_core.hub.registry import Registry

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""When all these answers were made, by their own headers: a Monday. The clock of this machine says something else."""

DATE = {"date": format_datetime(NOON, usegmt=True)}
MIDNIGHT_IN_CALIFORNIA = 20 * 3600.0  # 4 am there
NOT_SAID, EXHAUSTED = 10.0, 600.0
"""What a rest comes to that nobody named: of a rate limit, and of a spent account."""


@dataclass(frozen=True)
class Case:
    """An answer, and what it means: `scope` as in errors ("" for nobody), `seconds` None: until it works again."""

    id: str
    dialect: str
    status: int
    body: Any
    scope: str
    state: str = "active"
    seconds: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def openai(message: str, code: str | None = None, type: str = "", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


def claude(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def google(status: int, word: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": word, "details": [*details]}}


def quota(id: str, value: str = "50") -> dict[str, Any]:
    violation = {"quotaMetric": "generativelanguage.googleapis.com/x", "quotaId": id, "quotaValue": value}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def reason(word: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word}


def at(later: timedelta) -> str:
    return (NOON + later).strftime("%Y-%m-%dT%H:%M:%SZ")


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "22s"}
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
CHAT, CLAUDE, GEMINI = "openai_chat", "anthropic", "gemini"
SLOW = openai("Slow down.", "rate_limit_exceeded", "requests")
MILLISECONDS = str(int((NOON + timedelta(hours=12)).timestamp() * 1000))

CASES = [
    # times in headers
    Case("retry-after in seconds", CHAT, 429, SLOW, "key", "cooling", 7, {"retry-after": "7"}),
    Case("retry-after-ms outranks it", CHAT, 429, SLOW, "key", "cooling", 1.5,
         {"retry-after": "9", "retry-after-ms": "1500"}),
    Case("Azure's zero milliseconds", CHAT, 429, openai("Later.", "429"), "key", "cooling", 3,
         {"retry-after": "3", "retry-after-ms": "0"}),
    Case("retry-after as a date", CHAT, 429, SLOW, "key", "cooling", 90,
         {"retry-after": format_datetime(NOON + timedelta(seconds=90), usegmt=True)}),
    Case("an hour is believed", CHAT, 429, SLOW, "key", "exhausted", 3600, {"retry-after": "3600"}),
    Case("no time at all", CHAT, 429, SLOW, "key", "cooling", NOT_SAID),
    Case("spent requests reset in 6m0s", CHAT, 429, SLOW, "key", "cooling", 360,
         {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s",
          "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "1s"}),
    Case("spent tokens reset in 1s", CHAT, 429, SLOW, "key", "cooling", 1,
         {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1s"}),
    Case("a reset in milliseconds since 1970", CHAT, 429, openai("Rate limit exceeded", None), "key", "exhausted",
         12 * 3600, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": MILLISECONDS}),
    Case("a reset in seconds since 1970", CHAT, 429, openai("Rate limit exceeded", None), "key", "exhausted",
         12 * 3600, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": MILLISECONDS[:-3]}),
    Case("Cerebras's day", CHAT, 429, {"message": "Requests per day limit exceeded", "type": "too_many_requests_error",
                                       "code": "request_quota_exceeded"}, "key", "exhausted", 33_011.4,
         {"x-ratelimit-remaining-requests-day": "0", "x-ratelimit-reset-requests-day": "33011.4",
          "x-ratelimit-remaining-tokens-minute": "100", "x-ratelimit-reset-tokens-minute": "11.4"}),
    Case("Mistral's minute", CHAT, 429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited",
                                         "code": "1300"}, "key", "cooling", 41,
         {"x-ratelimit-remaining-req-minute": "0", "x-ratelimit-reset-req-minute": "41"}),
    # OpenAI and Groq in words
    Case("OpenAI's tokens a minute", CHAT, 429,
         openai("Rate limit reached for m in organization org-1 on tokens per min (TPM): Limit 30000, Used 29937, "
                "Requested 385. Please try again in 644ms.", "rate_limit_exceeded", "tokens"),
         "group", "cooling", 0.644),
    Case("OpenAI's requests a day", CHAT, 429,
         openai("Rate limit reached for m in organization org-1 on requests per day (RPD): Limit 200, Used 200, "
                "Requested 1. Please try again in 7m12s.", "rate_limit_exceeded", "requests"),
         "group", "exhausted", 432),
    Case("OpenAI's quota", CHAT, 429, openai("You exceeded your current quota.", "insufficient_quota",
                                             "insufficient_quota"), "group", "exhausted", EXHAUSTED),
    Case("OpenAI's hard limit", CHAT, 400, openai("Billing hard limit has been reached",
                                                  "billing_hard_limit_reached"), "group", "exhausted", EXHAUSTED),
    Case("OpenAI's account without billing", CHAT, 429, openai("Not active.", "billing_not_active"), "group",
         "exhausted", EXHAUSTED),
    Case("a request larger than the limit", CHAT, 429,
         openai("Request too large for m (TPM): Limit 10000, Requested 20000. The input must be reduced in order to "
                "run successfully.", "rate_limit_exceeded", "tokens"), ""),
    Case("Groq's tokens a day", CHAT, 429,
         openai("Rate limit reached for model `m` in organization `org_1` service tier `on_demand` on tokens per day "
                "(TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s.",
                "rate_limit_exceeded", "tokens"), "group", "exhausted", 579, {"retry-after": "579"}),
    Case("Groq's minute", CHAT, 429,
         openai("Rate limit reached for model `m` in organization `org_1` on tokens per minute (TPM): Limit 15000, "
                "Used 11972, Requested 4351. Please try again in 5.289s.", "rate_limit_exceeded", "tokens"),
         "group", "cooling", 5.289),
    Case("hours and minutes in words", CHAT, 429, openai("Try again in 1h2m."), "key", "exhausted", 3720),
    Case("spelled out", CHAT, 429, openai("Please retry after 2 minutes and 5 seconds."), "key", "cooling", 125),
    Case("a weekly quota until next Monday", CHAT, 429,
         openai("Weekly limit reached. Your limit resets at 2026-03-09 00:00 UTC."), "key", "exhausted",
         6.5 * 86_400),
    Case("a moment with a zone", CHAT, 429, openai("Try again at 2026-03-02T15:00:00+02:00."), "key", "exhausted",
         3600),
    # others who speak OpenAI's format
    Case("OpenRouter's free day", CHAT, 429,
         openai("Rate limit exceeded: free-models-per-day.", None,
                metadata={"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0",
                                      "X-RateLimit-Reset": MILLISECONDS}}), "key", "exhausted", 12 * 3600),
    Case("OpenRouter's upstream", CHAT, 429,
         openai("Provider returned error", None,
                metadata={"raw": "m:free is temporarily rate-limited upstream. Please retry shortly."}),
         "model", "cooling", NOT_SAID),
    Case("OpenRouter without credits", CHAT, 402, openai("This request requires more credits.", None), "group",
         "exhausted", EXHAUSTED),
    Case("DeepSeek without balance", CHAT, 402, openai("Insufficient Balance", "invalid_request_error",
                                                       "unknown_error"), "group", "exhausted", EXHAUSTED),
    Case("xAI without credits", CHAT, 403,
         {"code": "permission-denied", "error": "Your team has used all available credits."}, "group", "exhausted",
         EXHAUSTED),
    Case("Together's credit limit", CHAT, 402, openai("Credit limit exceeded", "credit_limit"), "group", "exhausted",
         EXHAUSTED),
    Case("Together's overloaded model", CHAT, 429, openai("The model is overloaded.", "model_overloaded"), "model",
         "cooling", NOT_SAID),
    Case("Cerebras's full queue", CHAT, 429,
         {"message": "We're experiencing high traffic right now!", "type": "too_many_requests_error",
          "code": "queue_exceeded"}, "model", "cooling", NOT_SAID),
    # keys, accounts and places refused
    Case("OpenAI's unknown key", CHAT, 401, openai("Incorrect API key provided.", "invalid_api_key"), "own key",
         "invalid"),
    Case("Mistral's unknown key", CHAT, 401, {"detail": "Invalid API Key"}, "own key", "invalid"),
    Case("xAI's unknown key", CHAT, 400, {"code": "invalid-argument", "error": "Incorrect API key provided: x."},
         "own key", "invalid"),
    Case("a deactivated account", CHAT, 401, openai("Deactivated.", "account_deactivated"), "group", "invalid"),
    Case("Groq's restricted organisation", CHAT, 400, openai("Restricted.", "organization_restricted"), "group",
         "invalid"),
    Case("a country that is not served", CHAT, 403,
         openai("Country, region, or territory not supported", "unsupported_country_region_territory"), "provider",
         "invalid"),
    Case("a model that this project may not use", CHAT, 403,
         openai("Project `p` does not have access to model `m`", "model_not_found"), ""),
    Case("a model that does not exist", CHAT, 404, openai("The model `m` does not exist", "model_not_found"), ""),
    # Anthropic
    Case("Anthropic's retry-after", CLAUDE, 429, claude("rate_limit_error", "Slow."), "group", "cooling", 16,
         {"retry-after": "16"}),
    Case("Anthropic's stamps", CLAUDE, 429, claude("rate_limit_error", "Slow."), "group", "cooling", 48,
         {"anthropic-ratelimit-requests-remaining": "12",
          "anthropic-ratelimit-requests-reset": at(timedelta(seconds=5)),
          "anthropic-ratelimit-input-tokens-remaining": "0",
          "anthropic-ratelimit-input-tokens-reset": at(timedelta(seconds=48))}),
    Case("Anthropic's spent month", CLAUDE, 400,
         claude("invalid_request_error", "You have reached your specified API usage limits. You will regain access on "
                                         "2026-03-05 at 00:00 UTC."), "group", "exhausted", 2.5 * 86_400),
    Case("Anthropic without credit", CLAUDE, 400,
         claude("invalid_request_error", "Your credit balance is too low to access the API."), "group", "exhausted",
         EXHAUSTED),
    Case("Anthropic's billing", CLAUDE, 402, claude("billing_error", "Pay."), "group", "exhausted", EXHAUSTED),
    Case("Anthropic's unknown key", CLAUDE, 401, claude("authentication_error", "invalid x-api-key"), "own key",
         "invalid"),
    Case("Anthropic's disabled organisation", CLAUDE, 403,
         claude("permission_error", "This organization has been disabled."), "group", "invalid"),
    Case("Anthropic's overload", CLAUDE, 529, claude("overloaded_error", "Overloaded"), "breaker"),
    Case("Anthropic's own failure", CLAUDE, 500, claude("api_error", "Internal server error"), ""),
    # Gemini
    Case("Gemini's day, though it says 22 s", GEMINI, 429,
         google(429, "RESOURCE_EXHAUSTED", "Quota exceeded. Please retry in 22s.", quota(PER_DAY), RETRY), "model",
         "exhausted", MIDNIGHT_IN_CALIFORNIA),
    Case("Gemini's minute", GEMINI, 429,
         google(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", quota(PER_MINUTE, "10"), RETRY), "model", "cooling", 22),
    Case("Gemini's tokens a minute", GEMINI, 429,
         google(429, "RESOURCE_EXHAUSTED", "Quota exceeded. Please retry in 48.5s.",
                quota("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000")), "model", "cooling", 48.5),
    Case("Gemini's project", GEMINI, 429,
         google(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", quota("RequestsPerMinutePerProject", "60"), RETRY),
         "group", "cooling", 22),
    Case("a model without a free tier", GEMINI, 429,
         google(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", quota(PER_MINUTE, "0"), RETRY), "model", "exhausted",
         EXHAUSTED),
    Case("Gemini's prepaid credit", GEMINI, 429,
         google(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."), "group", "exhausted", EXHAUSTED),
    Case("Gemini's unknown key", GEMINI, 400,
         google(400, "INVALID_ARGUMENT", "API key not valid.", reason("API_KEY_INVALID")), "own key", "invalid"),
    Case("a leaked key", GEMINI, 403, google(403, "PERMISSION_DENIED", "Your API key was reported as leaked."),
         "own key", "invalid"),
    Case("a suspended project", GEMINI, 403,
         google(403, "PERMISSION_DENIED", "Consumer has been suspended.", reason("CONSUMER_SUSPENDED")), "group",
         "invalid"),
    Case("a project without billing", GEMINI, 403,
         google(403, "PERMISSION_DENIED", "This API method requires billing to be enabled.",
                reason("BILLING_DISABLED")), "group", "exhausted", EXHAUSTED),
    Case("a place that Gemini does not serve", GEMINI, 400,
         google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), "provider", "invalid"),
    Case("Gemini overloaded", GEMINI, 503, google(503, "UNAVAILABLE", "The model is overloaded."), ""),
]  # fmt: skip

DIALECTS = {cls.name: cls(cls.Settings()) for cls in Registry().discover().dialects}


def decoded(case: Case) -> Exception:
    return DIALECTS[case.dialect].decode_error(case.status, {**DATE, **case.headers}, json.dumps(case.body).encode())


def refused(place: str) -> CandidateStats:
    return CandidateStats(Candidate(Deployment(place, "m"), ProviderKey(place, "k1", group="account")))


def subject_of(case: Case, place: str) -> str:
    account = f"group:{place}/account"
    return {
        "own key": f"key:{place}/k1", "key": account, "group": account, "model": f"model:{account}/m",
        "provider": f"provider:{place}",
    }[case.scope]  # fmt: skip


def assert_rests(pool: Pool, case: Case, place: str) -> None:
    mark = pool.now_held()[subject_of(case, place)]
    assert mark.state == case.state
    left = None if mark.until is None else mark.until - time.monotonic()
    assert left == (None if case.seconds is None else pytest.approx(case.seconds, abs=max(8.0, case.seconds * 0.001)))


def test_there_are_many_and_they_are_told_apart() -> None:
    assert len(CASES) >= 40
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_answer_means(case: Case) -> None:
    pool, health, one = Pool(NOT_SAID, EXHAUSTED, lambda change: None), Health(1, 10.0), refused("p")
    error = decoded(case)
    pool.note(one, error)
    if case.scope in ("", "breaker"):
        assert pool.calm
        health.begin(one)
        health.end(one, error, None, b"{}")
        other = CandidateStats(Candidate(Deployment("p", "other"), ProviderKey("p", "k2")))
        assert (health.blocked(other.candidate, time.monotonic()) is not None) == (case.scope == "breaker")
        return
    assert [*pool.marks] == [subject_of(case, "p")]
    mark = pool.marks[subject_of(case, "p")]
    assert mark.state == case.state
    left = None if mark.until is None else mark.until - time.monotonic()
    assert left == (None if case.seconds is None else pytest.approx(case.seconds, abs=0.3))


RESTING = [(f"p{number}", case) for number, case in enumerate(CASES) if case.scope not in ("", "breaker")]


class Process:
    """As much of a hub as keeps and shares what rests."""

    def __init__(self, store: QuotaStore) -> None:
        self.store = store
        self.pool = Pool(NOT_SAID, EXHAUSTED, lambda change: None)
        self.told: list[Hold] = []
        self.pool.share = self.told.append
        store.watch(self.pool.adopt)

    async def start(self) -> None:
        await self.store.start()
        for hold in await self.store.holds():
            self.pool.adopt(hold)

    async def refuse_all(self) -> None:
        for place, case in RESTING:
            self.pool.note(refused(place), decoded(case))
        for hold in self.told:
            await self.store.hold(hold)

    def knows_all(self) -> bool:
        # A rest of a second may be over before a busy machine looks.
        return all(subject_of(case, place) in self.pool.marks for place, case in RESTING if (case.seconds or 60) > 10)

    def assert_all(self) -> None:
        for place, case in RESTING:
            if (case.seconds or 60) > 10:
                assert_rests(self.pool, case, place)


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], QuotaStore]]:
    """Makes stores that count in the same place."""
    if request.param == "memory":
        yield lambda: MemoryQuotaStore(MemorySettings(folder=str(tmp_path)))
    elif request.param == "sqlite":
        yield lambda: SqliteQuotaStore(SqliteQuotaSettings(url=f"sqlite:///{tmp_path}/quota.db"))
    else:
        needs_redis()
        server = Server(tmp_path)
        yield lambda: RedisQuotaStore(RedisQuotaSettings(url=server.url, timeout=5.0, connect_timeout=5.0))
        server.stop()


@pytest.mark.parametrize("make", ["memory", "sqlite", "redis"], indirect=True)
async def test_a_restart_forgets_nothing(make: Callable[[], QuotaStore], monkeypatch: pytest.MonkeyPatch) -> None:
    first = Process(make())
    await first.start()
    await first.refuse_all()
    await first.store.stop()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)  # the clock on the wall was wrong by an hour
    again = Process(make())
    await again.start()
    again.assert_all()
    await again.store.stop()


@pytest.mark.parametrize("make", ["sqlite", "redis"], indirect=True)
async def test_another_process_knows_at_once(make: Callable[[], QuotaStore]) -> None:
    one, other = Process(make()), Process(make())
    await one.start()
    await other.start()
    await asyncio.sleep(0.3)  # until both listen
    await one.refuse_all()
    began = time.monotonic()
    while not other.knows_all():
        assert time.monotonic() < began + 5.0
        await asyncio.sleep(0.005)
    other.assert_all()
    assert other.told == [], "news of others are not told on"
    await one.store.stop()
    await other.store.stop()


def test_the_day_of_california_ends_by_the_provider_s_clock() -> None:
    local = (NOON + timedelta(seconds=MIDNIGHT_IN_CALIFORNIA)).astimezone(ZoneInfo("America/Los_Angeles"))
    assert (local.hour, local.minute) == (0, 0)


def test_memory_without_a_folder_still_holds_within_its_process() -> None:
    async def held() -> list[Hold]:
        store = MemoryQuotaStore(NoSettings())
        await store.start()
        await store.hold(Hold("key:p/k", "cooling", "", 30.0))
        return [*await store.holds()]

    (hold,) = asyncio.run(held())
    assert hold.lasts == pytest.approx(30.0, abs=1.0)
