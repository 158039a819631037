"""A place that serves models: its address, its credentials, the dialects spoken there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

import msgspec

from llmhub_core.contracts.plugin import Plugin


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; None means without limit.

    connect      until the TCP (and TLS) connection stands
    first_token  from sending the request to the first word of a streamed answer (pings and roles are none), or the
                 first byte of a whole one
    stall        between two reads of the body after that, those left aside that bring nothing of the answer (pings)
    total        for the whole call
    """

    connect: float | None = 5.0
    first_token: float | None = 120.0
    stall: float | None = 90.0
    total: float | None = None


NO_TIMEOUTS = Timeouts()
"""What holds where nobody said otherwise."""


class Call(msgspec.Struct):
    """One HTTP call to a provider. `url` is absolute and holds no credentials; header names are lower case."""

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    timeouts: Timeouts = NO_TIMEOUTS
    adapted: list[str] = []
    """What a provider had to change in the body because the place cannot take it, as in EncodedRequest."""


class Fetched(Protocol):
    """What `fetch` answers: small and whole."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...


class ProviderAnswer(Protocol):
    """An answer on its way in, from the network or from a provider that runs in this process."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""

    @property
    def content_type(self) -> str:
        """That of the headers, "" if there is none: most answers are passed on without a look at the others."""

    async def chunk(self) -> bytes:
        """What arrived since the last call; b"" at the clean end. Raises an UpstreamError if it broke off."""

    async def read(self, limit: int) -> bytes:
        """The whole body; UpstreamGarbled if it is larger than `limit` bytes."""

    def abort(self) -> None:
        """Give it up at once; may be called at any time, more than once."""


Fetch = Callable[[Call], Awaitable[Fetched]]
"""Lent by the gateway to providers that need calls of their own (token refresh, model lists)."""


class Envelope:
    """Unwraps a foreign framing of the answer into the dialect's own bytes. The default changes nothing."""

    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def close(self) -> bytes:
        return b""


class Provider(Plugin):
    """A place, isolated from all others; opens no connection itself.

    `speaks` names the dialects spoken there, best first in each operation; an instance may set its own. One
    instance serves one `[[providers]]` table; its keys come one at a time, with each call.
    """

    title: ClassVar[str] = ""
    """What people call it, where `name` will not do."""
    key_help: ClassVar[str] = ""
    """What to write as the secret of a key, in a sentence or two, where that is not simply an API key."""
    presets: ClassVar[Mapping[str, str]] = {}
    """Titles of the places that its setting `preset` knows, by name."""

    speaks: tuple[str, ...] = ()
    base_url: str
    """Where the dialect's paths begin, without a trailing slash. Set by __init__."""

    @classmethod
    def lends_machine(cls, secret: str) -> bool:
        """Whether a key with this secret is what the machine has (its role, a file of it) and not what somebody wrote.
        By the admin API only owners may add such a key: it goes wherever the provider's address says."""
        return False

    @abstractmethod
    async def prepare(self, call: Call, secret: str, fetch: Fetch) -> Call:
        """Add address prefix, credentials, signature. `call.url` comes as the dialect's path (``/chat/completions``),
        `secret` is the provider key's; an empty one means that the place needs none. The call is this attempt's
        own and may be changed: a place with quirks of its own rewrites the body here, and lists in `call.adapted`
        what got lost by it."""

    async def serve(self, call: Call) -> ProviderAnswer | None:
        """For models that run in this process: the answer to a prepared call. None sends it over the network."""
        return None

    def envelope(self, stream: bool, call: Call) -> Envelope | None:
        """For framings that are not the dialect's own, in the answer to `call`; None means bytes as they are."""
        return None

    def models_call(self) -> Call | None:
        """A call (not yet prepared) that lists the models, for `doctor` and key tests; None if there is none."""
        return None


def checked_base_url(url: str, example: str) -> str:
    """`url` without slashes at its end; ValueError with a sentence, which shows `example`, if calls cannot begin
    with it."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (a bad port is only found by asking for it)
    except ValueError:
        raise ValueError(f"base_url is not a URL; write it like {example}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url must begin with https:// or http:// and a host, like {example}.")
    if "@" in parts.netloc:
        raise ValueError("base_url must not hold credentials; put the secret in a provider key.")
    if "?" in url or "#" in url or any(char.isspace() for char in url):
        raise ValueError("base_url must not hold a query, a fragment or spaces.")
    return url.rstrip("/")
