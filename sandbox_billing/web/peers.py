"""
Whose connection it is: the address that limits count, and the log tells.

Tests: C{tests.web.test_peers}.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from attrs import define, field, frozen
from twisted.web.http_headers import Headers
from twisted.web.server import Request


FORWARDED_FOR = b"X-Forwarded-For"

SOCKETS = "unix"

UNKNOWN = "-"
"""A peer without an address: on a UNIX socket."""

_IPv6_SITE_BITS = 64
"""One customer has that much: limits for single addresses would be none."""

_MOST_HOPS = 32

IPAddress: TypeAlias = "IPv4Address | IPv6Address"
IPNetwork: TypeAlias = "IPv4Network | IPv6Network"


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
        believed, as far as the first that is none of them; L{SOCKETS} for whoever may write
        to our UNIX socket.
    """

    trusted: tuple[str, ...] = ()
    _networks: tuple[IPNetwork, ...] = field(init=False, repr=False)

    @_networks.default
    def _read_networks(self) -> tuple[IPNetwork, ...]:
        return tuple(ip_network(name) for name in self.trusted if name != SOCKETS)

    def of(self, host: str | None, headers: Headers) -> str:
        """
        @param host: Of the connection.
        @return: The name under which who asks is counted.
        """
        heard = self.heard(host, headers)
        return UNKNOWN if heard is None else counted(heard)

    def heard(self, host: str | None, headers: Headers) -> IPAddress | None:
        """
        Who asks; None where nobody can tell.

        Each proxy adds at the right whom it heard, so that what is left of the first
        untrusted one is whatever that one liked to write.

        @param host: Of the connection; None, or a path, for a UNIX socket's.
        """
        heard = None if host is None else read_address(host)
        if not self.trusted or not self._trusts(heard):
            return heard
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
        return heard

    def of_request(self, request: Request) -> str:
        """The name under which its sender is counted."""
        return self.of(_host(request), request.requestHeaders)

    def spelt(self, request: Request) -> str:
        """The address of its sender, for the log."""
        heard = self.heard(_host(request), request.requestHeaders)
        return UNKNOWN if heard is None else str(heard)

    def share_of(self, host: str | None) -> str | None:
        """
        The name under which what a connection holds is counted.

        @param host: Of the connection.
        @return: None where many people come from there, and none of them is to be blamed.
        """
        heard = None if host is None or self.is_proxy(host) else read_address(host)
        return None if heard is None else counted(heard)

    def is_proxy(self, host: str) -> bool:
        """Whether many people come from there."""
        heard = read_address(host)
        return heard is None or self._trusts(heard)

    def _trusts(self, address: IPAddress | None) -> bool:
        if address is None:
            return SOCKETS in self.trusted
        return any(address in network for network in self._networks)


def _host(request: Request) -> str | None:
    host = getattr(request.client, "host", None)
    return host if isinstance(host, str) else None


@define(eq=False)
class Crowd:
    """
    How many connections each address holds: one alone must not hold them all (V1).

    @ivar most: Of one address; trusted proxies and UNIX sockets have no bound of their own.
    """

    peers: Peers
    most: int
    _held: Counter[str] = field(factory=Counter, init=False)

    def enter(self, host: str | None) -> bool:
        """@return: False when this address has enough; then nothing is counted."""
        name = self.peers.share_of(host)
        if name is None:
            return True
        if self._held[name] >= self.most:
            return False
        self._held[name] += 1
        return True

    def leave(self, host: str | None) -> None:
        """One that entered is gone."""
        name = self.peers.share_of(host)
        if name is not None:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
