"""
What a wallet has, owes and burns, and what was settled of it.

Tests: C{tests.web.test_account}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

from sandbox_billing.interfaces import (
    IDoors,
    IHistory,
    IIntake,
    IWallClock,
    NotReady,
    WalletState,
)
from sandbox_billing.ledger.account import Account as ChainAccount
from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.grace import ending
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.payloads import whole
from sandbox_billing.web.terms import Terms


Extra: TypeAlias = Callable[[Address, WalletState], Awaitable[Mapping[str, Any]]]
"""What others add to an account: fields of their own."""

NO_MIRROR = "the chain has not been read yet"

_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 200


def _event(settled: Settlement) -> dict[str, Any]:
    return {
        "user": checksum(settled.user),
        "provider": checksum(settled.provider),
        "total_fee": str(settled.fee),
        "nonce": str(settled.nonce),
        "status": settled.status,
        "tx_hash": settled.transaction,
        "block": settled.block,
        "timestamp": settled.timestamp,
    }


def _on_chain(account: ChainAccount) -> dict[str, Any]:
    return {
        "balance": str(account.balance),
        "pending_refund": str(account.pending_refund),
        "refund_unlock_at": account.refund_unlock_at or None,
        "acknowledged": account.acknowledged,
    }


@frozen(kw_only=True)
class Account:
    """
    A wallet's money; nobody sees another wallet's.

    @ivar extras: Each adds its fields to an account.
    """

    history: IHistory = field(validator=provides(IHistory))
    doors: IDoors = field(validator=provides(IDoors))
    intake: IIntake = field(validator=provides(IIntake))
    wall: IWallClock = field(validator=provides(IWallClock))
    terms: Terms
    extras: tuple[Extra, ...] = ()

    async def show(self, asked: Asked) -> Answer:
        """By the same sums that admit and stop: as of one moment, and one block."""
        wallet = asked.wallet
        state = await self.history.state(wallet)
        if state.mirror is None:
            raise NotReady(NO_MIRROR)
        stored = state.funds.account
        if stored is None:
            account = await self.intake.meet(wallet)
            state = await self.history.state(wallet)
        else:
            account = stored.value
        document = self._document(wallet, state, account)
        for extra in self.extras:
            document |= await extra(wallet, state)
        return Answer(document=document)

    def _document(
        self, wallet: Address, state: WalletState, account: ChainAccount
    ) -> dict[str, Any]:
        mirror, terms = state.mirror, self.terms
        if mirror is None:
            # It was there a moment ago: somebody repairs the store.
            raise NotReady(NO_MIRROR)
        exposure, now = state.funds.exposure, self.wall.now()
        parts, spendable = exposure.parts(now), account.spendable(mirror.behaviour)
        dry_at = ending(
            exposure,
            balance=spendable,
            loss_cap=terms.loss_cap,
            stop_delay=terms.stop_delay_seconds,
            grace=terms.stop_grace_seconds,
            dry_since=state.funds.dry_since,
            now=now,
        ).dry_at
        return {
            "wallet": checksum(wallet),
            "provider": checksum(terms.provider),
            "chain_id": terms.chain_id,
            "contract": checksum(terms.contract),
            "block": mirror.block.number,
            "as_of": now,
            **_on_chain(account),
            "signer_version": None if mirror.service is None else mirror.service.signer_version,
            "exposure": {
                "total": str(parts.total),
                "holds": str(parts.holds),
                "accrued": str(parts.accrued),
                "charges": str(parts.charges),
                "debts": str(parts.debts),
            },
            "available": str(max(0, spendable + terms.loss_cap - parts.total)),
            "burn_rate_per_minute": str(exposure.rate()),
            "runs_dry_at": dry_at,
            "blocked": state.funds.blocked,
            "running": len(exposure.sandboxes()),
            "provider_leaving_at": mirror.leaving_at,
        }

    async def events(self, asked: Asked) -> Answer:
        """From a local index: no question of a user's becomes a scan of blocks (V2)."""
        since = whole(asked.query, "since", 0, least=0, most=10**11)
        page = whole(asked.query, "page", 0, least=0, most=10**9)
        size = whole(asked.query, "page_size", _PAGE_SIZE, least=1, most=_MAX_PAGE_SIZE)
        mirror = await self.doors.mirror()
        if mirror is None:
            raise NotReady(NO_MIRROR)
        total, settled = await self.history.settlements(
            asked.wallet, since=UnixSeconds(since), page=page, page_size=size
        )
        document = {
            "current_block": mirror.value.block.number,
            "since": since,
            "total": total,
            "page": page,
            "page_size": size,
            "events": [_event(one) for one in settled],
        }
        return Answer(document=document)
