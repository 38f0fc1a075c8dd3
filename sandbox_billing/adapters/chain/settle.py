"""
The settle call as bytes.

Tests: L{tests.adapters.test_chain_codec}.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.identity import Address


SETTLE = "settleFeesWithTEE"


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


def _octets(text: str, length: int, what: str) -> bytes:
    """Bytes from hex, with C{0x} or without."""
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise BadInput(f"{what} is not hex") from None
    if len(found) != length:
        raise BadInput(f"{what} has {len(found)} bytes, not {length}")
    return found
