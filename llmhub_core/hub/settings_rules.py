"""What must hold between settings that are each right by themselves."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from llmhub_core.hub import vault
from llmhub_core.hub.networks import Networks
from llmhub_core.hub.settings import FALLBACK_REASONS, Known, Settings, scheme_of
from llmhub_core.hub.settings_of_entries import RouteSettings
from llmhub_core.hub.settings_reader import unknown_plugin
from llmhub_core.hub.settings_values import is_loopback
from llmhub_core.hub.settings_words import KeyPath, Problem, nearest, quoted


def problems(settings: Settings, known: Known, environ: Mapping[str, str], base: Path) -> Iterator[Problem]:
    """All that is wrong. Settings that were refused before have their defaults here, and "" is passed over."""
    yield from _server(settings)
    yield from _stores(settings, known)
    yield from _routing(settings)
    yield from _providers(settings)
    yield from _networks(settings)
    yield from _routes(settings, known)
    yield from _fallbacks(settings.routes)
    yield from _tokens(settings, known)
    for path, reference in _references(settings):
        try:
            if path[0] == "secrets" and vault.is_program(reference):
                vault.words_of(reference)  # it is run when the hub starts, not whenever somebody looks
                continue
            text = vault.find(reference, environ, base)
            if path[0] == "secrets":
                vault.RootKey(vault.Secret(text.strip()))
        except (LookupError, ValueError) as error:
            yield Problem(path, str(error.args[0]))


def warnings(settings: Settings, environ: Mapping[str, str], base: Path) -> Iterator[Problem]:
    """What works, and should be otherwise."""
    for path, reference in _references(settings):
        if path[0] == "secrets" and vault.is_program(reference):
            continue
        place, _ = vault.split(reference)
        if place == "literal":
            yield Problem(path, "is the secret itself, open to all who can read it here; write env:NAME or file:/path")
        try:
            text = vault.find(reference, environ, base)
        except LookupError:
            continue
        if reference != reference.strip() or text != text.strip():
            yield Problem(path, "has white space around the secret, which is left out; remove it")


def _server(settings: Settings) -> Iterator[Problem]:
    server, auth = settings.server, settings.auth
    if not server.host.strip():
        yield Problem(("server", "host"), "is empty; write 127.0.0.1, or 0.0.0.0 for all networks")
    elif auth.api == "open" and not auth.allow_open_network and not is_loopback(server.host):
        yield Problem(
            ("server", "host"),
            f"{quoted(server.host)} can be reached by other machines while the API is open to everybody; "
            'set auth.api = "token", or auth.allow_open_network = true if that is meant',
        )
    if server.workers > 1 and scheme_of(settings.storage.quota) == "memory":
        yield Problem(
            ("server", "workers"),
            f"{server.workers} processes cannot share quotas in memory; "
            'set storage.quota to a store that they share ("sqlite:///quota.db", "redis://…"), or workers = 1',
        )


def _stores(settings: Settings, known: Known) -> Iterator[Problem]:
    for name, door in (("metadata", "metadata_stores"), ("quota", "quota_stores")):
        address = getattr(settings.storage, name)
        scheme = scheme_of(address)
        if not scheme:  # nothing of the address is shown: it may hold a password
            yield Problem(
                ("storage", name), f'must begin with the name of a store and ":"{nearest("", getattr(known, door))}'
            )
        elif scheme not in getattr(known, door):
            yield Problem(("storage", name), unknown_plugin(known, door, scheme))
    if 0 < settings.storage.keep < 86_400:
        yield Problem(("storage", "keep"), "must be a day at least, or 0 to keep single requests for good")


def _routing(settings: Settings) -> Iterator[Problem]:
    if settings.routing.max_cooldown < settings.routing.cooldown:
        yield Problem(("routing", "max_cooldown"), "must not be shorter than routing.cooldown")


def _providers(settings: Settings) -> Iterator[Problem]:
    yield from _twice("provider", [provider.name for provider in settings.providers], ("providers",), "name")
    for index, provider in enumerate(settings.providers):
        path: KeyPath = ("providers", index)
        yield from _twice("key", [key.name for key in provider.keys], (*path, "keys"), "name")
        yield from _weights("key", [key.weight for key in provider.keys], (*path, "keys"))
        for number, key in enumerate(provider.keys):
            if not key.models:
                yield Problem((*path, "keys", number, "models"), "allows no model; leave it out for all")


def _networks(settings: Settings) -> Iterator[Problem]:
    """Said at once where the address tells; where a name leads is seen when it is connected to."""
    networks = Networks(settings.upstream.networks)
    for index, provider in enumerate(settings.providers):
        address = getattr(provider.options, "base_url", "")
        host = urlsplit(address).hostname if isinstance(address, str) and "//" in address else None
        if host and networks.refuse(host):
            yield Problem(
                ("providers", index, "base_url"), "is in a network that upstream.networks does not name; add it there"
            )


def _routes(settings: Settings, known: Known) -> Iterator[Problem]:
    yield from _twice("route", [route.model for route in settings.routes], ("routes",), "model")
    providers = {provider.name for provider in settings.providers if provider.name}
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index)
        if route.strategy not in known.strategies:
            yield Problem((*path, "strategy"), unknown_plugin(known, "strategies", route.strategy))
        for number, deployment in enumerate(route.deployments):
            if deployment.provider and deployment.provider not in providers:
                text = f"there is no provider {quoted(deployment.provider)}{nearest(deployment.provider, providers)}"
                yield Problem((*path, "deployments", number, "provider"), text)
        pairs = [f"{deployment.provider}/{deployment.model}".strip("/") for deployment in route.deployments]
        yield from _twice("deployment", pairs, (*path, "deployments"), "model")
        yield from _weights(
            "deployment", [deployment.weight for deployment in route.deployments], (*path, "deployments")
        )


def _fallbacks(routes: Sequence[RouteSettings]) -> Iterator[Problem]:
    models = {route.model for route in routes if route.model}
    onward: dict[str, list[tuple[KeyPath, str]]] = {}
    for index, route in enumerate(routes):
        targets = onward.setdefault(route.model, [])
        for path, target in _targets(route, ("routes", index)):
            if target == route.model:
                yield Problem(path, "a route cannot fall back to itself; remove it")
            elif target not in models:
                yield Problem(path, f"there is no route {quoted(target)}{nearest(target, models - {route.model})}")
            else:
                targets.append((path, target))
        for reason in route.fallbacks_on:
            if reason not in FALLBACK_REASONS:
                text = f"is not a reason{nearest(reason, FALLBACK_REASONS)}"
                yield Problem(("routes", index, "fallbacks_on", reason), text, "key")
    yield from _circles(onward)


def _targets(route: RouteSettings, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for number, target in enumerate(route.fallbacks):
        yield (*path, "fallbacks", number), target
    for reason, targets in route.fallbacks_on.items():
        for number, target in enumerate(targets):
            yield (*path, "fallbacks_on", reason, number), target


def _circles(onward: Mapping[str, list[tuple[KeyPath, str]]]) -> Iterator[Problem]:
    """Each circle once, at the step that closes it. Depth first, without recursion: a chain may be long."""
    done: set[str] = set()
    for start in onward:
        trail, steps = [start], [iter(onward[start])]
        while trail and start not in done:
            path, target = next(steps[-1], ((), ""))
            if not path:
                done.add(trail.pop())
                steps.pop()
            elif target in trail:
                circle = [*trail[trail.index(target) :], target]
                yield Problem(path, f"the fallbacks run in a circle ({' → '.join(circle)}); remove one of them")
            elif target not in done:
                trail.append(target)
                steps.append(iter(onward[target]))


def _tokens(settings: Settings, known: Known) -> Iterator[Problem]:
    yield from _twice("token", [token.name for token in settings.tokens], ("tokens",), "name")
    first: dict[str, str] = {}
    for index, token in enumerate(settings.tokens):
        if token.hash and token.hash in first:
            yield Problem(
                ("tokens", index, "hash"), f"is the hash of {quoted(first[token.hash])} too; make a new token"
            )
        first.setdefault(token.hash, token.name)
        if token.previous is not None and token.previous.hash:
            if token.previous.hash in first:
                yield Problem(("tokens", index, "previous", "hash"), "is a hash that counts already; make a new token")
            first.setdefault(token.previous.hash, token.name)
        if not token.models:
            yield Problem(("tokens", index, "models"), "allows no model; leave it out for all")
        if not token.scopes:
            yield Problem(("tokens", index, "scopes"), "allows nothing; leave it out for all")
        for number, scope in enumerate(token.scopes):
            if known.operations and scope != "*" and scope not in known.operations:
                text = f"is not an operation{nearest(scope, known.operations)}"
                yield Problem(("tokens", index, "scopes", number), text)


def _twice(what: str, names: Sequence[str], path: KeyPath, key: str) -> Iterator[Problem]:
    times: Counter[str] = Counter()
    for index, name in enumerate(names):
        if name and times[name]:
            yield Problem((*path, index, key), f"there is a {what} {quoted(name)} already; rename or remove one")
        times[name] += 1


def _weights(what: str, weights: Iterable[int], path: KeyPath) -> Iterator[Problem]:
    counted = list(weights)
    if counted and not any(counted):
        yield Problem((*path, 0, "weight"), f"is 0, as for every {what} here, so that none is ever used; raise one")


def _references(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """All that is a secret or leads to one."""
    for number, reference in enumerate(settings.secrets.keys):
        yield ("secrets", "keys", number), reference
    for index, provider in enumerate(settings.providers):
        for number, key in enumerate(provider.keys):
            yield ("providers", index, "keys", number, "secret"), key.secret
    for door, tables in settings.plugins.items():
        for name, options in tables.items():
            for field in dataclasses.fields(options) if dataclasses.is_dataclass(options) else ():
                if not field.metadata.get("secret"):
                    continue
                value = getattr(options, field.name)
                if isinstance(value, str):
                    yield (door, name, field.name), value
                else:
                    yield from (((door, name, field.name, number), each) for number, each in enumerate(value))
