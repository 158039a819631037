"""Acts on what is configured beside the file: added, changed, removed, each checked by the rules of the file first.

The same for the admin API of a running hub and for commands on the host: both work on the store, and every hub on it
sees the change.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmhub_core.admin.refusals import Denied, not_found, unusable
from llmhub_core.admin.shelf import MASKED, Item, Shelf, body_of
from llmhub_core.contracts.configuration import ABSENT, ConfigurationStore, Entry, EntryKind
from llmhub_core.contracts.errors import SettingsError
from llmhub_core.contracts.people import AuditEntry, PeopleStore
from llmhub_core.hub import entry_secrets, vault
from llmhub_core.hub.build import CannotBuild, Sources, build_catalog
from llmhub_core.hub.configuration import Source, base_of
from llmhub_core.hub.registry import Registry
from llmhub_core.hub.settings import Loaded
from llmhub_core.hub.settings_entries import NAMES, Id, Merged, merge
from llmhub_core.hub.vault import CannotOpen, Secret, Vault, VaultClosed

LONGEST_SECRET = 16 * 1024
_SETTING = r"[a-z_]+(?:\[\d+\]|\.[a-z_]+)*"
SEEN = ("…", MASKED)
"""How secrets are shown: nobody means such a text as a new one."""


@dataclass(frozen=True, slots=True)
class By:
    """Who acts, and from where. On the `host`, and there alone, a secret may be named by a reference: by the API it
    would let an admin read any variable and file of the machine, and have it sent to a provider of theirs."""

    actor: str
    address: str = ""
    host: bool = False
    owner: bool = False


@dataclass(frozen=True, slots=True)
class Entries:
    """`loaded` is the file as it counts now."""

    loaded: Loaded
    source: Source
    registry: Registry
    store: ConfigurationStore
    people: PeopleStore | None
    vault: Vault
    cache: dict[str, Secret] = field(default_factory=dict, repr=False)

    async def shelf(self) -> Shelf:
        """All as it stands in the store at this moment."""
        entries, lost = entry_secrets.in_use((await self.store.entries())[1], self.vault)
        merged = await asyncio.to_thread(self._merged, entries, lost)
        opened = {each.name: self._open(each) for each in entries if each.kind == "key" and each.sealed}
        by_id: dict[Id, Entry] = {(each.kind, each.name): each for each in entries}
        return Shelf(self.loaded, merged, self.source.known, by_id, opened)

    def _merged(self, entries: Iterable[Entry], lost: Mapping[Id, str] = {}) -> Merged:
        source = self.source
        return merge(self.loaded.document, list(entries), source.known, source.environ, base_of(self.loaded), lost)

    def _open(self, entry: Entry) -> Secret | str:
        if entry.sealed not in self.cache:
            try:
                self.cache[entry.sealed] = self.vault.open(entry.kind, entry.name, entry.sealed)
            except CannotOpen as error:
                return str(error)
        return self.cache[entry.sealed]

    # --- the acts

    async def add(self, kind: EntryKind, name: str, table: Mapping[str, Any], by: By) -> Item:
        """Denied with what is wrong; the answer is the entry as it stands."""
        shelf = await self.shelf()
        if (known := shelf.item(kind, name)) is not None:
            where = f"in {known.origin.where}" if known.from_file and known.origin.where else "already"
            raise Denied(
                409, "name_taken", f"There is a {kind} {name} {where}.", "Take another name, or change that.",
                field=NAMES[kind],
            )  # fmt: skip
        body = {key: value for key, value in table.items() if value is not None}
        if kind == "key":
            self._mind_twin(shelf, name, body.get("secret"))
        if kind == "provider":  # keys may lie there of one that the file had before
            self._mind_keys(shelf, name, {}, body, by)
        entry = self.sealed(shelf, Entry(kind, name, ""), body, by)
        return await self.put(shelf, entry, ABSENT, by, "add", None)

    async def change(
        self, kind: EntryKind, name: str, patch: Mapping[str, Any], by: By, expected: int | None = None
    ) -> Item:
        """`patch` has what shall be another; None is the default again."""
        shelf = await self.shelf()
        item = self._known(shelf, kind, name)
        if set(patch) == {"disabled"} and isinstance(patch["disabled"], bool):
            return await self.switch(kind, name, patch["disabled"], by, expected)
        entry = self.own(shelf, item, expected)
        before = body_of(entry)
        body = {**before, **_unmasked(before, patch)}
        if kind == "key" and "secret" in patch:
            if self._is_present(shelf, item, patch["secret"]):
                body = {**body, "secret": before["secret"]} if "secret" in before else _without(body, "secret")
            elif patch["secret"] is None:
                body["secret"] = ""
        body = {key: value for key, value in body.items() if value is not None}
        if kind == "key":
            self._mind_twin(shelf, name, body.get("secret"))
        if kind == "provider":
            self._mind_keys(shelf, name, before, body, by)
        changed = self.sealed(shelf, replace(entry, body=""), body, by)
        if (changed.body, changed.sealed) == (entry.body, entry.sealed):
            return item
        return await self.put(shelf, changed, entry.revision, by, "change", item)

    async def switch(self, kind: EntryKind, name: str, disabled: bool, by: By, expected: int | None = None) -> Item:
        """Take it out of use, or into it again. For what the file says too: the file stays as it is."""
        shelf = await self.shelf()
        item = self._known(shelf, kind, name)
        if item.disabled is disabled:
            return item
        entry = shelf.entries.get((kind, name))
        _mind_revision(item, expected)
        body = {} if entry is None else body_of(entry)
        now = replace(entry or Entry(kind, name, ""), body=dumped({**body, "disabled": disabled}))
        return await self.put(shelf, now, item.revision, by, "disable" if disabled else "enable", item)

    async def remove(self, kind: EntryKind, name: str, by: By, expected: int | None = None) -> None:
        """A provider goes with its stored keys; Denied while anything else needs it."""
        shelf = await self.shelf()
        item = self._known(shelf, kind, name)
        gone = [self.own(shelf, item, expected)]
        if kind == "provider":
            gone += [each for (its, id), each in shelf.entries.items() if its == "key" and id.startswith(f"{name}/")]
        ids = {(entry.kind, entry.name) for entry in gone}
        rest = [entry for id, entry in shelf.entries.items() if id not in ids]
        await self._check(shelf, rest, ())
        for entry in reversed(gone):
            was = shelf.item(entry.kind, entry.name)
            if not await self.store.remove(entry.kind, entry.name, entry.revision):
                raise changed_meanwhile(entry.kind, entry.name)
            await self.note(by, f"{entry.kind}.remove", entry.name, None if was is None else was.table, None)

    async def note(self, by: By, action: str, subject: str, before: object, after: object) -> None:
        if self.people is not None:
            was, now = ("" if each is None else dumped(each) for each in (before, after))
            await self.people.note(AuditEntry(time.time(), by.actor, by.address, action, subject, "done", was, now))

    # --- what they have in common

    def _known(self, shelf: Shelf, kind: EntryKind, name: str) -> Item:
        item = shelf.item(kind, name)
        if item is None:
            raise not_found(f"{kind} {name}")
        return item

    def own(self, shelf: Shelf, item: Item, expected: int | None) -> Entry:
        """The entry behind it; Denied for what the file says."""
        entry = shelf.entries.get((item.kind, item.name))
        if item.from_file or entry is None:
            where = f"in {item.origin.where}" if item.origin.where else "from the environment"
            raise Denied(
                409, "from_file", f"The {item.kind} {item.name} stands {where}; it cannot be changed from here.",
                "Change it there, and the hub takes it over at once; disabling and enabling work from here too.",
            )  # fmt: skip
        _mind_revision(item, expected)
        return entry

    def _is_present(self, shelf: Shelf, item: Item, secret: object) -> bool:
        """Whether it is the secret that is there, as it is or as it was shown."""
        if _is_shown(secret):
            if secret not in (item.table.get("secret"), MASKED):
                raise unusable(
                    "The secret looks like one that is shown, not like one to use.", "Send it whole.", "secret"
                )
            return True
        return isinstance(secret, str) and shelf.opened.get(item.name) == Secret(secret.strip())

    def _mind_keys(self, shelf: Shelf, name: str, before: Mapping[str, Any], body: Mapping[str, Any], by: By) -> None:
        """Another address for keys that are there would send them to whoever is at that address."""
        harmless = {"models", "timeouts", "learn_limits", "disabled"}
        other = sorted(key for key in {*before, *body} - harmless if before.get(key) != body.get(key))
        has_keys = any(id.startswith(f"{name}/") for kind, id in shelf.entries if kind == "key")
        if other and has_keys and not (by.host or by.owner):
            raise Denied(
                403, "keys_at_stake",
                f"{name} has keys, which would be sent elsewhere with another {', '.join(other)}.",
                "An owner may do that; or add a provider of another name, and its keys with it.",
            )  # fmt: skip

    def sealed(self, shelf: Shelf, entry: Entry, body: Mapping[str, Any], by: By) -> Entry:
        """The entry with `body`, in which a key's secret rests sealed."""
        table = {key: value for key, value in body.items() if key != NAMES[entry.kind] or value != entry.name}
        if entry.kind == "key":
            self._mind_machine(shelf, entry, table.get("secret"), by)
        if entry.kind == "key" and "secret" in table:
            secret = table["secret"]
            if not isinstance(secret, str):
                raise unusable("secret must be a text.")
            place, _ = vault.split(secret)
            if place == "literal":
                del table["secret"]
                return replace(entry, body=dumped(table), sealed=self._seal(entry.name, secret))
            entry = replace(entry, sealed="")
            unchanged = entry.revision and body_of(shelf.entries[entry.kind, entry.name]).get("secret") == secret
            if place != "none" and not by.host and not unchanged:
                raise unusable(
                    "Only commands on the host may name a variable or a file that a secret lies in.",
                    f"Send the secret itself, or on the host: llm-hub key add {entry.name} --secret {place}:…",
                    "secret",
                )
        return replace(entry, body=dumped(table))

    def _mind_machine(self, shelf: Shelf, entry: Entry, secret: object, by: By) -> None:
        """A key that is what the machine has would lend that to whoever is at the provider's address."""
        if by.host or by.owner or (secret is None and entry.revision):
            return
        item = shelf.item("provider", entry.name.partition("/")[0])
        kind = "" if item is None else str(item.table.get("kind", ""))
        secret = secret.strip() if isinstance(secret, str) else ""
        before = shelf.entries.get((entry.kind, entry.name))
        if before is not None and not before.sealed and body_of(before).get("secret", "") == secret:
            return
        if kind in self.registry.providers and self.registry.providers.get(kind).lends_machine(secret):
            raise Denied(
                403, "keys_at_stake", f"The key {entry.name} would call with what the machine of the hub has.",
                "An owner may add such a key; or send a secret of its own.", field="secret",
            )  # fmt: skip

    def _seal(self, name: str, text: str) -> str:
        text = text.strip()
        if len(text) > LONGEST_SECRET:
            raise unusable(f"The secret is longer than {LONGEST_SECRET} characters.", field="secret")
        if _is_shown(text):
            raise only_shown()
        try:
            return self.vault.seal("key", name, text)
        except VaultClosed as closed:
            raise Denied(503, "vault_closed", "Secrets cannot be stored at the moment.", str(closed)) from None

    def at_rest(self, entry: Entry) -> Entry:
        """As it may be stored."""
        try:
            return entry_secrets.at_rest(entry, self.source.known, self.vault)
        except VaultClosed as closed:
            raise Denied(503, "vault_closed", "Secrets cannot be stored at the moment.", str(closed)) from None

    def _mind_twin(self, shelf: Shelf, name: str, secret: object) -> None:
        """Denied if another key of the same provider has that secret."""
        if not isinstance(secret, str) or vault.split(secret)[0] != "literal":
            return
        for id, known in self.secrets(shelf, name.partition("/")[0]):
            if id != name and known == Secret(secret.strip()):
                raise Denied(
                    409, "duplicate", f"The key {id} has this very secret.", "One of them is enough.", field="secret"
                )

    def secrets(self, shelf: Shelf, provider: str) -> Iterable[tuple[str, Secret]]:
        """Of the provider's keys, by id, as far as they can be had."""
        for id, known in shelf.opened.items():
            if id.startswith(f"{provider}/") and isinstance(known, Secret):
                yield id, known
        for id, table, _ in shelf.tables("key"):
            if id.startswith(f"{provider}/"):
                try:
                    yield id, vault.resolve(str(table.get("secret", "")), self.source.environ, base_of(self.loaded))
                except LookupError:
                    continue

    async def put(self, shelf: Shelf, entry: Entry, expected: int, by: By, act: str, was: Item | None) -> Item:
        id = (entry.kind, entry.name)
        rest = [each for key, each in shelf.entries.items() if key != id]
        order = list(NAMES)
        await self._check(shelf, sorted([*rest, entry], key=lambda each: order.index(each.kind)), (id,))
        kept = await self.store.put(self.at_rest(entry), expected)
        if kept is None:
            raise changed_meanwhile(entry.kind, entry.name)
        kept = replace(kept, body=entry.body)
        now = replace(shelf, entries={**shelf.entries, id: kept}, opened={**shelf.opened, **self._opened(kept)})
        item = now.item(entry.kind, entry.name)
        if item is None:
            raise not_found(f"{entry.kind} {entry.name}")
        await self.note(by, f"{entry.kind}.{act}", entry.name, None if was is None else was.table, item.table)
        return item

    def _opened(self, entry: Entry) -> dict[str, Secret | str]:
        return {entry.name: self._open(entry)} if entry.kind == "key" and entry.sealed else {}

    async def look(self, shelf: Shelf, new: Iterable[Entry]) -> dict[Id, str]:
        """What would not count, and why, if these were there too; they come by their kind."""
        order = list(NAMES)
        entries = sorted([*shelf.entries.values(), *new], key=lambda each: order.index(each.kind))
        return await asyncio.to_thread(self.wrong, shelf, entries)

    async def _check(self, shelf: Shelf, entries: list[Entry], mine: Iterable[Id]) -> None:
        """Denied if the entries do not go together: one's own, or one that counts now and would not any more."""
        wrong = await asyncio.to_thread(self.wrong, shelf, entries)
        for id in mine:
            if id in wrong:
                why = wrong[id]
                said = f"{id[0]} {id[1]}: {why.removesuffix('.')}."
                raise unusable(said, "Mend that, and send it again.", _place(why), _faults(why))
        if wrong:
            (kind, name), why = next(iter(wrong.items()))
            raise Denied(
                409,
                "in_use",
                f"The {kind} {name} would not work any more: {why}.",
                f"Change or remove that {kind} first.",
            )

    def wrong(self, shelf: Shelf, entries: list[Entry]) -> dict[Id, str]:
        """What would not count, and why, of all that counts now or is new."""
        try:
            merged = self._merged(entries)
            sealed = {each.name: Secret("sealed") for each in entries if each.kind == "key" and each.sealed}
            sources = Sources(base_of(self.loaded), self.source.environ, sealed)
            build_catalog(merged.settings, self.registry, sources)
        except CannotBuild as error:
            return {("provider", name): why for name, why in error.providers.items()}
        except SettingsError as error:
            raise unusable("; ".join(error.problems)) from None
        new = {(each.kind, each.name) for each in entries} - set(shelf.entries)
        return {
            (out.kind, out.name): out.why
            for out in merged.left_out
            if (out.kind, out.name) in new or (out.kind, out.name) in shelf.merged.counting
        }


