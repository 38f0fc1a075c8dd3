"""
A signed message: read, checked for age, checked for its author.

The text of each error is what clients know; which error comes first is part of
it: form, then age, then author.

Tests: C{tests.signing.test_request}.
"""

from __future__ import annotations

import base64
import binascii
import re

from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import recover
from sandbox_billing.signing.strict_json import JSONValue, parse_strict_json


MAX_AHEAD_SECONDS = 330
"""Clients sign now + 300, and clocks differ."""

MISSING_HEADERS = "missing auth headers"
INVALID_ENCODING = "invalid X-Signed-Message encoding"
INVALID_JSON = "invalid signed message JSON"
EXPIRED = "request expired"
TOO_FAR_AHEAD = "expires_at too far in future"
INVALID_SIGNATURE = "invalid signature"
NONCE_USED = "nonce already used"
MISMATCH = "signature does not match request"

_NONCE = re.compile(r"[0-9A-Za-z-]{16,64}\Z")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_SIGNATURE = re.compile(r"0[xX]([0-9a-fA-F]{130})\Z")


@frozen(auto_exc=False)
class AuthenticationError(BadInput):
    """
    The request does not prove who sent it; answered with 401 and the text.
    """

    def __str__(self) -> str:
        return self.text


@frozen(kw_only=True)
class SignedMessage:
    """
    What the three headers say; true only after L{verify_signature}.

    @ivar wallet_text: The wallet's header as sent.
    @ivar signature_text: The signature's header as sent.
    @ivar raw: The bytes that were signed.
    @ivar action: A verb, or C{METHOD:path[?query]}.
    @ivar expires_at: Unix seconds.
    @ivar nonce: 16 to 64 characters, used once per wallet.
    @ivar payload: The body, or an empty object.
    @ivar resource_id: The id in the path, or empty.
    @ivar audience: The provider it is for, where it says so.
    @ivar chain_id: The chain it is for, where it says so.
    @ivar body_sha256: Lower-case hex of the body's hash, where it says so.
    """

    wallet_text: str
    signature_text: str = field(repr=False)
    raw: bytes = field(repr=False)
    action: str
    expires_at: int
    nonce: str
    payload: dict[str, JSONValue] = field(repr=False)
    resource_id: str
    audience: Address | None = None
    chain_id: int | None = None
    body_sha256: str | None = None

    @property
    def wallet(self) -> Address:
        """
        The wallet that is said to have signed.

        @raise AuthenticationError: The header holds no address.
        """
        try:
            return Address(self.wallet_text)
        except BadInput:
            raise AuthenticationError(INVALID_SIGNATURE) from None


def _read_fields(raw: bytes) -> dict[str, JSONValue]:
    try:
        message = parse_strict_json(raw)
    except BadInput:
        raise AuthenticationError(INVALID_JSON) from None
    if not isinstance(message, dict):
        raise AuthenticationError(INVALID_JSON)
    return message


def _read_audience(message: dict[str, JSONValue]) -> Address | None:
    if "audience" not in message:
        return None
    audience = message["audience"]
    if not isinstance(audience, str):
        raise AuthenticationError(INVALID_JSON)
    try:
        return Address(audience)
    except BadInput:
        raise AuthenticationError(INVALID_JSON) from None


def _read_chain_id(message: dict[str, JSONValue]) -> int | None:
    if "chain_id" not in message:
        return None
    chain_id = message["chain_id"]
    if type(chain_id) is not int:
        raise AuthenticationError(INVALID_JSON)
    return chain_id


def _read_body_sha256(message: dict[str, JSONValue]) -> str | None:
    if "body_sha256" not in message:
        return None
    digest = message["body_sha256"]
    if not isinstance(digest, str) or not _SHA256.match(digest):
        raise AuthenticationError(INVALID_JSON)
    return digest.lower()


class SignedHeaders:
    """
    The three headers of a signed request.
    """

    @staticmethod
    def parse(
        wallet_header: str | None, message_header: str | None, signature_header: str | None
    ) -> SignedMessage:
        """
        Read the headers; nothing is proven yet.

        @param wallet_header: C{X-Wallet-Address}.
        @param message_header: C{X-Signed-Message}, standard base64 of UTF-8 JSON.
        @param signature_header: C{X-Wallet-Signature}.
        @raise AuthenticationError: One is missing, or the message is malformed.
        """
        return SealedMessage.of(wallet_header, message_header, signature_header).opened()


