"""Alerts by HTTP: each notice is a JSON POST, signed so that the receiver can tell it from anybody else's.

The signature is that of https://www.standardwebhooks.com: HMAC-SHA256 over `id.timestamp.body`, so that libraries which
verify it exist for most languages. An address of Slack, Discord and the like holds a password of its own: it counts as
a secret here, and no message repeats it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

from llmhub_core.contracts import NotDelivered, Notice, Observer, StartError, hookimpl

PREFIX = "whsec_"
RETRIED = (408, 425, 429)
"""Refusals after which another try may help, beside all of 500 and above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Where notices go."""

    url: str = field(
        default="",
        repr=False,
        metadata={
            "help": "Where notices are posted to, as env:NAME, file:/path or the address itself.",
            "secret": True,
            "required": True,
        },
    )
    secret: str = field(
        default="",
        repr=False,
        metadata={
            "help": "What signs them, as env:NAME or file:/path: whsec_ and base64, or any text; without one nothing "
            "is signed.",
            "secret": True,
        },
    )
    timeout: float = field(
        default=10.0,
        metadata={"help": "How long one try may take.", "unit": "seconds", "minimum": 0.1, "maximum": 25},
    )


class Webhook(Observer):
    """Follows no redirect, reads no more of an answer than its status, and keeps no connection."""

    name = "webhook"
    Settings = WebhookSettings
    _session: aiohttp.ClientSession

    async def start(self) -> None:
        if not self.settings.url.startswith(("https://", "http://")):
            raise StartError("observers.webhook.url must be an address that begins with https:// or http://.")
        self._key = _key(self.settings.secret)
        # An answer is never read, so its connection is not used again.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=2),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self.settings.timeout),
            headers={"user-agent": "llm-hub"},
        )

    async def stop(self) -> None:
        await self._session.close()

    async def deliver(self, notice: Notice) -> None:
        body = json.dumps(told(notice), ensure_ascii=False).encode("utf-8", "replace")
        headers = {"content-type": "application/json", **signature(self._key, notice.id, time.time(), body)}
        try:
            async with self._session.post(
                self.settings.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status, wait = answer.status, answer.headers.get("retry-after", "")
        except TimeoutError:
            raise NotDelivered(f"The receiver did not answer within {self.settings.timeout:g} s.") from None
        except (aiohttp.InvalidURL, ValueError):
            raise NotDelivered("The address of the receiver cannot be used.", again=False) from None
        except (aiohttp.ClientError, OSError) as error:
            # Its text has the address.
            raise NotDelivered(_unreached(error)) from None
        if 300 <= status < 400:
            raise NotDelivered(f"The receiver answered with a redirect ({status}), which is not followed.", again=False)
        if status >= 400:
            raise NotDelivered(
                f"The receiver answered {status}.",
                again=status in RETRIED or status >= 500,
                retry_after=float(wait) if wait.isascii() and wait.isdigit() else None,
            )


def _unreached(error: Exception) -> str:
    """What happened and what to look at, without the address, which may hold a password."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "The name of the receiver was not found; check its address."
    if isinstance(error, aiohttp.ClientSSLError):
        return "The receiver could not prove who it is; check its certificate and its address."
    if isinstance(getattr(error, "os_error", error), ConnectionRefusedError):
        return "Nothing takes connections at the receiver's address; check the address, and whether it runs."
    if isinstance(error, aiohttp.ClientConnectorError):
        return "The receiver could not be reached; check its address, and the network between."
    return "The receiver broke off without an answer; its own log may say why."


def told(notice: Notice) -> dict[str, Any]:
    """What a receiver reads. Times are seconds since 1970."""
    alert = asdict(notice.alert)
    del alert["told"], alert["told_at"]
    link = f"{notice.hub}/{notice.alert.page}" if notice.hub else ""
    return {
        "type": f"alert.{notice.kind}",
        "timestamp": notice.at,
        "data": {**alert, "hub": notice.hub, "link": link},
        "text": text(notice),
    }


def text(notice: Notice) -> str:
    """In one line, for receivers that show a field `text`, as chats do."""
    word = {"open": "", "reminder": "Still: ", "recovered": "Over: ", "test": ""}[notice.kind]
    return f"{word}{notice.alert.what} {'' if notice.kind == 'recovered' else notice.alert.advice}".strip()


def signature(key: bytes, id: str, at: float, body: bytes) -> dict[str, str]:
    """The headers; without a key only those that tell one notice from another."""
    stamp = str(int(at))
    headers = {"webhook-id": id, "webhook-timestamp": stamp}
    if key:
        digest = hmac.digest(key, b"%b.%b.%b" % (id.encode(), stamp.encode(), body), hashlib.sha256)
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return headers


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise StartError("observers.webhook.secret begins with whsec_, but what follows is not base64.") from None


@hookimpl
def register_observers() -> Iterable[type[Observer]]:
    """Alerts by HTTP."""
    return [Webhook]
