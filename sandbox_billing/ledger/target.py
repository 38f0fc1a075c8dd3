"""
Where a webhook may point: its URL, and the addresses that its host has.

A wallet chooses both, so whatever is only reachable from here is refused unless the operator
has named it: this machine, the networks behind it, the metadata services of clouds.

Tests: C{tests.ledger.test_target}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from attrs import field, frozen

from sandbox_billing.errors import BadInput


IPAddress: TypeAlias = IPv4Address | IPv6Address

MAX_URL = 2048

_URL = re.compile(
    # Exactly what is understood here goes on the wire: nothing is left to a second reader.
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?P<query>\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?\Z"
)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\Z")

NOT_A_URL = (
    f"url is https://host, with a port, path and query if need be: no user, no fragment, ASCII"
    f" only and at most {MAX_URL} characters"
)
NOT_A_HOST = "url names no host as everybody spells it"
REFUSED = "url names a host without an address, or with one that this provider does not send to"
NOT_ENCRYPTED = "url must begin with https://"

# IANA's registries of special addresses, and what clouds keep for themselves.
_CLOSED_4 = tuple(
    IPv4Network(one)
    for one in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        # Azure's, from every machine there.
        "168.63.129.16/32",
    )
)
_OPEN_6 = IPv6Network("2000::/3")
_CLOSED_6 = tuple(
    IPv6Network(one)
    for one in (
        # Teredo, benchmarks, overlays; documentation; 6to4, which has an IPv4 address in it.
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_open(address: IPAddress) -> bool:
    """Whether it is an address of the public internet, reached the same from everywhere."""
    if isinstance(address, IPv4Address):
        return not any(address in closed for closed in _CLOSED_4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        # How a host without IPv4 reaches one that has nothing else.
        return is_open(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _OPEN_6 and not any(address in closed for closed in _CLOSED_6)


@frozen
class Allowed:
    """
    What an operator lets wallets reach although it is not public: C{WEBHOOK_PRIVATE_TARGETS}.

    Only there may a webhook do without TLS.

    @ivar hosts: Names, lower case: whatever address they have.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def takes(self, host: str, address: IPAddress) -> bool:
        """Whether an address is allowed by name or number."""
        if host in self.hosts:
            return True
        return any(address in one for one in self.networks if one.version == address.version)


def read_allowed(texts: Iterable[str]) -> Allowed:
    """
    @param texts: Names of hosts, addresses, or networks like 10.0.0.0/8.
    @raise BadInput: One is none of these.
    """
    hosts: set[str] = set()
    networks: list[IPv4Network | IPv6Network] = []
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError as why:
            if not _is_name(text.lower()):
                raise BadInput(f"not a host, an address or a network: {text[:80]}") from why
            hosts.add(text.lower())
    return Allowed(frozenset(hosts), tuple(networks))


@frozen(kw_only=True)
class Target:
    """
    A URL, read.

    @ivar url: As it is asked for; a secret may be in its path.
    @ivar host: Lower case; an IPv6 address without brackets.
    @ivar address: Where the URL names an address in place of a name.
    """

    url: str = field(repr=False)
    host: str
    port: int
    is_tls: bool
    address: IPAddress | None = None

    def check(self, addresses: Iterable[IPAddress], allowed: Allowed) -> tuple[IPAddress, ...]:
        """
        Every address of the host must be one that may be sent to: which one is taken is chance.

        @param addresses: Those that the host has now.
        @return: Them.
        @raise BadInput: It has none, or one is refused.
        """
        found = tuple(addresses)
        if found and all(allowed.takes(self.host, one) for one in found):
            return found
        if not self.is_tls:
            raise BadInput(NOT_ENCRYPTED)
        # Neither which one, nor whether there is any, is told: that would be a map of what is
        # behind us.
        if not found or not all(allowed.takes(self.host, one) or is_open(one) for one in found):
            raise BadInput(REFUSED)
        return found


def read_target(url: str) -> Target:
    """
    @raise BadInput: It is none, or could be read in two ways.
    """
    found = _URL.match(url) if type(url) is str and len(url) <= MAX_URL else None
    if found is None:
        raise BadInput(NOT_A_URL)
    host, is_tls = found["host"].lower(), found["scheme"] == "https"
    port = int(found["port"][1:]) if found["port"] else (443 if is_tls else 80)
    if not 0 < port < 65536:
        raise BadInput(NOT_A_URL)
    address = _literal(host)
    if address is not None:
        host = str(address)
    elif not _is_name(host):
        raise BadInput(NOT_A_HOST)
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise BadInput(NOT_A_URL)
    return Target(url=url, host=host, port=port, is_tls=is_tls, address=address)


def _literal(host: str) -> IPAddress | None:
    """@raise BadInput: It is a number, in a spelling that not everybody reads alike."""
    if host.startswith("["):
        try:
            found = IPv6Address(host[1:-1])
        except ValueError as why:
            raise BadInput(NOT_A_HOST) from why
        return found
    try:
        # Four decimal numbers without leading zeros, and nothing else.
        return ip_address(host)
    except ValueError:
        last = host.rpartition(".")[2]
        # inet_aton reads 127.1, 0177.0.0.1, 2130706433 and 0x7f.1 as addresses, too.
        if re.fullmatch(r"[0-9]*|0x[0-9a-f]*", last):
            raise BadInput(NOT_A_HOST) from None
        return None


def _is_name(host: str) -> bool:
    return len(host) <= 253 and all(_LABEL.match(label) for label in host.split("."))
