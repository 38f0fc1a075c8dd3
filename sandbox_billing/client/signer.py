"""
Who signs: a key that is here, or anything else that can.

Tests: C{tests.client.test_client}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import SigningKey


_MAX_KEYSTORE_BYTES = 64 * 1024


class Signer(Protocol):
    """
    What a wallet must be able to do; a hardware wallet or a key service is one with three lines.
    """

    @property
    def address(self) -> Address:
        """Whose signatures these are."""

    def sign_message(self, raw: bytes) -> bytes:
        """
        @param raw: What is signed by EIP-191, as C{personal_sign} does: not hashed yet.
        @return: 65 bytes r‖s‖v, v 27 or 28; of a wallet that is a contract, what it takes.
        """

    def sign_transaction(self, fields: Mapping[str, Any]) -> bytes:
        """
        Only for L{ChainAccount<sandbox_billing.client.chain.ChainAccount>}.

        @param fields: Of an EIP-1559 or a legacy transaction, as C{eth_sendTransaction} spells
            them, with C{chainId}.
        @return: The raw transaction.
        """


@frozen
class KeySigner:
    """
    A private key in this process.

    @ivar key: It shows only its address.
    """

    key: SigningKey

    @property
    def address(self) -> Address:
        """The wallet's address."""
        return self.key.address

    def sign_message(self, raw: bytes) -> bytes:
        """By EIP-191."""
        return self.key.sign_digest(personal_digest(raw))

    def sign_transaction(self, fields: Mapping[str, Any]) -> bytes:
        """The raw transaction."""
        return self.key.sign_transaction(fields).raw

    @classmethod
    def from_hex(cls, text: str) -> KeySigner:
        """
        @param text: 64 hex digits, C{0x} before them or not.
        @raise BadInput: They are no key.  The text never contains them.
        """
        return cls(SigningKey.from_hex(text.strip()))

    @classmethod
    def from_env(cls, name: str = "USER_KEY") -> KeySigner:
        """
        @param name: Of an environment variable.
        @raise BadInput: It is not set, or holds no key.
        """
        text = os.environ.get(name)
        if not text:
            raise BadInput(f"{name} is not set: put the wallet's private key there")
        try:
            return cls.from_hex(text)
        except BadInput as problem:
            raise BadInput(f"{name}: {problem}") from None

    @classmethod
    def from_keystore(cls, path: str | Path, password: str) -> KeySigner:
        """
        @param path: Of a keystore file (Web3 Secret Storage, version 3).
        @raise BadInput: It cannot be read, is none, or the password is another.
        """
        path = Path(path)
        try:
            if path.stat().st_size > _MAX_KEYSTORE_BYTES:
                raise BadInput(f"{path.name} is too large for a keystore")
            stored = json.loads(path.read_text("utf-8"))
        except OSError as problem:
            raise BadInput(f"{path.name} cannot be read: {problem.strerror}") from None
        except ValueError:
            raise BadInput(f"{path.name} is no keystore: it is not JSON") from None
        return cls(_decrypt(path.name, stored, password))


def _decrypt(name: str, stored: Any, password: str) -> SigningKey:
    # Half a second, paid only here.
    from eth_account import Account

    try:
        return SigningKey.from_bytes(bytes(Account.decrypt(stored, password)))
    except ValueError:
        raise BadInput(f"{name} does not open: the password is wrong") from None
    except (KeyError, TypeError, AttributeError, NotImplementedError):
        raise BadInput(f"{name} is no keystore of version 3") from None
