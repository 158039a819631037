"""What is configured: the file with what was added beside it, what of a change counts at once, and what changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmhub_core.contracts import ABSENT, Entry, SettingsError
from llmhub_core.hub import settings_rules, vault
from llmhub_core.hub.settings import DOORS, Known, Loaded, Settings
from llmhub_core.hub.settings_entries import Id, Merged, merge
from llmhub_core.hub.settings_file import load
from llmhub_core.hub.settings_words import in_words
from llmhub_core.hub.vault import CannotOpen, Secret, Vault

PINNED: Mapping[str, frozenset[str] | None] = {
    "server": frozenset({"host", "port", "workers", "public_url", "log_level", "log_format"}),
    "storage": None,
    "secrets": None,
    "upstream": None,
    "alerts": None,
}
"""Settings that count from the next start on, a table's names or all of it. Those of plugins do too, but for
strategies."""

AT_ONCE = frozenset({"strategies"})


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration was read, to be read again: `path` as it was given, with the same variables."""

    path: Path | None
    environ: Mapping[str, str] = field(repr=False)
    known: Known = field(repr=False)

    def load(self) -> Loaded:
        """SettingsError with all problems. Reads files: not for the event loop."""
        return load(self.path, self.environ, self.known)

    def stamp(self, loaded: Loaded) -> tuple[object, ...]:
        """Something else as soon as the file, or a file that a secret lies in, is another. Not for the event loop."""
        paths = [loaded.path] if loaded.path is not None else []
        base = base_of(loaded)
        for provider in loaded.settings.providers:
            for key in provider.keys:
                place, name = vault.split(key.secret)
                if place == "file":
                    paths.append(base / name)
        return tuple(_stamp(path) for path in paths)


def base_of(loaded: Loaded) -> Path:
    """The folder in which relative paths begin."""
    return loaded.path.absolute().parent if loaded.path is not None else Path.cwd()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, slots=True)
class Configured:
    """What counts at a moment. `stored` are the secrets of keys that are stored, by the key's id, or why one cannot be
    opened; `needs_restart` names settings of the file that count from the next start on."""

    loaded: Loaded
    merged: Merged
    settings: Settings
    revision: int = ABSENT
    entries: tuple[Entry, ...] = ()
    stored: Mapping[str, Secret | str] = field(default_factory=dict)
    needs_restart: tuple[str, ...] = ()


def configure(
    source: Source,
    loaded: Loaded,
    revision: int,
    entries: Sequence[Entry],
    was: Configured,
    first: Loaded,
    opened_by: Vault,
    unusable: Mapping[Id, str],
) -> Configured:
    """The file and the entries as they shall count after `was`; `first` is what the hub was started with.

    SettingsError if the file is wrong, or keeps entries from counting that count now. Takes its time: not for the
    event loop.
    """
    base = base_of(loaded)
    merged = (
        merge(loaded.document, entries, source.known, source.environ, base, unusable) if entries else _alone(loaded)
    )
    if loaded is not was.loaded:
        broken = [
            str(out)
            for out in merged.left_out
            if not out.shadowed and was.merged.counting.get((out.kind, out.name)) in entries
        ]
        if broken:
            raise SettingsError(broken)
    settings, needs_restart = _settled(merged.settings, was.settings, first.settings)
    if needs_restart:
        # What is left of the change must go together with what stays: an address beyond this machine, and an open API.
        found = settings_rules.problems(settings, source.known, source.environ, base)
        wrong = [f"{in_words(problem.path)}: {problem.text}" for problem in found]
        if wrong:
            raise SettingsError([f"{text} (until the next start)" for text in wrong])
    return Configured(
        loaded, merged, settings, revision, tuple(entries), _opened(merged, was, opened_by), tuple(needs_restart)
    )


def _alone(loaded: Loaded) -> Merged:
    return Merged(loaded.settings)


def _settled(new: Settings, running: Settings, first: Settings) -> tuple[Settings, list[str]]:
    """The new settings with those of the running ones that stay until the next start, and the names of the latter
    that would be another."""
    waiting: list[str] = []
    tables: dict[str, Any] = {}
    for name, pinned in PINNED.items():
        table, now, then = getattr(new, name), getattr(running, name), getattr(first, name)
        names = [each.name for each in dataclasses.fields(table) if pinned is None or each.name in pinned]
        waiting += [f"{name}.{key}" for key in names if getattr(table, key) != getattr(then, key)]
        tables[name] = dataclasses.replace(table, **{key: getattr(now, key) for key in names})
    plugins = {**running.plugins}
    for door in DOORS:
        own, then = new.plugins.get(door, {}), first.plugins.get(door, {})
        if door in AT_ONCE:
            plugins[door] = own
        else:
            waiting += [f"{door}.{name}" for name in (*own, *(set(then) - set(own))) if own.get(name) != then.get(name)]
    return dataclasses.replace(new, **tables, plugins=plugins), waiting


def _opened(merged: Merged, was: Configured, opened_by: Vault) -> dict[str, Secret | str]:
    opened: dict[str, Secret | str] = {}
    for (kind, name), entry in merged.counting.items():
        if kind != "key" or not entry.sealed:
            continue
        before, secret = was.merged.counting.get((kind, name)), was.stored.get(name)
        if before is not None and before.sealed == entry.sealed and isinstance(secret, Secret):
            opened[name] = secret
            continue
        try:
            opened[name] = opened_by.open(kind, name, entry.sealed)
        except CannotOpen as error:
            opened[name] = str(error)
    return opened


def changes(was: Settings, now: Settings, secrets: Container[str]) -> list[str]:
    """In words, without values. `secrets` are ids of keys whose secret is another."""
    found: list[str] = []
    for field_ in dataclasses.fields(Settings):
        if field_.name not in ("providers", "routes", "tokens", "plugins"):
            old, new = getattr(was, field_.name), getattr(now, field_.name)
            names = [each.name for each in dataclasses.fields(new)]
            found += [f"{field_.name}.{name} changed" for name in names if getattr(old, name) != getattr(new, name)]
    for name in sorted({*was.plugins.get("strategies", {}), *now.plugins.get("strategies", {})}):
        if was.plugins.get("strategies", {}).get(name) != now.plugins.get("strategies", {}).get(name):
            found.append(f"strategies.{name} changed")
    found += _differences(
        "provider", *({each.name: dataclasses.replace(each, keys=()) for each in s.providers} for s in (was, now))
    )
    keys = [{f"{each.name}/{key.name}": key for each in s.providers for key in each.keys} for s in (was, now)]
    found += _differences("key", *keys)
    found += [f"secret of key {id} changed" for id, key in keys[1].items() if keys[0].get(id) == key and id in secrets]
    found += _differences("route", *({each.model: each for each in s.routes} for s in (was, now)))
    found += _differences("token", *({each.name: each for each in s.tokens} for s in (was, now)))
    return found


def _differences(what: str, was: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{what} {name} added" for name in now if name not in was)
    yield from (f"{what} {name} changed" for name in now if name in was and was[name] != now[name])
    yield from (f"{what} {name} removed" for name in was if name not in now)
