"""What can be asked for: providers, routes, and the candidates behind each public name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from llmhub_core.contracts.candidate import Candidate, CandidateStats, Deployment, KeyState, Limit, ProviderKey
from llmhub_core.contracts.dialect import Dialect, ModelCard
from llmhub_core.contracts.errors import PluginError, UnknownModel
from llmhub_core.contracts.provider import Provider, Timeouts
from llmhub_core.contracts.strategy import Equals, Strategy, priority_levels
from llmhub_core.hub.vault import Secret

AD_HOC_ROUTES = 1000
"""Names of the form provider/model are the caller's to choose: no more than these are remembered."""

LONGEST_NAME = 256
"""… and no longer ones are looked for."""

MOST_LEFT_OUT = 16
"""Keys of a deployment that the configuration leaves out and that each decision tells of one by one."""

NO_SECRET = Secret("")

Learns = Literal["off", "show", "bind"]
"""Whether limits are learned: not at all, to be shown, or to hold requests to them."""


@dataclass(slots=True, eq=False)
class Place:
    """A configured provider with its keys. `models` are the names it is known to serve: from the configuration,
    and those that the place itself listed; None until it was asked, which is due again at `list_again` (monotonic).

    options   the settings that the provider was made from
    secrets   of its keys, by name
    out       keys that the configuration itself takes out of use, by name: state and reason
    learns    whether limits are learned of keys, by name: shown, or bind
    targets   in which dialect the requests of each other one are sent here (kept by the hub)
    """

    name: str
    kind: str
    provider: Provider
    keys: tuple[ProviderKey, ...]
    timeouts: Timeouts
    models: tuple[str, ...] = ()
    listed: frozenset[str] | None = None
    list_again: float = 0.0
    disabled: bool = False
    options: Any = field(default=None, repr=False)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    out: Mapping[str, tuple[KeyState, str]] = field(default_factory=dict)
    learns: Mapping[str, Learns] = field(default_factory=dict)
    targets: dict[str, Dialect[Any] | None] = field(default_factory=dict, repr=False)
    serves: bool = field(init=False)
    unwraps: bool = field(init=False)
    """Whether the provider answers in this process, and whether it has framings of its own: most do neither."""

    def __post_init__(self) -> None:
        kind = type(self.provider)
        self.serves = kind.serve is not Provider.serve
        self.unwraps = kind.envelope is not Provider.envelope

    @property
    def usable_key(self) -> ProviderKey | None:
        """The first that the configuration does not take out of use."""
        return next((key for key in self.keys if key.name not in self.out), None)

    def lists(self, model: str) -> bool:
        """Also by an alias: providers list ``claude-haiku-4-5-20251001`` and answer to ``claude-haiku-4-5``."""
        if self.disabled:
            return False
        listed = self.listed or ()
        return model in self.models or model in listed or any(name.startswith(model + "-") for name in listed)

    def goes_on(self, was: Place) -> None:
        """Take over what was learned when the provider is the same as before a reload."""
        self.listed, self.list_again = was.listed, was.list_again


@dataclass(slots=True, eq=False)
class Standing(CandidateStats):
    """A candidate in a catalog has with it all that an attempt needs, so that a request ends on what it began with,
    whatever is configured meanwhile."""

    place: Place = field(kw_only=True, repr=False)
    secret: Secret = field(kw_only=True)
    quotas: tuple[Limit, ...] = field(default=(), init=False, repr=False)
    """Its declared limits and the learned ones that bind, without what is only guessed for the moment."""
    learns: Learns = field(default="off", init=False)
    look_at: float = field(default=inf, init=False, repr=False)
    """When the headers of an answer are looked at next, by the performance counter."""

    def __post_init__(self) -> None:
        self.renewed()

    def renewed(self) -> None:
        """Its key is another one, or was configured otherwise."""
        key = self.candidate.key
        self.limits = self.quotas = key.limits
        self.counted = ()
        self.learns = self.place.learns.get(key.name, "off")
        self.look_at = inf if self.learns == "off" else 0.0


