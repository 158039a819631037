"""What rests sealed: opened only as what it is, by the keys that may, and never for whoever changed it."""

from __future__ import annotations

import base64
import copy
import json
import logging
import os
import pickle
import random
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmhub_core.contracts import ConfigurationStore, Entry, StartError
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.vault import CannotOpen, RootKey, Secret, Vault, VaultClosed
from llmhub_core.hub.vault.opening import (
    CANARY,
    KEY_FILE,
    STABLE,
    given_keys,
    new_key,
    open_vault,
    start_anew,
    write_key,
)
from llmhub_core.hub.vault.rotation import rotate, take_stock

TEXT = "sk-canary-0123456789"


def a_key() -> RootKey:
    return RootKey(Secret(new_key()))


@pytest.fixture
def vault() -> Vault:
    return Vault([a_key()])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ConfigurationStore]:
    cls = Registry().discover().metadata_stores.get("sqlite")
    database = cls(cls.Settings(url=f"sqlite:///{tmp_path / 'hub.db'}"))
    await database.start()
    await database.migrate()
    assert database.configuration is not None
    yield database.configuration
    await database.stop()


# sealing


@pytest.mark.parametrize("text", [TEXT, "", "ünï\0\n{}", "\ud800", "x" * 100_000])
def test_what_was_sealed_is_opened(vault: Vault, text: str) -> None:
    sealed = vault.seal("key", "openai/main", Secret(text))
    assert vault.open("key", "openai/main", sealed).reveal() == text
    assert sealed.isascii()
    assert sealed.startswith(f"lhv1.{vault.keys[0].id}.")
    assert TEXT not in sealed
    assert TEXT not in base64.urlsafe_b64decode(sealed.rpartition(".")[2] + "==").decode("latin-1")


def test_nothing_is_opened_as_something_else(vault: Vault) -> None:
    sealed = vault.seal("key", "openai/main", TEXT, "secret")
    for kind, name, field in (
        ("key", "openai/other", "secret"),
        ("token", "openai/main", "secret"),
        ("key", "openai/main", "other"),
        ("keyo", "penai/main", "secret"),
        ("key", 'openai/main", "secret', ""),
    ):
        with pytest.raises(CannotOpen, match="was changed, or belongs to another entry") as caught:
            vault.open(kind, name, sealed, field)
        assert "canary" not in repr(caught.value)
        assert caught.value.__cause__ is None


def test_no_changed_bit_goes_unseen(vault: Vault) -> None:
    sealed = vault.seal("key", "a", TEXT)
    head, _, coded = sealed.rpartition(".")
    data = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotOpen):
            vault.open("key", "a", f"{head}.{base64.urlsafe_b64encode(changed).decode().rstrip('=')}")
    for cut in range(len(sealed)):
        with pytest.raises(CannotOpen):
            vault.open("key", "a", sealed[:cut])


@pytest.mark.parametrize("text", ["", "x", "lhv1", "lhv1..", "lhv2.0.AAAA", "lhv1.000000000000.!", "lhv1.a.b.c", "ü"])
def test_what_is_no_sealed_text(vault: Vault, text: str) -> None:
    with pytest.raises(CannotOpen):
        vault.open("key", "a", text)


def test_another_version_is_not_guessed_at(vault: Vault) -> None:
    with pytest.raises(CannotOpen, match="of a format that this version knows"):
        vault.open("key", "a", vault.seal("key", "a", TEXT).replace("lhv1", "lhv9", 1))


def test_any_bytes_are_opened_or_refused(vault: Vault) -> None:
    made = random.Random(7)
    for _ in range(2000):
        text = f"lhv1.{vault.keys[0].id}." + base64.urlsafe_b64encode(made.randbytes(made.randrange(90))).decode()
        with pytest.raises(CannotOpen):
            vault.open("key", "a", text)


