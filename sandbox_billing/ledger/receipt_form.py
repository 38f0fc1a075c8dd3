"""
Receipts as JSON, both ways.

Tests: L{tests.ledger.test_receipt}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce, sandbox_id
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, parse_neuron
from sandbox_billing.ledger.receipt import BatchPlace, Part, Receipt, Status
from sandbox_billing.ledger.voucher import ChargeKind


RECEIPT_VERSION = 1

T = TypeVar("T")

_HEX = re.compile(r"0x[0-9a-fA-F]*\Z")
_INT64 = 2**63
_MOST_TEXT = 1_000


def receipt_document(receipt: Receipt, spell: Callable[[Address], str] = str) -> dict[str, Any]:
    """
    @param spell: How an address is written.
    @return: What L{read_receipt} reads.
    """
    batch = receipt.batch
    return {
        "version": RECEIPT_VERSION,
        "id": receipt.id,
        "chain_id": receipt.chain_id,
        "contract": spell(receipt.contract),
        "provider": spell(receipt.provider),
        "user": spell(receipt.user),
        "signer": None if receipt.signer is None else spell(receipt.signer),
        "sandbox": receipt.sandbox,
        "kind": receipt.kind.value,
        "period_start": receipt.period_start,
        "period_end": receipt.period_end,
        "units": receipt.units,
        "rate_per_minute": str(receipt.rate),
        "fee": str(receipt.fee),
        "nonce": None if receipt.nonce is None else str(receipt.nonce),
        "usage_hash": receipt.usage_hash,
        "signature": receipt.signature,
        "status": receipt.status.value,
        "paid": str(receipt.paid),
        "owed": str(receipt.owed),
        "transaction": receipt.transaction,
        "block": receipt.block,
        "collects": [
            {
                "id": part.id,
                "period_start": part.period_start,
                "period_end": part.period_end,
                "units": part.units,
                "amount": str(part.amount),
                "rate_per_minute": str(part.rate),
            }
            for part in receipt.collects
        ],
        "batch": None
        if batch is None
        else {
            "id": batch.id,
            "index": batch.index,
            "lines": list(batch.lines),
            "signature": batch.signature,
        },
    }


def read_receipt(document: Any) -> Receipt:
    """
    What anybody calls a receipt, for who trusts nothing of it.

    Fields that it has beyond these are passed over: a newer daemon may say more.

    @raise BadInput: A field is missing, or says what it cannot.
    """
    said = _Said(document)
    if said.number("version") != RECEIPT_VERSION:
        raise BadInput(f"a receipt of version {said.number('version')}; this reads 1")
    chosen = said.text("status")
    kind = said.text("kind")
    if chosen not in {one.value for one in Status} or kind not in {k.value for k in ChargeKind}:
        raise BadInput(f"a receipt with status {chosen!r} and kind {kind!r}")
    return Receipt(
        id=ChargeId(said.text("id")),
        chain_id=said.number("chain_id"),
        contract=Address(said.text("contract")),
        provider=Address(said.text("provider")),
        user=Address(said.text("user")),
        signer=said.perhaps("signer", lambda name: Address(said.text(name))),
        sandbox=sandbox_id(said.text("sandbox")),
        kind=ChargeKind(kind),
        period_start=said.moment("period_start"),
        period_end=said.moment("period_end"),
        units=said.number("units"),
        rate=NeuronPerMinute(said.amount("rate_per_minute")),
        fee=said.amount("fee"),
        nonce=said.perhaps("nonce", lambda name: Nonce(said.amount(name))),
        usage_hash=said.perhaps("usage_hash", lambda name: said.octets(name, 32)),
        signature=said.perhaps("signature", lambda name: said.octets(name, 65)),
        status=Status(chosen),
        paid=said.amount("paid"),
        owed=said.amount("owed"),
        transaction=said.perhaps("transaction", lambda name: said.octets(name, 32)),
        block=said.perhaps("block", said.number),
        collects=tuple(_part(_Said(one)) for one in said.array("collects")),
        batch=said.perhaps("batch", lambda name: _place(_Said(said.get(name)))),
    )


def _part(said: _Said) -> Part:
    return Part(
        id=ChargeId(said.text("id")),
        period_start=said.moment("period_start"),
        period_end=said.moment("period_end"),
        units=said.number("units"),
        amount=said.amount("amount"),
        rate=NeuronPerMinute(said.amount("rate_per_minute")),
    )


def _place(said: _Said) -> BatchPlace:
    lines = said.array("lines")
    each = _Said({str(at): line for at, line in enumerate(lines)})
    return BatchPlace(
        id=BatchId(said.text("id")),
        index=said.number("index"),
        lines=tuple(each.octets(str(at), 32) for at in range(len(lines))),
        signature=said.octets("signature", 65),
    )


def _shown(found: Any) -> str:
    """For an error's text: short, whatever a stranger wrote."""
    if found is None or type(found) in (bool, float):
        return repr(found)
    if type(found) is int and found.bit_length() <= 256:
        return repr(found)
    return repr(found[:80]) if type(found) is str else f"a {type(found).__name__}"


class _Said:
    """A JSON object that somebody else made."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, Mapping):
            raise BadInput("a receipt is a JSON object")
        self._document = document

    def get(self, name: str) -> Any:
        """@raise BadInput: It says nothing of it."""
        if name not in self._document:
            raise BadInput(f"a receipt without {name}")
        return self._document[name]

    def perhaps(self, name: str, read: Callable[[str], T]) -> T | None:
        """None where it says null."""
        return None if self.get(name) is None else read(name)

    def text(self, name: str) -> str:
        """A string."""
        found = self.get(name)
        if type(found) is not str or len(found) > _MOST_TEXT:
            raise BadInput(f"{name} of a receipt is {_shown(found)}")
        try:
            found.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{name} of a receipt is no text: half of a pair") from None
        return found

    def number(self, name: str) -> int:
        """A whole number that 64 bits hold, not below 0."""
        found = self.get(name)
        if type(found) is not int or not 0 <= found < _INT64:
            raise BadInput(f"{name} of a receipt is {_shown(found)}")
        return found

    def moment(self, name: str) -> UnixSeconds:
        """Seconds since 1970."""
        return UnixSeconds(self.number(name))

    def amount(self, name: str) -> Neuron:
        """A decimal string."""
        return parse_neuron(self.text(name))

    def octets(self, name: str, length: int) -> str:
        """So many bytes as hex, in lower case."""
        found = self.text(name)
        if not _HEX.match(found) or len(found) != 2 + 2 * length:
            raise BadInput(f"{name} of a receipt is not {length} bytes of hex")
        return found.lower()

    def array(self, name: str) -> Sequence[Any]:
        """A list."""
        found = self.get(name)
        if not isinstance(found, list | tuple):
            raise BadInput(f"{name} of a receipt is no list")
        return found
