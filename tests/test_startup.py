"""What must be so before money work begins: each check with a good and a bad value."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from attrs import define, evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing import startup
from sandbox_billing.adapters.redis.seam import ServerFacts
from sandbox_billing.applied import own_url, spelt, url_notice
from sandbox_billing.configuration import read_configuration
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.interfaces import ContractFacts
from sandbox_billing.ledger.account import ServiceRecord
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.startup import HUSH_SECONDS, hush


SIGNER, OTHER, PROVIDER = (Address("0x" + digit * 40) for digit in "123")

CONFIGURATION = read_configuration(
    {
        "DAYTONA_API_URL": "http://127.0.0.1:1",
        "DAYTONA_ADMIN_KEY": "k",
        "SETTLEMENT_CONTRACT": "0x" + "4" * 40,
        "RPC_URL": "http://127.0.0.1:2",
        "CHAIN_ID": "16602",
        "BACKEND_APP_NAME": "app",
    }
)

FACTS = ContractFacts(chain_id=16602, has_code=True, domain_separator="0xaa", lock_seconds=7200)


class RedisTests(SynchronousTestCase):
    """L{startup.redis_problems} and L{startup.go_problems}."""

    def problems(self, **said: Any) -> tuple[str, ...]:
        """Of a good server, but for what is said."""
        good: dict[str, Any] = {
            "policy": "noeviction",
            "appendonly": True,
            "volatile_allowed": False,
        }
        return startup.redis_problems(**{**good, **said})

    def test_good(self) -> None:
        """A server that keeps everything is accepted."""
        self.assertEqual(self.problems(), ())

    def test_evicting(self) -> None:
        """A server that may evict is refused, devnet or not (Q-10)."""
        (text,) = self.problems(policy="allkeys-lru", volatile_allowed=True)
        self.assertIn("set it to noeviction", text)

    def test_volatile(self) -> None:
        """A server without a file is refused but on devnet."""
        (text,) = self.problems(appendonly=False)
        self.assertIn("set appendonly yes", text)
        self.assertEqual(self.problems(appendonly=False, volatile_allowed=True), ())

    def test_clock(self) -> None:
        """Clocks that are far apart would charge seconds that nobody ran."""
        self.assertEqual(self.problems(clock_offset=-1.9), ())
        (text,) = self.problems(clock_offset=-86400.0)
        self.assertIn("differ by -86400 s", text)

    def test_clock_at_the_door(self) -> None:
        """A Redis three seconds away is refused with 78; half a second is a clock's usual."""

        @define
        class Away:
            """A server with another clock."""

            offset: float

            async def connect(self) -> None:
                """There."""

            async def facts(self) -> ServerFacts:
                """As it is asked at the start."""
                return ServerFacts(
                    version="8",
                    run_id="1",
                    maxmemory_policy="noeviction",
                    appendonly=True,
                    time_offset_seconds=self.offset,
                )

            async def go_keys(self, provider: str) -> tuple[str, ...]:
                """None."""
                return ()

        def check(offset: float) -> Deferred[None]:
            keyspace: Any = Away(offset)
            return Deferred.fromCoroutine(
                startup.check_redis(keyspace, PROVIDER, volatile_allowed=False)
            )

        self.successResultOf(check(0.9))
        for offset in (3.0, -2.0):
            why = self.failureResultOf(check(offset), ConfigurationError).value
            self.assertIn("set the wrong one right (NTP)", str(why))

    def test_go_system(self) -> None:
        """Sessions of the Go system are named, never taken for ours."""
        self.assertEqual(startup.go_problems(()), ())
        (text,) = startup.go_problems(("billing:events",))
        self.assertIn("billing:events", text)


