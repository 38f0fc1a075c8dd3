"""
What a wallet signs when it signs a message (EIP-191, version 0x45).

Tests: C{tests.signing.test_request}.
"""

from __future__ import annotations

from eth_utils.crypto import keccak


def personal_digest(message: bytes) -> bytes:
    """
    The 32 bytes that C{personal_sign} signs.

    @param message: Exactly the bytes that are sent, never serialised anew.
    """
    return keccak(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)
