"""The vault when the hub starts: root keys are found (or the first one made), and a canary tells whether they fit.

Nothing is written with keys that do not fit: the vault stays closed, and the hub runs without serving traffic.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llmhub_core.contracts.configuration import ConfigurationStore
from llmhub_core.contracts.errors import StartError
from llmhub_core.hub.minted import ROOT_KEY_PREFIX, mint
from llmhub_core.hub.vault.program import ask, is_program, origin_of
from llmhub_core.hub.vault.sealing import CannotOpen, RootKey, Vault
from llmhub_core.hub.vault.secret import Secret, resolve, split

log = logging.getLogger("llmhub.vault")

KEY_FILE = "root.key"
"""In the data folder: the root key that the hub makes where none is given. It opens, as the last, for as long as it is
there, so that moving on to keys of one's own is an ordinary rotation."""

FACT = "fact"
CANARY, STABLE, BEGUN = "vault.canary", "vault.stable", "vault.rotation"
"""Facts in the configuration store, all sealed; the last by the key that the latest rotation moves on to."""

NO_PLACE = (
    "The metadata store of this hub keeps no configuration, so nothing can rest sealed; take sqlite or postgresql."
)
NOT_STARTED = Vault((), "The hub has not started.")


def new_key() -> str:
    """A root key: 256 random bits and a checksum, recognisable by scanners."""
    return mint(ROOT_KEY_PREFIX)


def given_keys(references: Sequence[str], environ: Mapping[str, str], base: Path, data: Path) -> list[RootKey]:
    """The root keys of the settings in their order, then the one of the data folder. StartError if one is not there,
    or is none."""
    keys: list[RootKey] = []
    for number, reference in enumerate(references):
        try:
            if is_program(reference):
                keys.append(RootKey(ask(reference, base), origin_of(reference)))
                continue
            place, name = split(reference)
            keys.append(RootKey(resolve(reference, environ, base), "" if place == "literal" else f"{place}:{name}"))
        except (LookupError, ValueError) as error:
            raise StartError(f"secrets.keys[{number}] {error.args[0]}") from None
    path = data / KEY_FILE
    if path.exists():
        _mind_mode(path)
        try:
            keys.append(RootKey(resolve(f"file:{path}", environ, base), f"file:{path}"))
        except (LookupError, ValueError) as error:
            raise StartError(f"The root key in {path} {error.args[0]}.") from None
    return list({key.id: key for key in keys}.values())


def _mind_mode(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        log.warning("others can read the root key in %s; run: chmod 600 %s", path, path)


def write_key(path: Path, key: str) -> None:
    """A new file that only its owner reads; FileExistsError if there is one."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())


async def open_vault(keys: Sequence[RootKey], store: ConfigurationStore | None, data: Path) -> Vault:
    """A vault that works, or one that is closed and says why. In a database without a canary the first keys leave
    theirs; if there are none, one is made in the folder `data`."""
    if store is None:
        return Vault((), NO_PLACE)
    made: Path | None = None
    canary = await store.fact(CANARY)
    if not canary:
        if not keys:
            made, key = data / KEY_FILE, new_key()
            write_key(made, key)
            keys = [RootKey(Secret(key), f"file:{made}")]
        canary = await _first(store, CANARY, Vault(keys))
    try:
        Vault(keys).open(FACT, CANARY, canary)
    except CannotOpen as error:
        if made is not None:  # another hub on the same database was first
            made.unlink()
            keys = ()
        return Vault((), _closed("The vault's canary", error, keys))
    vault = Vault(keys)
    try:
        stable = vault.open(FACT, STABLE, await store.fact(STABLE) or await _first(store, STABLE, vault))
    except CannotOpen as error:
        return Vault((), _closed("The secret behind client tokens", error, keys))
    if made is not None:
        log.info("made a root key in %s: keep a copy of it apart from the copies of the database", made)
    return replace(vault, stable=stable)


async def falls_behind(vault: Vault, store: ConfigurationStore) -> str:
    """Why a hub with these root keys must not serve though they open the canary, "" if it may: a rotation has begun to
    a key that it does not know, so that what is sealed from now on would be lost to it."""
    if not (begun := await store.fact(BEGUN)):
        return ""
    try:
        vault.open(FACT, BEGUN, begun)
    except CannotOpen as error:
        return _closed("A rotation of the root keys was begun, and its mark", error, vault.keys)
    return ""


async def start_anew(keys: Sequence[RootKey], store: ConfigurationStore) -> None:
    """Give up what was sealed with lost root keys: a canary and a stable secret of the present ones. What rests sealed
    stays where it is, and can be opened again by whoever finds the key."""
    vault = Vault(keys)
    for name in (STABLE, CANARY, BEGUN):
        try:
            vault.open(FACT, name, await store.fact(name))
        except CannotOpen:
            await store.keep_fact(name, vault.seal(FACT, name, secrets.token_urlsafe(32)))


async def _first(store: ConfigurationStore, name: str, vault: Vault) -> str:
    """Of several hubs that start at once one keeps its fact, and all take that one."""
    sealed = vault.seal(FACT, name, secrets.token_urlsafe(32))
    return sealed if await store.keep_fact(name, sealed, was="") else await store.fact(name)


def _closed(what: str, error: CannotOpen, keys: Sequence[RootKey]) -> str:
    where = "Set [secrets] keys to the root keys of this database" if keys else "Set [secrets] keys"
    return (
        f"{what} {error.args[0]}. {where}, or put its {KEY_FILE} back into the data folder, and start again; "
        "if that key is lost: llm-hub secrets abandon"
    )
