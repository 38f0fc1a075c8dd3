"""
The checksummed spelling of an address (EIP-55).

Tests: C{tests.signing.test_eip55}.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from sandbox_billing.ledger.identity import Address


def checksum(address: Address) -> str:
    """
    An address as people and Redis keys spell it, C{0x} and mixed case.

    A letter is upper case where the keccak256 of the lower-case digits has a
    nibble of 8 or more.
    """
    digits = address.hex[2:]
    nibbles = keccak(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if nibble >= "8" else digit
        for digit, nibble in zip(digits, nibbles, strict=False)
    )
