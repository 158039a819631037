"""One page of metrics from those of several processes, in Prometheus' text format: each series says whose it is."""

from __future__ import annotations

from collections.abc import Iterable


def merged(pages: Iterable[tuple[int, str]]) -> str:
    """Pages with their worker's number; the lines of one family together, as the format wants it."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for worker, page in sorted(pages):
        family: tuple[list[str], list[str]] | None = None
        for line in page.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                family = families.setdefault(line.split(" ", 3)[2], ([], []))
                if line not in family[0]:
                    family[0].append(line)
            elif line and not line.startswith("#"):
                name = line.partition("{")[0].partition(" ")[0]
                (family or families.setdefault(name, ([], [])))[1].append(_labelled(line, worker))
            elif line:
                families.setdefault(line, ([line], []))
    return "".join(f"{line}\n" for about, samples in families.values() for line in (*about, *samples))


def _labelled(sample: str, worker: int) -> str:
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{worker="{worker}"{"" if rest.startswith("}") else ","}{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'
