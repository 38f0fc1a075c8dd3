"""
Whether limits let something be spent: a token's, and those that a wallet has set itself.

What is asked about is stored before, as a hold, and what is read after it counts it: of two at
once one sees the other (P13).

Tests: C{tests.services.test_spending}, C{tests.services.test_limits}.
"""

from __future__ import annotations

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IDoors, IWallClock, NotReady, SpendLimitReached, Stale
from sandbox_billing.ledger.controls import Bound, Which
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.money import Neuron, neuron


_WORDS = {
    Which.PER_DAY: "your wallet has spent what it may in a day",
    Which.TOTAL: "your wallet has spent what it may in all",
    Which.SANDBOX: "this sandbox has cost what it may",
}


@frozen(kw_only=True)
class Allowed:
    """
    @ivar stop_delay: STOP_DELAY_SEC.
    """

    doors: IDoors
    wall: IWallClock
    stop_delay: int

    async def check(self, intent: Intent, hold: Neuron) -> None:
        """
        @param intent: It is stored.
        @param hold: neuron, what was set aside with it.
        @raise SpendLimitReached: Of the first limit that does not let it be spent.
        @raise NotReady: What was spent cannot be read, or moves faster than that.
        """
        await self._check_token(intent, hold)
        await self._check_wallet(intent, hold)

    async def _check_token(self, intent: Intent, hold: Neuron) -> None:
        if intent.allowance is None:
            return
        now, limit = self.wall.now(), intent.allowance.limit
        spending = await self.doors.spending(intent.allowance.token)
        try:
            committed = spending.committed(now, stop_delay=self.stop_delay)
            spent = spending.spent(now)
        except BadInput as why:
            raise NotReady("not ready: what this token has spent cannot be read") from why
        if committed > limit:
            raise SpendLimitReached(
                limit=limit,
                spent=spent,
                reserved=neuron(committed - spent - hold),
                required=hold,
            )

    async def _check_wallet(self, intent: Intent, hold: Neuron) -> None:
        try:
            outlay = await self.doors.outlay(intent.owner)
            bounds = () if outlay is None else outlay.bounds()
            for bound in bounds:
                if bound.concerns(intent.sandbox):
                    self._check_bound(bound, hold)
        except BadInput as why:
            raise NotReady("not ready: what this wallet has spent cannot be read") from why
        except Stale as why:
            raise NotReady("not ready: what this wallet spends keeps changing", 1) from why

    def _check_bound(self, bound: Bound, hold: Neuron) -> None:
        committed, spent = bound.committed(stop_delay=self.stop_delay), bound.spent()
        if committed > bound.limit:
            raise SpendLimitReached(
                text=f"spend limit: {_WORDS[bound.which]}",
                limit=bound.limit,
                spent=spent,
                reserved=neuron(max(0, committed - spent - hold)),
                required=hold,
                which=bound.which,
                resets_at=bound.resets_at,
            )
