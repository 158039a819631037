"""Everything that the control plane works with: the hub, its people, and what the floor above lends it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from llmhub_core.admin import throttle
from llmhub_core.admin.accounts import Accounts
from llmhub_core.admin.page_process import PageProcess
from llmhub_core.admin.refusals import Denied
from llmhub_core.admin.sessions import Sessions
from llmhub_core.contracts.metadata_store import MetadataStore
from llmhub_core.contracts.people import PeopleStore, SignedIn, User
from llmhub_core.contracts.provider import Fetch
from llmhub_core.hub.dry_run import Asked, DryRun
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.workers import Workers

log = logging.getLogger("llmhub.admin")

OWNER = "LLMHUB_OWNER"
OWNER_PASSWORD = "LLMHUB_OWNER_PASSWORD"  # noqa: S105 — the name of a variable
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Explain = Callable[[Asked], Awaitable[DryRun]]
"""What would become of a request, without taking a turn; HubError if it would be refused before anybody is chosen."""


class Control:
    """Construct → `open` once the hub runs → use → `close`. Where the store keeps no people nobody signs in."""

    accounts: Accounts
    sessions: Sessions

    def __init__(self, hub: Hub, explain: Explain, fetch: Fetch) -> None:
        self.hub = hub
        self.workers = Workers(hub)
        self.explain = explain
        self.fetch = fetch
        """Calls of providers, for tests of their keys; lent by the gateway."""
        self.started_at = time.time()
        self.page_process = PageProcess(hub.store)
        self.setup_secret = ""
        """For the one-time link, while nobody has used it; in memory only."""
        parts = urlsplit(hub.settings.server.public_url)
        self._origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""

    @property
    def people(self) -> PeopleStore:
        if self.hub.store.people is None:
            raise Denied(
                503, "no_people", "The metadata store of this hub keeps no users, so nobody can sign in.",
                "Take one that does: sqlite or postgresql.",
            )  # fmt: skip
        return self.hub.store.people

    async def open(self, environ: Mapping[str, str]) -> None:
        """Make the owner that the environment names, or offer set-up, if there is nobody yet."""
        people = self.hub.store.people
        if people is None:
            return
        self.accounts = Accounts(people, throttle.key_of(self.hub.vault))
        self.sessions = Sessions(people, secure=self._origin.startswith("https:"), find=self._find_sessions)
        if not self.hub.worker.first or await people.users():
            return
        name = environ.get(OWNER, "")
        if name:
            try:
                await self.accounts.add_first(name, _password(environ))
            except (Denied, OSError) as error:
                log.error("the owner of %s cannot be made: %s", OWNER, error)  # noqa: TRY400 — no trace helps here
            else:
                log.info("made the owner %s", name)
                return
        self.setup_secret = await self.accounts.offer_setup()

    async def _find_sessions(self, digests: Sequence[str]) -> Sequence[tuple[SignedIn, User] | None]:
        return await self.page_process.run(_sessions_of, digests)

    async def close(self) -> None:
        await self.page_process.close()
        if self.hub.store.people is not None:
            self.accounts.close()

    def origin(self, request: web.Request) -> str:
        """Where browsers see this hub. Without `public_url` it is known only where the address is this machine's: any
        other name in a Host header may be a stranger's that points here."""
        if self._origin:
            return self._origin
        host = request.host
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return f"http://{host}" if name in LOOPBACK else ""


async def _sessions_of(store: MetadataStore, digests: Sequence[str]) -> Sequence[tuple[SignedIn, User] | None]:
    return [None if store.people is None else await store.people.find_session(digest) for digest in digests]


def _password(environ: Mapping[str, str]) -> str:
    path = environ.get(f"{OWNER_PASSWORD}_FILE")
    if path:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    return environ.get(OWNER_PASSWORD, "")
