"""
Signed messages: form, age and author, with the texts that clients know.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import SigningKey, recover
from sandbox_billing.signing.request import (
    AuthenticationError,
    SignedHeaders,
    SignedMessage,
    authenticate,
    check_expiry,
    dump_json,
    json_equal,
    sign_message,
    sign_request,
    verify_signature,
)
from tests.signing.strategies import addresses, json_objects, keys, request_nonces, texts
from tests.signing.test_key import high_s


# The wire facts' published test key.
KEY = SigningKey.from_bytes(bytes([0x11]) * 32)
STRANGER = SigningKey.from_bytes(bytes([0x12]) * 32)
PROVIDER = Address("0x" + "22" * 20)

VECTOR = (
    b'{"action":"create","expires_at":1709500000,'
    b'"nonce":"a3f8c2d1e4b7069512345678abcdef01","payload":{},"resource_id":""}'
)
NOW = 1709499700

WALLET_HEADER, MESSAGE_HEADER, SIGNATURE_HEADER = (
    "X-Wallet-Address",
    "X-Signed-Message",
    "X-Wallet-Signature",
)


def parse(headers: dict[str, str]) -> SignedMessage:
    """Read the three headers."""
    return SignedHeaders.parse(
        headers.get(WALLET_HEADER), headers.get(MESSAGE_HEADER), headers.get(SIGNATURE_HEADER)
    )


def admit(headers: dict[str, str], now: int = NOW) -> SignedMessage:
    """Form, age and author."""
    return authenticate(
        headers.get(WALLET_HEADER), headers.get(MESSAGE_HEADER), headers.get(SIGNATURE_HEADER), now
    )


def message(**changes: Any) -> bytes:
    """The vector's message with some fields changed; Ellipsis takes one out."""
    fields = {**json.loads(VECTOR), **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


class Refusals(SynchronousTestCase):
    """What the test cases below share."""

    def assert_refused(self, headers: dict[str, str], text: str, now: int = NOW) -> None:
        """These headers are answered with just this text."""
        problem = self.assertRaises(AuthenticationError, admit, headers, now)
        self.assertEqual(str(problem), text)


class VectorTests(SynchronousTestCase):
    """The vector of the wire facts, byte for byte."""

    def test_hash_and_signature(self) -> None:
        """The digest, the signature and its author."""
        digest = personal_digest(VECTOR)
        self.assertEqual(
            digest.hex(), "3e5de7bd7c0b4fdffde02054beb4d054ceb207a718b3457f2c3683d23883b9f2"
        )
        signature = KEY.sign_digest(digest)
        self.assertEqual(
            signature.hex(),
            "f13aed4c4208bc1612f3c2a86354741f02d87886b3990905c4fdbf2f4ea92c62"
            "0f9cbcad9fa186ffffff1e4023b9ce1919837e70b1cfcf6135b3d51e692b4c5d1b",
        )
        self.assertEqual(recover(digest, signature), KEY.address)

    def test_admitted(self) -> None:
        """As headers it is admitted, with every field as it stands there."""
        admitted = admit(sign_message(KEY, VECTOR))
        self.assertEqual(
            (admitted.wallet, admitted.action, admitted.expires_at, admitted.nonce),
            (KEY.address, "create", 1709500000, "a3f8c2d1e4b7069512345678abcdef01"),
        )
        self.assertEqual((admitted.payload, admitted.resource_id), ({}, ""))
        self.assertEqual(
            (admitted.audience, admitted.chain_id, admitted.body_sha256), (None, None, None)
        )
        self.assertEqual(admitted.raw, VECTOR)

    @given(st.binary(max_size=200))
    def test_agrees_with_eth_account(self, raw: bytes) -> None:
        """eth_account signs any bytes just so, and recovers the author."""
        signed = Account.sign_message(encode_defunct(raw), bytes([0x11]) * 32)
        self.assertEqual(bytes(signed.signature), KEY.sign_digest(personal_digest(raw)))
        self.assertEqual(bytes(signed.message_hash), personal_digest(raw))


class FormTests(Refusals):
    """Headers that cannot be read."""

    def test_missing(self) -> None:
        """Each header must be there and not empty."""
        headers = sign_message(KEY, VECTOR)
        for name in headers:
            for value in (None, ""):
                broken = {**headers, name: value}
                problem = self.assertRaises(AuthenticationError, admit, broken)
                self.assertEqual(str(problem), "missing auth headers")

    def test_encoding(self) -> None:
        """Only standard base64, with its padding."""
        headers = sign_message(KEY, b'{"a":"\xff\xfe??>>"}')
        for bad in (
            "{}",
            "e30",
            "e30=x",
            "e3 0=",
            "e30=\n",
            "é",
            headers[MESSAGE_HEADER].replace("/", "_").replace("+", "-") + "_-==",
        ):
            self.assert_refused(
                {**headers, MESSAGE_HEADER: bad}, "invalid X-Signed-Message encoding"
            )

    def test_malformed_messages(self) -> None:
        """JSON of another shape, or with a field missing or of another type."""
        for raw in (
            b" ",
            b"[]",
            b"null",
            b"{",
            b"{}",
            b"\xef\xbb\xbf" + VECTOR,
            VECTOR[:-1] + b',"action":"delete"}',
            message().replace(b'"payload": {}', b'"payload": {"a": NaN}'),
            *(message(**{name: ...}) for name in json.loads(VECTOR)),
            *(message(**{name: None}) for name in json.loads(VECTOR)),
            message(action=""),
            message(action=1),
            message(expires_at="1709500000"),
            message(expires_at=1709500000.0),
            message(expires_at=True),
            message(payload=[]),
            message(payload="{}"),
            message(resource_id=1),
            message(audience="0x22"),
            message(audience=None),
            message(audience=1),
            message(chain_id="16602"),
            message(chain_id=True),
            message(chain_id=1.0),
            message(chain_id=None),
            message(body_sha256="00"),
            message(body_sha256=None),
            message(body_sha256="0x" + "00" * 31),
            message(body_sha256="00" * 32 + "\n"),
        ):
            self.assert_refused(sign_message(KEY, raw), "invalid signed message JSON")

    def test_nonces(self) -> None:
        """16 to 64 characters of hex, UUIDs and the like; nothing else (A3)."""
        for bad in ("", "a" * 15, "a" * 65, "a" * 15 + "_", "a" * 16 + "\n", "é" * 16, "a b" * 8):
            self.assert_refused(
                sign_message(KEY, message(nonce=bad)), "invalid signed message JSON"
            )
        for good in ("a" * 16, "Z" * 64, "123e4567-e89b-12d3-a456-426614174000"):
            self.assertEqual(admit(sign_message(KEY, message(nonce=good))).nonce, good)

    def test_unknown_fields_are_signed_and_ignored(self) -> None:
        """A newer client's message is still read."""
        self.assertEqual(admit(sign_message(KEY, message(extra=[1]))).action, "create")

    @given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
    def test_any_headers(self, wallet: str, signed: str, signature: str) -> None:
        """Whatever three headers say, the answer is one of the texts."""
        self.assertRaises(AuthenticationError, authenticate, wallet, signed, signature, NOW)

    @given(st.binary(max_size=80))
    def test_any_message(self, raw: bytes) -> None:
        """Whatever was signed, the answer is one of the texts."""
        self.assertRaises(AuthenticationError, admit, sign_message(KEY, raw))


class AgeTests(Refusals):
    """C{now < expires_at <= now + 330}."""

    def test_bounds(self) -> None:
        """To the second, on both sides."""
        headers = sign_message(KEY, VECTOR)
        expires_at = 1709500000
        self.assert_refused(headers, "request expired", now=expires_at)
        self.assert_refused(headers, "request expired", now=expires_at + 10**9)
        admit(headers, now=expires_at - 1)
        admit(headers, now=expires_at - 330)
        self.assert_refused(headers, "expires_at too far in future", now=expires_at - 331)
        self.assert_refused(headers, "expires_at too far in future", now=0)

    @given(st.integers(-(10**20), 10**20), st.integers(0, 2**40))
    def test_rule(self, expires_at: int, now: int) -> None:
        """Any two numbers are judged by the rule and nothing else."""
        parsed = parse(sign_message(KEY, message(expires_at=expires_at)))
        try:
            check_expiry(parsed, now)
        except AuthenticationError:
            fresh = False
        else:
            fresh = True
        self.assertEqual(fresh, now < expires_at <= now + 330)


class AuthorTests(Refusals):
    """Whose signature it is."""

    def test_malformed(self) -> None:
        """A wallet or a signature that is none is an invalid signature."""
        headers = sign_message(KEY, VECTOR)
        signature = headers[SIGNATURE_HEADER]
        for name, bad in (
            (WALLET_HEADER, KEY.address.hex[2:]),
            (WALLET_HEADER, KEY.address.hex + "0"),
            (WALLET_HEADER, "0x" + "g" * 40),
            (WALLET_HEADER, " " + KEY.address.hex),
            (WALLET_HEADER, STRANGER.address.hex),
            (SIGNATURE_HEADER, signature[2:]),
            (SIGNATURE_HEADER, signature[:-2]),
            (SIGNATURE_HEADER, signature + "00"),
            (SIGNATURE_HEADER, signature + "\n"),
            (SIGNATURE_HEADER, "0x" + "g" * 130),
            (SIGNATURE_HEADER, "0x" + "0" * 130),
            (SIGNATURE_HEADER, signature[:-2] + "1d"),
        ):
            self.assert_refused({**headers, name: bad}, "invalid signature")

    def test_spellings(self) -> None:
        """The case of the wallet, v from 0 and a high s make no difference."""
        headers = sign_message(KEY, VECTOR)
        signature = bytes.fromhex(headers[SIGNATURE_HEADER][2:])
        for name, good in (
            (WALLET_HEADER, KEY.address.hex),
            (WALLET_HEADER, "0X" + KEY.address.hex[2:].upper()),
            (SIGNATURE_HEADER, "0x" + (signature[:64] + bytes([signature[64] - 27])).hex()),
            (SIGNATURE_HEADER, "0x" + high_s(signature).hex()),
            (SIGNATURE_HEADER, "0x" + signature.hex().upper()),
        ):
            self.assertEqual(admit({**headers, name: good}).wallet, KEY.address)

    def test_order(self) -> None:
        """Encoding before JSON, JSON before age, age before author."""
        broken = {WALLET_HEADER: "x", SIGNATURE_HEADER: "x"}
        for signed, now, text in (
            (None, 0, "missing auth headers"),
            ("!", 0, "invalid X-Signed-Message encoding"),
            (base64.b64encode(b"{}").decode(), 0, "invalid signed message JSON"),
            (base64.b64encode(VECTOR).decode(), 2 * 10**9, "request expired"),
            (base64.b64encode(VECTOR).decode(), 0, "expires_at too far in future"),
            (base64.b64encode(VECTOR).decode(), NOW, "invalid signature"),
        ):
            headers = broken if signed is None else {**broken, MESSAGE_HEADER: signed}
            self.assert_refused(headers, text, now=now)

    def test_family(self) -> None:
        """The web room may catch it as what it is: bad input."""
        self.assertTrue(issubclass(AuthenticationError, BadInput))

    @given(st.integers(0, len(VECTOR) * 8 - 1))
    def test_any_bit(self, bit: int) -> None:
        """A message with one bit changed was not signed by this wallet."""
        changed = bytearray(VECTOR)
        changed[bit // 8] ^= 1 << bit % 8
        headers = {
            **sign_message(KEY, VECTOR),
            MESSAGE_HEADER: base64.b64encode(bytes(changed)).decode(),
        }
        self.assertRaises(AuthenticationError, admit, headers)

    @given(st.integers(0, 64 * 8 - 1))
    def test_any_bit_of_signature(self, bit: int) -> None:
        """A signature with one bit of r or s changed is somebody else's."""
        headers = sign_message(KEY, VECTOR)
        changed = bytearray.fromhex(headers[SIGNATURE_HEADER][2:])
        changed[bit // 8] ^= 1 << bit % 8
        self.assert_refused(
            {**headers, SIGNATURE_HEADER: "0x" + changed.hex()}, "invalid signature"
        )

    def test_secrets_stay_out_of_repr(self) -> None:
        """A logged message shows neither its signature nor its payload."""
        headers = sign_message(KEY, message(payload={"env": "hunter2"}))
        shown = repr(parse(headers))
        self.assertNotIn(headers[SIGNATURE_HEADER][2:], shown)
        self.assertNotIn("hunter2", shown)


class ClientTests(SynchronousTestCase):
    """L{sign_request}, against our own reading of it."""

    @given(keys(), request_nonces(), texts().filter(bool), texts(), json_objects(), addresses())
    def test_round_trip(
        self,
        key: SigningKey,
        nonce: str,
        action: str,
        resource_id: str,
        payload: dict[str, Any],
        audience: Address,
    ) -> None:
        """What is signed is what is read, field by field."""
        headers = sign_request(
            key,
            action=action,
            resource_id=resource_id,
            body=dump_json(payload),
            expires_at=NOW + 300,
            nonce=nonce,
            audience=audience,
            chain_id=16602,
        )
        admitted = admit(headers)
        self.assertEqual(
            (admitted.wallet, admitted.action, admitted.resource_id, admitted.nonce),
            (key.address, action, resource_id, nonce),
        )
        self.assertTrue(json_equal(admitted.payload, payload))
        self.assertEqual(
            (admitted.audience, admitted.chain_id, admitted.expires_at),
            (audience, 16602, NOW + 300),
        )
        self.assertIsNone(admitted.body_sha256)

    def test_bodies(self) -> None:
        """An object is the payload; anything else, or a long one, is signed by hash."""
        for body, payload, hashed in (
            (b"", {}, False),
            (b"{}", {}, False),
            (b'{"a":1}', {"a": 1}, False),
            (b"[1]", {}, True),
            (b"not json", {}, True),
            (b'{"a":1,"a":2}', {}, True),
            (b'{"a":"' + b"x" * 40_000 + b'"}', {}, True),
        ):
            parsed = parse(
                sign_request(
                    KEY,
                    action="create",
                    body=body,
                    expires_at=NOW + 300,
                    nonce="0" * 32,
                    audience=PROVIDER,
                    chain_id=1,
                )
            )
            self.assertEqual(parsed.payload, payload)
            self.assertEqual(parsed.body_sha256, sha256(body).hexdigest() if hashed else None)

    def test_verified_wallet(self) -> None:
        """Verification names the wallet it proved."""
        self.assertEqual(verify_signature(parse(sign_message(KEY, VECTOR))), KEY.address)

    def test_header_fits(self) -> None:
        """The largest payload that is signed whole fits a header line of 64 KiB."""
        filler = b"x" * (32 * 1024 - 8)
        headers = sign_request(
            KEY,
            action="create",
            body=b'{"a":"' + filler + b'"}',
            expires_at=NOW + 300,
            nonce="0" * 32,
            audience=PROVIDER,
            chain_id=1,
        )
        self.assertIsNone(parse(headers).body_sha256)
        self.assertLess(len(headers[MESSAGE_HEADER]), 60_000)
