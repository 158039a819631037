"""The seven doors. Each hook is called once, at start, and answers: what do you bring?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from llmhub_core.contracts.dialect import Dialect
from llmhub_core.contracts.interceptor import Interceptor
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.observer import Observer
from llmhub_core.contracts.provider import Provider
from llmhub_core.contracts.quota_store import QuotaStore
from llmhub_core.contracts.strategy import Strategy

ENTRY_POINTS = "llmhub.plugins"

hookspec = pluggy.HookspecMarker("llmhub")
hookimpl = pluggy.HookimplMarker("llmhub")


@hookspec
def register_dialects() -> Iterable[type[Dialect[Any]]] | None:
    """Wire formats that this plugin reads and writes."""


@hookspec
def register_providers() -> Iterable[type[Provider]] | None:
    """Kinds of places that serve models."""


@hookspec
def register_strategies() -> Iterable[type[Strategy]] | None:
    """Ways to put a route's candidates in order."""


@hookspec
def register_metadata_stores() -> Iterable[type[MetadataStore]] | None:
    """Databases in which everything that must last can rest."""


@hookspec
def register_quota_stores() -> Iterable[type[QuotaStore]] | None:
    """Places where quotas can be counted."""


@hookspec
def register_interceptors() -> Iterable[type[Interceptor]] | None:
    """What may look at (and change) requests, events and answers on their way."""


@hookspec
def register_observers() -> Iterable[type[Observer]] | None:
    """What is told about every exchange and every change of health."""