def test_no_two_sealed_texts_share_a_key_or_a_nonce(vault: Vault) -> None:
    seen = {vault.seal("key", "a", TEXT).rpartition(".")[2][:36] for _ in range(5000)}
    assert len(seen) == 5000, "27 bytes: the salt and nearly all of the nonce"


def test_all_keys_open_and_the_first_seals() -> None:
    old, new = a_key(), a_key()
    sealed = Vault([old]).seal("key", "a", TEXT)
    both = Vault([new, old])
    assert both.open("key", "a", sealed).reveal() == TEXT
    assert not both.is_current(sealed)
    again = both.reseal("key", "a", sealed)
    assert both.is_current(again)
    assert Vault([new]).open("key", "a", again).reveal() == TEXT
    with pytest.raises(CannotOpen, match=f"was sealed with the root key {new.id}, and given are {old.id}"):
        Vault([old]).open("key", "a", again)


def test_a_vault_without_keys_says_why() -> None:
    closed = Vault((), "It rains.")
    with pytest.raises(VaultClosed, match="It rains"):
        closed.seal("key", "a", TEXT)
    with pytest.raises(VaultClosed, match="It rains"):
        closed.derive("anything")
    with pytest.raises(CannotOpen, match="none is given"):
        closed.open("key", "a", Vault([a_key()]).seal("key", "a", TEXT))


def test_root_keys_do_not_slip_out(caplog: pytest.LogCaptureFixture) -> None:
    text = new_key()
    key = RootKey(Secret(text), "env:X")
    vault = Vault([key], stable=Secret(TEXT))
    logging.getLogger().warning("%s %r %s", key, vault, [key])
    shown = f"{key} {key!r} {vault} {vault!r} {caplog.text}"
    assert text[4:16] not in shown
    assert "canary" not in shown
    for dump in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            dump(key)
    assert key.id not in text


def test_a_root_key_must_be_long() -> None:
    with pytest.raises(ValueError, match="shorter than 32 characters"):
        RootKey(Secret("correct horse battery staple"))


# opening


async def test_the_first_start_makes_a_key(store: ConfigurationStore, tmp_path: Path) -> None:
    vault = await open_vault(given_keys((), {}, tmp_path, tmp_path), store, tmp_path)
    assert not vault.closed
    path = tmp_path / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = await open_vault(given_keys((), {}, tmp_path, tmp_path), store, tmp_path)
    assert again.derive("x") == vault.derive("x") != vault.derive("y")
    assert again.open("key", "a", vault.seal("key", "a", TEXT)).reveal() == TEXT


async def test_given_keys_make_no_file(store: ConfigurationStore, tmp_path: Path) -> None:
    keys = given_keys(("env:K", "file:k"), {"K": new_key()}, _folder_with_key(tmp_path), tmp_path)
    assert len(keys) == 2
    assert not (await open_vault(keys, store, tmp_path)).closed
    assert not (tmp_path / KEY_FILE).exists()


def _folder_with_key(folder: Path) -> Path:
    write_key(folder / "k", new_key())
    return folder


async def test_keys_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"secrets.keys\[1\] leads to the variable GONE that is not set"):
        given_keys(("env:K", "env:GONE"), {"K": new_key()}, tmp_path, tmp_path)
    with pytest.raises(StartError, match=r"secrets.keys\[0\] is shorter"):
        given_keys(("env:K",), {"K": "canary"}, tmp_path, tmp_path)
    (tmp_path / KEY_FILE).write_text("cut")
    with pytest.raises(StartError, match="is shorter"):
        given_keys((), {}, tmp_path, tmp_path)


@pytest.mark.parametrize("given", [0, 1])
async def test_wrong_keys_close_the_vault_and_write_nothing(
    store: ConfigurationStore, tmp_path: Path, given: int
) -> None:
    right = a_key()
    await open_vault([right], store, tmp_path)
    before = [await store.fact(name) for name in (CANARY, STABLE)]
    wrong = await open_vault([a_key()] * given, store, tmp_path)
    assert right.id in wrong.closed
    assert "llm-hub secrets abandon" in wrong.closed
    assert not wrong.keys
    assert not (tmp_path / KEY_FILE).exists()
    assert before == [await store.fact(name) for name in (CANARY, STABLE)]
    assert not (await open_vault([a_key(), right], store, tmp_path)).closed


