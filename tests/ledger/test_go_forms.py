"""Tests of C{sandbox_billing.ledger.go_forms}: what the Go system writes, and nothing else."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.go_forms import (
    NAMELESS,
    Ghost,
    GoSession,
    read_nonce,
    read_session,
    read_voucher,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import UINT256_MAX, Neuron, UnixSeconds


USER, PROVIDER = "0x" + "1A" * 20, "0x" + "2b" * 20
SANDBOX = "6f3a1b2c-0000-4000-8000-000000000001"

OLDER = {
    "sandbox_id": SANDBOX,
    "owner": USER,
    "provider": PROVIDER,
    "start_time": "1709490000",
    "last_voucher_at": "1709496000",
}
NEWER = {
    "sandbox_id": SANDBOX,
    "owner": USER,
    "provider": PROVIDER,
    "next_voucher_at": "1709499600",
    "price_per_sec": "1500000000000000",
}

UNSIGNED: dict[str, Any] = {
    "sandbox_id": SANDBOX,
    "user": USER,
    "provider": PROVIDER,
    "total_fee": 10**18 + 1,
    "usage_hash": list(range(32)),
    "nonce": None,
    "signature": None,
}
SIGNED = {**UNSIGNED, "nonce": 7, "signature": base64.b64encode(bytes(65)).decode()}


def text(document: Any) -> bytes:
    """As it is stored."""
    return json.dumps(document).encode()


class SessionTests(SynchronousTestCase):
    """L{read_session}."""

    def test_older(self) -> None:
        """Charged until its last voucher, at the flat price where it has none of its own."""
        expected = GoSession(
            sandbox=SandboxId(SANDBOX),
            owner=Address(USER),
            provider=Address(PROVIDER),
            started_at=UnixSeconds(1709490000),
            charged_until=UnixSeconds(1709496000),
            prepaid=False,
            price=Neuron(0),
        )
        self.assertEqual(read_session(SANDBOX, OLDER), expected)
        self.assertEqual(read_session(SANDBOX, {**OLDER, "price_per_sec": ""}), expected)

    def test_newer(self) -> None:
        """Prepaid until its next voucher, at its own price."""
        found = read_session(SANDBOX, NEWER)
        assert isinstance(found, GoSession)
        self.assertEqual(
            (found.charged_until, found.prepaid, found.price, found.started_at),
            (1709499600, True, 1500000000000000, None),
        )

    def test_both(self) -> None:
        """With the marks of both versions nothing before the later one is charged again."""
        found = read_session(SANDBOX, {**OLDER, "next_voucher_at": "3600"})
        assert isinstance(found, GoSession)
        self.assertEqual(found.charged_until, 1709496000)
        found = read_session(SANDBOX, {**OLDER, **NEWER})
        assert isinstance(found, GoSession)
        self.assertEqual(found.charged_until, 1709499600)

    def test_ghost(self) -> None:
        """What a late write leaves of a deleted session is nobody's (B4)."""
        for name in ("last_voucher_at", "next_voucher_at"):
            self.assertEqual(read_session("x", {name: "1709490000"}), Ghost("x"))

    def test_refused(self) -> None:
        """What neither version writes is refused, and the text names the field."""
        for changed, named in (
            ({"cpu": "2"}, "cpu"),
            ({"owner": ""}, "owner"),
            ({"owner": "0x" + "0" * 40}, "owner"),
            ({"provider": "0x12"}, "provider"),
            ({"sandbox_id": "other"}, "sandbox_id"),
            ({"last_voucher_at": "soon"}, "last_voucher_at"),
            ({"last_voucher_at": "-5"}, "last_voucher_at"),
            ({"last_voucher_at": "0"}, "last_voucher_at"),
            ({"last_voucher_at": "1709496000000"}, "last_voucher_at"),
            ({"start_time": "0"}, "start_time"),
            ({"price_per_sec": "1.5"}, "price_per_sec"),
            ({"price_per_sec": "-1"}, "price_per_sec"),
        ):
            with self.subTest(changed=changed):
                why = self.assertRaises(BadInput, read_session, SANDBOX, {**OLDER, **changed})
                self.assertIn(named, str(why))
        gone = {name: value for name, value in OLDER.items() if name != "last_voucher_at"}
        self.assertRaises(BadInput, read_session, SANDBOX, gone)

    @given(st.dictionaries(st.sampled_from([*OLDER, *NEWER, "cpu"]), st.text(max_size=20)))
    def test_total(self, fields: dict[str, str]) -> None:
        """Whatever is there: a session, a ghost, or a refusal."""
        with contextlib.suppress(BadInput):
            self.assertIsInstance(read_session(SANDBOX, fields), GoSession | Ghost)


