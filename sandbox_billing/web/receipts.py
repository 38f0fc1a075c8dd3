"""
A wallet's receipts: what it takes to check, without trusting us, what was paid for.

Nothing is hidden in them and nothing asked of the chain: whoever checks them asks it himself.

Tests: C{tests.web.test_receipts}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import ChargeMark, IReceipts
from sandbox_billing.ledger.identity import Address, ChargeId
from sandbox_billing.ledger.merging import MERGED_SECONDS
from sandbox_billing.ledger.receipt import BatchProof, Receipt, place_in, receipt_of
from sandbox_billing.ledger.receipt_form import receipt_document
from sandbox_billing.ledger.voucher import Charge, ChargeRecord, Merged, Seal
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, typed_digest
from sandbox_billing.signing.key import recover
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, NotServed
from sandbox_billing.web.payloads import whole
from sandbox_billing.web.terms import Terms


NO_RECEIPT = "no such receipt"
BAD_CURSOR = "cursor must be what the page before called next"

_LIMIT, _MOST = 50, 200
_LOOKS, _LOOK_AT = 5, 200
"""A page looks at a thousand charges at most, whatever it is asked for."""

_PIECES = 10_000
"""
Lines of batches and parts of merged charges on one page, unless its first receipt alone has
more: a megabyte or two.
"""

_AT_ONCE = 25
"""Receipts that are put together in one step."""

_MADE_BEFORE_SECONDS = 2 * MERGED_SECONDS
"""A merged charge is as old as its oldest part, and its end is a day later."""

_MOST_MOMENT = 10**11
_CURSOR = re.compile(r"([0-9]{1,12}):([!-~]{1,400})\Z")


def _wanted(asked: Asked) -> Callable[[Charge], bool]:
    """
    Which charges are asked for: of a sandbox, and of the time from a moment to another one.

    @raise BadInput: A moment is none.
    """
    begin = whole(asked.query, "from", 0, least=0, most=_MOST_MOMENT)
    end = whole(asked.query, "to", _MOST_MOMENT, least=0, most=_MOST_MOMENT)
    named, only = asked.query.get("sandbox"), asked.known.only

    def wanted(charge: Charge) -> bool:
        if any(one is not None and charge.sandbox != one for one in (named, only)):
            return False
        # A create fee is for a moment, which counts as the second after it.
        until = max(charge.period_end, charge.period_start + 1)
        return charge.period_start < end and until > begin

    return wanted


def _cursor(text: str | None) -> ChargeMark | None:
    """@raise BadInput: It is none of ours."""
    if text is None:
        return None
    found = _CURSOR.match(text)
    if found is None:
        raise BadInput(BAD_CURSOR)
    return ChargeMark(int(found[1]), ChargeId(found[2]))


@frozen(kw_only=True)
class Receipts:
    """
    The routes below C{/api/receipts}.
    """

    receipts: IReceipts = field(validator=provides(IReceipts))
    terms: Terms

    async def list(self, asked: Asked) -> Answer:
        """
        Newest first; of what was merged, only the whole.  A page may be short, or empty, and
        still name a next one.
        """
        wanted = _wanted(asked)
        begin = whole(asked.query, "from", 0, least=0, most=_MOST_MOMENT)
        limit = whole(asked.query, "limit", _LIMIT, least=1, most=_MOST)
        after = _cursor(asked.query.get("cursor"))
        since = max(0, begin - _MADE_BEFORE_SECONDS)
        found: list[ChargeRecord] = []
        for _ in range(_LOOKS):
            page = await self.receipts.page(asked.wallet, after=after, since=since, limit=_LOOK_AT)
            matching = [
                record
                for record in page.records
                if wanted(record.charge) and not isinstance(record.state, Merged)
            ]
            taken = matching[: limit - len(found)]
            found += taken
            if len(found) == limit and (len(matching) > len(taken) or page.after is not None):
                after = ChargeMark(found[-1].charge.created_at, found[-1].charge.id)
                break
            after = page.after
            if after is None:
                break
        documents = await self._page(found)
        if len(documents) < len(found):
            last = found[len(documents) - 1].charge
            after = ChargeMark(last.created_at, last.id)
        told = None if after is None else f"{after.made_at}:{after.charge}"
        return Answer(document={"receipts": documents, "next": told})

    async def show(self, asked: Asked) -> Answer:
        """One, by the id of its charge; another wallet's is as if there were none."""
        record = await self.receipts.charge(ChargeId(asked.parts["receipt"]))
        only = asked.known.only
        if (
            record is None
            or record.charge.owner != asked.wallet
            or (only is not None and record.charge.sandbox != only)
        ):
            raise NotServed(NO_RECEIPT, status=404)
        (made,) = await self._receipts([record])
        return Answer(document=receipt_document(made, checksum))

    async def _page(self, records: Sequence[ChargeRecord]) -> Sequence[Mapping[str, Any]]:
        """As many as one answer bears, the first one among them."""
        documents: list[Mapping[str, Any]] = []
        pieces = 0
        for start in range(0, len(records), _AT_ONCE):
            for made in await self._receipts(records[start : start + _AT_ONCE]):
                pieces += len(made.collects) + (0 if made.batch is None else len(made.batch.lines))
                if documents and pieces > _PIECES:
                    return documents
                documents.append(receipt_document(made, checksum))
        return documents

    async def _receipts(self, records: Sequence[ChargeRecord]) -> tuple[Receipt, ...]:
        collected = await self.receipts.collected([record.charge for record in records])
        made = [self._receipt(record, collected.get(record.charge.id, ())) for record in records]
        settled = {one.transaction for one in made if one.transaction is not None}
        proofs = await self.receipts.proofs(settled)
        return tuple(_placed(one, proofs.get(one.transaction or "")) for one in made)

    def _receipt(self, record: ChargeRecord, collects: Sequence[Charge]) -> Receipt:
        seal = record.seal
        return receipt_of(
            record,
            chain_id=self.terms.chain_id,
            contract=self.terms.contract,
            signer=None if seal is None else self._signer(record.charge, seal),
            collects=collects,
        )

    def _signer(self, charge: Charge, seal: Seal) -> Address | None:
        """Who signed it: of an old one perhaps an earlier key.  None where nobody can have."""
        domain = EIP712Domain(self.terms.chain_id, self.terms.contract)
        struct = _struct(charge.owner, charge.provider, seal.usage_hash, seal.nonce, seal.fee)
        digest = typed_digest(domain, struct)
        try:
            return recover(digest, bytes.fromhex(seal.signature.removeprefix("0x")))
        except (BadInput, ValueError):
            return None


def _placed(receipt: Receipt, proof: BatchProof | None) -> Receipt:
    if proof is None or receipt.nonce is None or receipt.usage_hash is None:
        return receipt
    line = _struct(receipt.user, receipt.provider, receipt.usage_hash, receipt.nonce, receipt.fee)
    return evolve(receipt, batch=place_in(proof, "0x" + line.hex()))


def _struct(user: Address, provider: Address, hashed: str, nonce: int, fee: int) -> bytes:
    fields = VoucherFields(
        user=user,
        provider=provider,
        usage_hash=bytes.fromhex(hashed.removeprefix("0x")),
        nonce=nonce,
        total_fee=fee,
    )
    return fields.struct_hash()
