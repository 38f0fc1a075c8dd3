"""
The one private key, and addresses recovered from what keys have signed.

secp256k1 is libsecp256k1's, through coincurve: its nonces are RFC 6979's and
its signatures low-s, so the same key and digest give the same bytes for ever,
which is what lets a voucher be offered again.

Tests: C{tests.signing.test_key}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from attrs import field, frozen
from coincurve import PrivateKey, PublicKey
from eth_utils.crypto import keccak

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address


SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF_ORDER = SECP256K1_ORDER // 2

_HEX_KEY = re.compile(r"(?:0[xX])?([0-9a-fA-F]{64})\Z")
_PARITY = {0: 0, 1: 1, 27: 0, 28: 1}


def _address(public_key: PublicKey) -> Address:
    return Address.from_bytes(keccak(public_key.format(compressed=False)[1:])[12:])


@frozen(kw_only=True)
class SignedTransaction:
    """
    What may be broadcast.

    @ivar raw: The bytes for C{eth_sendRawTransaction}.
    @ivar hash: The transaction's hash, its name on every chain that takes it.
    """

    raw: bytes
    hash: bytes


@frozen(repr=False)
class SigningKey:
    """
    A private key that signs and is never seen.

    It shows only its address, in C{repr} and C{str}; it compares by address; it
    can neither be copied nor pickled, so that no second copy reaches a disk.

    @ivar address: The address whose signatures these are.
    """

    _private: PrivateKey = field(eq=False)
    address: Address = field(init=False)

    @address.default
    def _derive(self) -> Address:
        return _address(self._private.public_key)

    def __repr__(self) -> str:
        return f"<SigningKey of {self.address}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SigningKey is neither copied nor pickled")

    @classmethod
    def from_bytes(cls, secret: bytes) -> SigningKey:
        """
        @param secret: Exactly 32 bytes, big-endian, from 1 to the curve's order - 1.
        @raise BadInput: They are no key.  The text never contains them.
        """
        # coincurve pads what is short, and would take a cut-off key for another one.
        if len(secret) != 32:
            raise BadInput(f"a private key is 32 bytes, not {len(secret)}")
        if not 0 < int.from_bytes(secret, "big") < SECP256K1_ORDER:
            raise BadInput("these 32 bytes are not a secp256k1 private key")
        return cls(PrivateKey(secret))

    @classmethod
    def from_hex(cls, text: str) -> SigningKey:
        """
        @param text: 64 hex digits, C{0x} before them or not.
        @raise BadInput: They are no key.  The text never contains them.
        """
        match = _HEX_KEY.match(text)
        if match is None:
            raise BadInput("a private key is 64 hex digits, optionally after 0x")
        return cls.from_bytes(bytes.fromhex(match[1]))

    def sign_digest(self, digest: bytes) -> bytes:
        """
        Sign 32 bytes that are a hash already.

        @return: 65 bytes r‖s‖v, v 27 or 28, low s; always the same for one digest.
        @raise BadInput: The digest is not 32 bytes long.
        """
        if len(digest) != 32:
            raise BadInput(f"a digest is 32 bytes, not {len(digest)}")
        signature = self._private.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes((27 + signature[64],))

    def sign_transaction(self, fields: Mapping[str, Any]) -> SignedTransaction:
        """
        Sign a transaction for one chain.

        @param fields: As C{eth_sendTransaction} spells them (C{chainId},
            C{nonce}, C{to}, C{value}, C{data}, C{gas}, and either C{gasPrice} or
            C{maxFeePerGas} with C{maxPriorityFeePerGas}), for a legacy (EIP-155)
            or a type 2 (EIP-1559) transaction.
        @raise BadInput: They are neither; C{chainId} is missing, which would
            make it valid on every chain; or C{from} is another address.
        """
        # Half a second and 33 MiB, which only who sends transactions should pay.
        from eth_account import Account

        if not fields.get("chainId"):
            raise BadInput("a transaction without chainId would be valid on every chain")
        if fields.get("type", 2) not in (0, 2, "0x0", "0x2"):
            raise BadInput("only legacy and EIP-1559 transactions are signed")
        if any(isinstance(value, int) and value < 0 for value in fields.values()):
            raise BadInput("a transaction holds no negative numbers")
        try:
            signed = Account.sign_transaction(dict(fields), self._private.secret)
        except (TypeError, ValueError) as problem:
            raise BadInput(f"this transaction cannot be signed: {problem}") from None
        return SignedTransaction(raw=bytes(signed.raw_transaction), hash=bytes(signed.hash))


def recover(digest: bytes, signature: bytes, *, low_s: bool = True) -> Address:
    """
    Whose signature this is.

    @param digest: The 32 bytes that were signed.
    @param signature: 65 bytes r‖s‖v, v 0, 1, 27 or 28.
    @param low_s: Refuse the high-s twin that anybody can make of a signature
        (as the contract does).  Requests accept it: their nonce, not their
        signature, is what is used up.
    @raise BadInput: It is nobody's signature, or malformed.
    """
    if len(digest) != 32 or len(signature) != 65:
        raise BadInput("a digest is 32 bytes and a signature 65")
    parity = _PARITY.get(signature[64])
    if parity is None:
        raise BadInput(f"a signature's v is 0, 1, 27 or 28, not {signature[64]}")
    if low_s and int.from_bytes(signature[32:64], "big") > HALF_ORDER:
        raise BadInput("a signature's s is in the lower half of the curve's order")
    try:
        public_key = PublicKey.from_signature_and_message(
            signature[:64] + bytes((parity,)), digest, hasher=None
        )
    except ValueError:
        raise BadInput("these bytes are no signature of anybody") from None
    return _address(public_key)