@frozen(kw_only=True)
class SealedMessage:
    """
    What the three headers hold, before anything of it is understood.

    The bytes that were signed are enough to see who signed them, and cost the same whatever
    they say.

    @ivar wallet_text: The wallet's header as sent.
    @ivar signature_text: The signature's header as sent.
    """

    wallet_text: str
    signature_text: str = field(repr=False)
    raw: bytes = field(repr=False)

    @classmethod
    def of(
        cls, wallet_header: str | None, message_header: str | None, signature_header: str | None
    ) -> SealedMessage:
        """
        @raise AuthenticationError: One is missing, or the message is not base64.
        """
        if not (wallet_header and message_header and signature_header):
            raise AuthenticationError(MISSING_HEADERS)
        try:
            raw = base64.b64decode(message_header, validate=True)
        except (binascii.Error, ValueError):
            raise AuthenticationError(INVALID_ENCODING) from None
        return cls(wallet_text=wallet_header, signature_text=signature_header, raw=raw)

    def is_signed(self) -> bool:
        """Whether the key of the wallet that is named signed it."""
        try:
            wallet = Address(self.wallet_text)
        except BadInput:
            return False
        return is_signed_by(wallet, self.raw, self.signature_text)

    def opened(self) -> SignedMessage:
        """
        @raise AuthenticationError: The message is malformed.
        """
        message = _read_fields(self.raw)
        action, nonce = message.get("action"), message.get("nonce")
        expires_at = message.get("expires_at")
        payload, resource_id = message.get("payload"), message.get("resource_id")
        if not (
            isinstance(action, str)
            and action
            and type(expires_at) is int
            and isinstance(nonce, str)
            and _NONCE.match(nonce)
            and isinstance(payload, dict)
            and isinstance(resource_id, str)
        ):
            raise AuthenticationError(INVALID_JSON)
        return SignedMessage(
            wallet_text=self.wallet_text,
            signature_text=self.signature_text,
            raw=self.raw,
            action=action,
            expires_at=expires_at,
            nonce=nonce,
            payload=payload,
            resource_id=resource_id,
            audience=_read_audience(message),
            chain_id=_read_chain_id(message),
            body_sha256=_read_body_sha256(message),
        )


def check_expiry(message: SignedMessage, now: int) -> None:
    """
    Hold a message to C{now < expires_at <= now + 330}.

    @param now: Unix seconds.
    @raise AuthenticationError: It is too old, or says it will live too long.
    """
    if message.expires_at <= now:
        raise AuthenticationError(EXPIRED)
    if message.expires_at > now + MAX_AHEAD_SECONDS:
        raise AuthenticationError(TOO_FAR_AHEAD)


def is_signed_by(wallet: Address, raw: bytes, signature_text: str) -> bool:
    """
    Whether the key of a wallet signed these bytes (EIP-191).

    @param signature_text: C{0x} and 130 hex digits; whatever else it is, is no signature.
    """
    match = _SIGNATURE.match(signature_text)
    if match is None:
        return False
    try:
        return recover(personal_digest(raw), bytes.fromhex(match[1]), low_s=False) == wallet
    except BadInput:
        return False


def verify_signature(message: SignedMessage) -> Address:
    """
    @return: The wallet, which did sign exactly these bytes.
    @raise AuthenticationError: It did not, or what should prove it is malformed.
    """
    wallet = message.wallet
    if not is_signed_by(wallet, message.raw, message.signature_text):
        raise AuthenticationError(INVALID_SIGNATURE)
    return wallet


def authenticate(
    wallet_header: str | None,
    message_header: str | None,
    signature_header: str | None,
    now: int,
) -> SignedMessage:
    """
    Form, age and author, in the order in which clients know their errors.

    Left to the caller: L{check_binding<sandbox_billing.signing.binding.check_binding>},
    then to use up the nonce.
    """
    message = SignedHeaders.parse(wallet_header, message_header, signature_header)
    check_expiry(message, now)
    verify_signature(message)
    return message
