"""
The key: what it signs, and that it is never seen.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import traceback

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.key import HALF_ORDER, SECP256K1_ORDER, SigningKey, recover
from tests.signing.strategies import digests, keys


# The key of the wire facts' vectors: a published test key, worth nothing.
SECRET = bytes([0x11]) * 32
ADDRESS = Address("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A")

TO = "0x2222222222222222222222222222222222222222"
LEGACY = {
    "chainId": 16602,
    "nonce": 3,
    "to": TO,
    "value": 5,
    "gas": 21000,
    "gasPrice": 10**9,
    "data": b"\x01\x02",
}
DYNAMIC = {
    "type": 2,
    "chainId": 16602,
    "nonce": 3,
    "to": TO,
    "value": 5,
    "gas": 21000,
    "maxFeePerGas": 2 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "data": "0x0102",
}


def high_s(signature: bytes) -> bytes:
    """The other signature that anybody can make of a signature."""
    s = SECP256K1_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


class SecrecyTests(SynchronousTestCase):
    """Where the secret must not turn up."""

    def assert_silent(self, text: str) -> None:
        """The text holds the secret in no spelling."""
        for spelling in (SECRET.hex(), str(int.from_bytes(SECRET, "big")), repr(SECRET)[2:-1]):
            self.assertNotIn(spelling, text)

    def test_shows_only_its_address(self) -> None:
        """C{repr}, C{str} and formatting name the address and nothing else."""
        key = SigningKey.from_bytes(SECRET)
        for text in (repr(key), str(key), f"{key}", f"{[key]!r}"):
            self.assertIn(ADDRESS.hex, text)
            self.assert_silent(text)

    def test_has_no_dictionary(self) -> None:
        """Nothing that dumps an object's attributes finds any."""
        self.assertFalse(hasattr(SigningKey.from_bytes(SECRET), "__dict__"))

    def test_neither_copied_nor_pickled(self) -> None:
        """No second copy of a key can be made by accident."""
        key = SigningKey.from_bytes(SECRET)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            self.assertRaises(TypeError, pickle.dumps, key, protocol)
        self.assertRaises(TypeError, copy.copy, key)
        self.assertRaises(TypeError, copy.deepcopy, key)

    def test_compares_by_address(self) -> None:
        """Two objects of one key are equal and hash alike; another key differs."""
        key = SigningKey.from_bytes(SECRET)
        self.assertEqual(key, SigningKey.from_hex("0x" + SECRET.hex()))
        self.assertEqual(hash(key), hash(SigningKey.from_bytes(SECRET)))
        self.assertNotEqual(key, SigningKey.from_bytes(bytes([0x12]) * 32))

    def test_refusals_do_not_echo(self) -> None:
        """A malformed key is refused without a word of it, in the traceback too."""
        for bad in (SECRET.hex() + "11", SECRET.hex()[:-1], "0x0x" + SECRET.hex(), ""):
            try:
                SigningKey.from_hex(bad)
            except BadInput as problem:
                self.assert_silent("".join(traceback.format_exception(problem)))
            else:
                self.fail("it was accepted")

    def test_transaction_refusals_do_not_echo(self) -> None:
        """A transaction that cannot be signed is refused without showing the key."""
        key = SigningKey.from_bytes(SECRET)
        for bad in ({**LEGACY, "nonce": "x"}, {**DYNAMIC, "surplus": 1}, {**LEGACY, "from": TO}):
            problem = self.assertRaises(BadInput, key.sign_transaction, bad)
            self.assert_silent("".join(traceback.format_exception(problem)))


class KeyTests(SynchronousTestCase):
    """Making a key."""

    def test_address(self) -> None:
        """The wire facts' key has the wire facts' address."""
        self.assertEqual(SigningKey.from_bytes(SECRET).address, ADDRESS)

    def test_bytes_that_are_no_key(self) -> None:
        """Other lengths, zero and numbers from the order up are refused."""
        for bad in (
            b"",
            SECRET[1:],
            SECRET + b"\0",
            bytes(32),
            SECP256K1_ORDER.to_bytes(32, "big"),
            b"\xff" * 32,
        ):
            self.assertRaises(BadInput, SigningKey.from_bytes, bad)

    def test_hex_spellings(self) -> None:
        """C{0x} and the case of digits do not matter; anything around them does."""
        secret = bytes([0xAB]) * 32
        key = SigningKey.from_bytes(secret)
        for good in (secret.hex(), secret.hex().upper(), "0X" + secret.hex()):
            self.assertEqual(SigningKey.from_hex(good), key)
        for bad in (secret.hex() + "\n", " " + secret.hex(), "0x" + secret.hex()[2:]):
            self.assertRaises(BadInput, SigningKey.from_hex, bad)


