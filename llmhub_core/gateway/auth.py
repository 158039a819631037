"""Who is asking, and may they."""

from __future__ import annotations

import time

from llmhub_core.contracts.errors import Unauthenticated
from llmhub_core.contracts.exchange import Caller, Exchange
from llmhub_core.hub.hub import Hub
from llmhub_core.hub.tokens import ADMIN_PREFIX, ANYONE, TOKEN_PREFIX, Tokens, is_well_formed

LONGEST_TOKEN = 1024


def recognise(exchange: Exchange, hub: Hub) -> Caller:
    """The caller by the token presented, in whichever dialect's way; Unauthenticated if there must be one.

    With an open API a token still tells who asks, and an unknown one is whatever the SDK was given as a key.
    """
    is_open = hub.settings.auth.api == "open"
    if is_open and not len(hub.tokens):
        return ANYONE
    token = _presented(exchange)
    if token:
        caller = hub.tokens.find(token) if len(token) <= LONGEST_TOKEN else None
        if caller is not None:
            return caller
    if is_open:
        return ANYONE
    if not token:
        raise Unauthenticated(
            "No API key was sent. Send a client token of this hub as your SDK sends its API key.",
            code="missing_api_key",
        )
    raise _unknown(token, hub.tokens)


def _unknown(token: str, tokens: Tokens) -> Unauthenticated:
    """Why a token opens nothing, as far as it may be told to somebody who holds it."""
    if token.startswith(ADMIN_PREFIX):
        return Unauthenticated("This is an admin token, which opens /admin/api only. Use a client token of this hub.")
    if token.startswith(TOKEN_PREFIX) and not is_well_formed(token):
        return Unauthenticated("The API key has a typing error: its checksum does not fit. Copy it again.")
    ended = tokens.expired_at(token) if len(token) <= LONGEST_TOKEN else None
    if ended is not None:
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ended))
        return Unauthenticated(f"The API key expired on {day}. Ask the operator for a new one.", code="expired_api_key")
    return Unauthenticated("The API key is not known here. Use a client token of this hub, not a provider's key.")


def _presented(exchange: Exchange) -> str | None:
    """The dialect's own way first, then everybody else's, for people configure SDKs in all manners."""
    headers, query = exchange.headers, exchange.where.query
    token = exchange.dialect.credentials(headers, query)
    if token:
        return token
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or query.get("key") or None
