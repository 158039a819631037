"""The networks that providers may be in. Who may set a provider's address could else have this machine ask others
that only it can reach, above all the address at which clouds tell their machines credentials.

Addresses are judged as they are connected to, after names were looked up: a name may lead elsewhere each time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal, get_args

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Kind = Literal["public", "private", "loopback", "link-local"]
KINDS: tuple[Kind, ...] = get_args(Kind)

OF_CLOUDS = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # nearly all of them; link-local anyway
        "168.63.129.16",  # Azure's host agent
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle's older images
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS, for pods
        "fd20:ce::254",  # Google
        "fd00:c1::a9fe:a9fe",  # Oracle
        "fd00:42::42",  # Scaleway
    )
)
"""Where machines in a cloud ask for their own settings and credentials; they count as link-local wherever they lie."""

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def a_network(text: str) -> str:
    """A word for a kind of network, or one in CIDR notation; ValueError with half a sentence if it is neither."""
    if text in KINDS:
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(f"must be {', '.join(KINDS)}, or a network such as 10.1.0.0/16") from None


def kind_of(address: Address) -> Kind | None:
    """Where an address leads; None for what is no machine's, such as a multicast group."""
    address = _meant(address)
    if address.is_link_local or address in OF_CLOUDS:
        return "link-local"
    if address.is_loopback or address.is_unspecified:  # 0.0.0.0 is answered by this machine
        return "loopback"
    if address.is_multicast or address.is_reserved:
        return None
    return "public" if address.is_global else "private"


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it is translated or tunnelled; else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


class Networks:
    """Those of `names`, as `a_network` takes them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._kinds = frozenset(name for name in names if name in KINDS)
        self._own = tuple(ipaddress.ip_network(name) for name in names if name not in KINDS)

    def allow(self, text: str) -> bool:
        """Whether an address, as sockets have it, is in one of them."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if kind_of(address) in self._kinds:
            return True
        meant = _meant(address)
        return any(meant in network or address in network for network in self._own)

    def refuse(self, host: str) -> bool:
        """Whether a host of an address is one that is refused, as far as that is known without looking it up."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return not self.allow(host)


EVERYWHERE = Networks((*KINDS, "0.0.0.0/0", "::/0"))
