"""How many attempts came to nothing at each provider: in no sum of use, for nobody answered."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from llmhub_core.contracts.exchange import Attempt, Record

HOUR = 3600
NOT_ITS_FAULT = ("ok", "client_closed", "hedge_lost")
CALLERS_FAULT = (400, 413, 422)


class Unanswered:
    """By provider, of this hour and the one before."""

    def __init__(self) -> None:
        self._hours: dict[int, Counter[str]] = {}

    def count(self, batch: Sequence[Record]) -> None:
        for record in batch:
            tried = record.attempts[:-1] if record.provider else record.attempts  # whoever answered is in the sums
            for attempt in tried:
                if _came_to_nothing(attempt):
                    self._hours.setdefault(int(record.arrived_at // HOUR), Counter())[attempt.provider] += 1

    def told(self) -> Mapping[str, int]:
        earliest = int(time.time() // HOUR) - 1
        self._hours = {hour: counts for hour, counts in self._hours.items() if hour >= earliest}
        return sum(self._hours.values(), Counter())


def _came_to_nothing(attempt: Attempt) -> bool:
    return attempt.reason not in NOT_ITS_FAULT and attempt.status not in CALLERS_FAULT
