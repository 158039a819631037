"""Guessing is slowed down: after some failures for a name or from an address each next try has to wait longer.

The counts stand in the store, so that a restart forgives nobody. They are kept of names that do not exist too, or
the difference would tell which do.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from llmhub_core.admin.refusals import Denied
from llmhub_core.contracts.people import Failures, PeopleStore
from llmhub_core.hub.vault import Vault, VaultClosed

FIRST_PAUSE = 30.0
LONGEST_PAUSE = 900.0
FORGET_AFTER = 86_400.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is counted, and how many failures are free."""

    key: str
    free: int


def key_of(vault: Vault) -> bytes:
    """While the vault is closed one that ends with this process: then a restart forgives, and nothing is told."""
    try:
        return vault.derive("names of failed sign-ins")
    except VaultClosed:
        return secrets.token_bytes(32)


def subjects(name: str, address: str, key: bytes) -> tuple[Subject, Subject]:
    """The name as a keyed digest: people type passwords into the field for names."""
    digest = hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return Subject(f"name:{digest}", 10), Subject(f"address:{address}", 100)


def pause(failures: Failures, free: int) -> float:
    """Seconds from the last failure until the next try."""
    over = failures.count - free
    return 0.0 if over < 0 else min(FIRST_PAUSE * 2.0 ** min(over, 30), LONGEST_PAUSE)


async def admit(people: PeopleStore, name: str, address: str, key: bytes) -> None:
    """Count a try before it is made, so that who hangs up in the middle is counted too; Denied if it is too early."""
    now = time.time()
    for subject in subjects(name, address, key):
        seen = await people.failures(subject.key)
        if seen.last_at < now - FORGET_AFTER:
            seen = Failures()
        if (left := seen.last_at + pause(seen, subject.free) - now) > 0:
            raise _too_early(left)
        counted = await people.count_failure(subject.key, now, now - FORGET_AFTER)
        if counted.count > subject.free and counted.count > seen.count + 1:
            raise _too_early(pause(counted, subject.free))  # others tried at the same moment


async def forgive(people: PeopleStore, name: str, address: str = "", *, key: bytes) -> None:
    for subject in subjects(name, address, key):
        if subject.key != "address:":
            await people.forgive(subject.key)


def _too_early(seconds: float) -> Denied:
    return Denied(
        429,
        "too_many_failures",
        "There were too many failed attempts to sign in.",
        f"Try again in {seconds:.0f} seconds, or on the host: llm-hub user reset NAME.",
        retry_after=seconds,
    )
