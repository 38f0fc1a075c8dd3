"""
The switch to forgive: under FORGIVE_DEBTS, what a voucher left owed is written off.

Without it a debt is collected first after the next deposit, and an operator may forgive one
by hand.  Either way it ends with an entry in the audit (Q-6).  What was split off before it
was signed (D2) is no rest of a payment and is never forgiven by this: a user could leave it
behind by asking for a refund.

Tests: L{tests.services.test_forgiver}.
"""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IForgiving, IWallClock, Stale
from sandbox_billing.ledger.identity import split_from
from sandbox_billing.ledger.voucher import Forgiven
from sandbox_billing.services.policy import Policy


@frozen(kw_only=True)
class Forgiver:
    """Does nothing unless the operator switched it on."""

    forgiving: IForgiving
    wall: IWallClock
    policy: Policy
    _log = Logger()

    async def turn(self) -> None:
        """Write off every debt that is not signed yet."""
        if not self.policy.forgive_debts:
            return
        for wallet in await self.forgiving.blocked():
            try:
                debts = await self.forgiving.debts(wallet)
            except BadInput as why:
                # The settler leaves this wallet out and says so.
                self._log.debug("{wallet}: {why}", wallet=wallet.hex, why=str(why))
                continue
            for debt in debts:
                if split_from(debt.value.charge.id) is not None:
                    continue
                word = Forgiven(
                    seal=None, reason="FORGIVE_DEBTS", by="operator", at=self.wall.now()
                )
                try:
                    await self.forgiving.forgive(debt, word, fenced=True)
                except Stale:
                    # Signed meanwhile: it is collected.
                    continue
                self._log.warn(
                    "forgave {charge}: {amount} neuron",
                    charge=debt.value.charge.id,
                    amount=str(debt.value.charge.amount),
                    wallet=wallet.hex,
                )
