"""docs/compatibility.md, from the outcomes of all cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backs import BACKS, Back
from fronts import FRONTS, Front
from grid import Cell, Grid, Outcome, cells, is_wordless
from talks import FAULTS, TALKS, Fault, Talk

HEAD = """# Compatibility

Four SDKs before five providers: what each row asks for arrives, and what comes back is read as the SDK's own provider
would have said it. Made by `python -m tests.compatibility` from a run of every cell, whole and streamed: the official
Python SDK asks, its own accumulator reads the stream, a scripted provider answers in its dialect. Compared are:

* in the answer: text, thoughts, tool names and parsed arguments, the reason for the end, and usage in the SDK's own
  arithmetic; of errors class, status and code
* in what the provider received: system prompt, turns, tools, bytes of images, documents and sound, the schema of the
  answer, stop texts, limits, and the wish to think

In the tables:

* **yes**: everything arrives, both ways, whole and streamed
* a number: the answer arrives, but the provider's format cannot say all of the request; the note names what the hub
  told in `x-llmhub-adapted` (with `x-llmhub-strict: 1` it refuses such a request)
* **no**: the provider's format cannot say what the request is about; it is refused, before any provider is asked, with
  status 400, the code `unsupported_content` and the name of the part
* **–**: the SDK's own format has no words for it

What becomes of each single setting stands in [parameters](parameters.md).
"""

MODELS = "The models that were asked, and those that were asked to think:\n\n"

ERRORS = """## Errors

What the provider answers, and what each SDK raises: the same before every provider, whole and streamed. The hub's own
keys are no business of the caller's; what the codes mean stands in [errors](errors.md).
"""


def page(outcomes: Mapping[Cell, Outcome]) -> str:
    """The whole page; every outcome must be a good one."""
    return "\n".join(_lines(outcomes)).rstrip() + "\n"


def _lines(outcomes: Mapping[Cell, Outcome]) -> Iterator[str]:
    yield HEAD
    yield MODELS + "".join(f"* {back.title}: {_models(back)}\n" for back in BACKS)
    notes: list[str] = []
    for front in FRONTS:
        yield f"## {front.title}\n"
        yield _row("", *(back.title for back in BACKS))
        yield _row(*["---"] * (len(BACKS) + 1))
        for talk in TALKS:
            yield _row(talk.title, *(_mark(outcomes, front, back, talk, notes) for back in BACKS))
        yield ""
    yield "## Notes\n"
    yield from (f"{number}. {note}" for number, note in enumerate(notes, 1))
    yield "\n" + ERRORS
    yield _row("provider's status", *(front.title for front in FRONTS))
    yield _row(*["---"] * (len(FRONTS) + 1))
    for fault in FAULTS:
        yield _row(str(fault.status), *(_raised(outcomes, front, fault) for front in FRONTS))


def _models(back: Back) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys([back.model, back.thinker]))


def _mark(outcomes: Mapping[Cell, Outcome], front: type[Front], back: Back, talk: Talk, notes: list[str]) -> str:
    if is_wordless(front.dialect, talk):
        return "–"
    outcome = _agreed(outcomes, front, back, talk)
    if outcome.refused:
        return "**no**"
    if not outcome.adapted:
        return "yes"
    note = ", ".join(f"`{each}`" for each in outcome.adapted)
    if note not in notes:
        notes.append(note)
    return str(notes.index(note) + 1)


def _agreed(outcomes: Mapping[Cell, Outcome], front: type[Front], back: Back, row: Talk | Fault) -> Outcome:
    """The same whole and streamed."""
    whole, streamed = (outcomes[Cell(front, back, row, form)] for form in (False, True))
    assert whole.failure is None, whole.failure
    assert whole == streamed, (front.title, back.title, row.title)
    return whole


def _raised(outcomes: Mapping[Cell, Outcome], front: type[Front], fault: Fault) -> str:
    for back in BACKS:
        _agreed(outcomes, front, back, fault)
    return f"`{front.raised(fault)}`, {fault.told} `{fault.code}`"


def _row(*values: str) -> str:
    return "| " + " | ".join(values) + " |"


async def made() -> str:
    """The page from a run of its own."""
    async with Grid() as grid:
        return page({cell: await grid.outcome(cell) for cell in cells()})
