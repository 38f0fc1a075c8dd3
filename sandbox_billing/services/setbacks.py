"""
What has failed on chain goes out more carefully: later, fewer at a time, or not at all.

Part of the settler.  What failed how often is stored with each charge (L{Setback}), so that a
restart forgets nothing.  A transaction that was mined and reverted costs gas each time, and what
is refused for a fault of our configuration is refused again until that is mended (S8).

Tests: L{tests.services.test_setbacks}.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import field, frozen

from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.interfaces import IChain, ISigner, IVoucherQueue, IWallClock, StoredQueue
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.settlement import INVALID_SIGNATURE, PROVIDER_MISMATCH, Line
from sandbox_billing.ledger.voucher import ChargeRecord
from sandbox_billing.services.sealing import verifies, voucher_lines
from sandbox_billing.signing.eip712 import EIP712Domain


TOLD_FROM = 2
"""After so many transactions in vain somebody is told."""

ALONE_FROM = 3
"""After so many, the last of them by itself, a voucher closes only its own wallet's door."""

ASKED = 50
"""Vouchers of as many wallets are asked about: whether a fault of ours lasts."""


@frozen(kw_only=True)
class Setbacks:
    """
    @ivar _worst: Of each wallet that has any, the charge that failed most; one that met a fault
        first.
    """

    queue: IVoucherQueue
    chain: IChain
    signer: ISigner
    domain: EIP712Domain
    wall: IWallClock
    _worst: dict[Address, ChargeRecord] = field(factory=dict, init=False)

    def rests_until(self, queue: StoredQueue) -> UnixSeconds:
        """Before when nothing of a wallet is sent, for what failed of it."""
        found = [(r.value, r.value.setback) for r in queue.records if r.value.setback is not None]
        if not found:
            self._worst.pop(queue.wallet, None)
            return UnixSeconds(0)
        self._worst[queue.wallet] = max(
            found, key=lambda one: (one[1].fault is not None, one[1].times)
        )[0]
        return max(setback.until for _record, setback in found)

    async def look(self, in_flight: Collection[Address]) -> None:
        """
        Forget what has settled since.

        @param in_flight: Wallets of which nothing is known before their batch ends.
        """
        for wallet in [wallet for wallet in self._worst if wallet not in in_flight]:
            try:
                self.rests_until(await self.queue.queue(wallet, self.wall.now(), 1))
            except (BadInput, BrokenLaw):
                # It is left out as soon as it is offered.
                del self._worst[wallet]

    async def halted(self, mirror: Mirror) -> str | None:
        """
        Why nothing may be sent: a fault of our configuration that lasts, by asking the contract.

        It ends without anybody's doing once registration, domain and key agree.

        @raise Transient: Nobody answers.
        """
        faulty = [r for r in self._worst.values() if r.setback is not None and r.setback.fault]
        # Where our key is another by now, the same three are signed again (design.md §4.6).
        mine = [r for r in faulty if verifies(self.domain, r, self.signer.address)][:ASKED]
        if not mine:
            return None
        # One of each wallet: another reason of its own, a revoke, would hide the fault.
        refused = await self.chain.refusals(voucher_lines(mine), mirror.block)
        for record, reason in zip(mine, refused, strict=True):
            if reason in (PROVIDER_MISMATCH, INVALID_SIGNATURE) and record.setback is not None:
                return f"nothing is settled: {record.setback.fault}"
        return None

    def alone(self) -> frozenset[Address]:
        """Wallets of which a voucher fails again and again by itself, for no fault of ours."""
        return frozenset(
            wallet
            for wallet, record in self._worst.items()
            if record.setback is not None
            and record.setback.fault is None
            and record.setback.room == 1
            and record.setback.times >= ALONE_FROM
        )

    def trouble(self) -> str | None:
        """That the same vouchers fail again and again."""
        failed = [r.setback.times for r in self._worst.values() if r.setback is not None]
        often = [times for times in failed if times >= TOLD_FROM]
        if not often:
            return None
        return (
            f"vouchers of {len(often)} wallets did not settle in up to {max(often)} transactions"
            " that were mined; they go out again, later each time"
        )


def within(lines: Sequence[Line], taken: int, most: int) -> tuple[tuple[Line, ...], int]:
    """
    As many of a wallet's lines as a batch takes.

    @param taken: How many it has already.
    @param most: How many it may have.
    @return: And how many it may have with them.
    """
    for place, line in enumerate(lines):
        setback = line.record.setback
        limit = most if setback is None else min(most, setback.room)
        if taken + place + 1 > limit:
            return tuple(lines[:place]), most
        most = limit
    return tuple(lines), most
