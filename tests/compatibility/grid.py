"""Every SDK before every provider: one hub for all cells, each cell asked once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import product
from types import TracebackType
from typing import Any

from backs import BACKS, Back, OneDialectEach, asked_in
from fronts import FRONTS, Front, Heard
from talks import FAULTS, TALKS, Fault, Json, Talk, is_impossible

from llmhub_core.hub.registry import Registry
from llmhub_core.testing.house import House
from llmhub_core.testing.upstream import FakeUpstream


@dataclass(frozen=True)
class Cell:
    front: type[Front]
    back: Back
    row: Talk | Fault
    streamed: bool

    def __str__(self) -> str:
        row = self.row.title.replace(", ", "-").replace(" ", "-")
        return f"{self.front.dialect}-{self.back.kind}-{row}-{'streamed' if self.streamed else 'whole'}"


@dataclass(frozen=True)
class Outcome:
    """`adapted` is what was lost on the way, as the hub told it; `refused` the code of a refusal where the request
    cannot be said at all; `failure` what went wrong, None in a good cell."""

    adapted: tuple[str, ...] = ()
    refused: str = ""
    failure: Exception | None = None


def cells() -> Iterator[Cell]:
    rows: tuple[Talk | Fault, ...] = (*TALKS, *FAULTS)
    for front, back, row, streamed in product(FRONTS, BACKS, rows, (False, True)):
        if not is_wordless(front.dialect, row):
            yield Cell(front, back, row, streamed)


def is_wordless(dialect: str, row: Talk | Fault) -> bool:
    """Whether the caller's own format has no words for the request: then there is nothing to ask."""
    return isinstance(row, Talk) and row.asked(dialect) is None


class Grid:
    """An async context: the hub, its providers and the SDKs. `outcome` asks a cell, once."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._outcomes: dict[Cell, Outcome] = {}
        self._fronts: dict[type[Front], Front] = {}
        self._house: House
        self._upstream: FakeUpstream

    async def __aenter__(self) -> Grid:
        self._upstream = await self._stack.enter_async_context(FakeUpstream())
        registry = Registry().discover()
        registry.admit_module(OneDialectEach(), "tests.compatibility")
        config = "".join(back.config(self._upstream.url) for back in BACKS)
        # Errors are asked for on purpose and must not cost a provider its place.
        house = House("[routing]\nbreaker_failures = 1000\n" + config, registry=registry)
        self._house = await self._stack.enter_async_context(house)
        for made in FRONTS:
            front = self._fronts[made] = made(house.url)
            self._stack.push_async_callback(front.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def outcome(self, cell: Cell) -> Outcome:
        if cell not in self._outcomes:
            try:
                self._outcomes[cell] = await self._try(cell)
            except Exception as failure:  # whatever it is, the cell has it, and a test or a reader sees it
                self._outcomes[cell] = Outcome(failure=failure)
        return self._outcomes[cell]

    async def _try(self, cell: Cell) -> Outcome:
        """AssertionError where something is not as it was said, or whatever else goes wrong."""
        self._upstream.requests.clear()
        self._upstream.script(cell.back.answer(cell.row, cell.streamed))
        if isinstance(cell.row, Fault):
            await self._fail(cell, cell.row)
            return Outcome()
        front, body = self._fronts[cell.front], cell.row.asked(cell.front.dialect)
        assert body is not None
        if is_impossible(cell.row, cell.front.dialect, cell.back.dialect):
            await self._be_refused(cell, body)
            return Outcome(refused=UNSUPPORTED)
        heard = await self._ask(cell, body)
        adapted = tuple(filter(None, front.adapted.split(", ")))
        check_asked(cell, body, self._only_request(), adapted)
        own = cell.front.dialect == cell.back.dialect
        same(heard, front.expected(cell.row, cell.back.truth(cell.row), own), "read by the SDK")
        return Outcome(adapted)

    async def _be_refused(self, cell: Cell, body: Json) -> None:
        """What the provider cannot know is refused by name, and it is asked nothing."""
        front = self._fronts[cell.front]
        refusal = Fault(0, 400, UNSUPPORTED, ("BadRequestError", "BadRequestError", "ClientError"))
        try:
            heard = await self._ask(cell, body)
        except Exception as error:
            same(front.error_told(error), front.error_expected(refusal), "raised by the SDK")
        else:
            raise AssertionError(f"no error, but {heard}")
        same([each for each in self._upstream.requests if each.method == "POST"], [], "sent to the provider")

    async def _ask(self, cell: Cell, body: Json) -> Heard:
        model = f"{cell.back.kind}/{cell.back.asks_for(cell.row)}"
        return await self._fronts[cell.front].ask(model, body, cell.streamed)

    async def _fail(self, cell: Cell, fault: Fault) -> None:
        front = self._fronts[cell.front]
        body = TALKS[0].asked(cell.front.dialect)
        assert body is not None
        hub = self._house.hub
        hub.pool.reset(hub.catalog.places[cell.back.kind].keys[0])  # which a fault of an earlier cell may have marked
        try:
            heard = await self._ask(cell, body)
        except Exception as error:
            same(front.error_told(error), front.error_expected(fault), "raised by the SDK")
        else:
            raise AssertionError(f"no error, but {heard}")
        self._only_request()

    def _only_request(self) -> Json:
        (request,) = (each for each in self._upstream.requests if each.method == "POST")
        body: Json = request.json
        return body


UNSUPPORTED = "unsupported_content"

EXCUSES = {
    "stop": {"stop=dropped"},
    "thinks": {"effort=dropped", "reasoning_tokens=dropped"},
    "searches": {"web_search_options=dropped"},
}
"""Where the hub says that it dropped a setting, the setting has to be missing."""


def check_asked(cell: Cell, body: Json, sent: Json, adapted: tuple[str, ...]) -> None:
    """What went out says what was asked."""
    wanted, asked = asked_in(cell.front.dialect, body), cell.back.asked(sent)
    for what, names in EXCUSES.items():
        if not names.isdisjoint(adapted):
            assert not asked.pop(what), f"{what}: it is said to be dropped, and is there"
            del wanted[what]
    if wanted["max"] is None:
        wanted["max"] = asked["max"]  # Anthropic requires a limit: where the caller named none, any will do
    wanted["model"] = None if cell.back.dialect == "gemini" else cell.back.asks_for(cell.row)
    same(asked, wanted, "sent to the provider")


def same(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found}\nexpected: {expected}")