async def test_a_changed_canary_and_a_changed_secret_behind_it_are_noticed(
    store: ConfigurationStore, tmp_path: Path
) -> None:
    key = a_key()
    vault = await open_vault([key], store, tmp_path)
    canary, stable = await store.fact(CANARY), await store.fact(STABLE)
    await store.keep_fact(STABLE, canary)
    assert "belongs to another entry" in (await open_vault([key], store, tmp_path)).closed
    await store.keep_fact(STABLE, stable)
    await store.keep_fact(CANARY, stable)
    assert "belongs to another entry" in (await open_vault([key], store, tmp_path)).closed
    await store.keep_fact(CANARY, canary)
    assert (await open_vault([key], store, tmp_path)).derive("x") == vault.derive("x")


async def test_of_two_hubs_that_start_at_once_with_a_key_each_one_is_sealed(
    store: ConfigurationStore, tmp_path: Path
) -> None:
    class Late(ConfigurationStore):
        """What a hub sees whose question came before the other's canary."""

        async def fact(self, name: str) -> str:
            self.asked = getattr(self, "asked", 0) + 1
            return "" if self.asked == 1 else await store.fact(name)

        keep_fact, entries, revision = store.keep_fact, store.entries, store.revision
        put, remove, reseal = store.put, store.remove, store.reseal

    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    assert not (await open_vault([], store, first)).closed
    late = await open_vault([], Late(), second)  # type: ignore[abstract]
    assert "none is given" in late.closed or "given are" in late.closed
    assert not (second / KEY_FILE).exists()


async def test_without_a_place_for_secrets_there_is_no_key(tmp_path: Path) -> None:
    vault = await open_vault([], None, tmp_path)
    assert "keeps no configuration" in vault.closed
    assert not [*tmp_path.iterdir()]


async def test_a_readable_key_file_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_key(tmp_path / KEY_FILE, new_key())
    given_keys((), {}, tmp_path, tmp_path)
    assert not caplog.records
    os.chmod(tmp_path / KEY_FILE, 0o640)
    given_keys((), {}, tmp_path, tmp_path)
    assert "chmod 600" in caplog.text


async def test_lost_keys_can_be_given_up(store: ConfigurationStore, tmp_path: Path) -> None:
    lost, new = a_key(), a_key()
    old = await open_vault([lost], store, tmp_path)
    await store.put(Entry("key", "a/b", "{}", old.seal("key", "a/b", TEXT)))
    await start_anew([new], store)
    vault = await open_vault([new], store, tmp_path)
    assert not vault.closed
    assert vault.derive("x") != old.derive("x")
    assert list((await take_stock(vault, store)).lost) == [("key", "a/b")]
    found = await open_vault([new, lost], store, tmp_path)
    assert not (await take_stock(found, store)).lost, "who finds the key again has everything again"


# rotation


async def test_rotation(store: ConfigurationStore, tmp_path: Path) -> None:
    old, new = a_key(), a_key()
    vault = await open_vault([old], store, tmp_path)
    for number in range(250):
        name = f"p/k{number}"
        await store.put(Entry("key", name, json.dumps({"name": name}), vault.seal("key", name, f"{TEXT}{number}")))
    await store.put(Entry("route", "fast", "{}"))
    await store.put(Entry("key", "p/foreign", "{}", Vault([a_key()]).seal("key", "p/foreign", TEXT)))
    swapped = next(entry for entry in (await store.entries())[1] if entry.name == "p/k0").sealed
    await store.put(Entry("key", "p/swapped", "{}", swapped))
    revision = await store.revision()

    both = await open_vault([new, old], store, tmp_path)
    told: list[tuple[int, int]] = []
    state = await rotate(both, store, lambda state: told.append((state.done, state.total)))
    assert (state.resealed, state.current, state.total) == (250, 0, 252)
    assert told == [(100, 252), (200, 252), (252, 252)]
    assert set(state.lost) == {("key", "p/foreign"), ("key", "p/swapped")}
    assert await store.revision() == revision, "nothing changed that a hub would have to read again"

    alone = await open_vault([new], store, tmp_path)
    assert not alone.closed
    assert alone.derive("client tokens") == vault.derive("client tokens"), "tokens outlive root keys"
    stock = await take_stock(alone, store)
    assert stock.by_key[new.id] == 252
    assert stock.by_key[old.id] == 1, "the swapped one"
    for entry in (await store.entries())[1]:
        if entry.name.startswith("p/k"):
            assert alone.open("key", entry.name, entry.sealed).reveal() == TEXT + entry.name[3:]
    assert (await rotate(alone, store, lambda state: None)).resealed == 0


