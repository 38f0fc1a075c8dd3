"""
Wallets are told how they stand before they feel it: how long their money lasts, and what is done
to what they run.

Nothing waits for this, and nothing is decided here: a wallet is looked at after the treasurer
has, what it was told last is compared with what is the case, and both are written in one step
(L{ledger.warning}).  So a worker that dies has told nothing twice, and forgets nothing.

Tests: C{tests.services.test_warner}.
"""

from __future__ import annotations

from attrs import define
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw, Transient
from sandbox_billing.interfaces import (
    IChainMirror,
    IWallClock,
    IWarnings,
    Stale,
    WalletSeen,
)
from sandbox_billing.ledger.account import Account, Mirror
from sandbox_billing.ledger.grace import ending
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds, parse_neuron
from sandbox_billing.ledger.warning import Standing, compare
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.policy import Policy


TURN_SECONDS = 2.0
AT_ONCE = 50
MOST = 5_000
"""Wallets of one turn: when the provider leaves, everybody is told, and others wait with them."""

UNREADABLE_SECONDS = 60
"""A wallet that cannot be read is looked at again after so long; others alarm about it."""


@define(kw_only=True, eq=False)
class Warner:
    """Part of the worker; its trouble is nobody's but its own."""

    warnings: IWarnings
    mirror: IChainMirror
    wall: IWallClock
    policy: Policy
    _log = Logger()

    async def turn(self) -> None:
        """
        Look at every wallet that was listed, or whose time has come; no more than are bounded.

        @raise Transient: The mirror is too old to tell anybody anything of it.
        """
        mirror = await self.mirror.mirror()
        now = self.wall.now()
        if mirror is None:
            # A first start: nobody is known yet who could be told.
            return
        if now - mirror.value.updated_at > self.policy.mirror_max_age:
            raise Transient("the chain mirror is too old to tell anybody how he stands")
        await self._announce(mirror.value)
        wallets = await self.warnings.to_look(now, MOST)
        for start in range(0, len(wallets), AT_ONCE):
            some = wallets[start : start + AT_ONCE]
            await gather(*(self._look(wallet, mirror.value, now) for wallet in some))

    async def _announce(self, mirror: Mirror) -> None:
        """Everybody is looked at once, when the provider says that it leaves, or stays."""
        if mirror.leaving_at == await self.warnings.announced():
            return
        wallets = await self.mirror.wallets() if mirror.leaving_at is not None else ()
        await self.warnings.announce(wallets, mirror.leaving_at)

    async def _look(self, wallet: Address, mirror: Mirror, now: UnixSeconds) -> None:
        try:
            await self._tell(wallet, mirror, now)
        except Stale:
            self._log.debug("{wallet} moved meanwhile", wallet=wallet.hex)
        except (BadInput, BrokenLaw) as why:
            # Others alarm about it; nobody's money waits for a notice.
            self._log.warn("{wallet} is told nothing: {why}", wallet=wallet.hex, why=str(why))
            await self.warnings.later(wallet, UnixSeconds(now + UNREADABLE_SECONDS))

    async def _tell(self, wallet: Address, mirror: Mirror, now: UnixSeconds) -> None:
        seen = await self.warnings.look(wallet)
        account = seen.funds.account
        if account is None:
            # The treasurer has it read, and lists the wallet again.
            await self.warnings.later(wallet, UnixSeconds(now + UNREADABLE_SECONDS))
            return
        if account.value.block > mirror.block.number:
            # Read with a batch, ahead of the mirror: it is looked at on the next turn.
            return
        standing = self._standing(seen, account.value, mirror, now)
        findings = compare(seen.picture, standing, self.policy.warn_before, now)
        await self.warnings.told(seen, findings.picture, findings.notices, findings.again)
        for notice, _ in findings.notices:
            self._log.info(
                "{wallet} was told: {notice}", wallet=wallet.hex, notice=notice.kind.value
            )

    def _standing(
        self, seen: WalletSeen, account: Account, mirror: Mirror, now: UnixSeconds
    ) -> Standing:
        """
        @raise BadInput: Something of it cannot be read.
        @raise BrokenLaw: Likewise.
        """
        exposure, changed = seen.funds.exposure, mirror.version_changed_at
        return Standing(
            wallet=seen.funds.wallet,
            balance=account.balance,
            pending_refund=account.pending_refund,
            refund_unlock_at=account.refund_unlock_at,
            acknowledged=account.acknowledged,
            signer_version=None if mirror.service is None else mirror.service.signer_version,
            acknowledge_until=(
                None if changed is None else UnixSeconds(changed + self.policy.ack_grace)
            ),
            blocked=seen.funds.blocked,
            was_blocked=seen.block,
            debts={
                name: parse_neuron(amount)
                for name, amount in exposure.fields.items()
                if name.startswith("debt:")
            },
            orders={
                sandbox: reason
                for sandbox, reason in seen.orders.items()
                if sandbox in seen.standing or sandbox not in exposure.sandboxes()
            },
            open=exposure.sandboxes(),
            leaving_at=mirror.leaving_at,
            dry_at=ending(
                exposure,
                balance=account.spendable(mirror.behaviour),
                loss_cap=self.policy.loss_cap,
                stop_delay=self.policy.stop_delay,
                grace=self.policy.stop_grace,
                dry_since=seen.funds.dry_since,
                now=now,
            ).dry_at,
        )
