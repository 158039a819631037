"""What an earlier run found out and a start forgets: such an alert is over only when requests prove it, or when what it
was about is gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmhub_core.contracts.candidate import Candidate, Deployment
from llmhub_core.contracts.exchange import Record
from llmhub_core.hub.alert_rules import Watched

FORGOTTEN = ("key_invalid", "key_exhausted", "provider_down")
"""Rules about what the hub forgets when it stops."""

Key = tuple[str, str]
"""(rule, subject)"""

_ANY = Deployment("", "")


class Proofs:
    """Alerts that wait for a proof, and what was proven since the start."""

    def __init__(self, hub: Watched) -> None:
        self._hub = hub
        self._waiting: set[Key] = set()
        self._proven: set[str] = set()

    def await_for(self, key: Key) -> None:
        """`key` was open when the hub started."""
        if key[0] in FORGOTTEN:
            self._waiting.add(key)

    def found_again(self, keys: Iterable[Key]) -> None:
        """The rules find these in this run too: from here on they tell."""
        self._waiting.difference_update(keys)

    def look_for(self, batch: Sequence[Record]) -> bool:
        """In finished requests; whether something that waits is over now."""
        if not self._waiting:
            return False
        places = self._hub.catalog.places
        for record in batch:
            for attempt in record.attempts:
                place = places.get(attempt.provider)
                key = next((key for key in place.keys if key.name == attempt.key), None) if place else None
                if attempt.reason == "ok" and key is not None:
                    self._proven.update(Candidate(Deployment(attempt.provider, attempt.model), key).subjects)
                    self._proven.update((attempt.provider, f"{attempt.provider}/{attempt.model}"))
        return any(subject in self._proven for _, subject in self._waiting)

    def is_over(self, key: Key) -> bool:
        """True too of what waits for no proof."""
        if key not in self._waiting:
            return True
        if key[1] not in self._proven and self._exists(key[1]):
            return False
        self._waiting.discard(key)
        if not self._waiting:
            self._proven.clear()
        return True

    def _exists(self, subject: str) -> bool:
        places = self._hub.catalog.places.values()
        known = {place.name for place in places}
        known.update(each for place in places for key in place.keys for each in Candidate(_ANY, key).subjects)
        kind, _, rest = subject.partition(":")
        if kind == "model":
            return any(rest.startswith(f"{each}/") for each in known)
        return subject in known or subject.partition("/")[0] in known
