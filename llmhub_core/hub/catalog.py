"""What can be asked for: providers, routes, and the candidates behind each public name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmhub_core.contracts.candidate import Candidate, CandidateStats, Deployment, ProviderKey
from llmhub_core.contracts.dialect import ModelCard
from llmhub_core.contracts.errors import PluginError, UnknownModel
from llmhub_core.contracts.provider import Provider, Timeouts
from llmhub_core.contracts.strategy import Strategy

AD_HOC_ROUTES = 1000
"""Names of the form provider/model are the caller's to choose: no more than these are remembered."""

LONGEST_NAME = 256
"""… and no longer ones are looked for."""


@dataclass(slots=True, eq=False)
class Route:
    """A public name: the candidates behind it, how they are ordered, where to go when all are out.

    `fallbacks_on` names other routes by the code of a refusal (context_length, content_filter).
    """

    model: str
    strategy: Strategy
    standing: list[CandidateStats]
    timeouts: Timeouts = field(default_factory=Timeouts)
    fallbacks: tuple[str, ...] = ()
    fallbacks_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wait: float = 0.0
    affinity: str = ""
    hedge: bool = False
    continuation: bool = False
    turn: int = 0


@dataclass(slots=True, eq=False)
class Place:
    """A configured provider with its keys. `models` are the names it is known to serve: from the configuration,
    and those that the place itself listed; None until it was asked."""

    name: str
    kind: str
    provider: Provider
    keys: tuple[ProviderKey, ...]
    timeouts: Timeouts
    models: tuple[str, ...] = ()
    listed: frozenset[str] | None = None
    serves: bool = field(init=False)
    unwraps: bool = field(init=False)
    """Whether the provider answers in this process, and whether it has framings of its own: most do neither."""

    def __post_init__(self) -> None:
        kind = type(self.provider)
        self.serves = kind.serve is not Provider.serve
        self.unwraps = kind.envelope is not Provider.envelope

    def lists(self, model: str) -> bool:
        """Also by an alias: providers list ``claude-haiku-4-5-20251001`` and answer to ``claude-haiku-4-5``."""
        listed = self.listed or ()
        return model in self.models or model in listed or any(name.startswith(model + "-") for name in listed)


class Catalog:
    """Built from the configuration. Live numbers are kept a candidate, whatever routes it stands in."""

    def __init__(self, places: Iterable[Place], default_strategy: Strategy) -> None:
        self.places = {place.name: place for place in places}
        self.routes: dict[str, Route] = {}
        self.created = int(time.time())
        self._default_strategy = default_strategy
        self._stats: dict[tuple[str, str, str], CandidateStats] = {}
        self._ad_hoc: dict[str, Route] = {}

    def candidates(self, deployment: Deployment) -> list[CandidateStats]:
        """The deployment with each key that is allowed to serve its model."""
        place = self.places.get(deployment.provider)
        if place is None:
            raise PluginError(f"there is no provider {deployment.provider}")
        return [
            self._stand(deployment, key) for key in place.keys if any(_matches(p, deployment.model) for p in key.models)
        ]

    def _stand(self, deployment: Deployment, key: ProviderKey) -> CandidateStats:
        identity = (deployment.provider, deployment.model, key.name)
        stats = self._stats.get(identity)
        # The same model in two routes may differ in priority or weight: then it is a candidate of its own.
        if stats is None or stats.candidate.deployment != deployment:
            stats = CandidateStats(Candidate(deployment, key))
            self._stats.setdefault(identity, stats)
        return stats

    def add(self, route: Route) -> None:
        self.routes[route.model] = route

    def find(self, model: str) -> Route | None:
        """The route of a public name; None if the name could only be known to a provider that was not asked yet."""
        route = self.routes.get(model) or self._ad_hoc.get(model)
        if route is not None:
            return route
        if len(model) > LONGEST_NAME:
            return None
        deployment = self._written_out(model) or self._listed_once(model)
        if deployment is None:
            return None
        place = self.places[deployment.provider]
        route = Route(model, self._default_strategy, self.candidates(deployment), place.timeouts)
        if len(self._ad_hoc) >= AD_HOC_ROUTES:
            self._forget(self._ad_hoc.pop(next(iter(self._ad_hoc))))
        self._ad_hoc[model] = route
        return route

    def _forget(self, route: Route) -> None:
        """Let go of the numbers of candidates that only a made-up name led to."""
        kept = {id(stats) for each in self.routes.values() for stats in each.standing}
        for stats in route.standing:
            deployment = stats.candidate.deployment
            identity = (deployment.provider, deployment.model, stats.candidate.key.name)
            if id(stats) not in kept and self._stats.get(identity) is stats:
                del self._stats[identity]

    def _written_out(self, model: str) -> Deployment | None:
        name, slash, rest = model.partition("/")
        return Deployment(name, rest) if slash and rest and name in self.places else None

    def _listed_once(self, model: str) -> Deployment | None:
        having = [place.name for place in self.places.values() if place.lists(model)]
        if not having and len(self.places) == 1:
            # A provider alone that was asked and lists nothing: what is asked for can only be there.
            having = [place.name for place in self.places.values() if not place.models and place.listed == frozenset()]
        return Deployment(having[0], model) if len(having) == 1 else None

    def unknown(self, model: str) -> UnknownModel:
        """The refusal for a name that leads nowhere, with what would."""
        shown = model if len(model) <= 64 and model.isprintable() else "asked for"
        return UnknownModel(
            f"The model {shown} is not known here; GET /v1/models lists the names that are, and provider/model "
            "reaches any model of a configured provider.",
            param="model",
        )

    def cards(self) -> list[ModelCard]:
        """All public names, and the models that providers list, written out."""
        cards = [ModelCard(name, self.created, "llm-hub") for name in self.routes]
        for place in self.places.values():
            names = sorted({*place.models, *(place.listed or ())})
            cards.extend(ModelCard(f"{place.name}/{name}", self.created, place.name) for name in names)
        return cards

    @property
    def stats(self) -> list[CandidateStats]:
        return list(self._stats.values())


def _matches(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
