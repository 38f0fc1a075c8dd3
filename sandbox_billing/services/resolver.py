"""
Reading outcomes: which batches are final, and what became of each voucher.

The event decides money, in whatever transaction it stands; no event and a free
nonce mean still owed; the reason of a refusal is asked by replaying the call at
the parent block (design.md §4.6).  The rules themselves are C{ledger.settlement.resolve}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import BrokenLaw, Transient
from sandbox_billing.interfaces import (
    BlockedWallet,
    Happenings,
    IChain,
    IFunds,
    IHistory,
    ISigner,
    IVoucherQueue,
    IWallClock,
    Receipt,
    Ruling,
    Stored,
)
from sandbox_billing.ledger.account import Account, BlockRef, Settlement
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.settlement import (
    INVALID_SIGNATURE,
    PROVIDER_MISMATCH,
    Evidence,
    Outcome,
    Resolved,
    SettlerFault,
    StillOwed,
    Unproven,
    resolve,
)
from sandbox_billing.ledger.voucher import Charge, ChargeRecord, DeadLettered, Parked, Partial
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.sealing import verifies, voucher_lines
from sandbox_billing.signing.eip712 import EIP712Domain


RETRY_SECONDS = 30
"""How long a voucher that failed without a reason of its own waits for the next batch."""

PAGE = 200

Settled: TypeAlias = Mapping[tuple[Address, int], Settlement]


@frozen(kw_only=True)
class Resolver:
    """Part of the watcher: the only one who ends a batch."""

    queue: IVoucherQueue
    funds: IFunds
    history: IHistory
    chain: IChain
    signer: ISigner
    domain: EIP712Domain
    wall: IWallClock
    policy: Policy
    _log = Logger()

    async def resolve_up_to(self, block: BlockRef, happened: Happenings) -> tuple[BrokenLaw, ...]:
        """
        End every batch that was mined at or below a confirmed block.

        @return: What is wrong with those that stay as they are, for a human: their wallets
            wait, and nobody else does (design.md §5).
        """
        broken = []
        for batch in await self.queue.batches():
            receipt = await self._receipt(batch.value)
            if receipt is not None and receipt.block.number <= block.number:
                try:
                    await self._resolve(batch, receipt, block, happened)
                except BrokenLaw as why:
                    self._log.critical(
                        "batch {batch} breaks a law: {why}", batch=batch.value.id, why=str(why)
                    )
                    broken.append(why)
        return tuple(broken)

    async def _receipt(self, batch: Batch) -> Receipt | None:
        """
        Of whichever attempt was mined; those of one sender share an account nonce, so one is.

        Where our key sent its own after an earlier one, ours is waited for: a batch that
        ended without it would leave its account nonce unused, and all later ones behind it.
        """
        mine = [a for a in batch.attempts if a.sender == self.signer.address]
        for attempt in reversed(mine or batch.attempts):
            receipt = await self.chain.receipt(attempt.hash)
            if receipt is not None:
                return receipt
        return None

    async def _resolve(
        self, batch: Stored[Batch], receipt: Receipt, block: BlockRef, happened: Happenings
    ) -> None:
        records = await self.queue.batch_records(batch.value)
        accounts = await self.chain.accounts(batch.value.wallets, block)
        evidence = await self._evidence([r.value for r in records], receipt, accounts, happened)
        now = self.wall.now()
        rulings = []
        for stored, proof in zip(records, evidence, strict=True):
            rulings.append(self._rule(stored, proof, now))
        reasons: dict[Address, str] = {}
        for ruling in rulings:
            owner = ruling.after.charge.owner
            if isinstance(ruling.after.state, DeadLettered):
                reasons[owner] = QUARANTINED
            elif isinstance(ruling.after.state, Partial):
                reasons.setdefault(owner, "insufficient_balance")
        blocked = []
        for wallet, reason in reasons.items():
            funds = await self.funds.funds(wallet)
            # A quarantine is lifted by a human, never by what else becomes of the wallet.
            kept = QUARANTINED if funds.blocked == QUARANTINED else reason
            blocked.append(BlockedWallet(funds, kept))
        await self.queue.resolve(batch, block, rulings, accounts, blocked)
        self._log.info(
            "batch {batch} settled in block {block}: {count} vouchers, {gas} gas",
            batch=batch.value.id,
            block=receipt.block.number,
            count=len(rulings),
            gas=receipt.gas_used,
            transaction=receipt.transaction,
        )

    async def _evidence(
        self,
        records: Sequence[ChargeRecord],
        receipt: Receipt,
        accounts: Sequence[Account],
        happened: Happenings,
    ) -> list[Evidence]:
        """@param accounts: At the confirmed block: a nonce that is free there was never used."""
        settled = await self._settled(records, receipt, happened)
        last = {account.wallet: account.last_nonce for account in accounts}
        refused: Sequence[int | None] = [None] * len(records)
        ours = True
        if any(key(r) not in settled for r in records):
            refused, ours = await self._reasons(records, receipt.block)
        return [
            Evidence(
                record=record,
                settled=settled.get(key(record)),
                last_nonce=last[record.charge.owner],
                refusal=reason,
                signer_is_ours=ours,
                verifies_locally=verifies(self.domain, record, self.signer.address),
            )
            for record, reason in zip(records, refused, strict=True)
        ]

    async def _reasons(
        self, records: Sequence[ChargeRecord], at: BlockRef
    ) -> tuple[Sequence[int | None], bool]:
        """
        Why nothing moved, and whether our key was the registered signer then.

        A node that has forgotten that state must not hold the mirror up: without a reason
        the vouchers are offered again, and a reason never changes an amount.
        """
        try:
            parent = await self.chain.block(at.number - 1)
            refused = await self.chain.refusals(voucher_lines(records), parent)
            service = await self.chain.service(self.policy.provider, at)
        except Transient as why:
            self._log.warn(
                "no node can replay block {number}: {why}", number=at.number, why=str(why)
            )
            return [None] * len(records), True
        return refused, service is not None and service.signer == self.signer.address

    async def _settled(
        self, records: Sequence[ChargeRecord], receipt: Receipt, happened: Happenings
    ) -> Settled:
        """
        The events of these vouchers: of this step, of the receipt's block, and, for a
        nonce that was used elsewhere, of all history (K8, S4).
        """
        block = receipt.block.number
        here = await self.chain.happenings(block, block)
        found: dict[tuple[Address, int], Settlement] = {
            (s.user, s.nonce): s for s in (*happened.settlements, *here.settlements)
        }
        for wallet in {r.charge.owner for r in records if key(r) not in found}:
            page, more = 0, True
            while more:
                _total, old = await self.history.settlements(
                    wallet, since=UnixSeconds(0), page=page, page_size=PAGE
                )
                found.update({(s.user, s.nonce): s for s in old})
                page, more = page + 1, len(old) == PAGE
        return found

    def _rule(self, stored: Stored[ChargeRecord], proof: Evidence, now: UnixSeconds) -> Ruling:
        record = stored.value
        debt: Charge | None = None
        retry_at = now
        match self._outcome(proof, now):
            case Resolved(decided, debt):
                record = decided
            case StillOwed(_record, reason):
                retry_at = UnixSeconds(now + RETRY_SECONDS)
                self._log.warn(
                    "charge {charge} is still owed: {reason}",
                    charge=record.charge.id,
                    reason=reason,
                )
            case SettlerFault(reason):
                retry_at = UnixSeconds(now + RETRY_SECONDS)
                self._log.critical("vouchers are kept: {reason}", reason=reason)
            case Unproven():
                # Neither paid nor void can be proven: a human must look, and nobody
                # else's vouchers wait for that.
                record = _dead(record, "its nonce is used and no event says for what")
        if isinstance(record.state, Parked | Partial):
            self._log.warn(
                "charge {charge} is {state}",
                charge=record.charge.id,
                state=type(record.state).__name__,
                wallet=record.charge.owner.hex,
            )
        if isinstance(record.state, DeadLettered):
            self._log.critical(
                "charge {charge} needs a human: {reason}; its wallet is quarantined",
                charge=record.charge.id,
                reason=record.state.reason,
                wallet=record.charge.owner.hex,
            )
        return Ruling(record=stored, after=record, debt=debt, retry_at=retry_at)

    def _outcome(self, proof: Evidence, now: UnixSeconds) -> Outcome:
        if _of_earlier_key(proof):
            return StillOwed(proof.record, "an earlier key signed it")
        try:
            return resolve(proof, now)
        except BrokenLaw as why:
            return Resolved(_dead(proof.record, str(why)))


def _dead(record: ChargeRecord, reason: str) -> ChargeRecord:
    return record.become(DeadLettered(seal=record.seal, reason=reason))


def _of_earlier_key(proof: Evidence) -> bool:
    """
    Whether a voucher was refused because the signer was changed while it was in flight:
    the settler signs the same nonce, fee and hash again (design.md §4.6).
    """
    seal = proof.record.seal
    untouched = seal is not None and proof.settled is None and proof.last_nonce < seal.nonce
    refused = proof.refusal in (PROVIDER_MISMATCH, INVALID_SIGNATURE)
    return untouched and refused and proof.signer_is_ours and not proof.verifies_locally


def key(record: ChargeRecord) -> tuple[Address, int]:
    """What a voucher's event is found by."""
    seal = record.seal
    assert seal is not None, record
    return record.charge.owner, seal.nonce
