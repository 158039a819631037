"""Client tokens beside the file: made, shown once, rolled with an overlap."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from llmhub_core.admin.entries import By, Entries, dumped
from llmhub_core.admin.refusals import Denied, not_found, unusable
from llmhub_core.admin.shelf import Item, body_of
from llmhub_core.hub.tokens import PURPOSE, keyed_digest, mint
from llmhub_core.hub.vault import VaultClosed

OURS = ("hash", "previous", "hint")
"""What the hub writes of a token, and nobody else."""


def mind_ours(table: Mapping[str, Any]) -> None:
    """Denied if somebody would write the hub's own fields."""
    if named := [name for name in OURS if name in table]:
        raise unusable(f"{named[0]} is made by the hub.", "Leave it out; rolling a token gives it a new one.")


async def make(entries: Entries, name: str, table: Mapping[str, Any], by: By) -> tuple[Item, str]:
    """The token as it stands, and itself: it is told once."""
    mind_ours(table)
    text = mint()
    return await entries.add("token", name, {**table, **_fresh(entries, text)}, by), text


async def roll(entries: Entries, name: str, overlap: float, by: By, expected: int | None = None) -> tuple[Item, str]:
    """Another token for the same caller; the one until now counts for `overlap` seconds more."""
    shelf = await entries.shelf()
    item = shelf.item("token", name)
    if item is None:
        raise not_found(f"token {name}")
    entry = entries.own(shelf, item, expected)
    body, text = body_of(entry), mint()
    before = body.pop("hash", ""), body.pop("previous", None)
    body |= _fresh(entries, text)
    if overlap > 0:
        until = datetime.fromtimestamp(time.time() + overlap, UTC).isoformat(timespec="seconds")
        body["previous"] = {"hash": before[0], "until": until}
    return await entries.put(shelf, replace(entry, body=dumped(body)), entry.revision, by, "roll", item), text


def _fresh(entries: Entries, text: str) -> dict[str, str]:
    if entries.vault.closed:
        raise Denied(503, "vault_closed", "Tokens cannot be stored at the moment.", entries.vault.closed)
    try:
        return {"hash": keyed_digest(text, entries.vault.derive(PURPOSE)), "hint": text[-4:]}
    except VaultClosed as closed:
        raise Denied(503, "vault_closed", "Tokens cannot be stored at the moment.", str(closed)) from None
