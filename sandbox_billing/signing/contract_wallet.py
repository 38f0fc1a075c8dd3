"""
Signatures of wallets that are contracts: EIP-1271, and EIP-6492 for one not deployed yet.

Only the contract can say whether a signature is its own; here is what it is asked, and how
a signature is read that brings along what deploys it.

Tests: C{tests.signing.test_contract_wallet}.
"""

from __future__ import annotations

import re

from attrs import field, frozen
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import recover


MAGIC = bytes.fromhex("1626ba7e")
"""Selector of C{isValidSignature(bytes32,bytes)}, and what a wallet answers for yes (EIP-1271)."""

YES = MAGIC.ljust(32, b"\0")
"""The whole answer: a C{bytes4} as a word."""

SUFFIX = bytes.fromhex("6492" * 16)
"""The end of a signature that brings along how to deploy its wallet (EIP-6492)."""

MAX_SIGNATURE_BYTES = 4096
"""Some sixty owners' signatures.  A longer one could cost more gas to carry than the call may
use: 40 a byte since EIP-7623."""

_HEX = re.compile(r"0[xX]((?:[0-9a-fA-F]{2})*)\Z")


@frozen
class Counterfactual:
    """
    A signature of a wallet that may not be there yet.

    @ivar factory: Whom to call so that it is.
    @ivar deployment: What with.
    @ivar signature: What the wallet is asked about then.
    """

    factory: Address
    deployment: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read_signature(text: str) -> bytes | None:
    """
    @param text: As it was sent: C{0x} and hex digits, in pairs; there may be none, for a
        contract can know from a transaction what its owners approved.
    @return: None for what no contract needs to be asked about.
    """
    if len(text) > 2 + 2 * MAX_SIGNATURE_BYTES:
        return None
    match = _HEX.match(text)
    return None if match is None else bytes.fromhex(match[1])


def is_counterfactual(signature: bytes) -> bool:
    """Whether it says that it brings along its wallet's deployment."""
    return signature.endswith(SUFFIX)


def read_counterfactual(signature: bytes) -> Counterfactual:
    """
    @param signature: One that L{is_counterfactual}.
    @raise BadInput: What is before the suffix is not C{(address, bytes, bytes)}.
    """
    try:
        factory, deployment, inner = decode(
            ["address", "bytes", "bytes"], signature.removesuffix(SUFFIX)
        )
    except (DecodingError, OverflowError) as problem:
        raise BadInput("not a signature as EIP-6492 wraps it") from problem
    return Counterfactual(Address(factory), deployment, inner)


def question(digest: bytes, signature: bytes) -> bytes:
    """
    The call C{isValidSignature(digest, signature)}.

    @param digest: 32 bytes: of a message, L{personal_digest
        <sandbox_billing.signing.eip191.personal_digest>}.
    """
    length = len(signature)
    padded = signature.ljust(-(-length // 32) * 32, b"\0")
    return MAGIC + digest + _word(64) + _word(length) + padded


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def signer_of(raw: bytes, text: str) -> Address | None:
    """
    Whose key signed, whichever wallet is said to have: of the forms that contracts take those
    that hold one signature of a key and nothing else.

    @param raw: What was signed (EIP-191).
    @param text: As it was sent.
    @return: None for what is no key's signature; some address for most others.
    """
    octets = read_signature(text)
    if octets is None:
        return None
    try:
        if is_counterfactual(octets):
            octets = read_counterfactual(octets).signature
        if len(octets) == 64:
            # EIP-2098: the parity is the highest bit of s.
            parity, s = divmod(int.from_bytes(octets[32:], "big"), 1 << 255)
            octets = octets[:32] + s.to_bytes(32, "big") + bytes((parity,))
        return recover(personal_digest(raw), octets, low_s=False)
    except BadInput:
        return None
