"""Metrics: right sums, a readable page, and no more series than an operator can pay for."""

from __future__ import annotations

from llmhub_plugins.observers.prometheus import BUCKETS, MOST_SERIES, Prometheus

from llmhub_core.contracts import HealthChange, KeyState, NoSettings
from llmhub_core.testing.house import House
from llmhub_core.testing.observer import ObserverSuite, check_metrics
from llmhub_core.testing.records import a_record, records


class TestPrometheus(ObserverSuite):
    @classmethod
    def make(cls) -> Prometheus:
        return Prometheus(NoSettings())


def counted(*finished: object) -> dict[str, float]:
    observer = Prometheus(NoSettings())
    for record in finished:
        observer.finished(record)  # type: ignore[arg-type]
    return check_metrics(observer.metrics())


def test_nothing_happened_nothing_is_shown() -> None:
    assert Prometheus(NoSettings()).metrics() == ""


def test_everything_about_a_request_is_counted() -> None:
    samples = counted(a_record("1"), a_record("2"))
    assert samples['llmhub_requests_total{outcome="served",dialect="openai_chat",route="fast",provider="b"}'] == 2
    assert samples['llmhub_tokens_total{direction="input",provider="b"}'] == 200
    assert samples['llmhub_tokens_total{direction="output",provider="b"}'] == 40
    assert samples['llmhub_cost_usd_total{provider="b"}'] == 0.002469134
    assert samples['llmhub_attempts_total{provider="a",reason="rate_limit_exceeded"}'] == 2
    assert samples['llmhub_attempts_total{provider="b",reason="ok"}'] == 2


def test_a_price_that_is_known_later_is_counted_then() -> None:
    observer, record = Prometheus(NoSettings()), a_record("1", cost=None)
    observer.finished(record)
    assert "llmhub_cost_usd_total{" not in observer.metrics()
    record.cost = 1_234_567
    observer.priced(record)
    assert check_metrics(observer.metrics())['llmhub_cost_usd_total{provider="b"}'] == 0.001234567


def test_a_request_that_nobody_served_has_no_provider() -> None:
    _, refused, *_ = records()
    samples = counted(a_record(), refused)
    assert samples['llmhub_requests_total{outcome="refused",dialect="openai_chat",route="fast",provider="none"}'] == 1
    nobodys = {name.partition("{")[0] for name in samples if 'provider="none"' in name}
    assert nobodys == {
        "llmhub_requests_total",
        *(f"llmhub_request_seconds_{end}" for end in ("bucket", "sum", "count")),
    }
    assert samples['llmhub_request_seconds_count{provider="none"}'] == 1


def test_a_histogram_counts_from_below() -> None:
    times = (50.0, 50.1, 400.0, 700.0, 1_000_000.0)
    samples = counted(*(a_record(str(time), total_ms=time, first_byte_ms=None) for time in times))
    name = "llmhub_request_seconds"
    found = [samples[f'{name}_bucket{{provider="b",le="{bound}"}}'] for bound in BUCKETS]
    assert found[:6] == [1, 2, 2, 3, 4, 4]  # a bound belongs to its bucket
    assert found == sorted(found)
    assert samples[f'{name}_bucket{{provider="b",le="+Inf"}}'] == samples[f'{name}_count{{provider="b"}}'] == 5
    assert samples[f'{name}_sum{{provider="b"}}'] == sum(times) / 1000


def test_the_callers_model_is_no_label() -> None:
    assert not [name for name in counted(a_record(model="made-up-by-a-caller")) if "made-up" in name]


def test_a_route_has_a_name_once_it_answered() -> None:
    failed = a_record("1", route="made-up", outcome="failed", provider="")
    other = 'llmhub_requests_total{outcome="failed",dialect="openai_chat",route="other",provider="none"}'
    named = other.replace("other", "made-up")
    assert counted(failed, failed)[other] == 2
    samples = counted(failed, a_record("2", route="made-up"), failed)
    assert (samples[other], samples[named]) == (1, 1)
    nowhere = counted(a_record(route="", outcome="refused", provider=""))
    assert 'llmhub_requests_total{outcome="refused",dialect="openai_chat",route="none",provider="none"}' in nowhere


def test_series_are_bounded_and_none_is_lost() -> None:
    observer = Prometheus(NoSettings())
    for number in range(3 * MOST_SERIES):
        outcome = "served" if number % 2 else "failed"
        observer.finished(a_record(str(number), provider=f"provider-{number}", outcome=outcome))
    observer.finished(a_record("again", provider="provider-1"))
    samples = check_metrics(observer.metrics())
    requests = {name: count for name, count in samples.items() if name.startswith("llmhub_requests_total")}
    assert len(requests) <= MOST_SERIES + 5
    assert sum(requests.values()) == 3 * MOST_SERIES + 1
    for outcome in ("served", "failed"):
        others = f'llmhub_requests_total{{outcome="{outcome}",dialect="other",route="other",provider="other"}}'
        assert requests[others] == MOST_SERIES
    known = 'llmhub_requests_total{outcome="served",dialect="openai_chat",route="fast",provider="provider-1"}'
    assert requests[known] == 2


def change(was: KeyState, now: KeyState, until: float | None = None) -> HealthChange:
    return HealthChange("a", "key:a/k1", was, now, "rate_limit_exceeded", until)


def test_the_present_state_of_a_key_is_shown() -> None:
    observer = Prometheus(NoSettings())
    observer.health_changed(change("active", "cooling", 4e9))
    observer.health_changed(change("cooling", "invalid"))
    samples = check_metrics(observer.metrics())
    states = {name: value for name, value in samples.items() if name.startswith("llmhub_key_state{")}
    assert states == {'llmhub_key_state{provider="a",subject="key:a/k1",state="invalid"}': 1}
    assert samples['llmhub_key_state_changes_total{state="cooling",provider="a"}'] == 1
    assert samples['llmhub_key_state_changes_total{state="invalid",provider="a"}'] == 1


def test_a_cooldown_that_is_over_is_over_though_nobody_said_so() -> None:
    observer = Prometheus(NoSettings())
    observer.health_changed(change("active", "cooling", until=1.0))
    assert 'state="active"} 1' in observer.metrics()


async def test_a_running_hub_shows_them(client: object) -> None:
    config = (
        '[observers.prometheus]\n[[providers]]\nname = "echo"\nkind = "echo"\n'
        '[[routes]]\nmodel = "fast"\ndeployments = [{ provider = "echo", model = "echo" }]\n'
    )
    body = {"model": "fast", "messages": [{"role": "user", "content": "Say hello."}]}
    async with House(config) as house:
        async with client.post(f"{house.url}/v1/chat/completions", json=body) as answer:  # type: ignore[attr-defined]
            assert answer.status == 200, await answer.text()
        await house.records()
        async with client.get(f"{house.url}/metrics") as answer:  # type: ignore[attr-defined]
            assert answer.content_type == "text/plain"
            samples = check_metrics(await answer.text())
    served = 'llmhub_requests_total{outcome="served",dialect="openai_chat",route="fast",provider="echo"}'
    assert samples[served] == 1
