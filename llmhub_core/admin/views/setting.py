"""How the hub is set up: where a request would go, plugins, settings, and what came of reading them again."""

from __future__ import annotations

from typing import Any, Literal

from llmhub_core.admin.views.base import View
from llmhub_core.admin.views.past import LeftOut


class FitView(View):
    """What a request would take of a limit, and what is left of it; in `resets_in` seconds something comes back."""

    id: str
    kind: Literal["requests", "tokens", "concurrency", "money"]
    window: int
    amount: int
    needs: int
    left: int
    resets_in: float
    fits: bool


class CandidateView(View):
    """`lost` is what of the request gets lost on the way to it, as in x-llmhub-adapted; `limits` are those that it
    would meet there. Both are empty where no request was shown."""

    candidate: str
    priority: int
    key_priority: int
    weight: int
    lost: list[str]
    limits: list[FitView]


class ExplainView(View):
    """Where a request would go at this moment, without sending it. Of a request that was shown: `tokens` is what it
    would reserve, `caller_limits` are those of its token, `warm` is who has its prompt in a cache, "" if nobody."""

    model: str
    dialect: str
    route: str
    strategy: str
    attempts: int
    candidates: list[CandidateView]
    left_out: list[LeftOut]
    tokens: int | None
    caller_limits: list[FitView]
    warm: str


class PluginView(View):
    entry: str
    distribution: str
    version: str
    state: str
    reason: str
    brought: list[str]
    used: list[str]


class SettingView(View):
    """`value` as JSON; of a secret only whether there is one. `unit` is seconds or bytes, "" for none. `where` is the
    file and line, or the variable."""

    key: str
    value: Any
    origin: Literal["default", "file", "environment", "stored"]
    where: str
    secret: bool
    help: str
    unit: str


class ReloadView(View):
    """What became of reading the configuration again.

    With `refused` the file is not used, for the reasons in `problems`, and the one before still counts; `left_out` are
    stored entries that do not count, `needs_restart` settings that count from the next start on.
    """

    at: float
    refused: bool
    changes: list[str]
    problems: list[str]
    warnings: list[str]
    left_out: list[str]
    needs_restart: list[str]
