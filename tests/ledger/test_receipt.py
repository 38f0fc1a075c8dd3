"""
Tests of C{sandbox_billing.ledger.receipt} and of its JSON.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.merging import merged
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.receipt import (
    BatchProof,
    Receipt,
    Status,
    place_in,
    receipt_of,
)
from sandbox_billing.ledger.receipt_form import read_receipt, receipt_document
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    ChargeState,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)


USER, PROVIDER = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
CONTRACT, SIGNER = Address("0x" + "33" * 20), Address("0x" + "44" * 20)
SEAL = Seal(
    nonce=Nonce(42), fee=Neuron(10), usage_hash="0x" + "55" * 32, signature="0x" + "66" * 65
)
PROOF = BatchProof(
    batch=BatchId("b1"), lines=("0x" + "77" * 32, "0x" + "88" * 32), signature="0x" + "99" * 65
)


def charge(start: int = 60, **changes: Any) -> Charge:
    """A minute of one neuron in six seconds."""
    made = Charge(
        id=ChargeId(f"sb:{start}"),
        sandbox=SandboxId("sb"),
        owner=USER,
        provider=PROVIDER,
        kind=ChargeKind.COMPUTE,
        period_start=UnixSeconds(start),
        period_end=UnixSeconds(start + 60),
        units=60,
        amount=Neuron(10),
        rate=10,
        created_at=UnixSeconds(start + 61),
    )
    return evolve(made, **changes)


def receipt(state: ChargeState, **more: Any) -> Receipt:
    """Of that charge in a state."""
    record = ChargeRecord(charge(), state)
    signer = None if record.seal is None else SIGNER
    return receipt_of(record, chain_id=7, contract=CONTRACT, signer=signer, **more)


def moved(state: ChargeState) -> tuple[str, int, int, bool]:
    """Status, paid, owed, and whether it names a transaction."""
    made = receipt(state)
    return made.status.value, made.paid, made.owed, made.transaction is not None


TX = "0x" + "aa" * 32
PARTIAL = Partial(
    seal=SEAL, paid=Neuron(4), owed=Neuron(6), debt=ChargeId("d"), transaction=TX, block=9
)
STATES: tuple[tuple[ChargeState, tuple[str, int, int, bool]], ...] = (
    (Open(), ("open", 0, 10, False)),
    (Signed(SEAL), ("signed", 0, 10, False)),
    (Parked(SEAL), ("parked", 0, 10, False)),
    (Paid(seal=SEAL, transaction=TX, block=9), ("paid", 10, 0, True)),
    (PARTIAL, ("partial", 4, 6, True)),
    (DeadLettered(seal=None, reason="?"), ("dead", 0, 10, False)),
    (Merged(ChargeId("m")), ("merged", 0, 0, False)),
    (Forgiven(seal=SEAL, reason="r", by="o", at=UnixSeconds(1)), ("forgiven", 0, 0, False)),
)


class ReceiptTests(SynchronousTestCase):
    """From what is stored to what is told."""

    def test_states(self) -> None:
        """Each state a charge can be in has its status, and says what moved and what did not."""
        self.assertEqual([moved(state) for state, _ in STATES], [told for _, told in STATES])
        self.assertEqual({receipt(state).status for state, _ in STATES}, set(Status))

    def test_place(self) -> None:
        """A voucher stands where its struct hash does; what is no line of a batch, nowhere."""
        found = place_in(PROOF, PROOF.lines[1])
        assert found is not None
        self.assertEqual((found.id, found.index), ("b1", 1))
        self.assertIsNone(place_in(PROOF, "0x" + "00" * 32))


class FormTests(SynchronousTestCase):
    """JSON, both ways."""

    def test_there_and_back(self) -> None:
        """Whatever a receipt says is read again, merged parts and a place in a batch too."""
        parts = [ChargeRecord(charge(start)) for start in (60, 120)]
        whole = ChargeRecord(merged(parts), Signed(evolve(SEAL, fee=Neuron(20))))
        rich = receipt_of(
            whole,
            chain_id=7,
            contract=CONTRACT,
            signer=SIGNER,
            collects=[part.charge for part in parts],
            batch=place_in(PROOF, PROOF.lines[0]),
        )
        for made in (rich, *(receipt(state) for state, _ in STATES)):
            told = json.loads(json.dumps(receipt_document(made, lambda a: a.hex.upper())))
            self.assertEqual(read_receipt(told), made)

    def test_amounts_are_text(self) -> None:
        """JSON numbers lose digits: amounts, rates and nonces are decimal strings."""
        told = receipt_document(receipt(PARTIAL))
        strings = ("rate_per_minute", "fee", "nonce", "paid", "owed")
        self.assertEqual([told[name] for name in strings], ["10", "10", "42", "4", "6"])

    @given(
        st.sampled_from(sorted(receipt_document(receipt(PARTIAL)))),
        st.sampled_from(
            [7.5, -1, True, "x", "\ud800", "0" * 2000, "0x12", [1], {}, [{}], "-1", 2**63]
        ),
    )
    def test_nonsense(self, name: str, nonsense: Any) -> None:
        """A field that is missing or says what it cannot is refused, never guessed."""
        told = receipt_document(receipt(PARTIAL))
        if name in ("id", "sandbox") and nonsense in ("x", "0x12", "-1"):
            return
        self.assertRaises(BadInput, read_receipt, {**told, name: nonsense})
        del told[name]
        self.assertRaises(BadInput, read_receipt, told)

    def test_another_version(self) -> None:
        """A form that is not known is refused; a field more is passed over."""
        told = receipt_document(receipt(PARTIAL))
        self.assertRaises(BadInput, read_receipt, {**told, "version": 2})
        self.assertRaises(BadInput, read_receipt, [told])
        self.assertEqual(read_receipt({**told, "more": 1}), receipt(PARTIAL))

    def test_short_words(self) -> None:
        """Whatever a stranger wrote, what is told of it is short; deep lists end nothing."""
        deep: Any = []
        for _ in range(5000):
            deep = [deep]
        told = receipt_document(receipt(PARTIAL))
        for name in ("version", "units", "fee", "id", "status", "signature"):
            for nonsense in (deep, "x" * 10**6, 10**5000, [1] * 10**6, {"a": deep}):
                why = self.assertRaises(BadInput, read_receipt, {**told, name: nonsense})
                self.assertLess(len(str(why)), 300)

    def test_sandboxes(self) -> None:
        """What no sandbox is called is no receipt's: it would look like another one."""
        told = receipt_document(receipt(PARTIAL))
        for name in ("sb-1\u200b", "", "sb:1", "\u0455b-1", "sb-1 "):
            self.assertRaises(BadInput, read_receipt, {**told, "sandbox": name})