class SignatureTests(SynchronousTestCase):
    """Signing and recovering."""

    @given(keys(), digests())
    def test_round_trip(self, key: SigningKey, digest: bytes) -> None:
        """What a key signs is its own, low in s, and the same each time."""
        signature = key.sign_digest(digest)
        self.assertEqual(len(signature), 65)
        self.assertIn(signature[64], (27, 28))
        self.assertLessEqual(int.from_bytes(signature[32:64], "big"), HALF_ORDER)
        self.assertEqual(signature, key.sign_digest(digest))
        self.assertEqual(recover(digest, signature), key.address)

    @given(keys(), digests())
    def test_agrees_with_eth_account(self, key: SigningKey, digest: bytes) -> None:
        """eth_account recovers the same address, of both twins."""
        signature = key.sign_digest(digest)
        for twin in (signature, high_s(signature)):
            recovered = Account._recover_hash(digest, signature=twin)
            self.assertEqual(Address(recovered), recover(digest, twin, low_s=False))
            self.assertEqual(Address(recovered), key.address)

    @given(keys(), digests())
    def test_high_s_twin(self, key: SigningKey, digest: bytes) -> None:
        """The twin is refused where the contract refuses it, and known elsewhere."""
        twin = high_s(key.sign_digest(digest))
        self.assertRaises(BadInput, recover, digest, twin)
        self.assertEqual(recover(digest, twin, low_s=False), key.address)

    @given(keys(), digests())
    def test_both_spellings_of_v(self, key: SigningKey, digest: bytes) -> None:
        """v may be 0 or 1 as well as 27 or 28, and nothing else."""
        signature = key.sign_digest(digest)
        parity = signature[64] - 27
        self.assertEqual(recover(digest, signature[:64] + bytes([parity])), key.address)
        for v in (2, 3, 26, 29, 30, 35, 36, 255):
            self.assertRaises(BadInput, recover, digest, signature[:64] + bytes([v]))

    @given(digests(), st.binary(min_size=65, max_size=65))
    def test_any_bytes(self, digest: bytes, signature: bytes) -> None:
        """Random bytes are somebody's or malformed; nothing else comes out."""
        with contextlib.suppress(BadInput):
            self.assertIsInstance(recover(digest, signature, low_s=False), Address)

    def test_malformed(self) -> None:
        """Wrong lengths, zeros and numbers above the order are refused."""
        digest, signature = bytes(32), SigningKey.from_bytes(SECRET).sign_digest(bytes(32))
        top = SECP256K1_ORDER.to_bytes(32, "big")
        for bad_digest, bad_signature in (
            (digest[1:], signature),
            (digest, signature[:-1]),
            (digest, signature + b"\0"),
            (digest, b""),
            (digest, bytes(64) + b"\x1b"),
            (digest, bytes(32) + signature[32:]),
            (digest, signature[:32] + bytes(32) + signature[64:]),
            (digest, top + signature[32:]),
            (digest, signature[:32] + top + signature[64:]),
        ):
            self.assertRaises(BadInput, recover, bad_digest, bad_signature, low_s=False)

    def test_digest_length(self) -> None:
        """Only 32 bytes are signed."""
        key = SigningKey.from_bytes(SECRET)
        self.assertRaises(BadInput, key.sign_digest, bytes(31))
        self.assertRaises(BadInput, key.sign_digest, b"a message, not a hash")


class TransactionTests(SynchronousTestCase):
    """Signing transactions."""

    def test_agrees_with_eth_account(self) -> None:
        """Both kinds come out as eth_account signs them, and name their sender."""
        key = SigningKey.from_bytes(SECRET)
        for fields in (LEGACY, DYNAMIC):
            signed = key.sign_transaction(fields)
            theirs = Account.sign_transaction(dict(fields), SECRET)
            self.assertEqual(signed.raw, bytes(theirs.raw_transaction))
            self.assertEqual(signed.hash, bytes(theirs.hash))
            self.assertIs(type(signed.raw), bytes)
            self.assertEqual(Address(Account.recover_transaction(signed.raw)), ADDRESS)

    def test_dynamic_fields_survive(self) -> None:
        """What is read back from the raw bytes is what was asked for."""
        signed = SigningKey.from_bytes(SECRET).sign_transaction(DYNAMIC)
        read = TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()
        for name in ("chainId", "nonce", "value", "gas", "maxFeePerGas", "maxPriorityFeePerGas"):
            self.assertEqual(read[name], DYNAMIC[name])
        self.assertEqual(bytes(read["to"]).hex(), TO[2:])

    def test_creation(self) -> None:
        """A contract is created by leaving C{to} out."""
        fields = {name: value for name, value in DYNAMIC.items() if name != "to"}
        signed = SigningKey.from_bytes(SECRET).sign_transaction(fields)
        self.assertEqual(Address(Account.recover_transaction(signed.raw)), ADDRESS)

    def test_refused(self) -> None:
        """No chain, another type or nonsense: refused, nothing is signed."""
        key = SigningKey.from_bytes(SECRET)
        for bad in (
            {name: value for name, value in LEGACY.items() if name != "chainId"},
            {**LEGACY, "chainId": 0},
            {**DYNAMIC, "type": 1, "accessList": []},
            {**DYNAMIC, "type": 3},
            {**DYNAMIC, "to": "0x22"},
            {**DYNAMIC, "value": -1},
            {**DYNAMIC, "gasPrice": 1},
            {"chainId": 1},
        ):
            self.assertRaises(BadInput, key.sign_transaction, bad)

    def test_mapping_is_left_alone(self) -> None:
        """The caller's fields are not changed."""
        fields = dict(DYNAMIC)
        SigningKey.from_bytes(SECRET).sign_transaction(fields)
        self.assertEqual(fields, DYNAMIC)
