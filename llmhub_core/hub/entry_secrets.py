"""What is secret in a stored provider beside its keys: values of headers, and options that its plugin keeps to itself.

In memory that is a part of the entry's body, as in the file. Where the entry rests it is sealed beside the body, as a
key's secret is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from llmhub_core.contracts import Entry
from llmhub_core.hub.settings import Known
from llmhub_core.hub.settings_entries import Id
from llmhub_core.hub.vault import CannotOpen, Vault

HEADERS = "headers"
"""Not meant for secrets, but people put them there all the same."""


def secret_options(kind: type | None) -> list[str]:
    """What a provider's plugin keeps out of its repr."""
    return [each.name for each in fields(kind) if not each.repr] if is_dataclass(kind) else []


def parted(body: Mapping[str, Any], known: Known) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a provider's table says in the open, and what is secret of it."""
    names = {*secret_options(known.provider_kinds.get(str(body.get("kind", "")))), HEADERS}
    secret = {name: value for name, value in body.items() if name in names and value}
    return {name: value for name, value in body.items() if name not in secret}, secret


def at_rest(entry: Entry, known: Known, vault: Vault) -> Entry:
    """As it may be stored. VaultClosed if there is something to seal, and it cannot be."""
    if entry.kind != "provider":
        return entry
    body, secret = parted(json.loads(entry.body), known)
    sealed = vault.seal(entry.kind, entry.name, json.dumps(secret)) if secret else ""
    return replace(entry, body=json.dumps(body, ensure_ascii=False, sort_keys=True), sealed=sealed)


def opened(entry: Entry, vault: Vault) -> dict[str, Any]:
    """What is sealed in a provider's entry; CannotOpen if it cannot be."""
    secret = json.loads(vault.open(entry.kind, entry.name, entry.sealed).reveal())
    return secret if isinstance(secret, dict) else {}


def in_use(entries: Iterable[Entry], vault: Vault) -> tuple[list[Entry], dict[Id, str]]:
    """All of them with what is secret in their bodies, and which of them cannot be used, and why: what is sealed in
    them cannot be opened."""
    found: list[Entry] = []
    lost: dict[Id, str] = {}
    for entry in entries:
        if entry.kind == "provider" and entry.sealed:
            try:
                body = {**json.loads(entry.body), **opened(entry, vault)}
                entry = replace(entry, body=json.dumps(body, ensure_ascii=False, sort_keys=True))
            except CannotOpen as error:
                lost[entry.kind, entry.name] = f"what is sealed in it cannot be opened: it {error}"
            except ValueError:
                pass  # a body that is no JSON: whoever reads it says so
        found.append(entry)
    return found, lost
