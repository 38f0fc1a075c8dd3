"""Tests for L{sandbox_billing.cli.record} and L{sandbox_billing.cli.stack}."""

from __future__ import annotations

import json
from pathlib import Path

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.record import Creation, Record, RecordFile, decode_record, encode_record
from sandbox_billing.cli.stack import Part, Stack, created_address, masked, same_code
from sandbox_billing.cli.transaction import Signed
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.identity import Address


ADDRESSES = st.binary(min_size=20, max_size=20).map(Address.from_bytes)
HEX = st.binary(max_size=40).map(lambda raw: "0x" + raw.hex())
NUMBERS = st.integers(0, 2**64)
SIGNED = st.builds(
    Signed,
    raw=HEX,
    hash=HEX,
    nonce=NUMBERS,
    gas=NUMBERS,
    cap=NUMBERS,
    tip=st.one_of(st.none(), NUMBERS),
)
CREATIONS = st.builds(
    Creation, address=ADDRESSES, attempts=st.lists(SIGNED, min_size=1, max_size=3).map(tuple)
)
RECORDS = st.builds(
    Record,
    purpose=st.sampled_from(["deploy", "upgrade"]),
    chain_id=st.integers(1, 2**64),
    sender=ADDRESSES,
    about=st.sampled_from([{"stake": "100"}, {"beacon": "0x" + "11" * 20}]),
    build=HEX,
    creations=st.dictionaries(st.sampled_from([part.value for part in Part]), CREATIONS),
    complete=st.booleans(),
)

SOME = Record(
    purpose="deploy",
    chain_id=5,
    sender=Address("0x" + "11" * 20),
    about={"stake": "100"},
    build="0x00",
)


class RecordTests(SynchronousTestCase):
    """What is stored."""

    @given(RECORDS)
    def test_round_trip(self, record: Record) -> None:
        """What was written is what is read."""
        self.assertEqual(record, decode_record(encode_record(record), "r"))

    def test_refused(self) -> None:
        """Another version, half a record, and things that are none."""
        good = json.loads(encode_record(SOME))
        with self.assertRaisesRegex(BadInput, "version 2"):
            decode_record(json.dumps({**good, "version": 2}), "r")
        for key in good:
            less = {name: value for name, value in good.items() if name != key}
            if key != "stake":
                with self.subTest(key=key):
                    self.assertRaises(BadInput, decode_record, json.dumps(less), "r")
        for text in ("", "[]", "null", "{}", json.dumps({**good, "sender": "me"})):
            self.assertRaises(BadInput, decode_record, text, "r")

    def test_attempts(self) -> None:
        """A raised fee is one more attempt; another nonce begins anew."""
        first, higher, other = (
            Signed(raw="0x", hash=hashed, nonce=nonce, gas=1, cap=1, tip=None)
            for hashed, nonce in (("0x01", 1), ("0x02", 1), ("0x03", 2))
        )
        here, there = Address("0x" + "01" * 20), Address("0x" + "02" * 20)
        record = SOME.with_attempt("proxy", first, here).with_attempt("proxy", higher, here)
        self.assertEqual((first, higher), record.creations["proxy"].attempts)
        record = record.with_attempt("proxy", other, there)
        self.assertEqual(Creation(address=there, attempts=(other,)), record.creations["proxy"])


class FileTests(SynchronousTestCase):
    """Where it is kept."""

    def setUp(self) -> None:
        """Have a folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.file = RecordFile(self.folder / "deployment-5.json")

    def test_write(self) -> None:
        """What was written is there, and no half of it beside it."""
        self.assertIsNone(self.file.read())
        self.file.write(SOME)
        self.file.write(evolve(SOME, complete=True))
        self.assertEqual(evolve(SOME, complete=True), self.file.read())
        self.assertEqual([self.file.path], list(self.folder.iterdir()))

    def test_cannot(self) -> None:
        """Where nothing can be written, nothing is sent."""
        file = RecordFile(self.folder / "nowhere" / "r.json")
        with self.assertRaisesRegex(BadInput, "nothing more was sent"):
            file.write(SOME)
        with self.assertRaisesRegex(BadInput, "cannot be read"):
            RecordFile(self.folder).read()

    def test_set_aside(self) -> None:
        """Old records are kept, each under its own name."""
        self.assertIsNone(self.file.set_aside())
        for number in (1, 2):
            self.file.write(SOME)
            self.assertEqual(self.folder / f"deployment-5.{number}.json", self.file.set_aside())
        self.assertEqual(2, len(list(self.folder.iterdir())))

    def test_locked(self) -> None:
        """Two commands in one folder would deploy twice: the second is refused, later let in."""
        with (
            self.file.locked(),
            self.assertRaisesRegex(Refused, "wait for it"),
            self.file.locked(),
        ):
            self.fail("both are in")
        with self.file.locked():
            pass


class StackTests(SynchronousTestCase):
    """What is deployed."""

    def test_created_address(self) -> None:
        """The well-known first contracts of a well-known account (development key 1 of Hardhat)."""
        sender = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
        self.assertEqual(
            Address("0x5FbDB2315678afecb367f032d93F642f64180aa3"), created_address(sender, 0)
        )
        self.assertEqual(
            Address("0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"), created_address(sender, 1)
        )

    def test_order(self) -> None:
        """The beacon names the implementation and the owner, the proxy the beacon."""
        owner, one, two = (Address("0x" + digit * 40) for digit in "123")
        stack = Stack(owner=owner, stake=7)
        self.assertEqual(b"", stack.arguments(Part.IMPLEMENTATION))
        stack = stack.placed(Part.IMPLEMENTATION, one).placed(Part.BEACON, two)
        self.assertEqual(
            bytes(12) + one.to_bytes() + bytes(12) + owner.to_bytes(), stack.arguments(Part.BEACON)
        )
        proxy = stack.arguments(Part.PROXY)
        self.assertEqual(bytes(12) + two.to_bytes(), proxy[:32])
        self.assertIn((7).to_bytes(32, "big"), proxy)
        self.assertEqual(stack, stack.placed(Part.PROXY, one))

    def test_immutables(self) -> None:
        """What a constructor filled in does not matter, everything else does."""
        artifact = Part.PROXY.artifact
        code = bytearray.fromhex(artifact.deployed_bytecode[2:])
        ((start, length), *_) = artifact.immutables
        code[start + length - 20 : start + length] = b"\x11" * 20
        self.assertTrue(same_code(artifact, bytes(code)))
        code[0] ^= 1
        self.assertFalse(same_code(artifact, bytes(code)))
        self.assertFalse(same_code(artifact, b""))
        self.assertEqual(b"\x01", masked(artifact, b"\x01"))
