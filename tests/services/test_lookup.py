"""Tests of C{sandbox_billing.services._lookup}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services._lookup import MOST_KEPT, Lookup


def block(number: int, digit: str = "1") -> BlockRef:
    """One of two that may have that number."""
    return BlockRef(number=number, hash="0x" + digit * 64, timestamp=UnixSeconds(number))


class Chain:
    """Answers with a list of what it was asked for, and keeps count."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.asked = 0

    async def accounts(self, wallets: Any, at: BlockRef) -> Any:
        """Tells the questions apart."""
        self.asked += 1
        return [(wallet, at) for wallet in wallets]


class LookupTests(SynchronousTestCase):
    """What is read again, and what is not."""

    def setUp(self) -> None:
        """Nobody was looked at."""
        self.chain: Any = Chain()
        self.lookup = Lookup(chain=self.chain)

    def look(self, number: int, at: BlockRef) -> int:
        """How often the chain was asked for it."""
        wallet, before = Address(f"0x{number:040x}"), self.chain.asked
        found: Any = self.successResultOf(Deferred.fromCoroutine(self.lookup.account(wallet, at)))
        self.assertEqual(found, (wallet, at))
        return int(self.chain.asked - before)

    def test_once_a_block(self) -> None:
        """Once for each wallet and block; another block of the same number is another one."""
        looks = [(1, block(7)), (1, block(7)), (2, block(7)), (1, block(7, "2")), (1, block(8))]
        self.assertEqual([self.look(*one) for one in looks], [1, 0, 1, 1, 1])

    def test_bounded(self) -> None:
        """Of more wallets than are remembered, those that were asked for last are."""
        for number in range(MOST_KEPT):
            self.look(number, block(7))
        self.assertEqual(self.look(0, block(7)), 0)
        self.assertEqual(self.look(MOST_KEPT, block(7)), 1)
        self.assertEqual((self.look(0, block(7)), self.look(1, block(7))), (0, 1))
