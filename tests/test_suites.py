"""The shipped suites: our plugins pass them, and plugins with one fault each fail the test that is meant for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from llmhub_plugins.providers.anthropic import AnthropicProvider
from llmhub_plugins.providers.echo import Echo
from llmhub_plugins.providers.gemini import Gemini
from llmhub_plugins.providers.openai import OpenAI
from llmhub_plugins.providers.openai_compatible import OpenAICompatible
from llmhub_plugins.stores.memory import MemoryQuotaStore, MemorySettings
from llmhub_plugins.stores.sql import SqliteSettings, SqliteStore
from llmhub_plugins.strategies.priority import Priority

from llmhub_core.contracts import (
    Amount,
    Call,
    CandidateStats,
    ChatRequest,
    Choice,
    Event,
    Exchange,
    Failed,
    Fetch,
    Interceptor,
    Limit,
    MetadataStore,
    NoSettings,
    Observer,
    QuotaStore,
    Record,
    Reservation,
    Strategy,
)
from llmhub_core.testing.interceptor import InterceptorSuite
from llmhub_core.testing.observer import ObserverSuite, check_metrics
from llmhub_core.testing.provider import ProviderSuite
from llmhub_core.testing.stores import MetadataStoreSuite, QuotaStoreSuite
from llmhub_core.testing.strategy import StrategySuite

# Ours, as far as no other test runs the suite for them.


class TestAnthropicProvider(ProviderSuite):
    provider = AnthropicProvider


class TestEcho(ProviderSuite):
    provider = Echo
    takes_a_secret = False


class TestGemini(ProviderSuite):
    provider = Gemini


class TestOpenAI(ProviderSuite):
    provider = OpenAI


class TestOpenAIForAnOrganization(ProviderSuite):
    provider = OpenAI
    settings: ClassVar = {"organization": "org-1", "project": "proj-1", "base_url": "https://eu.api.openai.com/v1"}


class TestOpenAICompatible(ProviderSuite):
    provider = OpenAICompatible
    settings: ClassVar = {"base_url": "https://api.example.com/openai/v1", "headers": {"X-Team": "red"}}


class TestOpenAICompatibleWithItsOwnHeader(ProviderSuite):
    provider = OpenAICompatible
    settings: ClassVar = {"base_url": "https://api.example.com", "api_key_header": "api-key"}


class TestMemory(QuotaStoreSuite):
    folder: ClassVar[str] = ""

    @pytest.fixture(autouse=True)
    def in_a_folder(self, tmp_path: Path) -> None:
        type(self).folder = str(tmp_path)

    @classmethod
    def make(cls) -> QuotaStore:
        return MemoryQuotaStore(MemorySettings(folder=cls.folder))


class TestSqlite(MetadataStoreSuite):
    @classmethod
    def plugin_class(cls) -> type[MetadataStore]:
        return SqliteStore

    def make(self, tmp_path: Path) -> MetadataStore:
        return SqliteStore(SqliteSettings(url=f"sqlite:///{tmp_path / 'hub.db'}"))


# With one fault each. Not named Test…, so that pytest does not run them by itself.


class Forgetful(Strategy):
    name = "forgetful"

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        return standing[:5]


class Moody(Strategy):
    name = "moody"
    calls = 0

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        self.calls += 1
        return [*standing[self.calls % 2 :], *standing[: self.calls % 2]]


class Meddler(Strategy):
    name = "meddler"

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        for stats in standing:
            stats.picks += 1
        return standing


class Listed(Strategy):
    name = "listed"

    def order(self, choice: Choice, standing: Sequence[CandidateStats]) -> Sequence[CandidateStats]:
        return standing.copy()  # type: ignore[attr-defined,no-any-return]


@dataclass
class Undocumented:
    size: int = 1


class Unexplained(Priority):
    Settings = Undocumented


def ordering(strategy_: Strategy) -> StrategySuite:
    class Suite(StrategySuite):
        strategy = strategy_

    return Suite()


def fails(run: Any, *arguments: Any) -> None:
    with pytest.raises((AssertionError, AttributeError, TypeError)):
        run(*arguments)


async def fails_later(run: Any, *arguments: Any) -> None:
    with pytest.raises((AssertionError, AttributeError, TypeError, IndexError, UnicodeError)):
        await run(*arguments)


def many() -> list[CandidateStats]:
    from llmhub_core.testing.strategy import standings

    return [*standings()][-1]


def test_strategies_with_a_fault_fail() -> None:
    nothing = NoSettings()
    fails(ordering(Forgetful(nothing)).test_the_order_has_all_candidates_once, many())
    fails(ordering(Moody(nothing)).test_the_same_choice_has_the_same_order, many())
    fails(ordering(Meddler(nothing)).test_nothing_shown_is_changed, many())
    fails(ordering(Listed(nothing)).test_any_sequence_will_do, many())
    fails(ordering(Unexplained(Undocumented())).test_its_settings_are_documented)


class InTheAddress(AnthropicProvider):
    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        return replace(call, url=f"{self.base_url}{call.url}&key={secret}")


class Twice(AnthropicProvider):
    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        call = await super().prepare(call, secret, fetch)
        call.headers["authorization"] = f"Bearer {secret}"
        return call


class Remembering(AnthropicProvider):
    first = ""

    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        self.first = self.first or secret
        return await super().prepare(call, self.first, fetch)


class Slashed(AnthropicProvider):
    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.base_url = settings.base_url


class Capital(AnthropicProvider):
    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        return replace(call, url=self.base_url + call.url, headers={"X-Api-Key": secret})


async def test_providers_with_a_fault_fail() -> None:
    def suite(cls: type[AnthropicProvider]) -> ProviderSuite:
        return type("Suite", (ProviderSuite,), {"provider": cls})()  # type: ignore[no-any-return]

    await fails_later(suite(InTheAddress).test_the_secret_is_nowhere_else)
    await fails_later(suite(InTheAddress).test_a_call_has_exactly_one_credential)
    await fails_later(suite(Twice).test_a_call_has_exactly_one_credential)
    await fails_later(suite(Remembering).test_keys_do_not_mix)
    await fails_later(suite(Slashed).test_slashes_behind_a_base_url_do_not_count, "/")
    await fails_later(suite(Capital).test_the_rest_of_the_call_is_kept)
    await fails_later(type("Suite", (TestEcho,), {"takes_a_secret": True})().test_a_call_has_exactly_one_credential)


class Marking(Observer):
    name = "marking"

    def finished(self, record: Record) -> None:
        record.tags["seen"] = "yes"

    def metrics(self) -> str:
        return "1 broken"


async def test_observers_with_a_fault_fail() -> None:
    from llmhub_core.testing.records import a_record

    await fails_later(ObserverSuite().test_it_bears_every_record, Marking(NoSettings()), a_record())
    await fails_later(ObserverSuite().test_what_it_counts_is_readable, Marking(NoSettings()))


@pytest.mark.parametrize(
    "page",
    [
        "a 1",
        "a\n",
        'a{b="\r"} 1\n',
        'a{b="c} 1\n',
        'a{b="\\x"} 1\n',
        "a 1\na 1\n",
        "# TYPE a counter\n# TYPE a counter\na 1\n",
        "# TYPE a counter\nb 1\n",
        "a \ud800\n",
    ],
    ids=repr,
)
def test_pages_that_prometheus_could_not_read_are_found(page: str) -> None:
    with pytest.raises((AssertionError, UnicodeError)):
        check_metrics(page)


class Blind(Interceptor):
    name = "blind"


class Liar(Interceptor):
    name = "liar"
    sees = frozenset({"event"})

    async def request(self, exchange: Exchange) -> ChatRequest:
        return exchange.request

    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        return () if isinstance(event, Failed) else (event,)


class Copier(Liar):
    sees = frozenset({"request"})


async def test_interceptors_with_a_fault_fail() -> None:
    from llmhub_core.testing.interceptor import answers, requests

    def suite(cls: type[Interceptor]) -> InterceptorSuite:
        return type("Suite", (InterceptorSuite,), {"make": lambda: cls(NoSettings()), "plugin_class": lambda: cls})()  # type: ignore[no-any-return]

    fails(suite(Blind).test_it_says_what_it_sees)
    fails(suite(Liar).test_it_says_what_it_sees)
    await fails_later(suite(Copier).test_it_bears_every_request, Copier(NoSettings()), requests()[0])
    await fails_later(suite(Liar).test_it_leaves_events_in_order, Liar(NoSettings()), answers()[2])


class Generous(MemoryQuotaStore):
    """Takes what it can from each limit before it refuses."""

    async def reserve(self, limits: Sequence[Limit], amount: Amount, lease: float) -> Reservation:
        for limit in limits[:-1]:
            await super().reserve([limit], amount, lease)
        return await super().reserve(limits[-1:], amount, lease)


class Unsettled(MemoryQuotaStore):
    async def settle(self, reservation: Reservation, actual: Amount) -> None:
        reservation.settled = False
        await super().settle(reservation, actual)


async def test_quota_stores_with_a_fault_fail() -> None:
    suite = TestMemory()
    await fails_later(suite.test_all_or_nothing, Generous(NoSettings()))
    await fails_later(suite.test_a_second_settlement_changes_nothing, Unsettled(NoSettings()))
