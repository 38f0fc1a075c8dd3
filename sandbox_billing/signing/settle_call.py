"""
What one signature over many vouchers proves, read back from the bytes of its transaction.

Tests: L{tests.signing.test_settle_call}.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen
from eth_utils.crypto import keccak

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import VoucherFields


SETTLE_BATCH = keccak(b"settleBatch(address,(address,uint256,bytes32,uint256)[],bytes)")[:4]

_ARGUMENTS = ("address", "(address,uint256,bytes32,uint256)[]", "bytes")
_DYNAMIC = 2
"""The type of a transaction of EIP-1559, before its list."""
_DYNAMIC_DATA, _LEGACY_DATA = 7, 5
"""Where the call stands in the list."""
_MOST_BYTES = 2**20


@frozen(kw_only=True)
class BatchCall:
    """
    @ivar provider: Who is paid.
    @ivar lines: The vouchers' struct hashes, in the order they were submitted.
    @ivar signature: The 65 bytes over all of them.
    """

    provider: Address
    lines: tuple[bytes, ...]
    signature: bytes


def batch_call_of(raw: str) -> BatchCall | None:
    """
    @param raw: A signed transaction, hex, legacy or of EIP-1559.
    @return: None for whatever settles no batch under one signature.
    """
    try:
        return read_batch_call(_data_of(bytes.fromhex(raw.removeprefix("0x"))))
    except (BadInput, ValueError):
        return None


def read_batch_call(data: bytes) -> BatchCall | None:
    """
    @param data: The call.
    @return: None when it is another one.
    @raise BadInput: It names C{settleBatch}, and is damaged.
    """
    if data[:4] != SETTLE_BATCH:
        return None
    # A third of a second, paid by the first batch.
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        provider, rows, signature = decode(_ARGUMENTS, data[4:])
    except (DecodingError, OverflowError) as why:
        raise BadInput(f"not a settleBatch: {why}") from why
    paid = Address(provider)
    lines = tuple(
        VoucherFields(
            user=Address(user), provider=paid, usage_hash=usage, nonce=nonce, total_fee=fee
        ).struct_hash()
        for user, fee, usage, nonce in rows
    )
    return BatchCall(provider=paid, lines=lines, signature=signature)


def _data_of(raw: bytes) -> bytes:
    if raw[:1] == bytes([_DYNAMIC]):
        items, place = raw[1:], _DYNAMIC_DATA
    else:
        items, place = raw, _LEGACY_DATA
    for at, (start, end) in enumerate(_items(items)):
        if at == place:
            return items[start:end]
    raise BadInput("not a transaction: its list is too short")


def _items(raw: bytes) -> Iterator[tuple[int, int]]:
    """Where the content of each item of an RLP list stands; what is in a nested list is one."""
    at, end = _content(raw, 0)
    if not raw or raw[0] < 0xC0 or end != len(raw):
        raise BadInput("not a transaction: no RLP list")
    while at < end:
        start, stop = _content(raw, at)
        yield start, stop
        at = stop


def _content(raw: bytes, at: int) -> tuple[int, int]:
    """Start and end of what the item at a place holds."""
    if at >= len(raw) or len(raw) > _MOST_BYTES:
        raise BadInput("not a transaction: it ends early, or not at all")
    first = raw[at]
    if first < 0x80:
        return at, at + 1
    short = first - (0xC0 if first >= 0xC0 else 0x80)
    start, size = at + 1, short
    if short > 55:
        start += short - 55
        size = int.from_bytes(raw[at + 1 : start], "big")
    if start + size > len(raw):
        raise BadInput("not a transaction: it ends early")
    return start, start + size
