"""
A charge's promise: what is signed for it, and how the contract takes it; pure.

Tests: L{tests.services.test_settler}.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import ISigner, Line, Promise, Stored
from sandbox_billing.ledger import settlement
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.settlement import split
from sandbox_billing.ledger.voucher import Charge, ChargeRecord, Seal
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
    if charge.usage_hash is not None:
        hashed = bytes.fromhex(charge.usage_hash[2:])
    else:
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


def promise(
    domain: EIP712Domain,
    signer: ISigner,
    stored: Stored[ChargeRecord],
    line: settlement.Line,
    now: UnixSeconds,
) -> Promise:
    """What is signed for a line; of a part of a charge, the rest becomes a debt (D2)."""
    if line.fee is None:
        return Promise(stored, _seal(domain, signer, stored.value, line.nonce))
    part, rest = split(stored.value, line.fee, line.nonce, now)
    return Promise(stored, _seal(domain, signer, part, line.nonce), rest)


def _seal(domain: EIP712Domain, signer: ISigner, record: ChargeRecord, nonce: Nonce) -> Seal:
    """
    The seal of a charge; one that has it keeps nonce, fee and hash (L5).

    Only after a change of the signer are the same three signed again.
    """
    charge, sealed = record.charge, record.seal
    hashed, signed = promised(domain, charge, nonce)
    if sealed is not None:
        if verifies(domain, record, signer.address):
            return sealed
        return evolve(sealed, signature="0x" + signer.sign_digest(signed).hex())
    return Seal(
        nonce=nonce,
        fee=charge.amount,
        usage_hash="0x" + hashed.hex(),
        signature="0x" + signer.sign_digest(signed).hex(),
    )
