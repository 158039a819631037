"""What is configured, entry by entry, and what came of acts on it."""

from __future__ import annotations

from typing import Any, Literal

from llmhub_core.admin.views.base import View
from llmhub_core.admin.views.running import KeyView, LevelView


class EntryView(View):
    """Something that is configured. `settings` is its table as config.toml would have it, without secrets.

    origin    file, environment (found there), or stored: added while the hub ran, and to be changed by this API
    where     file and line
    revision  of what is stored; 0 where nothing is
    problem   why it does not count, "" if it does
    """

    name: str
    origin: Literal["default", "file", "environment", "stored"]
    where: str
    revision: int
    disabled: bool
    problem: str
    settings: dict[str, Any]


class ProviderEntryView(EntryView):
    kind: str
    keys: list[str]
    models: list[str]


class KeyEntryView(KeyView):
    """A key with its state, and what an `EntryView` tells; `settings.secret` is masked, and sent back so it changes
    nothing."""

    origin: Literal["default", "file", "environment", "stored"]
    where: str
    revision: int
    disabled: bool
    problem: str
    settings: dict[str, Any]


class AffinityView(View):
    """What came of a route's affinity since the hub began: `followed` answers to conversations that were known, `kept`
    of them by the key that had served it before; `cached_tokens` of all `input_tokens` that providers told were read
    from their caches, which is the `hit_rate` (0 to 1, None before the first)."""

    followed: int
    kept: int
    input_tokens: int
    cached_tokens: int
    hit_rate: float | None


class RouteEntryView(EntryView):
    """`affinity` is None of a route without."""

    strategy: str
    candidates: list[str]
    affinity: AffinityView | None = None


class TokenEntryView(EntryView):
    """`hint` is the end of the token."""

    hint: str
    levels: list[LevelView]


class MadeToken(TokenEntryView):
    """`token` is shown this once."""

    token: str


class ProbeView(View):
    """What a provider said to a key. `asked` is what for: its list of models, an answer of one token, or nothing where
    there is no list; `state` is the key's afterwards, `message` the provider's word."""

    works: bool
    state: Literal["active", "cooling", "exhausted", "invalid", "disabled"]
    asked: Literal["models", "answer", "nothing"]
    ms: float
    status: int | None
    code: str
    message: str
    models: list[str]


class ImportedKey(View):
    """What became of a line: `hint` is how its secret may be shown."""

    line: int
    name: str
    hint: str
    result: Literal["added", "duplicate", "refused"]
    why: str


class ImportView(View):
    added: int
    duplicates: int
    refused: int
    dry_run: bool
    items: list[ImportedKey]
