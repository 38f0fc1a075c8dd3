"""
What we lean on eth_account, eth_keys, eth_utils and coincurve for.

An upgrade that makes one of these untrue makes a reason in the signing room untrue.
"""

from __future__ import annotations

from coincurve import PrivateKey
from eth_account import Account
from eth_keys import KeyAPI
from eth_keys.backends import CoinCurveECCBackend
from eth_utils.crypto import keccak
from rlp.exceptions import ObjectSerializationError
from twisted.trial.unittest import SynchronousTestCase

from tests.signing.test_key import LEGACY, high_s


# A published test key.
SECRET = bytes([0x11]) * 32


class BackendTests(SynchronousTestCase):
    """Which implementations are at work."""

    def test_eth_keys_uses_coincurve(self) -> None:
        """What eth_account signs, libsecp256k1 signs; pure Python would take 100 times as long."""
        self.assertIsInstance(KeyAPI().backend, CoinCurveECCBackend)

    def test_keccak_is_not_sha3(self) -> None:
        """keccak256 has Ethereum's padding, whichever backend eth_hash found."""
        self.assertEqual(
            keccak(b"").hex(), "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
        )


class CoincurveTests(SynchronousTestCase):
    """What coincurve does by itself, and what is left to us."""

    def test_pads_short_secrets(self) -> None:
        """It takes a cut-off key for another key, so that we check the length."""
        self.assertEqual(len(PrivateKey(SECRET[1:]).secret), 32)

    def test_is_deterministic(self) -> None:
        """RFC 6979: the same digest and key, the same bytes (L5 leans on it)."""
        digest = keccak(b"digest")
        first, second = (PrivateKey(SECRET).sign_recoverable(digest, hasher=None) for _ in range(2))
        self.assertEqual(first, second)


class AccountTests(SynchronousTestCase):
    """What eth_account lets pass."""

    def test_recovers_high_s(self) -> None:
        """It knows the author of a signature's twin, which the contract refuses."""
        digest = keccak(b"digest")
        signed = Account.unsafe_sign_hash(digest, SECRET)
        twin = high_s(bytes(signed.signature))
        self.assertEqual(
            Account._recover_hash(digest, signature=twin), Account.from_key(SECRET).address
        )

    def test_signs_for_every_chain(self) -> None:
        """Without a chain id it signs a transaction that is valid everywhere; we refuse."""
        fields = {name: value for name, value in LEGACY.items() if name != "chainId"}
        signed = Account.sign_transaction(fields, SECRET)
        self.assertIn(signed.v, (27, 28))

    def test_negative_numbers(self) -> None:
        """They fail below it, with an error that is no ValueError; we refuse them first."""
        problem = self.assertRaises(
            ObjectSerializationError, Account.sign_transaction, {**LEGACY, "value": -1}, SECRET
        )
        self.assertNotIsInstance(problem, ValueError | TypeError)
