"""The rows of a run as one Markdown table: medians over the repetitions, and ratios of these medians to nginx."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

VERBATIM = {"translated": "stream", "image_translated": "image"}  # what a translated scenario is compared with
OTHERS_TOO_MUCH = 0.15  # of one core; above it, figures run high


@dataclass(frozen=True)
class Row:
    target: str
    scenario: str
    repetition: int
    requests: int
    events: int  # text events that reached the client, 0 if not streamed
    cpu_us_request: float
    cpu_us_event: float
    requests_per_second: float
    target_busy: float  # share of its core that the target used
    others_busy: float  # cores' worth of CPU that other programs used meanwhile
    pss_mb: float
    start_s: float
    upstream_requests: int
    failed: int
    not_200: int
    incomplete: int
    wrong: int
    unfinished: int
    connections: int

    @property
    def faults(self) -> int:
        return self.failed + self.not_200 + self.incomplete + self.wrong + self.unfinished

    @property
    def disturbed(self) -> bool:
        return self.others_busy > OTHERS_TOO_MUCH


@dataclass(frozen=True)
class Column:
    title: str
    cell: Callable[[str], str]


class Report:
    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def _median(self, target: str, scenario: str, value: Callable[[Row], float]) -> float | None:
        found = [value(row) for row in self.rows if (row.target, row.scenario) == (target, scenario)]
        return statistics.median(found) if found else None

    def _cost(self, target: str, scenario: str) -> float | None:
        per_event = scenario in ("stream", "translated")
        return self._median(target, scenario, lambda row: row.cpu_us_event if per_event else row.cpu_us_request)

    def _cost_column(self, scenario: str) -> Column:
        unit = "event" if scenario in ("stream", "translated") else "request"

        def cell(target: str) -> str:
            return _number(self._cost(target, scenario), 1)

        return Column(f"{scenario}: CPU-µs/{unit}", cell)

    def _ratio_column(self, title: str, scenario: str, other: str | None, other_scenario: str) -> Column:
        """Ratio to another target's cost, or (other is None) to the target's own cost in another scenario."""

        def cell(target: str) -> str:
            mine, theirs = self._cost(target, scenario), self._cost(other or target, other_scenario)
            return _number(mine / theirs, 2) if mine and theirs else "–"

        return Column(title, cell)

    def _value_column(self, title: str, scenario: str, value: Callable[[Row], float], digits: int) -> Column:
        return Column(title, lambda target: _number(self._median(target, scenario, value), digits))

    def _columns(self, scenarios: list[str]) -> Iterable[Column]:
        for scenario in scenarios:
            yield self._cost_column(scenario)
            if scenario in VERBATIM:
                yield self._ratio_column("× nginx, verbatim", scenario, "nginx", VERBATIM[scenario])
                yield self._ratio_column("× own verbatim", scenario, None, VERBATIM[scenario])
            else:
                yield self._ratio_column("× nginx", scenario, "nginx", scenario)
            if scenario == "whole":
                yield self._value_column("requests/s on one core", scenario, lambda row: row.requests_per_second, 0)
        first = scenarios[0]
        yield self._value_column(f"PSS MB after {first}", first, lambda row: row.pss_mb, 0)
        yield self._value_column("start s", first, lambda row: row.start_s, 2)
        yield Column("faults", lambda target: str(sum(row.faults for row in self.rows if row.target == target)))
        yield Column("others' CPU, most", self._others)

    def _others(self, target: str) -> str:
        most = max((row.others_busy for row in self.rows if row.target == target), default=0.0)
        return f"{most:.2f}" + (" (!)" if most > OTHERS_TOO_MUCH else "")

    def markdown(self) -> str:
        scenarios = list(dict.fromkeys(row.scenario for row in self.rows))
        if not scenarios:
            return "Nothing was measured."
        columns = list(self._columns(scenarios))
        targets = dict.fromkeys(row.target for row in self.rows)
        cells = [["target", *(column.title for column in columns)]]
        cells += [[target, *(column.cell(target) for column in columns)] for target in targets]
        lines = [f"| {' | '.join(line)} |" for line in cells]
        lines.insert(1, "|---|" + "---:|" * len(columns))
        return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return f"{value:,.{digits}f}" if value else "–"
