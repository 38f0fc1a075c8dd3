"""What a fee can draw on."""

from __future__ import annotations

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.account import Account
from tests.strategies import accounts


class AccountTests(SynchronousTestCase):
    """A wallet's account."""

    @given(accounts())
    def test_collectable(self, account: Account) -> None:
        """K2: a fee draws on the balance and the pending refund, and on nothing else."""
        self.assertEqual(account.balance + account.pending_refund, account.collectable)