class VoucherTests(SynchronousTestCase):
    """L{read_voucher}."""

    def test_signed(self) -> None:
        """Nonce, fee, hash and bytes are kept."""
        found = read_voucher(text(SIGNED))
        self.assertEqual((found.nonce, found.fee), (7, 10**18 + 1))
        self.assertEqual(found.usage_hash, "0x" + bytes(range(32)).hex())
        self.assertEqual(found.signature, "0x" + "00" * 65)
        self.assertFalse(found.rounded)

    def test_unsigned(self) -> None:
        """Null and absent are the same; a voucher for several sandboxes names none."""
        for document in (
            UNSIGNED,
            {**UNSIGNED, "signature": ""},
            {name: value for name, value in UNSIGNED.items() if name not in ("nonce", "signature")},
        ):
            found = read_voucher(text(document))
            self.assertEqual((found.nonce, found.signature), (None, None))
        self.assertEqual(read_voucher(text({**UNSIGNED, "sandbox_id": ""})).sandbox, NAMELESS)

    @given(st.integers(0, UINT256_MAX))
    def test_exact(self, fee: int) -> None:
        """Every digit counts, also above 2^53."""
        self.assertEqual(read_voucher(text({**UNSIGNED, "total_fee": fee})).fee, fee)

    def test_rounded(self) -> None:
        """A whole number in another spelling is taken exactly, and told."""
        for spelled, fee in ((b"1e+18", 10**18), (b"17.0", 17), (b"1.25e2", 125)):
            raw = text({**UNSIGNED, "total_fee": "@"}).replace(b'"@"', spelled)
            found = read_voucher(raw)
            self.assertEqual((found.fee, found.rounded), (fee, True))

    def test_refused(self) -> None:
        """What neither version writes is refused, and the text names the field."""
        for changed, named in (
            ({"deadline": 5}, "deadline"),
            ({"total_fee": 1.5}, "total_fee"),
            ({"total_fee": "5"}, "total_fee"),
            ({"total_fee": True}, "total_fee"),
            ({"total_fee": -1}, "total_fee"),
            ({"total_fee": UINT256_MAX + 1}, "total_fee"),
            ({"nonce": 1.5}, "nonce"),
            ({"nonce": "7"}, "nonce"),
            ({"nonce": None}, "nonce"),
            ({"signature": None}, "nonce"),
            ({"signature": base64.b64encode(bytes(64)).decode()}, "signature"),
            ({"signature": "not base64!"}, "signature"),
            ({"signature": [1, 2]}, "signature"),
            ({"usage_hash": list(range(31))}, "usage_hash"),
            ({"usage_hash": [256, *range(31)]}, "usage_hash"),
            ({"usage_hash": [True, *range(31)]}, "usage_hash"),
            ({"usage_hash": "0x00"}, "usage_hash"),
            ({"user": "alice"}, "user"),
            ({"provider": None}, "provider"),
            ({"sandbox_id": "a:b"}, "sandbox"),
            ({"sandbox_id": 5}, "sandbox"),
        ):
            with self.subTest(changed=changed):
                why = self.assertRaises(BadInput, read_voucher, text({**SIGNED, **changed}))
                self.assertIn(named, str(why))

    def test_no_voucher(self) -> None:
        """Nor is anything else a voucher, and none of it takes memory or time."""
        doubled = text(UNSIGNED).replace(b'"nonce"', b'"user": "x", "nonce"')
        huge = text({**UNSIGNED, "total_fee": "@"}).replace(b'"@"', b"1e999999999")
        digits = text({**UNSIGNED, "total_fee": "@"}).replace(b'"@"', b"9" * 9_000)
        for exponent in (b"1e9999999999999999999999", b"1e-9999999999999999999999"):
            odd = text({**UNSIGNED, "total_fee": "@"}).replace(b'"@"', exponent)
            self.assertRaises(BadInput, read_voucher, odd)
        for raw in (b"", b"\xff", b"[]", b"5", b"NaN", b"[" * 9_000, doubled, huge, digits):
            self.assertRaises(BadInput, read_voucher, raw)
        self.assertRaises(BadInput, read_voucher, text({**UNSIGNED, "sandbox_id": "x" * 20_000}))

    @given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
    def test_total(self, raw: bytes) -> None:
        """Whatever is there: never anything but a refusal."""
        self.assertRaises(BadInput, read_voucher, raw)

    def test_nonces(self) -> None:
        """A counter is decimal digits."""
        self.assertEqual(read_nonce("12"), 12)
        for wrong in ("", "-1", "1.0", "0x1", "\u0661"):
            self.assertRaises(BadInput, read_nonce, wrong)
