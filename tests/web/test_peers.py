"""Whom limits count: the connection's address, or what a trusted proxy heard."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.test.requesthelper import DummyRequest

from sandbox_billing.web.peers import UNKNOWN, Crowd, Peers, counted, read_address


PROXIES = Peers(("10.0.0.1", "192.168.0.0/16", "fd00::/8"))


def forwarded(*lines: str) -> Headers:
    """Headers as a proxy writes them."""
    return Headers({b"X-Forwarded-For": [line.encode("latin-1") for line in lines]})


class CrowdTests(SynchronousTestCase):
    """Connections of each address."""

    def test_bound(self) -> None:
        """One address holds so many, another as many again; who leaves makes room."""
        crowd = Crowd(PROXIES, 2)
        self.assertEqual([crowd.enter("1.2.3.4") for _ in range(3)], [True, True, False])
        self.assertTrue(crowd.enter("1.2.3.5"))
        crowd.leave("1.2.3.4")
        self.assertEqual([crowd.enter("1.2.3.4") for _ in range(2)], [True, False])

    def test_one_customer(self) -> None:
        """All of a /64 are one."""
        crowd = Crowd(PROXIES, 1)
        self.assertTrue(crowd.enter("2001:db8::1"))
        self.assertFalse(crowd.enter("2001:db8::2"))

    def test_many_behind_one(self) -> None:
        """A trusted proxy and a UNIX socket bring everybody's, and are not bounded here."""
        crowd = Crowd(PROXIES, 1)
        for host in ("10.0.0.1", "192.168.3.4", None, "/run/socket"):
            self.assertEqual([crowd.enter(host) for _ in range(3)], [True] * 3)
            crowd.leave(host)

    def test_nothing_is_left(self) -> None:
        """Whoever has gone is not remembered."""
        crowd = Crowd(PROXIES, 3)
        for _ in range(3):
            crowd.enter("1.2.3.4")
        for _ in range(3):
            crowd.leave("1.2.3.4")
        self.assertEqual(crowd._held, {})


class PeersTests(SynchronousTestCase):
    """Who asks."""

    def test_nobody_trusted(self) -> None:
        """Without trusted proxies the header is anybody's claim, and not read."""
        self.assertEqual(Peers().of("10.0.0.1", forwarded("1.2.3.4")), "10.0.0.1")

    def test_untrusted(self) -> None:
        """As little from an address that is no proxy of ours."""
        self.assertEqual(PROXIES.of("10.0.0.2", forwarded("1.2.3.4")), "10.0.0.2")

    def test_right_most(self) -> None:
        """The newest entry that is no proxy counts; what stands left of it is a claim."""
        for lines, peer in (
            (("1.2.3.4",), "1.2.3.4"),
            (("6.6.6.6, 1.2.3.4",), "1.2.3.4"),
            (("6.6.6.6", "1.2.3.4"), "1.2.3.4"),
            (("1.2.3.4, 192.168.7.7",), "1.2.3.4"),
            (("6.6.6.6 ,1.2.3.4,\t192.168.7.7, fd00::7",), "1.2.3.4"),
            (("192.168.7.7",), "192.168.7.7"),
            ((), "10.0.0.1"),
        ):
            self.assertEqual(PROXIES.of("10.0.0.1", forwarded(*lines)), peer, lines)

    def test_strict(self) -> None:
        """What is no address ends the search: the proxy that passed it on counts."""
        for text in (
            *("", "unknown", "_hidden", "1.2.3.4:80", "[2001:db8::1]", "1.2.3", "01.2.3.4"),
            *("1.2.3.4 5.6.7.8", "fe80::1%eth0", "١.2.3.4", "0x1.2.3.4", "1.2.3.4/32"),
        ):
            told = f"6.6.6.6, {text}, 192.168.7.7"
            lines = Headers({b"X-Forwarded-For": [told.encode("utf-8")]})
            self.assertEqual(PROXIES.of("10.0.0.1", lines), "192.168.7.7", text)

    def test_ipv6(self) -> None:
        """A /64 is one customer, and IPv4 in IPv6 is IPv4."""
        peers = Peers()
        one, two = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9")
        self.assertEqual(peers.of(one, Headers()), "2001:db8:1:2::/64")
        self.assertEqual(peers.of(one, Headers()), peers.of(two, Headers()))
        self.assertNotEqual(peers.of(one, Headers()), peers.of("2001:db8:1:3::1", Headers()))
        self.assertEqual(peers.of("::ffff:1.2.3.4", Headers()), "1.2.3.4")
        self.assertEqual(PROXIES.of("::ffff:10.0.0.1", forwarded("1.2.3.4")), "1.2.3.4")

    def test_no_address(self) -> None:
        """A UNIX socket has none."""
        self.assertEqual(Peers().of(None, Headers()), UNKNOWN)
        self.assertEqual(PROXIES.of("/run/socket", forwarded("1.2.3.4")), UNKNOWN)

    def test_trusted_socket(self) -> None:
        """A proxy before our UNIX socket is trusted if that is said."""
        peers = Peers(("unix", "10.0.0.1"))
        self.assertEqual(peers.of(None, forwarded("6.6.6.6, 1.2.3.4, 10.0.0.1")), "1.2.3.4")
        self.assertEqual(peers.of("/run/socket", Headers()), UNKNOWN)
        self.assertEqual(peers.of("1.2.3.4", forwarded("6.6.6.6")), "1.2.3.4")

    def test_logged(self) -> None:
        """The log tells the whole address, though a /64 is counted as one."""
        request: Any = DummyRequest([b""])
        request.client = IPv6Address("TCP", "2001:db8::7", 1)
        self.assertEqual(Peers().spelt(request), "2001:db8::7")
        self.assertEqual(Peers().of_request(request), "2001:db8::/64")
        request.client = UNIXAddress("/run/socket")
        self.assertEqual(Peers().spelt(request), UNKNOWN)

    @given(st.binary(max_size=300), st.ip_addresses())
    def test_whatever_is_left_of_it(self, claim: bytes, heard: object) -> None:
        """Nothing that a client writes changes whom the proxy's own entry names."""
        address = read_address(str(heard))
        if address is None or PROXIES._trusts(address):
            return
        lines = Headers({b"X-Forwarded-For": [claim, str(heard).encode()]})
        self.assertEqual(PROXIES.of("10.0.0.1", lines), counted(address))

    def test_many(self) -> None:
        """A header of nothing but proxies is read a little way only."""
        lines = forwarded(", ".join(["1.2.3.4"] + ["192.168.0.1"] * 1000))
        self.assertEqual(PROXIES.of("10.0.0.1", lines), "192.168.0.1")
