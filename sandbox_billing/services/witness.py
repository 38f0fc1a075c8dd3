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
from sandbox_billing.interfaces import Happenings, IChain, IHistory, ISigner, Receipt
from sandbox_billing.ledger.account import Account, BlockRef, Settlement
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.proof import Contradiction, Lost, NoProof, find
from sandbox_billing.ledger.settlement import INSUFFICIENT_BALANCE, SUCCESS, Evidence
from sandbox_billing.ledger.voucher import ChargeRecord
from sandbox_billing.services.evidence import Archive, NotYet
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.sealing import verifies, voucher_lines
from sandbox_billing.signing.eip712 import EIP712Domain


PAGE = 200

Settled: TypeAlias = Mapping[tuple[Address, int], Settlement]


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
        receipt: Receipt,
        accounts: Sequence[Account],
        happened: Happenings,
        block: BlockRef,
    ) -> tuple[list[Evidence], dict[ChargeId, str]]:
        """
        @param happened: What the step to the confirmed block has read.
        @param block: That block.
        @param accounts: There: a nonce that is free there was never used.
        @return: For each record; and of some why they can be neither paid nor void.
        @raise NotYet: Something must be proven, and cannot be now.
        """
        first = await self._first_look(records, receipt, accounts, happened)
        return await self._proven(first, receipt, accounts, block)

    async def _first_look(
        self,
        records: Sequence[ChargeRecord],
        receipt: Receipt,
        accounts: Sequence[Account],
        happened: Happenings,
    ) -> list[Evidence]:
        last = {account.wallet: account.last_nonce for account in accounts}
        settled = await self._settled(records, receipt, happened, last)
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
        self,
        records: Sequence[ChargeRecord],
        receipt: Receipt,
        happened: Happenings,
        last: Mapping[Address, Nonce],
    ) -> Settled:
        """
        The events of these vouchers: of this step, of the receipt's block, and, for a
        nonce that was used elsewhere, of all history (K8, S4).

        @param last: The contract's, at the confirmed block.
        """
        block = receipt.block.number
        here = await self.chain.happenings(block, block)
        found: dict[tuple[Address, int], Settlement] = {
            (s.user, s.nonce): s for s in (*happened.settlements, *here.settlements)
        }
        used = [r for r in records if key(r) not in found and key(r)[1] <= last[r.charge.owner]]
        for wallet in {r.charge.owner for r in used}:
            old = await self._old(wallet)
            for record in used:
                event = old.get(record.seal.nonce) if record.seal is not None else None
                if (
                    event is not None
                    and record.charge.owner == wallet
                    and await self._stands(event)
                ):
                    found[key(record)] = event
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
        receipt: Receipt,
        accounts: Sequence[Account],
        block: BlockRef,
    ) -> tuple[list[Evidence], dict[ChargeId, str]]:
        """
        For nonces that are used without an event: all of their wallets' history.

        @return: The evidence with what was found, and what contradicts itself.
        @raise NotYet: Nothing can be proven now.
        """
        by_wallet = {account.wallet: account for account in accounts}
        found: list[Evidence] = []
        doubts: dict[ChargeId, str] = {}
        for proof in evidence:
            nonce = _unexplained(proof)
            if nonce is None:
                found.append(proof)
                continue
            charge = proof.record.charge
            settles = proof.refusal in (SUCCESS, INSUFFICIENT_BALANCE)
            history = await self.archive.history(charge.owner, block)
            match find(nonce, history, by_wallet[charge.owner]):
                case Settlement() as settled:
                    proof = evolve(proof, settled=settled)
                case Lost() if settles and receipt.succeeded:
                    # No proof is better than that: gaps in the logs may cancel out.
                    doubts[charge.id] = (
                        f"nonce {nonce} is used, our own transaction settled it by replay, and"
                        " no event says so"
                    )
                case Lost():
                    proof = evolve(proof, nonce_proven_lost=True)
                case NoProof(reason):
                    raise NotYet(f"nonce {nonce} of {charge.owner}: {reason}")
                case Contradiction(reason):
                    doubts[charge.id] = reason
            found.append(proof)
        for proof in evidence:
            self.archive.forget(proof.record.charge.owner)
        return found, doubts


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
