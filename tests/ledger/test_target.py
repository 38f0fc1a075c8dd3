"""Where a webhook may point."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.target import (
    NOT_ENCRYPTED,
    REFUSED,
    Allowed,
    is_open,
    read_allowed,
    read_target,
)


NOTHING = Allowed()

CLOSED = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1"),
    *("198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255"),
    *("240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:93.184.215.14", "::ffff:0:7f00:1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1"),
    *("2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:5db8:d70e::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fe80::1%eth0", "2606:4700::1%1", "fec0::1", "ff02::1", "ff0e::1"),
)
OPEN = (
    *("1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.0.1"),
    *("172.32.0.1", "169.253.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255"),
    *("2606:4700::1111", "2a00:1450:4001::64", "2400:cb00::1", "64:ff9b::808:808"),
)

WRONG_URLS = (
    *(
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "HTTPS//x",
        "https:/x",
        "https:///x",
        "https://",
    ),
    *("https://user@hooks.example/", "https://u:p@hooks.example/", "https://hooks.example/#part"),
    *("https://hooks.example/#", "https://hooks.example:0/", "https://hooks.example:65536/"),
    *("https://hooks.example:/", "https://hooks.example:http/", "https://hooks.example\\@evil/"),
    *("https://hooks.example/a b", "https://hooks.example/\r\nX: y", "https://hooks.example/\0"),
    *("https://hooks.example\t/", "https://höoks.example/", "https://hooks.example/ü"),
    *("https://hooks.example./", "https://.hooks.example/", "https://hooks..example/"),
    *("https://-hooks.example/", "https://hooks-.example/", f"https://{'a' * 64}.example/"),
    *("https://hooks.example/%", "https://hooks.example/%2", "https://hooks.example/%zz"),
    *(f"https://hooks.example/{'a' * 2048}", f"https://{'a.' * 127}example/", "https://ex%61mple/"),
    # An address in spellings that some read as 127.0.0.1.
    *("https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/"),
    *("https://0177.0.0.1/", "https://127.0.0.01/", "https://127.0.0.0x1/", "https://1.2.3/"),
    *("https://127.0.0.1.2/", "https://0/", "https://a.0x/", "https://256.256.256.256/"),
    *("https://[::1/", "https://::1/", "https://[::1%25lo]/", "https://[127.0.0.1]/"),
    *("https://[1:2]/", "https://[]/", "https://[::g]/", "https://①②⑦.0.0.1/", "https://1。1/"),
)


class AddressTests(SynchronousTestCase):
    """The table of addresses."""

    def test_closed(self) -> None:
        """Whatever is only reachable from here, holds another address, or is nobody's."""
        self.assertEqual([], [one for one in CLOSED if is_open(ip_address(one))])

    def test_open(self) -> None:
        """The internet's own, up to the borders of what is closed."""
        self.assertEqual([], [one for one in OPEN if not is_open(ip_address(one))])

    @given(st.ip_addresses(v=4))
    def test_no_wider_than_python(self, address: IPv4Address) -> None:
        """Nothing that Python's own registry calls private is open."""
        if is_open(address):
            self.assertTrue(address.is_global and not address.is_multicast)

    @given(st.ip_addresses(v=6))
    def test_no_wider_than_python_6(self, address: IPv6Address) -> None:
        """Likewise, and nothing that embeds an IPv4 address in a known way."""
        if is_open(address):
            self.assertTrue(address.is_global and not address.is_multicast)
            self.assertIsNone(address.ipv4_mapped or address.sixtofour or address.teredo)

    @given(st.ip_addresses(v=4))
    def test_embedded(self, address: IPv4Address) -> None:
        """An IPv4 address is no more open inside an IPv6 one; NAT64 alone is looked into."""
        number = int(address)
        self.assertFalse(is_open(IPv6Address((0xFFFF << 32) + number)))
        self.assertFalse(is_open(IPv6Address((0x2002 << 112) + (number << 80))))
        self.assertFalse(is_open(IPv6Address(number)))
        self.assertEqual(is_open(IPv6Address((0x64FF9B << 96) + number)), is_open(address))


