"""Passwords: made hard to guess, checked off the event loop, two at a time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import unicodedata
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import bcrypt

from llmhub_core.admin.refusals import Denied, unusable

COST = 12
"""Half a second a check on a small machine. A stored verifier says with which cost it was made."""

AT_ONCE = 2
MOST_WAITING = 20
"""Checks that may wait; who comes later is asked to try again, so that guessing cannot take the machine."""

SHORTEST = 8
LONGEST_BYTES = 1024

SCHEME = "bcrypt-hmac-sha384:"
_CONTEXT = b"llm-hub password"
_NOBODY = "R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"

_COMMON = frozenset("""
    password passwort password1 password12 password123 passw0rd p@ssword p@ssw0rd iloveyou sunshine princess football
    baseball superman trustno1 starwars whatever computer internet michelle jennifer welcome1 welcome123 letmein1
    changeme changeit admin123 administrator adminadmin rootroot testtest test1234 qwertyui qwerty123 qwertyuiop
    qwertz123 asdfghjkl zxcvbnm1 1q2w3e4r 1qaz2wsx q1w2e3r4 abcd1234 abc12345 aa123456 a1234567 123456789 987654321
    1234567890 0987654321 123123123 11223344 12341234 llm-hub1 llmhub123 dashboard secret123 default1 hunter22
    correcthorse
""".split())  # fmt: skip  # noqa: SIM905

T = TypeVar("T")


def complaint(password: str, name: str) -> str:
    """Why this is no password for `name`; "" if it is one. Any characters, in any mixture, are welcome."""
    plain = password.casefold()
    if len(password) < SHORTEST:
        return f"The password is too short; take at least {SHORTEST} characters, better 15."
    if len(password.encode("utf-8", "surrogatepass")) > LONGEST_BYTES:
        return f"The password is too long; take at most {LONGEST_BYTES} bytes."
    if len(set(plain)) < 4 or plain in _COMMON or _counts(plain):
        return "This password is among the first that anybody would try; take another."
    if plain in {word * times for word in (name.casefold(), "llm-hub", "llmhub") if word for times in range(1, 5)}:
        return "The password is made of a name that anybody here knows; take another."
    return ""


def check(password: str, name: str) -> None:
    """Denied with the reason if it may not be a password."""
    if wrong := complaint(password, name):
        advice = "A few words in a row that only you would put together make a good one."
        raise unusable(wrong, advice, field="password")


def invented() -> str:
    """A new password for somebody who is told it once: 120 bits, easy to copy."""
    letters = base64.b32encode(secrets.token_bytes(15)).decode().lower()
    return "-".join(letters[at : at + 6] for at in range(0, len(letters), 6))


def verifier_of(password: str) -> str:
    """What is stored. Slow on purpose."""
    return SCHEME + bcrypt.hashpw(_fitted(password), bcrypt.gensalt(COST)).decode()


def matches(password: str, verifier: str | None) -> bool:
    """Slow on purpose, and as slow for a user who does not exist (None)."""
    known = verifier is not None and verifier.startswith(SCHEME)
    hashed = verifier.removeprefix(SCHEME) if verifier is not None and known else f"$2b${COST:02d}${_NOBODY}"
    return bcrypt.checkpw(_fitted(password), hashed.encode()) and known


def _fitted(password: str) -> bytes:
    """64 bytes that stand for the whole password: bcrypt looks at 72 at most, and ends at a NUL. With a context of
    our own, so that hashes stolen elsewhere are of no use here. Normalized, for keyboards write an ü in two ways."""
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(_CONTEXT, text, hashlib.sha384))


def _counts(text: str) -> bool:
    """Whether it only counts or spells up or down: 23456789, hgfedcba."""
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return steps in ({1}, {-1})


class Passwords:
    """The slow work, in threads of its own. `close` when nobody signs in any more."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="llmhub-password")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def verifier(self, password: str) -> str:
        return await self._wait_for(self._submit(verifier_of, password))

    async def matches(self, password: str, verifier: str | None) -> bool:
        return await self._wait_for(self._submit(matches, password, verifier))

    def _submit(self, work: object, *arguments: object) -> Future[T]:
        if self._waiting >= MOST_WAITING:
            raise Denied(
                429, "too_many_sign_ins", "Too many people sign in at this moment.", "Try again in a few seconds.",
                retry_after=5,
            )  # fmt: skip
        self._waiting += 1
        future: Future[T] = self._threads.submit(work, *arguments)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return future

    async def _wait_for(self, future: Future[T]) -> T:
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self._waiting -= 1
