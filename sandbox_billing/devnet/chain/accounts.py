"""
The accounts a development chain is born with.

Tests: C{tests/devnet/test_chain.py}.
"""

from __future__ import annotations

from collections.abc import Mapping

from eth_keys.datatypes import PrivateKey


_TOKEN = 10**18

#: WELL-KNOWN DEVELOPMENT KEYS, the numbers 1 to 10 (eth-tester's): everybody has
#: them, so anything sent to their addresses on a public chain is gone at once.
DEVELOPMENT_KEYS: tuple[bytes, ...] = tuple(n.to_bytes(32, "big") for n in range(1, 11))

#: Private key -> balance in neuron: a million tokens for each development key.
DEVELOPMENT_BALANCES: Mapping[bytes, int] = dict.fromkeys(DEVELOPMENT_KEYS, 1000000 * _TOKEN)


def address_of(private_key: bytes) -> bytes:
    """
    The 20 bytes of the address that belongs to a private key of 32 bytes.
    """
    return bytes(PrivateKey(private_key).public_key.to_canonical_address())