class URLTests(SynchronousTestCase):
    """What is a URL here."""

    def test_read(self) -> None:
        """Scheme, host and port, however they are spelt."""
        for url, expected in (
            ("https://hooks.example", ("hooks.example", 443, True)),
            ("https://Hooks.Example:8443/a/b?c=d&e=%20", ("hooks.example", 8443, True)),
            ("http://localhost:9000/", ("localhost", 9000, False)),
            ("http://localhost", ("localhost", 80, False)),
            ("https://xn--hks-5na.example/", ("xn--hks-5na.example", 443, True)),
            ("https://1.1.1.1/x", ("1.1.1.1", 443, True)),
            ("https://[2606:4700:0::1111]:1/x", ("2606:4700::1111", 1, True)),
        ):
            found = read_target(url)
            self.assertEqual((found.host, found.port, found.is_tls), expected, url)
            self.assertEqual(found.url, url)
            self.assertNotIn("/a/b", repr(found))

    def test_refused(self) -> None:
        """What could be read in two ways is not read at all."""
        for url in WRONG_URLS:
            with self.subTest(url=url):
                self.assertRaises(BadInput, read_target, url)
        self.assertRaises(BadInput, read_target, None)

    @given(st.text(max_size=40), st.sampled_from(["https://", "http://", "https://a@", ""]))
    def test_any_text(self, text: str, start: str) -> None:
        """Any text is read or refused, and what is read is plain and within bounds."""
        try:
            found = read_target(start + text)
        except BadInput:
            return
        self.assertTrue(found.url.isascii() and found.url.isprintable() and "@" not in found.host)
        self.assertTrue(0 < found.port < 65536)
        if found.address is None:
            self.assertRaises(ValueError, IPv4Address, found.host)


class JudgedTests(SynchronousTestCase):
    """A target and the addresses that its host has."""

    def refused(self, url: str, *addresses: str, allowed: Allowed = NOTHING) -> str:
        """Why."""
        with self.assertRaises(BadInput) as caught:
            read_target(url).check(map(ip_address, addresses), allowed)
        return caught.exception.text

    def taken(self, url: str, *addresses: str, allowed: Allowed = NOTHING) -> None:
        """All of them may be sent to."""
        found = read_target(url).check(map(ip_address, addresses), allowed)
        self.assertEqual([str(one) for one in found], list(addresses))

    def test_all_are_judged(self) -> None:
        """One address that is closed closes the host: which one is taken is chance."""
        self.taken("https://a.example/", "1.1.1.1", "2606:4700::1")
        self.assertEqual(self.refused("https://a.example/", "1.1.1.1", "10.0.0.1"), REFUSED)
        self.assertEqual(self.refused("https://a.example/", "::1", "1.1.1.1"), REFUSED)

    def test_no_map(self) -> None:
        """Whether a name behind us exists cannot be told from the answer."""
        self.assertEqual(
            self.refused("https://redis.internal/"),
            self.refused("https://redis.internal/", "10.0.0.7"),
        )
        self.assertEqual(
            self.refused("http://redis.internal/"),
            self.refused("http://redis.internal/", "10.0.0.7"),
        )

    def test_encrypted(self) -> None:
        """Without TLS only to what the operator has named."""
        self.assertEqual(self.refused("http://a.example/", "1.1.1.1"), NOT_ENCRYPTED)
        self.taken("http://a.example/", "1.1.1.1", allowed=read_allowed(["a.example"]))
        near = read_allowed(["127.0.0.0/8", "::1"])
        self.taken("http://localhost/", "127.0.0.1", "::1", allowed=near)
        self.taken("https://localhost/", "127.0.0.1", "1.1.1.1", allowed=near)
        self.assertEqual(
            self.refused("http://localhost/", "127.0.0.1", "1.1.1.1", allowed=near), NOT_ENCRYPTED
        )

    def test_allowed(self) -> None:
        """By name, by address and by network, and nothing beside."""
        allowed = read_allowed(["Hooks.Internal", "10.1.0.0/16", "fd00::5"])
        self.assertEqual(allowed.hosts, {"hooks.internal"})
        self.assertIn(IPv4Network("10.1.0.0/16"), allowed.networks)
        self.taken("https://hooks.internal/", "10.9.9.9", allowed=allowed)
        self.taken("https://x.example/", "10.1.2.3", "fd00::5", "1.1.1.1", allowed=allowed)
        for address in ("10.2.0.1", "fd00::6", "::ffff:10.1.2.3"):
            self.assertEqual(self.refused("https://x.example/", address, allowed=allowed), REFUSED)
        sub = self.refused("https://x.hooks.internal/", "10.9.9.9", allowed=allowed)
        self.assertEqual(sub, REFUSED)

    def test_wrongly_allowed(self) -> None:
        """A setting that is neither host nor network is refused."""
        for text in ("10.0.0.1/8", "a b", "http://x", "*.example", "", "a..b"):
            self.assertRaises(BadInput, read_allowed, [text])
