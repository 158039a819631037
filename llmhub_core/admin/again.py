"""Acts that are sent again: who gives a POST an ``Idempotency-Key`` may repeat it, and it is done once.

The answer of the first time is kept for a day, sealed, for some answers show what is shown only once; by a key that
outlives every root key, so that a rotation need not wait for them.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable

from llmhub_core.admin.doors import Visit
from llmhub_core.admin.refusals import Denied, unusable
from llmhub_core.contracts.people import KeptAnswer
from llmhub_core.hub.vault import CannotOpen, VaultClosed

HEADER = "idempotency-key"
PURPOSE = "kept answers"
REPLAYED = "idempotency-replayed"

KEPT = 86_400.0
"""Seconds for which an answer is kept."""

STALE = 120.0
"""Seconds after which an act without an answer is taken for one whose hub died in the middle of it."""

_KEY = re.compile(r"[!-~]{1,255}")


async def once(visit: Visit, act: Callable[[], Awaitable[bytes]]) -> tuple[bytes, bool]:
    """The answer, and whether it is one from before. Denied if the key came with something else, or if the act is
    still under way. An act that was refused may be sent again as if for the first time."""
    key = visit.request.headers.get(HEADER, "")
    if not key:
        return await act(), False
    if not _KEY.fullmatch(key):
        raise unusable("The Idempotency-Key must have 1 to 255 printable characters.", "A UUID is a good one.")
    people, vault, now = visit.control.people, visit.control.hub.vault.lasting(PURPOSE), time.time()
    claim = KeptAnswer(_place(visit, key), _digest(json.dumps(visit.sent, sort_keys=True)), now)
    known = await people.claim_act(claim, now - KEPT, now - STALE)
    if known is not None:
        return _opened(visit, known, claim.request), True
    try:
        answer = await act()
    except BaseException:
        await people.release_act(claim.digest)
        raise
    try:
        sealed = vault.seal("answer", claim.digest, answer.decode())
    except VaultClosed:
        await people.release_act(claim.digest)  # done, and told; only its answer cannot be kept
        return answer, False
    await people.keep_answer(KeptAnswer(claim.digest, claim.request, now, sealed))
    return answer, False


def _place(visit: Visit, key: str) -> str:
    """Whose key it is and for what: another's, or for another path, is another key."""
    who = visit.who
    own = "" if who is None else (who.token.id if who.token is not None else who.user.id)
    return _digest("\n".join((own, visit.request.method, visit.request.raw_path, key)))


def _opened(visit: Visit, known: KeptAnswer, request: str) -> bytes:
    if known.request != request:
        raise Denied(
            422, "key_used", "This Idempotency-Key came with another body before.",
            "Take a new key for every act; the same one only to send the very same again.",
        )  # fmt: skip
    if not known.answer:
        raise Denied(
            409, "under_way", "This act is still under way.", "Send it again in a moment for its answer.", retry_after=1
        )
    try:
        return visit.control.hub.vault.lasting(PURPOSE).open("answer", known.digest, known.answer).reveal().encode()
    except CannotOpen:
        raise Denied(
            409, "done_before", "This was done before, but its answer cannot be opened any more.",
            "See what is there now; take a new key to do it once more.",
        ) from None  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
