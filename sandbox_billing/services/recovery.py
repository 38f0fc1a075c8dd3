"""
What the settler stands on: a mirror that can be trusted, and books that nothing was lost of.

At start, and whenever the store has started anew, it may have lost its newest writes: it is
compared with the chain before anything new is signed (design.md §6, "After a loss").  What was
broadcast is on disk before that; this finds out if it was not.

Tests: L{tests.services.test_recovery}.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import (
    BlockedWallet,
    IChain,
    IChainMirror,
    IFunds,
    ILoss,
    IVoucherQueue,
    IWallClock,
)
from sandbox_billing.ledger.account import BlockRef, Mirror
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.policy import Policy


UNKNOWN_SECONDS = 600
"""How long a transaction of ours that we do not know is waited for (T-11)."""

PAGE = 500


async def footing(
    mirror: IChainMirror, wall: IWallClock, policy: Policy, signer: Address
) -> Mirror:
    """
    The mirror, where it can be trusted for money.

    @param signer: This daemon's key's.
    @raise Transient: It cannot now.
    """
    found = await mirror.mirror()
    if found is None:
        raise Transient("the chain mirror has not made its first step")
    if wall.now() - found.value.updated_at > policy.mirror_max_age:
        raise Transient("the chain mirror is too old to settle on")
    service = found.value.service
    if service is None:
        raise Transient(f"provider {policy.provider} is not registered at the confirmed block")
    if service.signer != signer:
        # Vouchers stay signed: another key's configuration is nobody's refusal.
        raise Transient(
            f"the registered signer is {service.signer}, this daemon's key is {signer}:"
            " nothing is settled until they agree"
        )
    return found.value


@define(kw_only=True, eq=False)
class Recovery:
    """
    Its verdict gates the settler: vouchers that are stored go on, new ones wait.

    @ivar sender: Our signer's address.
    @ivar trouble: Why nothing new is signed; None when it is.
    @ivar stuck: An account nonce that a transaction we do not know has held for too long:
        to be used up.
    @ivar _passed: The life of the store that was found in order.
    @ivar _unknown: The account nonce of a transaction we do not know, and since when.
    @ivar _told: Whether that was said: only once it is still unknown on the next turn.
    """

    loss: ILoss
    queue: IVoucherQueue
    funds: IFunds
    chain: IChain
    wall: IWallClock
    sender: Address
    trouble: str | None = field(default="what is stored was not compared yet", init=False)
    stuck: int | None = field(default=None, init=False)
    _passed: str | None = field(default=None, init=False)
    _unknown: tuple[int, UnixSeconds] | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)
    _log = Logger()

    async def held(self, head: BlockRef) -> str | None:
        """
        Why nothing new may be signed; None when it may.

        @param head: The mirror's: every settlement up to it is stored.
        """
        run_id = await self.loss.run_id()
        if run_id == self._passed:
            return None
        if self._passed is not None:
            self._passed = None
            self._log.critical("Redis has started anew: it may have lost its newest writes")
        # Read after the life was: what another one lost is found out on the next turn.
        self.trouble = await self._look([b.value for b in await self.queue.batches()], head)
        if self.trouble is None:
            self._passed = run_id
            self._log.info(
                "what is stored agrees with the chain at block {block}", block=head.number
            )
        return self.trouble

    async def _look(self, batches: Iterable[Batch], head: BlockRef) -> str | None:
        foreign = await self._foreign(batches, head)
        if foreign is not None:
            return (
                f"account nonce {foreign} is used by a transaction that is not stored:"
                " nothing new is signed before it is final"
            )
        await self._compare(head)
        return None

    async def _foreign(self, batches: Iterable[Batch], head: BlockRef) -> int | None:
        """
        An account nonce above the mirror's block that is used, and not for what is stored.

        A transaction that settles nothing counts as one we do not know: it may stand in the
        place of one that does.
        """
        attempts = [(a, bool(b.charges)) for b in batches for a in b.attempts]
        mine = {a.account_nonce: busy for a, busy in attempts if a.sender == self.sender}
        used = await self.chain.account_nonce(head)
        counts = await self.chain.account_nonces()
        self.stuck = None
        for nonce in range(used, max(counts.mined, counts.pending)):
            if mine.get(nonce):
                continue
            if nonce >= counts.mined and nonce not in mine:
                self._wait_for(nonce)
            return nonce
        self._unknown = None
        return None

    def _wait_for(self, nonce: int) -> None:
        """Have the account nonce of a transaction that is never mined used up, in the end."""
        now = self.wall.now()
        if self._unknown is None or self._unknown[0] != nonce:
            # No alarm yet: another worker may have stored and sent it since we read.
            self._unknown, self._told = (nonce, now), False
        elif not self._told:
            self._told = True
            self._log.critical(
                "a transaction of {sender} with account nonce {account_nonce} is on its way and"
                " not stored: it is waited for",
                sender=self.sender.hex,
                account_nonce=nonce,
            )
        if now - self._unknown[1] >= UNKNOWN_SECONDS:
            self.stuck = nonce

    async def _compare(self, head: BlockRef) -> None:
        """Quarantine every wallet of which the chain has seen more vouchers than we know."""
        given = await self.loss.given()
        wallets = list(given)
        for start in range(0, len(wallets), PAGE):
            page = wallets[start : start + PAGE]
            nonces = await self.chain.last_nonces(page, head)
            for wallet, nonce in zip(page, nonces, strict=True):
                if nonce > given[wallet]:
                    await self._quarantine(
                        wallet,
                        f"behind the chain: nonce {nonce} is settled, {given[wallet]} is the"
                        " last that is stored; run reconcile --rebuild",
                    )

    async def _quarantine(self, wallet: Address, reason: str) -> None:
        # One that waits for a human already needs the letter, too: without it he would release
        # the wallet, and what is paid would be numbered anew.
        await self.loss.behind(BlockedWallet(await self.funds.funds(wallet), reason))
        self._log.critical("{wallet} is quarantined: {why}", wallet=wallet.hex, why=reason)
