"""Which addresses a webhook may be sent to: strictly global ones, and the private networks that its owner allows."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from duly.errors import InvalidEndpoint

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# (host, port) → addresses as text, in the order of preference. Blocks; raises OSError where there is none.
LookUp = Callable[[str, int], Sequence[str]]

NETWORKS_MOST: Final = 16

# What an endpoint's owner may allow: networks that are private by their definition, and the own host.
_ALLOWABLE: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1", "fc00::/7")
)
# Where clouds serve credentials to whoever asks. Two of them lie in networks that may be allowed, one is global.
_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
    )
)
# Special networks that `is_global` of this or of an older Python takes for global ones.
# Source: IANA's registries of special-purpose addresses, IPv4 and IPv6.
_SPECIAL: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2001::/23",  # Teredo, ORCHID and their like: an address inside an address
        "2001:db8::/32",
        "2002::/16",  # 6to4, the same
        "3fff::/20",
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def system_look_up(host: str, port: int) -> list[str]:
    """Ask the host's resolver. Blocks; raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def checked_networks(given: Sequence[str]) -> tuple[Network, ...]:
    """Return the private networks that an endpoint may reach; InvalidEndpoint for what is no private network."""
    if isinstance(given, str) or len(given) > NETWORKS_MOST:
        raise InvalidEndpoint(f"allow: give a list of at most {NETWORKS_MOST} networks, as ['10.1.0.0/16']")
    return tuple(_checked_network(text) for text in given)


def wrong_with(address: Address, allow: Sequence[Network], *, only_allowed: bool = False) -> str | None:
    """Return why nothing may be sent to an address, None if it may be. An address inside another is judged by it.

    `only_allowed`: being global is not enough (plain http).
    """
    real = embedded(address)
    if real in _METADATA:
        return "serves a cloud's credentials; no endpoint may be there"
    if any(real in network for network in allow):
        return None
    if not _is_global(real):
        return "is not a public address; allow its network if the endpoint is meant to be private"
    if only_allowed:
        return "is a public address, and http is for allowed private networks only; use https"
    return None


def embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for (mapped, NAT64); others as they are."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def checked_addresses(
    found: Sequence[str], host: str, allow: Sequence[Network], *, only_allowed: bool = False
) -> tuple[str, ...]:
    """Return what may be connected to, each once, in the order given; InvalidEndpoint if *any* is refused.

    One bad address among good ones refuses them all: the name's owner chooses which of them a connection would take.
    """
    checked: dict[str, None] = {}
    for text in found:
        address = ip_address(text)
        why = wrong_with(address, allow, only_allowed=only_allowed)
        if why is not None:
            raise InvalidEndpoint(f"{host} {why}" if text == host else f"{host} is {text}, which {why}")
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        checked[str(mapped or address)] = None
    if not checked:
        raise InvalidEndpoint(f"{host} has no address")
    return tuple(checked)


def _is_global(address: Address) -> bool:
    """Say whether an address is one of the public internet's: global, of one host, and not an address in disguise."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    odd = address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global
    return not odd and not any(address in network for network in _SPECIAL)


def _checked_network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise InvalidEndpoint(f"allow: {text!a} is no network; write it as 10.1.0.0/16") from None
    if not any(_is_within(network, private) for private in _ALLOWABLE):
        private = ", ".join(str(known) for known in _ALLOWABLE)
        raise InvalidEndpoint(f"allow: {network} is no private network; use one within {private}")
    return network


def _is_within(network: Network, larger: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(larger, IPv4Network) and network.subnet_of(larger)
    return isinstance(larger, IPv6Network) and network.subnet_of(larger)
