"""Counters and histograms for `GET /metrics`, in Prometheus' text format, version 0.0.4.

(https://prometheus.io/docs/instrumenting/exposition_formats/)

Everything is a plain number in a dict until somebody asks. No label holds what a caller made up: a route is named once
it has answered, until then it is "other", and so is everything new in a metric that has `MOST_SERIES` label sets.
Each process counts for itself.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator

from llmhub_core.contracts import Alert, HealthChange, Observer, Record, hookimpl

MOST_SERIES = 500
"""Distinct label sets that one metric keeps."""

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds in seconds."""

NANO = 1_000_000_000

Labels = tuple[str, ...]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Metric:
    """A family of series. `closed` labels, the first ones, have few values by nature: they outlive "other"."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Labels, closed: int = 0) -> None:
        self.name = name
        self.help = help
        self._labels = labels
        self._closed = closed
        self._full = 0

    def series(self, values: Labels, known: Container[Labels]) -> Labels:
        """`values`, or what stands for them when the metric has enough series already."""
        if values in known:
            return values
        if self._full < MOST_SERIES:
            self._full += 1
            return values
        return values[: self._closed] + ("other",) * (len(values) - self._closed)

    def render(self) -> Iterator[str]:
        """The family's lines; none if nothing was counted yet."""
        samples = [*self.samples()]
        if samples:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} {self.kind}"
            yield from samples

    def samples(self) -> Iterator[str]:
        raise NotImplementedError

    def _sample(self, values: Labels, number: str, suffix: str = "", more: str = "") -> str:
        pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(self._labels, values, strict=True)]
        labels = ",".join([*pairs, more] if more else pairs)
        return f"{self.name}{suffix}{{{labels}}} {number}"


class Counter(Metric):
    """Only ever grows. `unit` divides on the way out, so that sums of money stay whole numbers inside."""

    def __init__(self, name: str, help: str, labels: Labels, closed: int = 0, unit: int = 1) -> None:
        super().__init__(name, help, labels, closed)
        self._unit = unit
        self._counts: dict[Labels, int] = {}

    def add(self, values: Labels, amount: int = 1) -> None:
        series = self.series(values, self._counts)
        self._counts[series] = self._counts.get(series, 0) + amount

    def samples(self) -> Iterator[str]:
        for values, count in self._counts.items():
            yield self._sample(values, str(count) if self._unit == 1 else repr(count / self._unit))


class Histogram(Metric):
    """How often a time fell below each of `BUCKETS`."""

    kind = "histogram"

    def __init__(self, name: str, help: str, labels: Labels, closed: int = 0) -> None:
        super().__init__(name, help, labels, closed)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, values: Labels, seconds: float) -> None:
        series = self.series(values, self._counts)
        counts = self._counts.setdefault(series, [0] * (len(BUCKETS) + 1))
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._sums[series] = self._sums.get(series, 0.0) + seconds

    def samples(self) -> Iterator[str]:
        for values, counts in self._counts.items():
            below = 0
            for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
                below += count
                yield self._sample(values, str(below), "_bucket", f'le="{bound}"')
            yield self._sample(values, repr(self._sums[values]), "_sum")
            yield self._sample(values, str(below), "_count")


class States(Metric):
    """1 for the state that a key (or account, model, place) is in now; whoever never left `active` is not listed."""

    kind = "gauge"

    def __init__(self, name: str, help: str, labels: Labels) -> None:
        super().__init__(name, help, labels)
        self._changes: dict[Labels, HealthChange] = {}

    def note(self, change: HealthChange) -> None:
        self._changes[self.series((change.provider, change.subject), self._changes)] = change

    def samples(self) -> Iterator[str]:
        now = time.time()
        for values, change in self._changes.items():
            # The hub looks again only when the next request comes, but a cooldown that is over is over.
            over = change.until is not None and change.until <= now
            yield self._sample((*values, "active" if over else change.now), "1")


