"""
Merging: what piled up while nothing could be settled goes out in few vouchers.

It waits until the chain is there again, so that what piles up together becomes one together,
and takes wallets in the order in which the settler takes them.  Whoever of the two comes first
with a charge has it; the other finds it changed.

Tests: L{tests.services.test_merger}.
"""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IChainMirror, IMerging, IWallClock, Stale
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.merging import merge_plan
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.policy import Policy


LATE_SECONDS = 120
"""A charge so long after SETTLE_MAX_AGE_SEC would be settled by now, if anything was."""

OFFERED = 500
"""Wallets looked at in one turn; the settler takes the same ones first."""

READ = 1_000
"""Charges of a wallet looked at in one turn."""

AT_ONCE = 8
"""Wallets whose merges are under way together."""

PER_TURN = 200
"""Wallets taken in one turn, so that the daemon can stop in time."""


@frozen(kw_only=True)
class Merger:
    """Long backlogs become short: more than a batch holds, or more than one and late."""

    merging: IMerging
    mirror: IChainMirror
    wall: IWallClock
    policy: Policy
    _log = Logger()

    async def turn(self) -> None:
        """Merge what of the offered wallets is long; nothing while the chain is out."""
        mirror, now = await self.mirror.mirror(), self.wall.now()
        if mirror is None or now - mirror.value.updated_at > self.policy.mirror_max_age:
            return
        wallets = await self.merging.backlogs(
            now,
            more_than=self.policy.batch_max,
            late=UnixSeconds(now - self.policy.settle_max_age - LATE_SECONDS),
            limit=OFFERED,
        )
        for first in range(0, min(len(wallets), PER_TURN), AT_ONCE):
            some = wallets[first : min(first + AT_ONCE, PER_TURN)]
            await gather(*(self._merge(wallet, now) for wallet in some))

    async def _merge(self, wallet: Address, now: UnixSeconds) -> None:
        try:
            found = await self.merging.unsigned(wallet, now, READ)
        except BadInput as why:
            # The settler leaves this wallet out and says so.
            self._log.debug("{wallet} is not merged: {why}", wallet=wallet.hex, why=str(why))
            return
        by_id = {record.value.charge.id: record for record in found}
        for group in merge_plan(record.value for record in found):
            try:
                whole = await self.merging.merge([by_id[part.charge.id] for part in group])
            except Stale:
                # Signed meanwhile: it is on its way.
                self._log.debug("{wallet} moved meanwhile", wallet=wallet.hex)
                continue
            self._log.info(
                "merged {count} charges into {charge}: {amount} neuron for {seconds} s",
                count=len(group),
                charge=whole.value.charge.id,
                amount=str(whole.value.charge.amount),
                seconds=whole.value.charge.units,
                wallet=wallet.hex,
            )