def of_catalog(stats: CandidateStats) -> Standing:
    """Strategies know less of candidates than the catalog that they come from."""
    assert isinstance(stats, Standing)  # noqa: S101 — nobody else makes any that are asked
    return stats


@dataclass(slots=True, eq=False)
class Route:
    """A public name: the candidates behind it, how they are ordered, where to go when all are out.

    `fallbacks_on` names other routes by the code of a refusal (context_length, content_filter), `left_out` the
    candidates that the configuration itself takes out of use, each with the reason.
    """

    model: str
    strategy: Strategy
    standing: Sequence[Standing]
    timeouts: Timeouts = field(default_factory=Timeouts)
    fallbacks: tuple[str, ...] = ()
    fallbacks_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wait: float = 0.0
    affinity: str = ""
    hedge: bool = False
    continuation: bool = False
    turn: int = 0
    left_out: Sequence[tuple[str, str]] = ()
    levels: Sequence[Equals] = field(default=(), init=False, repr=False)

    def equals(self) -> Sequence[Equals]:
        """The candidates among which the strategy decides, best priority first."""
        if not self.levels:
            by_priority = self.strategy.by_priority
            self.levels = [*map(Equals, priority_levels(self.standing) if by_priority else (self.standing,))]
        return self.levels


class Catalog:
    """Built from the configuration. Live numbers are kept a candidate, whatever routes it stands in.

    Beside one that runs, the next is built `after` it and takes over the numbers of candidates that stay, at the
    moment when it takes its place (`take_over`). `closed` are names that are there and disabled.
    """

    def __init__(
        self,
        places: Iterable[Place],
        default_strategy: Strategy,
        closed: Iterable[str] = (),
        after: Catalog | None = None,
    ) -> None:
        self.places = {place.name: place for place in places}
        self.routes: dict[str, Route] = {}
        self.closed = frozenset(closed)
        self.created: int = int(time.time()) if after is None else after.created
        self._default_strategy = default_strategy
        self._stats: dict[tuple[str, str, str], Standing] = {}
        self._ad_hoc: dict[str, Route] = {}
        self._kept: dict[tuple[Deployment, str], Standing] = {}
        self._renewals: list[tuple[Standing, Candidate, Place]] | None = [] if after is not None else None
        if after is not None:
            self._keep(after)

    def _keep(self, after: Catalog) -> None:
        for stats in after.standing():
            candidate, place = stats.candidate, self.places.get(stats.place.name)
            if place is not None and place.provider is stats.place.provider:
                self._kept[candidate.deployment, candidate.key.name] = stats

    def standing(self) -> Iterable[Standing]:
        """All candidates, each once."""
        routes = (*self.routes.values(), *self._ad_hoc.values())
        found = [stats for route in routes for stats in route.standing]
        return {id(stats): stats for stats in (*found, *self._stats.values())}.values()

    def take_over(self) -> None:
        """From now on this catalog is the one that counts: those that stay become what it says of them."""
        renewals, self._renewals = self._renewals or (), None
        for stats, candidate, place in renewals:
            _renew(stats, candidate, place)

    def candidates(self, deployment: Deployment) -> list[Standing]:
        """The deployment with each key that is allowed to serve its model."""
        place = self._place(deployment)
        return [self._stand(deployment, key, place) for key in _allowed(place, deployment) if key.name not in place.out]

    def left_out(self, deployment: Deployment) -> list[tuple[str, str]]:
        """The other ones, that the configuration takes out of use, and why."""
        place = self._place(deployment)
        found: list[tuple[str, str]] = []
        for key in place.keys:
            if not _may_serve(key, deployment.model):
                why = f"not allowed: the key serves {', '.join(key.models[:3]) or 'nothing'}"
            elif key.name in place.out:
                why = ": ".join(place.out[key.name])
            else:
                continue
            found.append((Candidate(deployment, key).label, why))
        if len(found) > MOST_LEFT_OUT:
            more = f"not allowed or disabled: {len(found) - MOST_LEFT_OUT} more keys"
            found[MOST_LEFT_OUT:] = [(f"{deployment.provider}/{deployment.model}", more)]
        return found

    def _place(self, deployment: Deployment) -> Place:
        place = self.places.get(deployment.provider)
        if place is None:
            raise PluginError(f"there is no provider {deployment.provider}")
        return place

    def _stand(self, deployment: Deployment, key: ProviderKey, place: Place) -> Standing:
        identity = (deployment.provider, deployment.model, key.name)
        stats = self._stats.get(identity)
        # The same model in two routes may differ in priority or weight: then it is a candidate of its own.
        if stats is None or stats.candidate.deployment != deployment:
            stats = self._made(Candidate(deployment, key), place)
            self._stats.setdefault(identity, stats)
        return stats

    def _made(self, candidate: Candidate, place: Place) -> Standing:
        stats = self._kept.pop((candidate.deployment, candidate.key.name), None)
        if stats is None:
            return Standing(candidate, place=place, secret=place.secrets.get(candidate.key.name, NO_SECRET))
        if self._renewals is None:
            _renew(stats, candidate, place)
        else:
            self._renewals.append((stats, candidate, place))
        return stats

    def add(self, route: Route) -> None:
        self.routes[route.model] = route

    def find(self, model: str) -> Route | None:
        """The route of a public name; None if the name could only be known to a provider that was not asked yet."""
        route = self.routes.get(model) or self._ad_hoc.get(model)
        if route is not None:
            return route
        if len(model) > LONGEST_NAME or model in self.closed:
            return None
        deployment = self._written_out(model) or self._listed_once(model)
        if deployment is None:
            return None
        place = self.places[deployment.provider]
        standing, left_out = self.candidates(deployment), self.left_out(deployment)
        route = Route(model, self._default_strategy, standing, place.timeouts, left_out=left_out)
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
        enabled = [place for place in self.places.values() if not place.disabled]
        if not having and len(enabled) == 1:
            # A provider alone that was asked and lists nothing: what is asked for can only be there.
            having = [place.name for place in enabled if not place.models and place.listed == frozenset()]
        return Deployment(having[0], model) if len(having) == 1 else None

    def unknown(self, model: str) -> UnknownModel:
        """The refusal for a name that leads nowhere, with what would."""
        shown = model if len(model) <= 64 and model.isprintable() else "asked for"
        if model in self.closed:
            return UnknownModel(
                f"The model {shown} is disabled here; ask the operator, or choose another of GET /v1/models.",
                param="model",
            )
        return UnknownModel(
            f"The model {shown} is not known here; GET /v1/models lists the names that are, and provider/model "
            "reaches any model of a configured provider.",
            param="model",
        )

    def cards(self) -> list[ModelCard]:
        """All public names, and the models that providers list, written out."""
        cards = [ModelCard(name, self.created, "llm-hub") for name in self.routes]
        for place in self.places.values():
            if place.disabled:
                continue
            names = sorted({*place.models, *(place.listed or ())})
            cards.extend(ModelCard(f"{place.name}/{name}", self.created, place.name) for name in names)
        return cards

    @property
    def stats(self) -> list[Standing]:
        return list(self._stats.values())


def _allowed(place: Place, deployment: Deployment) -> list[ProviderKey]:
    return [key for key in place.keys if _may_serve(key, deployment.model)]


def _may_serve(key: ProviderKey, model: str) -> bool:
    return any(_matches(pattern, model) for pattern in key.models)


def _renew(stats: Standing, candidate: Candidate, place: Place) -> None:
    stats.candidate, stats.place = candidate, place
    stats.secret = place.secrets.get(candidate.key.name, NO_SECRET)
    stats.renewed()


def _matches(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1]))
