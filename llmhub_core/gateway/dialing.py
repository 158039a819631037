"""Makes connections to providers: looks the name up, keeps to the networks that are allowed, and says what went wrong.

The name is looked up once, and what was judged is what is connected to: a name server that tells another address a
moment later gains nothing.
"""

from __future__ import annotations

import socket
import ssl

from llmhub_core.contracts.errors import UpstreamError, UpstreamUnreachable
from llmhub_core.gateway.wire_http import Connection
from llmhub_core.hub.networks import Networks

GONE = "The provider could not be reached; try again or use another provider."
_DNS = "The provider's name could not be resolved; check its address and the name server."
_TLS = "No trusted TLS connection to the provider could be made; check its address and certificate."
_NETWORK = "The provider's address is in a network that this hub may not reach; upstream.networks names those it may."


async def dial(
    conn: Connection, host: str, port: int, tls: ssl.SSLContext | None, networks: Networks
) -> UpstreamError | None:
    """Let `conn` stand; what to raise if it does not. Never raised from here: its cause would hold the address."""
    loop = conn.loop
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return UpstreamUnreachable(_DNS, code="upstream_dns")
    except OSError:
        return UpstreamUnreachable(GONE)
    addresses = [str(each[4][0]) for each in found]
    allowed = [address for address in dict.fromkeys(addresses) if networks.allow(address)]
    if addresses and not allowed:
        return UpstreamUnreachable(_NETWORK, code="upstream_network")
    name = host if tls is not None else None
    for address in allowed:
        try:
            await loop.create_connection(lambda: conn, address, port, ssl=tls, server_hostname=name)
        except ssl.SSLError:
            return UpstreamUnreachable(_TLS, code="upstream_tls")
        except OSError:
            if conn.closed:  # it stood, and broke
                break
        else:
            return None
    return UpstreamUnreachable(GONE)
