"""Which IP addresses belong to the public internet."""

from __future__ import annotations

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# What `is_global` lets through, or has let through in some Python: shared space, embedded IPv4 (6to4,
# Teredo), documentation, retired relays, and Azure's platform address, which is public only by its number.
_REFUSED: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.64.0.0/10",
            "168.63.129.16/32",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
        ),
    )
)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, by the IANA special-purpose registries.

    Global unicast is all that counts of IPv6, so that the other forms that hold an IPv4 address (mapped,
    compatible, NAT64) are not. An address with a zone is one of this machine's networks.
    """
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address not in _GLOBAL_UNICAST):
        return False
    if address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global:
        return False
    return not any(address.version == network.version and address in network for network in _REFUSED)
