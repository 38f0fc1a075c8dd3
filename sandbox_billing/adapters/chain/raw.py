"""
What a stored transaction says, read back from its bytes.

Tests: L{tests.adapters.test_chain_raw}.
"""

from __future__ import annotations

from attrs import frozen

from sandbox_billing.ledger.batch import Attempt


_DYNAMIC = b"\x02"
_LEGACY_DATA = 5
"""Where the call stands in a transaction from before EIP-2718."""


@frozen(kw_only=True)
class Said:
    """
    @ivar tip: neuron per gas; None in a legacy transaction, which has only a price.
    @ivar data: The call.
    """

    tip: int | None
    data: bytes


def read_raw(attempt: Attempt) -> Said:
    """An attempt's own bytes; they were made here, so that they can be read."""
    # Half a second, paid at the first bump.
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from hexbytes import HexBytes
    from rlp import decode

    raw = bytes.fromhex(attempt.raw.removeprefix("0x"))
    if raw[:1] != _DYNAMIC:
        return Said(tip=None, data=decode(raw)[_LEGACY_DATA])
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return Said(tip=int(fields["maxPriorityFeePerGas"]), data=bytes(fields["data"]))