class ContractTests(SynchronousTestCase):
    """L{startup.contract_problems} and L{startup.registration_problems}."""

    def test_good(self) -> None:
        """The right contract on the right chain is accepted."""
        self.assertEqual(startup.contract_problems(FACTS, "0xaa", CONFIGURATION), ())

    def test_wrong_chain(self) -> None:
        """Another chain is the first thing to say."""
        (text,) = startup.contract_problems(evolve(FACTS, chain_id=1), "0xbb", CONFIGURATION)
        self.assertIn("answers for chain 1, CHAIN_ID says 16602", text)

    def test_no_code(self) -> None:
        """An address without a contract is named."""
        (text,) = startup.contract_problems(evolve(FACTS, has_code=False), "0xaa", CONFIGURATION)
        self.assertIn("there is no contract at", text)

    def test_other_domain(self) -> None:
        """Another separator means that no voucher of ours would ever settle."""
        (text,) = startup.contract_problems(FACTS, "0xbb", CONFIGURATION)
        self.assertIn("domain separator is 0xaa, ours 0xbb", text)

    def test_lock(self) -> None:
        """Interval and settlement delay must end before a refund can (K13)."""
        short = evolve(FACTS, lock_seconds=5400)
        problems = startup.contract_problems(short, "0xaa", CONFIGURATION)
        self.assertEqual(1, len(problems))
        (text,) = problems
        self.assertIn("locked for 5400 s only", text)
        longer = evolve(FACTS, lock_seconds=5401)
        self.assertEqual(startup.contract_problems(longer, "0xaa", CONFIGURATION), ())

    def test_registration(self) -> None:
        """The provider must be registered with the enclave's key as signer."""
        (text,) = startup.registration_problems(None, PROVIDER, SIGNER)
        self.assertIn("is not registered", text)
        service = ServiceRecord(
            provider=PROVIDER, url="", signer=OTHER, prices=Prices(), signer_version=1
        )
        (text,) = startup.registration_problems(service, PROVIDER, SIGNER)
        self.assertIn(f"the enclave's key is {SIGNER}", text)
        ours = evolve(service, signer=SIGNER)
        self.assertEqual(startup.registration_problems(ours, PROVIDER, SIGNER), ())


class OwnURLTests(SynchronousTestCase):
    """L{own_url} and L{url_notice}: where users are sent without PUBLIC_URL."""

    def test_addresses(self) -> None:
        """Each can be gone to from this machine at least; who sends others nowhere is told."""
        for address, url, told in (
            (IPv4Address("TCP", "203.0.113.7", 80), "http://203.0.113.7:80", False),
            (IPv4Address("TCP", "127.0.0.1", 8080), "http://127.0.0.1:8080", False),
            (IPv6Address("TCP", "::1", 8080), "http://[::1]:8080", False),
            (IPv4Address("TCP", "0.0.0.0", 8080), "http://127.0.0.1:8080", True),
            (IPv6Address("TCP", "::", 8080), "http://[::1]:8080", True),
            (UNIXAddress("/run/billing.sock"), "http://localhost", True),
        ):
            self.assertEqual(own_url("", address), url)
            notice = url_notice("", address)
            self.assertEqual("PUBLIC_URL" in (notice or ""), told, address)
            self.assertIsNotNone(urlsplit(url).hostname)
            # What was set is taken, whatever we listen on.
            self.assertEqual(own_url("https://b.test", address), "https://b.test")
            self.assertIsNone(url_notice("https://b.test", address))

    def test_spelt(self) -> None:
        """For the log: as it can be copied from there."""
        for address, text in (
            (IPv4Address("TCP", "0.0.0.0", 8080), "0.0.0.0:8080"),
            (IPv6Address("TCP", "::", 8080), "[::]:8080"),
            (UNIXAddress("/run/billing.sock"), "/run/billing.sock"),
        ):
            self.assertEqual(spelt(address), text)


class _Port:
    """Counts whether connections are taken."""

    def __init__(self) -> None:
        self.connected, self.takes = True, True

    def stopReading(self) -> None:
        """As a port's."""
        self.takes = False

    def startReading(self) -> None:
        """As a port's, which must be open."""
        assert self.connected, "the port is closed"
        self.takes = True


class HushTests(SynchronousTestCase):
    """A socket that other processes listen on, too."""

    def setUp(self) -> None:
        self.clock, self.port = Clock(), _Port()

    def test_own(self) -> None:
        """A port of its own is open from the first moment: it says what is waited for."""
        hush(self.clock, "tcp:0:interface=127.0.0.1", self.port)()
        self.assertTrue(self.port.takes)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_passed(self) -> None:
        """From one that was passed nothing is taken until this process can answer."""
        take = hush(self.clock, "systemd:domain=INET:index=0", self.port)
        self.clock.advance(HUSH_SECONDS - 1)
        self.assertFalse(self.port.takes)
        take()
        self.assertTrue(self.port.takes)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_else(self) -> None:
        """What takes too long is told, in the end; a port that was closed meanwhile is let be."""
        take = hush(self.clock, "systemd:domain=INET:index=0", self.port)
        self.clock.advance(HUSH_SECONDS)
        self.assertTrue(self.port.takes)
        take()
        closed = _Port()
        hush(self.clock, "systemd:domain=INET:index=0", closed)
        closed.connected = False
        self.clock.advance(HUSH_SECONDS)
        self.assertFalse(closed.takes)
