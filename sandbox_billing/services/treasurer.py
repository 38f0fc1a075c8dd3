"""
Wallets that run dry: part of the watcher, on a turn of its own.

A wallet is looked at when its computed time has come or when something changed
its exposure or account (design.md §4.7).  Nobody is stopped for lack of money
on a mirror that is too old.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw, Transient
from sandbox_billing.interfaces import (
    BlockedWallet,
    IChain,
    IChainMirror,
    IDoors,
    IFunds,
    INotices,
    IStopOrders,
    IWallClock,
    Stale,
    WalletFunds,
)
from sandbox_billing.ledger.account import Behaviour, Mirror
from sandbox_billing.ledger.grace import Ending, ending
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.limits import tell
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.repricer import Repricer


PAGE = 100
AGAIN_SECONDS = 30
"""A blocked wallet that still runs something is looked at again after so long."""

UNSWEPT_SECONDS = 2
"""And so is one whose money cannot be told before the first sweep."""

TRIES = 4
"""Looks at a wallet in one turn that others write to meanwhile."""


@define(kw_only=True, eq=False)
class Treasurer:
    """
    @ivar doors: Adds the accounts of wallets that were adopted before they were mirrored.
    @ivar swept: Whether this process has completed a sweep of Daytona, or has waited long enough
        for one.  Before that what runs would be rated for hours in which it did not run any more.
        A debt and a revoke need no rate: they are acted upon at once.
    """

    funds: IFunds
    doors: IDoors
    mirror: IChainMirror
    stops: IStopOrders
    repricer: Repricer
    notices: INotices
    chain: IChain
    wall: IWallClock
    policy: Policy
    swept: Callable[[], bool]
    _broken: list[BrokenLaw] = field(factory=list, init=False)
    _log = Logger()

    async def turn(self) -> None:
        """Look at every wallet whose time has come."""
        mirror = await self.mirror.mirror()
        now = self.wall.now()
        if mirror is not None:
            # However old it is: while the chain is away charging goes on, and at these prices.
            await self.repricer.catch_up(mirror.value)
        if mirror is None or now - mirror.value.updated_at > self.policy.mirror_max_age:
            raise Transient("the chain mirror is too old to stop anybody for lack of money")
        seen: set[Address] = set()
        while fresh := set(await self.funds.to_check(now, PAGE + len(seen))) - seen:
            # All of them: those whose time has come must not wait behind those that moved.
            await gather(*(self._look(wallet, mirror.value, now) for wallet in sorted(fresh)))
            seen |= fresh
        if self._broken:
            broken = self._broken[0]
            self._broken.clear()
            raise broken

    async def _look(self, wallet: Address, mirror: Mirror, now: UnixSeconds) -> None:
        for _ in range(TRIES):
            try:
                await self._look_once(wallet, mirror, now)
            except Stale:
                # Its exposure moved while we looked.  Not on the next turn: whoever charges it
                # once in each turn would always be first, and it would never be stopped.
                self._log.debug("{wallet} moved meanwhile", wallet=wallet.hex)
            else:
                return

    async def _look_once(self, wallet: Address, mirror: Mirror, now: UnixSeconds) -> None:
        """
        @raise Stale: Its exposure moved while we looked; it is still marked to be looked at.
        """
        try:
            funds = await self.funds.funds(wallet)
        except BadInput as why:
            self._log.critical("{wallet}: {why}", wallet=wallet.hex, why=str(why))
            self._broken.append(BrokenLaw("L6", str(why)))
            return
        if funds.account is None:
            stored = await self.doors.mirror()
            assert stored is not None
            (account,) = await self.chain.accounts([wallet], stored.value.block)
            try:
                await self.doors.add_account(stored, account)
            except Stale:
                self._log.debug("{wallet} is read again on the next turn", wallet=wallet.hex)
            return
        if funds.account.value.block > mirror.block.number:
            # Read with a batch, ahead of the mirror: the mirror's version and grace are not
            # of that block yet.  It is looked at again on the next turn.
            return
        try:
            await self._decide(funds, mirror, now)
        except (BrokenLaw, BadInput) as why:
            # One wallet's; nobody else waits for it.
            self._log.critical("{wallet}: {why}", wallet=wallet.hex, why=str(why))
            law = why if isinstance(why, BrokenLaw) else BrokenLaw("L7", str(why))
            self._broken.append(law)

    async def _decide(self, funds: WalletFunds, mirror: Mirror, now: UnixSeconds) -> None:
        runs = funds.exposure.sandboxes()
        if funds.blocked == QUARANTINED:
            # Money does not lift it; whatever runs all the same is stopped.
            if runs:
                await self.funds.block(BlockedWallet(funds, QUARANTINED))
                funds = await self.funds.funds(funds.wallet)
            await self.funds.check_again(funds, UnixSeconds(now + AGAIN_SECONDS))
            return
        unacknowledged_at = self._grace_ends(funds, mirror)
        swept = self.swept()
        if swept and unacknowledged_at is None and await self.repricer.reprice(runs, mirror):
            # Its exposure has moved: it is looked at again at once.
            return
        if runs and unacknowledged_at is not None and now >= unacknowledged_at:
            for sandbox in runs:
                await self.stops.order(sandbox, "not_acknowledged", now)
        if not swept and not funds.exposure.in_debt:
            await self.funds.check_again(funds, UnixSeconds(now + UNSWEPT_SECONDS))
            return
        end = self._ending(funds, mirror.behaviour, now)
        dry_at = end.stops_at
        dry = dry_at is not None and dry_at <= now
        covered = covered_again(funds, self.policy, now, mirror.behaviour)
        if funds.exposure.in_debt or dry or (runs and self._leaves(funds, mirror, now)):
            if funds.blocked is None:
                self._log.warn(
                    "{wallet} cannot pay: {count} sandboxes get stop orders",
                    wallet=funds.wallet.hex,
                    count=len(runs),
                )
            if funds.blocked is None or runs:
                await self.funds.block(BlockedWallet(funds, "insufficient_balance"))
                funds = await self.funds.funds(funds.wallet)
            again: UnixSeconds | None = UnixSeconds(now + AGAIN_SECONDS)
        elif (funds.blocked is not None or funds.dry_since is not None) and covered:
            await self.funds.unblock(funds)
            self._log.info("{wallet} can pay again", wallet=funds.wallet.hex)
            # Its next moment is computed from what is stored then.
            return
        elif end.in_grace(now) and funds.blocked is None and funds.dry_since is None:
            await self._begin_grace(funds, end, now)
            return
        else:
            again = dry_at if funds.blocked is None else UnixSeconds(now + AGAIN_SECONDS)
            if funds.dry_since is None and end.own_ends_at is not None:
                again = end.own_ends_at
        times = [t for t in (again, unacknowledged_at if runs else None) if t is not None]
        at = UnixSeconds(max(now + 1, min(times))) if times else None
        await self.funds.check_again(funds, at)

    def _leaves(self, funds: WalletFunds, mirror: Mirror, now: UnixSeconds) -> bool:
        """
        Whether a refund was asked for, and what runs would not be admitted any more (D6).

        On our contract a fee can draw on the refund; there the ordinary end is soon enough.
        """
        assert funds.account is not None
        asked = mirror.behaviour is Behaviour.FLAWED and funds.account.value.pending_refund > 0
        return asked and not covered_again(funds, self.policy, now, mirror.behaviour)

    def _ending(self, funds: WalletFunds, behaviour: Behaviour, now: UnixSeconds) -> Ending:
        assert funds.account is not None
        return ending(
            funds.exposure,
            balance=funds.account.value.spendable(behaviour),
            loss_cap=self.policy.loss_cap,
            stop_delay=self.policy.stop_delay,
            grace=self.policy.stop_grace,
            dry_since=funds.dry_since,
            now=now,
        )

    async def _begin_grace(self, funds: WalletFunds, end: Ending, now: UnixSeconds) -> None:
        """It is looked at again at once, by what is stored then."""
        await self.funds.begin_grace(funds, now)
        self._log.warn(
            "{wallet} runs on what it is lent until {until}",
            wallet=funds.wallet.hex,
            until=end.stops_at,
        )
        facts = {"reason": "insufficient_balance", "stops_at": str(end.stops_at)}
        notice = Notice(kind=Kind.BLOCKED, at=now, wallet=funds.wallet, facts=facts)
        await tell(self.notices, notice, f"grace:{now}", self._log)

    def _grace_ends(self, funds: WalletFunds, mirror: Mirror) -> UnixSeconds | None:
        """When a wallet without an acknowledgement is stopped; None when it has one."""
        assert funds.account is not None
        if funds.account.value.acknowledged:
            return None
        if mirror.version_changed_at is None:
            return UnixSeconds(0)
        return UnixSeconds(mirror.version_changed_at + self.policy.ack_grace)


def covered_again(
    funds: WalletFunds, policy: Policy, now: UnixSeconds, behaviour: Behaviour
) -> bool:
    """
    No debt, and what is owed, one more interval and the stop are covered (design.md §4.7).

    @param behaviour: Of the contract.
    """
    if funds.account is None or funds.exposure.in_debt:
        return False
    # By the sessions' holds, not by the rate: what is not running yet will cost as much.
    needed = funds.exposure.owed(now) + funds.exposure.reserved()
    # A grace is lent once: it begins anew when there was money of the wallet's own.
    lent = 0 if policy.stop_grace else policy.loss_cap
    return funds.account.value.spendable(behaviour) + lent >= max(needed, 1)
