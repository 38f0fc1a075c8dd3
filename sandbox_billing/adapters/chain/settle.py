"""
The settle calls as bytes: one signature per voucher, or one for all of them.

Tests: L{tests.adapters.test_chain_codec}.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import ISigner, Line
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, batch_digest


SETTLE = "settleFeesWithTEE"
SETTLE_BATCH = "settleBatch"


def settle_calldata(codec: Codec, provider: Address, lines: Sequence[Line]) -> bytes:
    """
    Vouchers in the order of the contract's struct, which is not that of the signed type
    (wire.md §2).

    @raise BadInput: A hash or a signature is no hex of its length.
    """
    vouchers = [
        (
            line.user.hex,
            provider.hex,
            line.fee,
            _octets(line.usage_hash, 32, "a usage hash"),
            line.nonce,
            _octets(line.signature, 65, "a signature"),
        )
        for line in lines
    ]
    return codec.calldata(SETTLE, vouchers)


def batch_calldata(
    codec: Codec,
    provider: Address,
    lines: Sequence[Line],
    *,
    domain: EIP712Domain,
    signer: ISigner,
) -> bytes:
    """
    The same vouchers under one signature, made here: it is worth nothing without all of them
    and in this order.  The same lines give the same bytes.

    @raise BadInput: A hash is no hex of its length.
    """
    hashes = [_octets(line.usage_hash, 32, "a usage hash") for line in lines]
    structs = [
        VoucherFields(
            user=line.user,
            provider=provider,
            usage_hash=usage,
            nonce=line.nonce,
            total_fee=line.fee,
        ).struct_hash()
        for line, usage in zip(lines, hashes, strict=True)
    ]
    signature = signer.sign_digest(batch_digest(domain, provider, structs))
    rows = [
        (line.user.hex, line.fee, usage, line.nonce)
        for line, usage in zip(lines, hashes, strict=True)
    ]
    return codec.calldata(SETTLE_BATCH, provider.hex, rows, signature)


def _octets(text: str, length: int, what: str) -> bytes:
    """Bytes from hex, with C{0x} or without."""
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise BadInput(f"{what} is not hex") from None
    if len(found) != length:
        raise BadInput(f"{what} has {len(found)} bytes, not {length}")
    return found
