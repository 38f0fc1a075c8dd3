"""
What is known of each voucher of a batch, before anything is decided.

The event decides money, in whatever transaction it stands; a nonce that is used without one
must be proven lost; the reason of a refusal is asked by replaying the call (design.md §4.6).

Tests: C{tests.services.test_watcher}, C{tests.services.test_void}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attrs import evolve, frozen
from twisted.logger import Logger

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import (
    Happenings,
    IChain,
    IHistory,
    ISigner,
    LeaseLost,
    Receipt,
)
from sandbox_billing.ledger.account import Account, BlockRef, Settlement
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.proof import Contradiction, Lost, NoProof, WalletHistory, find
from sandbox_billing.ledger.settlement import (
    INSUFFICIENT_BALANCE,
    INVALID_SIGNATURE,
    SUCCESS,
    Evidence,
)
from sandbox_billing.ledger.voucher import ChargeRecord
from sandbox_billing.services.evidence import Archive, NotYet
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.sealing import verifies, voucher_lines
from sandbox_billing.signing.eip712 import EIP712Domain


PAGE = 200

Settled: TypeAlias = Mapping[tuple[Address, int], Settlement]


@frozen(kw_only=True)
class Mined:
    """
    How a batch came into a block.

    @ivar settles: Whether it was by a call of ours that settles its vouchers and did not revert.
    """

    receipt: Receipt
    settles: bool


@frozen(kw_only=True)
class Testimony:
    """
    What is known of a batch.

    @ivar evidence: Of each record whose wallet does not wait, in their order.
    @ivar doubts: Of some of them why they can be neither paid nor void.
    @ivar waiting: Wallets of which something must be proven, and why it cannot be now.
    """

    evidence: tuple[Evidence, ...]
    doubts: Mapping[ChargeId, str]
    waiting: Mapping[Address, NotYet]


@frozen(kw_only=True)
class Witness:
    """
    @ivar archive: Reads what the newest blocks do not explain.
    """

    history: IHistory
    chain: IChain
    archive: Archive
    signer: ISigner
    domain: EIP712Domain
    policy: Policy
    _log = Logger()

    async def evidence(
        self,
        records: Sequence[ChargeRecord],
        mined: Mined,
        accounts: Sequence[Account],
        happened: Happenings,
        block: BlockRef,
    ) -> Testimony:
        """
        What cannot be had of one wallet holds up no other.

        @param happened: What the step to the confirmed block has read.
        @param block: That block.
        @param accounts: There: a nonce that is free there was never used.
        @raise Transient: Of nobody anything can be had now.
        """
        waiting: dict[Address, NotYet] = {}
        first = await self._first_look(records, mined.receipt, accounts, happened, waiting)
        return await self._proven(first, mined, accounts, block, waiting)

    async def _first_look(
        self,
        records: Sequence[ChargeRecord],
        receipt: Receipt,
        accounts: Sequence[Account],
        happened: Happenings,
        waiting: dict[Address, NotYet],
    ) -> list[Evidence]:
        """@param waiting: Takes whose old events cannot be read now."""
        last = {account.wallet: account.last_nonce for account in accounts}
        settled = await self._settled(records, receipt, happened, last, waiting)
        refused: Sequence[int | None] = [None] * len(records)
        ours = domain = True
        if any(key(r) not in settled for r in records):
            refused, ours, domain = await self._reasons(records, receipt.block)
        valid = [verifies(self.domain, record, self.signer.address) for record in records]
        alike = {
            record.charge.owner
            for record, reason, good in zip(records, refused, valid, strict=True)
            if reason == INVALID_SIGNATURE and good and key(record) not in settled
        }
        return [
            Evidence(
                record=record,
                settled=settled.get(key(record)),
                last_nonce=last[record.charge.owner],
                refusal=reason,
                signer_is_ours=ours,
                domain_is_ours=domain,
                refused_alone=len(alike) <= 1,
                verifies_locally=good,
            )
            for record, reason, good in zip(records, refused, valid, strict=True)
        ]

    async def _reasons(
        self, records: Sequence[ChargeRecord], at: BlockRef
    ) -> tuple[Sequence[int | None], bool, bool]:
        """
        Why nothing moved; whether our key was the registered signer then; and whether the
        contract checked signatures against the domain that we sign for.

        A node that has forgotten that state must not hold the mirror up: without a reason
        the vouchers are offered again, and a reason never changes an amount.
        """
        try:
            parent = await self.chain.block(at.number - 1)
            refused = await self.chain.refusals(voucher_lines(records), parent)
            service = await self.chain.service(self.policy.provider, at)
            separator = None
            if INVALID_SIGNATURE in refused:
                separator = await self.chain.domain_separator(at)
        except Transient as why:
            self._log.warn("no node can replay block {block}: {why}", block=at.number, why=str(why))
            return [None] * len(records), True, True
        ours = service is not None and service.signer == self.signer.address
        # A contract without the function does not tell.
        return refused, ours, separator in (None, "0x" + self.domain.separator.hex())

    async def _settled(
        self,
        records: Sequence[ChargeRecord],
        receipt: Receipt,
        happened: Happenings,
        last: Mapping[Address, Nonce],
        waiting: dict[Address, NotYet],
    ) -> Settled:
        """
        The events of these vouchers: of this step, of the receipt's block, and, for a
        nonce that was used elsewhere, of all history (K8, S4).

        @param last: The contract's, at the confirmed block.
        @param waiting: Takes whose old events cannot be read now.
        """
        block = receipt.block.number
        here = await self.chain.happenings(block, block)
        found: dict[tuple[Address, int], Settlement] = {
            (s.user, s.nonce): s for s in (*happened.settlements, *here.settlements)
        }
        used = [r for r in records if key(r) not in found and key(r)[1] <= last[r.charge.owner]]
        for wallet in dict.fromkeys(r.charge.owner for r in used):
            mine = [key(r) for r in used if r.charge.owner == wallet]
            try:
                found.update(await self._used_elsewhere(wallet, mine))
            except LeaseLost:
                raise
            except Transient as why:
                waiting[wallet] = NotYet(f"old events of {wallet} cannot be read: {why}")
        return found

    async def _used_elsewhere(
        self, wallet: Address, mine: Sequence[tuple[Address, int]]
    ) -> Settled:
        """Stored events of some of a wallet's vouchers, as far as they still stand."""
        old = await self._old(wallet)
        found = {}
        for each in mine:
            event = old.get(each[1])
            if event is not None and await self._stands(event):
                found[each] = event
        return found

    async def _old(self, wallet: Address) -> Mapping[int, Settlement]:
        """A wallet's stored settlements by nonce, the latest of each."""
        found: dict[int, Settlement] = {}
        page, more = 0, True
        while more:
            _total, old = await self.history.settlements(
                wallet, since=UnixSeconds(0), page=page, page_size=PAGE
            )
            found.update({s.nonce: s for s in old})
            page, more = page + 1, len(old) == PAGE
        return found

    async def _stands(self, event: Settlement) -> bool:
        """Whether a stored event is still in its block: what was replaced is history, too."""
        there = await self.chain.happenings(event.block, event.block)
        return event in there.settlements

    async def _proven(
        self,
        evidence: Sequence[Evidence],
        mined: Mined,
        accounts: Sequence[Account],
        block: BlockRef,
        waiting: dict[Address, NotYet],
    ) -> Testimony:
        """
        For nonces that are used without an event: all of their wallets' history.

        @param waiting: Who waits already.
        """
        by_wallet = {account.wallet: account for account in accounts}
        found: list[Evidence] = []
        doubts: dict[ChargeId, str] = {}
        for proof in evidence:
            nonce, charge = _unexplained(proof), proof.record.charge
            if nonce is None or charge.owner in waiting:
                found.append(proof)
                continue
            try:
                history = await self._history(charge.owner, block, waiting)
            except NotYet as why:
                waiting[charge.owner] = why
                continue
            settles = mined.settles and proof.refusal in (SUCCESS, INSUFFICIENT_BALANCE)
            match find(nonce, history, by_wallet[charge.owner]):
                case Settlement() as settled:
                    proof = evolve(proof, settled=settled)
                case Lost() if settles:
                    # No proof is better than that: gaps in the logs may cancel out.
                    doubts[charge.id] = (
                        f"nonce {nonce} is used, our own transaction settled it by replay, and"
                        " no event says so"
                    )
                case Lost():
                    proof = evolve(proof, nonce_proven_lost=True)
                case NoProof(reason):
                    waiting[charge.owner] = NotYet(f"nonce {nonce} of {charge.owner}: {reason}")
                case Contradiction(reason):
                    doubts[charge.id] = reason
            found.append(proof)
        for proof in evidence:
            if proof.record.charge.owner not in waiting:
                self.archive.forget(proof.record.charge.owner)
        # All of a wallet's or nothing: what becomes of it follows from all its vouchers.
        clear = tuple(proof for proof in found if proof.record.charge.owner not in waiting)
        return Testimony(evidence=clear, doubts=doubts, waiting=waiting)

    async def _history(
        self, wallet: Address, block: BlockRef, waiting: Mapping[Address, NotYet]
    ) -> WalletHistory:
        """
        @param waiting: A long history of one of them is read in parts, before another's is.
        @raise NotYet: It is not read to the end.
        """
        if any(why.goes_on for why in waiting.values()):
            raise NotYet(f"the history of {wallet} has its turn later", goes_on=True)
        return await self.archive.history(wallet, block)


def _unexplained(proof: Evidence) -> Nonce | None:
    """A nonce that is used and has no event."""
    seal = proof.record.seal
    if seal is None or proof.settled is not None or proof.last_nonce < seal.nonce:
        return None
    return seal.nonce


def key(record: ChargeRecord) -> tuple[Address, int]:
    """What a voucher's event is found by."""
    seal = record.seal
    assert seal is not None, record
    return record.charge.owner, seal.nonce
