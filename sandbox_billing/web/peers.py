"""
Whose connection it is: the address that limits count, and the log tells.

Tests: C{tests.web.test_peers}.
"""

from __future__ import annotations

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
from twisted.web.http_headers import Headers
from twisted.web.server import Request


FORWARDED_FOR = b"X-Forwarded-For"

UNKNOWN = "-"
"""A peer without an address: on a UNIX socket."""

_IPv6_SITE_BITS = 64
"""One customer has that much: limits for single addresses would be none."""

_MOST_HOPS = 32

IPAddress: TypeAlias = "IPv4Address | IPv6Address"
IPNetwork: TypeAlias = "IPv4Network | IPv6Network"


def _networks(names: Iterable[str]) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, names))


def read_address(text: str) -> IPAddress | None:
    """
    An address alone: no port, no brackets, no zone.

    @return: None for anything else.  IPv4 within IPv6 is IPv4.
    """
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return None
        return found.ipv4_mapped or found
    return found


def counted(address: IPAddress) -> str:
    """The name under which an address is counted."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, _IPv6_SITE_BITS), strict=False))


@frozen
class Peers:
    """
    @ivar trusted: TRUSTED_PROXIES: addresses and networks whose C{X-Forwarded-For} is
        believed, as far as the first that is none of them.
    """

    trusted: tuple[IPNetwork, ...] = field(default=(), converter=_networks)

    def of(self, host: str | None, headers: Headers) -> str:
        """
        Who asks.

        Each proxy adds at the right whom it heard, so that what is left of the first
        untrusted one is whatever that one liked to write.

        @param host: Of the connection.
        @return: A name to count by, and to log.
        """
        heard = None if host is None else read_address(host)
        if heard is None:
            return UNKNOWN
        if not self.trusted or not self._trusts(heard):
            return counted(heard)
        lines = headers.getRawHeaders(FORWARDED_FOR, [])
        entries = b",".join(lines).rsplit(b",", _MOST_HOPS)[-_MOST_HOPS:]
        for entry in reversed(entries):
            told = read_address(entry.strip(b" \t").decode("latin-1"))
            if told is None:
                # No address: whom the proxy heard is not known, so it counts itself.
                break
            heard = told
            if not self._trusts(heard):
                break
        return counted(heard)

    def of_request(self, request: Request) -> str:
        """Who sent it."""
        host = getattr(request.client, "host", None)
        return self.of(host if isinstance(host, str) else None, request.requestHeaders)

    def _trusts(self, address: IPAddress) -> bool:
        return any(address in network for network in self.trusted)
