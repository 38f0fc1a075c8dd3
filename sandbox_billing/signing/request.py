"""
Signed requests (EIP-191), both ends: all that is pure about them.

The parts are in C{message} (form, age, author), C{binding} (this request and no
other), C{canonical} (paths, queries) and C{strict_json}; this is their one door,
and the client's side.

Tests: C{tests.signing.test_request}.
"""

from __future__ import annotations

import base64
from hashlib import sha256

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.binding import BindingMode, Body, RequestFacts, check_binding
from sandbox_billing.signing.canonical import (
    Query,
    canonical_authority,
    canonical_path,
    canonical_query,
)
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.message import (
    INVALID_SIGNATURE,
    MAX_AHEAD_SECONDS,
    MISSING_HEADERS,
    NONCE_USED,
    AuthenticationError,
    SealedMessage,
    SignedHeaders,
    SignedMessage,
    authenticate,
    check_expiry,
    is_signed_by,
    verify_signature,
)
from sandbox_billing.signing.strict_json import (
    JSONValue,
    dump_json,
    json_equal,
    parse_strict_json,
)


__all__ = [
    "INVALID_SIGNATURE",
    "MAX_AHEAD_SECONDS",
    "MISSING_HEADERS",
    "NONCE_USED",
    "AuthenticationError",
    "BindingMode",
    "Body",
    "JSONValue",
    "Query",
    "RequestFacts",
    "SealedMessage",
    "SignedHeaders",
    "SignedMessage",
    "authenticate",
    "canonical_authority",
    "canonical_path",
    "canonical_query",
    "check_binding",
    "check_expiry",
    "dump_json",
    "is_signed_by",
    "json_equal",
    "message_headers",
    "parse_strict_json",
    "request_message",
    "sign_message",
    "sign_request",
    "verify_signature",
]

MAX_PAYLOAD_BYTES = 32 * 1024
"""
A longer body is signed by its hash: a header line holds 64 KiB, base64 makes
four characters of three bytes, and nothing should be refused for being close.
"""


def message_headers(wallet: Address, raw: bytes, signature: bytes) -> dict[str, str]:
    """
    The three headers of a message that anything has signed: a key, a device, a key service.

    @param raw: The message's JSON, exactly as it was signed.
    @param signature: Its signature by EIP-191, 65 bytes of a key; of a contract, as it takes it.
    """
    return {
        "X-Wallet-Address": checksum(wallet),
        "X-Signed-Message": base64.b64encode(raw).decode("ascii"),
        "X-Wallet-Signature": "0x" + signature.hex(),
    }


def sign_message(key: SigningKey, raw: bytes) -> dict[str, str]:
    """
    The three headers for a message that is written already.

    @param raw: The message's JSON, exactly as it is to be signed and sent.
    """
    return message_headers(key.address, raw, key.sign_digest(personal_digest(raw)))


def _payload(body: bytes) -> dict[str, JSONValue] | None:
    if len(body) > MAX_PAYLOAD_BYTES:
        return None
    try:
        payload = parse_strict_json(body)
    except BadInput:
        return None
    return payload if isinstance(payload, dict) else None


def request_message(
    *,
    action: str,
    resource_id: str = "",
    body: bytes = b"",
    body_sha256: str | None = None,
    expires_at: int,
    nonce: str,
    audience: Address,
    chain_id: int,
) -> bytes:
    """
    What is signed for a request, bound to one provider and chain.

    @param action: A verb, or C{METHOD:path[?query]}.
    @param resource_id: The id in the path with a verb; empty otherwise.
    @param body: The bytes that will be sent.  A JSON object is signed as the
        payload; anything else, or a long one, by its hash.
    @param body_sha256: Lower-case hex, in place of a body that nobody holds whole.
    @param expires_at: Unix seconds; now + 300 is usual.
    @param nonce: 16 to 64 characters of C{[0-9A-Za-z-]}, never used before.
    @return: The message's JSON, exactly as it is to be signed and sent.
    """
    payload = _payload(body) if body else {}
    message: dict[str, JSONValue] = {
        "action": action,
        "audience": checksum(audience),
        "chain_id": chain_id,
        "expires_at": expires_at,
        "nonce": nonce,
        "payload": {} if payload is None else payload,
        "resource_id": resource_id,
    }
    if body_sha256 is not None:
        message["body_sha256"] = body_sha256
    elif payload is None:
        message["body_sha256"] = sha256(body).hexdigest()
    return dump_json(message)


def sign_request(
    key: SigningKey,
    *,
    action: str,
    resource_id: str = "",
    body: bytes = b"",
    expires_at: int,
    nonce: str,
    audience: Address,
    chain_id: int,
) -> dict[str, str]:
    """
    Sign a request as our own client does: L{request_message}, by a key that is here.

    @return: Headers to add to the request.
    """
    message = request_message(
        action=action,
        resource_id=resource_id,
        body=body,
        expires_at=expires_at,
        nonce=nonce,
        audience=audience,
        chain_id=chain_id,
    )
    return sign_message(key, message)