class Open(Metric):
    """How many are open now. A rule that has none any more stays, with 0: a series that ends looks like an outage."""

    kind = "gauge"

    def __init__(self, name: str, help: str, labels: Labels) -> None:
        super().__init__(name, help, labels)
        self._open: dict[Labels, set[str]] = {}

    def note(self, alert: Alert) -> None:
        ids = self._open.setdefault(self.series((alert.rule, alert.severity), self._open), set())
        if alert.recovered_at is None:
            ids.add(alert.id)
        else:
            ids.discard(alert.id)

    def samples(self) -> Iterator[str]:
        for values, ids in self._open.items():
            yield self._sample(values, str(len(ids)))


class Prometheus(Observer):
    """The metrics are those of `__init__`; docs/plugins/observers.md explains them."""

    name = "prometheus"

    def __init__(self, settings: object) -> None:
        super().__init__(settings)
        provider = ("provider",)
        self._routes: set[str] = set()
        self._requests = Counter(
            "llmhub_requests_total", "Finished requests.", ("outcome", "dialect", "route", "provider"), closed=1
        )
        self._tokens = Counter("llmhub_tokens_total", "Tokens read and written.", ("direction", "provider"), closed=1)
        key = ("route", "provider", "key")
        self._input = Counter("llmhub_key_input_tokens_total", "Tokens read, by the key that was billed.", key)
        self._cached = Counter("llmhub_key_cached_tokens_total", "… of these, read from the provider's cache.", key)
        self._cost = Counter("llmhub_cost_usd_total", "Cost in USD, as far as prices are known.", provider, unit=NANO)
        self._seconds = Histogram("llmhub_request_seconds", "From a request's arrival to its end.", provider)
        self._first_byte = Histogram("llmhub_first_byte_seconds", "From arrival to the first byte sent back.", provider)
        self._attempts = Counter("llmhub_attempts_total", "Calls to providers.", ("provider", "reason"))
        self._changes = Counter(
            "llmhub_key_state_changes_total", "Changes of state, by the new state.", ("state", "provider"), closed=1
        )
        self._alerts = Open("llmhub_alerts", "Open alerts.", ("rule", "severity"))
        self._states = States("llmhub_key_state", "1 for the present state.", ("provider", "subject", "state"))

    def finished(self, record: Record) -> None:
        provider = record.provider or "none"
        self._requests.add((record.outcome, record.dialect, self._route(record), provider))
        self._seconds.observe((provider,), record.total_ms / 1000.0)
        if record.first_byte_ms is not None:
            self._first_byte.observe((provider,), record.first_byte_ms / 1000.0)
        if record.input_tokens:
            self._tokens.add(("input", provider), record.input_tokens)
            if record.key and not record.usage_estimated:
                key = (self._route(record), provider, record.key)
                self._input.add(key, record.input_tokens)
                self._cached.add(key, record.cached_tokens)
        if record.output_tokens:
            self._tokens.add(("output", provider), record.output_tokens)
        if record.cost:
            self._cost.add((provider,), record.cost)
        for attempt in record.attempts:
            self._attempts.add((attempt.provider, attempt.reason))

    def priced(self, record: Record) -> None:
        if record.cost:
            self._cost.add((record.provider,), record.cost)

    def _route(self, record: Record) -> str:
        # With a single provider any model's name leads to it, also one that does not exist: nobody serves that.
        route = record.route
        if record.outcome == "served" and route and len(self._routes) < MOST_SERIES:
            self._routes.add(route)
        return route if route in self._routes else "other" if route else "none"

    def health_changed(self, change: HealthChange) -> None:
        self._changes.add((change.now, change.provider))
        self._states.note(change)

    def alert_changed(self, alert: Alert) -> None:
        self._alerts.note(alert)

    def metrics(self) -> str:
        families: tuple[Metric, ...] = (
            self._requests,
            self._tokens,
            self._input,
            self._cached,
            self._cost,
            self._seconds,
            self._first_byte,
            self._attempts,
            self._changes,
            self._alerts,
            self._states,
        )
        return "".join(f"{line}\n" for family in families for line in family.render())


def _escaped(value: str) -> str:
    # Half surrogates have no bytes in UTF-8 and would spoil the whole page.
    whole = value[:128].encode("utf-8", "replace").decode()
    return _CONTROL.sub("?", whole).replace("\\", "\\\\").replace('"', '\\"')


@hookimpl
def register_observers() -> Iterable[type[Observer]]:
    """Metrics for Prometheus."""
    return [Prometheus]