async def test_a_rotation_that_stopped_goes_on(store: ConfigurationStore, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(state: object) -> None:
        raise Killed

    old, new = a_key(), a_key()
    vault = await open_vault([old], store, tmp_path)
    for number in range(150):
        await store.put(Entry("key", f"p/k{number}", "{}", vault.seal("key", f"p/k{number}", TEXT)))
    both = await open_vault([new, old], store, tmp_path)
    with pytest.raises(Killed):
        await rotate(both, store, kill)
    assert (await open_vault([new], store, tmp_path)).closed, "the canary comes last"
    half = await take_stock(both, store)
    assert half.by_key == {new.id: 100, old.id: 52}
    state = await rotate(both, store, lambda state: None)
    assert (state.resealed, state.current) == (50, 100)
    assert not (await open_vault([new], store, tmp_path)).closed


async def test_what_others_change_meanwhile_stays(store: ConfigurationStore, tmp_path: Path) -> None:
    old, new = a_key(), a_key()
    vault = await open_vault([old], store, tmp_path)
    for name in ("p/a", "p/b", "p/c"):
        await store.put(Entry("key", name, "{}", vault.seal("key", name, TEXT)))
    both = await open_vault([new, old], store, tmp_path)

    class Busy(ConfigurationStore):
        """A hub that still seals with the old key replaces p/b, and adds p/d, between reading and writing."""

        async def reseal(self, kind: str, name: str, was: str, sealed: str) -> bool:
            if name == "p/b" and not hasattr(self, "done"):
                self.done = True
                await store.put(Entry("key", "p/b", "{}", vault.seal("key", "p/b", "newer")))
                await store.put(Entry("key", "p/d", "{}", vault.seal("key", "p/d", "added")))
            return await store.reseal(kind, name, was, sealed)  # type: ignore[arg-type]

        fact, keep_fact, entries, revision = store.fact, store.keep_fact, store.entries, store.revision
        put, remove = store.put, store.remove

    state = await rotate(both, Busy(), lambda state: None)  # type: ignore[abstract]
    assert (state.resealed, state.lost) == (4, {})
    alone = await open_vault([new], store, tmp_path)
    opened = {e.name: alone.open("key", e.name, e.sealed).reveal() for e in (await store.entries())[1]}
    assert opened == {"p/a": TEXT, "p/b": "newer", "p/c": TEXT, "p/d": "added"}


def test_what_lasts_opens_whatever_root_keys_come_and_go() -> None:
    stable = Secret("stable" * 8)
    before, after = (Vault([RootKey(Secret(name * 40))], stable=stable) for name in ("a", "b"))
    sealed = before.lasting("kept answers").seal("answer", "1", "text")
    assert after.lasting("kept answers").open("answer", "1", sealed).reveal() == "text"
    with pytest.raises(CannotOpen):
        after.lasting("something else").open("answer", "1", sealed)
    with pytest.raises(CannotOpen):
        before.open("answer", "1", sealed)
    with pytest.raises(VaultClosed, match="because"):
        Vault((), "because").lasting("kept answers").seal("answer", "1", "text")
