"""Everything sealed anew by the first root key, while hubs run on the same database.

Each text is replaced only if it still is the one that was opened, so a rotation may be killed at any point and begun
again, and never undoes what somebody changed meanwhile. The canary comes last: whoever takes an old key away too early
is told at the next start.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from llmhub_core.contracts.bodies import BodyStore, SealedBody
from llmhub_core.contracts.configuration import ConfigurationStore, Entry
from llmhub_core.hub.vault.opening import BEGUN, CANARY, FACT, STABLE
from llmhub_core.hub.vault.roster import Present, present
from llmhub_core.hub.vault.sealing import BODY, CannotOpen, Vault, key_of

BATCH = 100
MOST_ROUNDS = 20
"""Others may seal with another key while this runs, but not for ever."""


@dataclass(slots=True)
class Rotation:
    """How far it is. `lost` has what could not be opened, and why; it stays as it is."""

    total: int = 0
    resealed: int = 0
    current: int = 0
    lost: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        return self.resealed + self.current + len(self.lost)


@dataclass(slots=True)
class Sealed:
    """How many texts each root key sealed, by its id, and what cannot be opened."""

    by_key: dict[str, int] = field(default_factory=dict)
    lost: dict[tuple[str, str], str] = field(default_factory=dict)


async def take_stock(vault: Vault, store: ConfigurationStore, bodies: BodyStore | None = None) -> Sealed:
    """Opens everything but bodies, which are many: of these it looks at the keys alone."""
    found = Sealed()
    texts: list[tuple[str, str, str]] = [(each.kind, each.name, each.sealed) for each in await _sealed(store)]
    texts += [(FACT, name, await store.fact(name)) for name in (STABLE, CANARY)]
    for kind, name, sealed in texts:
        try:
            id = key_of(sealed)
            found.by_key[id] = found.by_key.get(id, 0) + 1
            vault.open(kind, name, sealed)
        except CannotOpen as error:
            found.lost[kind, name] = str(error)
    known = {key.id for key in vault.keys}
    for id, count in (await bodies.bodies_by_key()).items() if bodies is not None else ():
        found.by_key[id] = found.by_key.get(id, 0) + count
        if id not in known:
            found.lost["bodies", f"of {count:,} requests"] = f"was sealed with the root key {id}, which is not given"
    return found


class NotKnown(Exception):
    """Hubs that run do not know the root key that is to seal from now on; nothing was done."""

    def __init__(self, hubs: list[Present]) -> None:
        super().__init__()
        self.hubs = hubs


async def begin(vault: Vault, store: ConfigurationStore) -> None:
    """From now on only hubs that know the first root key start on this database. NotKnown if others run.

    The mark is left before it is looked who is there, and a hub says that it is there before it looks for the mark: one
    of the two sees the other.
    """
    was = await store.fact(BEGUN)
    mark = was
    if not (was and vault.is_current(was)):
        mark = vault.seal(FACT, BEGUN, secrets.token_urlsafe(32))
        await store.keep_fact(BEGUN, mark)
    key = vault.keys[0].id
    behind = [hub for hub in (await present(store, time.time())).values() if key not in hub.keys]
    if behind:
        if mark != was:
            await store.keep_fact(BEGUN, was, mark)
        raise NotKnown(behind)


async def rotate(
    vault: Vault,
    store: ConfigurationStore,
    report: Callable[[Rotation], None],
    bodies: BodyStore | None = None,
) -> Rotation:
    """Until nothing is left that another root key sealed; `report` is called after each batch. After `begin`."""
    state = Rotation()
    for _ in range(MOST_ROUNDS):
        entries = await _sealed(store)
        due = [entry for entry in entries if not vault.is_current(entry.sealed) and _id(entry) not in state.lost]
        state.total = len(entries)
        state.current = max(0, len(entries) - len(due) - state.resealed - len(state.lost))
        if not due:
            break
        for start in range(0, len(due), BATCH):
            for entry in due[start : start + BATCH]:
                await _renew(entry, vault, store, state)
            report(state)
            await asyncio.sleep(0)
    if bodies is not None:
        await _renew_bodies(vault, bodies, state, report)
    for name in (STABLE, CANARY):
        was = await store.fact(name)
        if not vault.is_current(was):
            await store.keep_fact(name, vault.reseal(FACT, name, was), was)
    return state


async def _renew_bodies(vault: Vault, store: BodyStore, state: Rotation, report: Callable[[Rotation], None]) -> None:
    """In one walk: ids rise with time, so those that come meanwhile are met too."""
    key = vault.keys[0].id
    counts = await store.bodies_by_key()
    state.total += sum(counts.values())
    state.current += counts.get(key, 0)
    after, lost, why = "", 0, ""
    while page := await store.bodies_of_others(key, BATCH, after):
        after = page[-1].id
        was, now, errors = await asyncio.to_thread(_resealed, vault, page)
        state.resealed += await store.replace_bodies(was, now)
        lost += len(errors)
        why = errors[-1] if errors else why
        report(state)
    if lost:
        state.lost["bodies", f"of {lost:,} requests"] = why


def _resealed(vault: Vault, page: Sequence[SealedBody]) -> tuple[list[SealedBody], list[SealedBody], list[str]]:
    """Those that could be opened, the same by the first root key, and why the others could not."""
    was, now, errors = [], [], []
    for each in page:
        try:
            text = vault.reseal(BODY, each.id, each.sealed, BODY)
        except CannotOpen as error:
            errors.append(str(error))
            continue
        was.append(each)
        now.append(replace(each, key=vault.keys[0].id, sealed=text))
    return was, now, errors


async def _renew(entry: Entry, vault: Vault, store: ConfigurationStore, state: Rotation) -> None:
    try:
        sealed = vault.reseal(entry.kind, entry.name, entry.sealed)
    except CannotOpen as error:
        state.lost[_id(entry)] = str(error)
        return
    # Somebody else's change is looked at in the next round.
    if await store.reseal(entry.kind, entry.name, entry.sealed, sealed):
        state.resealed += 1


async def _sealed(store: ConfigurationStore) -> list[Entry]:
    return [entry for entry in (await store.entries())[1] if entry.sealed]


def _id(entry: Entry) -> tuple[str, str]:
    return entry.kind, entry.name
