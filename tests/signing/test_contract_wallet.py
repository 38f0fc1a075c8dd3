"""Signatures of contract wallets: how they are read, and what a wallet is asked."""

from __future__ import annotations

import contextlib

from eth_abi import encode
from eth_utils import function_signature_to_4byte_selector
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.contract_wallet import (
    MAGIC,
    MAX_SIGNATURE_BYTES,
    SUFFIX,
    is_counterfactual,
    question,
    read_counterfactual,
    read_signature,
)
from tests.evm.contract_wallets import wrapped


FACTORY = Address("0x" + "fa" * 20)
SIGNATURE = "isValidSignature(bytes32,bytes)"


class ReadingTests(SynchronousTestCase):
    """
    What a client sent.
    """

    def test_good(self) -> None:
        """Pairs of hex digits after 0x, none of them included, up to the bound."""
        for text, found in (
            ("0x", b""),
            ("0XaB", b"\xab"),
            ("0x" + "00" * MAX_SIGNATURE_BYTES, bytes(MAX_SIGNATURE_BYTES)),
        ):
            self.assertEqual(read_signature(text), found)

    def test_bad(self) -> None:
        """No prefix, half a byte, other letters, a line feed at the end, or too much."""
        for text in (
            *("", "0", "ab", "0xa", "0xzz", "0x ab", "0xab\n", "0x\u0661\u0661"),
            "0x" + "00" * (MAX_SIGNATURE_BYTES + 1),
        ):
            self.assertIsNone(read_signature(text), text[:20])

    @given(st.binary(max_size=200))
    def test_any(self, octets: bytes) -> None:
        """Whatever bytes there are, they are read back."""
        self.assertEqual(read_signature("0x" + octets.hex()), octets)


class CounterfactualTests(SynchronousTestCase):
    """
    EIP-6492's wrapping.
    """

    def test_suffix(self) -> None:
        """The EIP's 32 bytes, 6492 sixteen times, at the very end."""
        self.assertEqual(SUFFIX.hex(), "6492" * 16)
        self.assertTrue(is_counterfactual(b"anything" + SUFFIX))
        self.assertFalse(is_counterfactual(SUFFIX + b"\0"))
        self.assertFalse(is_counterfactual(SUFFIX[1:]))

    @given(st.binary(min_size=20, max_size=20), st.binary(max_size=99), st.binary(max_size=99))
    def test_read_back(self, factory: bytes, deployment: bytes, inner: bytes) -> None:
        """Factory, call and signature are what was wrapped, by the ABI's own encoder."""
        found = read_counterfactual(wrapped(Address.from_bytes(factory), deployment, inner))
        self.assertEqual(
            (found.factory.to_bytes(), found.deployment, found.signature),
            (factory, deployment, inner),
        )

    @given(st.binary(max_size=300))
    @example(b"")
    @example(b"\xff" * 96)
    @example(wrapped(FACTORY, b"call", b"signature")[:-33])
    @example(encode(["uint256"] * 3, [2**200, 96, 96]))
    def test_anything(self, octets: bytes) -> None:
        """Other bytes are refused, and nothing else happens."""
        with contextlib.suppress(BadInput):
            read_counterfactual(octets + SUFFIX)


class QuestionTests(SynchronousTestCase):
    """
    The call to a wallet.
    """

    def test_selector(self) -> None:
        """The magic value is the function's selector."""
        self.assertEqual(MAGIC, function_signature_to_4byte_selector(SIGNATURE))

    @given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
    def test_encoding(self, digest: bytes, signature: bytes) -> None:
        """It is the ABI's encoding."""
        arguments = encode(["bytes32", "bytes"], [digest, signature])
        self.assertEqual(question(digest, signature), MAGIC + arguments)
