"""
What every L{IEnclave} must do, wherever its key comes from.

L{enclave_port_suite} makes the suite for one world: an enclave that is up, and
what it must not give away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from sandbox_billing.interfaces import IEnclave, ISigner
from sandbox_billing.signing.key import SigningKey, recover


# A published test key, worth nothing.
SECRET = bytes([0x11]) * 32
KEY = SigningKey.from_bytes(SECRET)


class World(Protocol):
    """An enclave that has L{SECRET}."""

    enclave: IEnclave


def spellings_of_the_secret() -> list[str]:
    """All the ways in which the key could be printed."""
    escaped = "".join(f"\\{byte:03o}" for byte in SECRET)
    return [
        SECRET.hex(),
        SECRET.hex().upper(),
        repr(SECRET)[2:-1],
        escaped,
        SECRET.decode("latin-1"),
        str(int.from_bytes(SECRET, "big")),
    ]


def enclave_port_suite(make_world: Callable[[TestCase], World]) -> type[TestCase]:
    """
    The suite of one implementation.

    @param make_world: Given the test, which ends what it starts.
    """

    class EnclavePortTests(TestCase):
        """One L{IEnclave}."""

        def setUp(self) -> None:
            """Build the world and listen to the log."""
            self.logged: list[LogEvent] = []
            globalLogPublisher.addObserver(self.logged.append)
            self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)
            self.world = make_world(self)

        def assert_silent(self, text: str) -> None:
            """The text holds the secret in no spelling."""
            for spelling in spellings_of_the_secret():
                self.assertNotIn(spelling, text)

        def test_interfaces(self) -> None:
            """The enclave provides its port."""
            self.assertTrue(verifyObject(IEnclave, self.world.enclave))

        async def test_fetch(self) -> None:
            """What it hands out signs as the key does."""
            signer = await self.world.enclave.fetch_key()
            self.assertTrue(verifyObject(ISigner, signer))
            self.assertEqual(signer.address, KEY.address)
            digest = bytes(range(32))
            self.assertEqual(recover(digest, signer.sign_digest(digest)), KEY.address)

        async def test_again(self) -> None:
            """It may be asked again, and at the same time, for the same key."""
            enclave = self.world.enclave
            signers = await gatherResults(
                [Deferred.fromCoroutine(enclave.fetch_key()) for _ in range(3)]
            )
            self.assertEqual({signer.address for signer in signers}, {KEY.address})

        async def test_silent(self) -> None:
            """Neither log nor C{repr} shows the key, before fetching or after."""
            self.assert_silent(repr(self.world.enclave))
            signer = await self.world.enclave.fetch_key()
            self.assert_silent(repr(self.world.enclave))
            self.assert_silent(repr(signer))
            for event in self.logged:
                self.assert_silent(f"{formatEvent(event)} {event!r}")

    return EnclavePortTests
