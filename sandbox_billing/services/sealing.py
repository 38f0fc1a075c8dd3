"""
A charge's promise: what is signed for it, and how the contract takes it; pure.

Tests: L{tests.services.test_settler}.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.voucher import Charge, ChargeRecord
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest, usage_hash
from sandbox_billing.signing.key import recover


def voucher_lines(records: Sequence[ChargeRecord]) -> list[Line]:
    """Sealed charges as the contract takes them."""
    lines = []
    for record in records:
        seal = record.seal
        assert seal is not None, record
        lines.append(
            Line(
                user=Address(record.charge.owner.hex),
                fee=seal.fee,
                usage_hash=seal.usage_hash,
                nonce=seal.nonce,
                signature=seal.signature,
            )
        )
    return lines


def promised(domain: EIP712Domain, charge: Charge, nonce: Nonce) -> tuple[bytes, bytes]:
    """A charge's usage hash, and the digest that is signed for it under a nonce."""
    hashed = usage_hash(charge.sandbox, charge.period_start, charge.period_end, charge.units)
    voucher = VoucherFields(
        user=charge.owner,
        provider=charge.provider,
        usage_hash=hashed,
        nonce=nonce,
        total_fee=charge.amount,
    )
    return hashed, digest(domain, voucher)


def verifies(domain: EIP712Domain, record: ChargeRecord, signer: Address) -> bool:
    """Whether a sealed charge recovers to a signer."""
    if record.seal is None:
        return False
    _hashed, signed = promised(domain, record.charge, record.seal.nonce)
    try:
        return recover(signed, bytes.fromhex(record.seal.signature[2:])) == signer
    except BadInput:
        return False
