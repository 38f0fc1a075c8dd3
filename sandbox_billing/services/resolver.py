"""
Reading outcomes: which batches are final, and what became of each voucher.

The event decides money, in whatever transaction it stands; no event and a free
nonce mean still owed; the reason of a refusal is asked by replaying the call at
the parent block (design.md §4.6).  The rules themselves are C{ledger.settlement.resolve}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from attrs import frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, BrokenLaw, Transient
from sandbox_billing.interfaces import (
    UNMEASURED,
    BlockedWallet,
    Happenings,
    IChain,
    IFunds,
    IHistory,
    IMeasures,
    ISigner,
    IVoucherQueue,
    IWallClock,
    LeaseLost,
    Receipt,
    Ruling,
    Stale,
    Stored,
)
from sandbox_billing.ledger.account import Account, BlockRef
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, ChargeId
from sandbox_billing.ledger.money import UnixSeconds, neuron
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
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeRecord,
    DeadLettered,
    Open,
    Paid,
    Parked,
    Partial,
    set_back,
)
from sandbox_billing.services.evidence import NotYet
from sandbox_billing.services.settled_figures import note_settled
from sandbox_billing.services.tracing import Tracer
from sandbox_billing.services.waiting import Waiting
from sandbox_billing.services.witness import Mined, Witness


RETRY_SECONDS = 30
"""How long a voucher that failed without a reason of its own waits for the next batch."""


@frozen(kw_only=True)
class _Heard:
    """
    What is known of a batch.

    @ivar evidence: Of each record whose wallet does not wait, in their order.
    @ivar doubts: Of some of them why they can be neither paid nor void.
    @ivar waiting: Wallets of which something cannot be known yet.
    """

    evidence: Sequence[Evidence]
    doubts: Mapping[ChargeId, str]
    waiting: Mapping[Address, NotYet]
    accounts: Sequence[Account]
    races: tuple[Race, ...]


@frozen(kw_only=True)
class _TryAgain:
    """
    How what stays owed of a batch goes out again.

    @ivar reverted: Whether its transaction did.
    @ivar in_vain: Whether its transaction should have settled it.
    @ivar room: Vouchers in the next transaction.
    @ivar jitter: From 0 to 255.
    """

    reverted: bool
    in_vain: bool
    room: int
    jitter: int


@frozen(kw_only=True)
class Resolver:
    """
    Part of the watcher: the only one who ends a batch.

    @ivar witness: Gathers what is known of each voucher.
    @ivar tracer: Finds out what moved where the contract does not say (D7).
    @ivar waiting: Batches that wait for a proof.
    @ivar measures: Told of what was decided, once it is stored.
    """

    queue: IVoucherQueue
    funds: IFunds
    history: IHistory
    chain: IChain
    witness: Witness
    tracer: Tracer
    signer: ISigner
    wall: IWallClock
    waiting: Waiting
    measures: IMeasures = UNMEASURED
    _log = Logger()

    async def resolve_up_to(self, block: BlockRef, happened: Happenings) -> tuple[BrokenLaw, ...]:
        """
        End every batch that was mined at or below a confirmed block.

        @return: What is wrong with those that stay as they are, for a human: their wallets
            wait, and nobody else does (design.md §5).
        """
        broken = []
        batches = await self.queue.batches()
        self.waiting.keep({batch.value.id for batch in batches})
        for batch in batches:
            if self.waiting.rests(batch.value.id):
                continue
            try:
                mined = await self._mined(batch.value)
                if mined is not None and mined.receipt.block.number <= block.number:
                    await self._resolve(batch, mined, block, happened)
            except NotYet as why:
                self.waiting.add(batch.value, why)
            except BadInput as why:
                # The rest of it is resolved on the next turn.
                await self.queue.expel(batch)
                self._log.critical("batch {batch}: {why}", batch=batch.value.id, why=str(why))
                broken.append(BrokenLaw("L6", str(why)))
            except BrokenLaw as why:
                self._log.critical(
                    "batch {batch} breaks a law: {why}", batch=batch.value.id, why=str(why)
                )
                broken.append(why)
        return tuple(broken)

    async def _mined(self, batch: Batch) -> Mined | None:
        """
        Whichever attempt was mined; those of one sender share an account nonce, so one is.

        Where our key sent its own after an earlier one, ours is waited for: a batch that
        ended without it would leave its account nonce unused, and all later ones behind it.

        @raise NotYet: A node does not say.
        """
        mine = [a for a in batch.attempts if a.sender == self.signer.address]
        for attempt in reversed(mine or batch.attempts):
            try:
                receipt = await self.chain.receipt(attempt.hash)
            except Transient as why:
                raise NotYet(f"its receipt cannot be read: {why}") from why
            if receipt is not None:
                settles = receipt.succeeded and not attempt.empty
                return Mined(receipt=receipt, settles=settles)
        return None

    async def _resolve(
        self, batch: Stored[Batch], mined: Mined, block: BlockRef, happened: Happenings
    ) -> None:
        """
        Decide what can be decided of a batch.

        @raise NotYet: Of some wallets of it, or of all, nothing can be: they alone stay.
        """
        records = await self.queue.batch_records(batch.value)
        if any(isinstance(r.value.state, Paid | Partial) for r in records):
            # We stood still, and another worker ended it: what was read is of the past.
            raise Stale(f"batch {batch.value.id} was resolved by another worker")
        heard = await self._heard(batch.value, [r.value for r in records], mined, block, happened)
        now = self.wall.now()
        try_again = self._try_again(batch.value, mined)
        by_id = {stored.value.charge.id: stored for stored in records}
        rulings = []
        for proof in heard.evidence:
            charge = proof.record.charge.id
            rulings.append(
                self._rule(by_id[charge], proof, now, heard.doubts.get(charge), try_again)
            )
        if rulings or not heard.waiting:
            await self._end(batch, mined.receipt, block, rulings, heard)
        for why in sorted(heard.waiting.values(), key=lambda each: each.goes_on):
            raise why

    async def _heard(
        self,
        batch: Batch,
        records: Sequence[ChargeRecord],
        mined: Mined,
        block: BlockRef,
        happened: Happenings,
    ) -> _Heard:
        """
        Everything that can be known now.

        @raise NotYet: No node tells enough of anybody.
        """
        try:
            accounts = await self.chain.accounts(batch.wallets, block)
            told = await self.witness.evidence(records, mined, accounts, happened, block)
            evidence, races, waiting = await self.tracer.traced(told.evidence, block)
        except (LeaseLost, NotYet, Stale):
            raise
        except Transient as why:
            raise NotYet(f"nothing can be read of it: {why}") from why
        return _Heard(
            evidence=evidence,
            doubts=told.doubts,
            waiting={**told.waiting, **waiting},
            accounts=accounts,
            races=races,
        )

    async def _end(
        self,
        batch: Stored[Batch],
        receipt: Receipt,
        block: BlockRef,
        rulings: Sequence[Ruling],
        heard: _Heard,
    ) -> None:
        """Write what was decided."""
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
        gas = neuron(receipt.gas_used * receipt.gas_price)
        # What a waiting wallet owes stays counted, beside the balance that it counts against.
        accounts = [account for account in heard.accounts if account.wallet not in heard.waiting]
        await self.queue.resolve(batch, block, rulings, accounts, blocked, heard.races, gas=gas)
        note_settled(
            self.measures,
            rulings,
            receipt,
            waited=self.wall.now() - batch.value.attempts[0].recorded_at,
            # Its gas counts with its last part.
            ended=len(rulings) == len(batch.value.charges),
        )
        if any(isinstance(ruling.after.state, Paid | Partial) for ruling in rulings):
            self.waiting.others_are_paid()
        totals = await self.history.totals()
        self._log.info(
            "batch {batch} settled in block {block}: {count} vouchers, {gas} gas; so far"
            " {fees} neuron were settled and {spent} spent for gas",
            batch=batch.value.id,
            block=receipt.block.number,
            count=len(rulings),
            gas=receipt.gas_used,
            fees=str(totals.fees),
            spent=str(totals.gas),
            transaction=receipt.transaction,
        )

    def _try_again(self, batch: Batch, mined: Mined) -> _TryAgain:
        """When what stays owed goes out again; its like at other moments than others'."""
        reverted = not mined.receipt.succeeded
        size = len(batch.charges)
        return _TryAgain(
            reverted=reverted,
            in_vain=reverted or mined.settles,
            room=max(1, size // 2) if reverted else max(1, size),
            jitter=blake2b(batch.id.encode(), digest_size=1).digest()[0],
        )

    def _rule(
        self,
        stored: Stored[ChargeRecord],
        proof: Evidence,
        now: UnixSeconds,
        doubt: str | None,
        try_again: _TryAgain,
    ) -> Ruling:
        """@param doubt: Why it can neither be paid nor void."""
        record = stored.value
        debt: Charge | None = None
        retry_at = now
        match self._outcome(proof, now):
            case Resolved(decided, debt):
                record = decided
            case StillOwed(_record, reason):
                retry_at = UnixSeconds(now + RETRY_SECONDS)
                if try_again.in_vain and not _of_earlier_key(proof):
                    record = set_back(record, try_again.room, now, try_again.jitter)
                    retry_at = _until(record, retry_at)
                if try_again.reverted:
                    reason = "its transaction was mined and reverted"
                self._log.warn(
                    "charge {charge} is still owed: {why}",
                    charge=record.charge.id,
                    why=reason,
                    wallet=record.charge.owner.hex,
                )
            case SettlerFault(reason):
                record = set_back(record, try_again.room, now, try_again.jitter, reason)
                retry_at = _until(record, now)
                self._log.critical("vouchers are kept: {why}", why=reason)
            case Unproven():
                # Neither paid nor void: a human must look, and nobody else's vouchers
                # wait for that.
                record = _dead(record, doubt or "its nonce is used and no event says for what")
        if isinstance(record.state, Open) and stored.value.seal is not None:
            self._log.critical(
                "charge {charge} is void: nonce {nonce} is used up and nothing was paid for it;"
                " it gets another one",
                charge=record.charge.id,
                nonce=stored.value.seal.nonce,
                wallet=record.charge.owner.hex,
            )
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


def _until(record: ChargeRecord, otherwise: UnixSeconds) -> UnixSeconds:
    return otherwise if record.setback is None else record.setback.until


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