def only_shown() -> Denied:
    return unusable("The secret looks like one that is shown, not like one to use.", "Send it whole.", "secret")


def _place(why: str) -> str:
    """Which setting it is about, if it begins with one: limits.rpm: must be …, base_url must …"""
    found = re.match(rf"({_SETTING}):? ", why)
    return found[1] if found else ""


def _faults(why: str) -> dict[str, str]:
    """What is wrong with each setting, of a reason that may name several."""
    found: dict[str, str] = {}
    for each in re.split(rf"; (?={_SETTING}: )", why.removesuffix(".")):
        place = _place(each)
        said = each[len(place) :].removeprefix(":").strip()
        found[place] = f"{found[place]}; {said}" if place in found else said
    return found


def changed_meanwhile(kind: str, name: str) -> Denied:
    return Denied(
        409, "changed_meanwhile", f"The {kind} {name} was changed by somebody else meanwhile.",
        "Look at it again, and send what you still want to change with its present revision.",
    )  # fmt: skip


def _mind_revision(item: Item, expected: int | None) -> None:
    if expected is not None and expected != item.revision:
        raise changed_meanwhile(item.kind, item.name)


def _is_shown(secret: object) -> bool:
    return isinstance(secret, str) and secret.startswith(SEEN)


def _unmasked(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent back as it was shown is what it was: a provider's own secrets, and its headers."""
    found = {key: before[key] if value == MASKED and key in before else value for key, value in patch.items()}
    headers, were = found.get("headers"), before.get("headers")
    if isinstance(headers, dict) and isinstance(were, dict):
        found["headers"] = {key: were.get(key, value) if value == MASKED else value for key, value in headers.items()}
    return found


def _without(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
