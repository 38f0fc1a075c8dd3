"""
Tests of C{sandbox_billing.adapters.chain.raw}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.raw import Said, read_raw
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.signing.key import SigningKey


def attempt(fields: dict[str, object]) -> Attempt:
    """A transaction of wire.md's well-known development key; it never guards real money."""
    whole = {"chainId": 1, "nonce": 0, "to": "0x" + "22" * 20, "value": 0, "gas": 21_000, **fields}
    signed = SigningKey.from_bytes(b"\x11" * 32).sign_transaction(whole)
    return Attempt(
        sender=Address("0x" + "11" * 20),
        account_nonce=0,
        gas_limit=21_000,
        fee_cap=Neuron(7),
        raw="0x" + signed.raw.hex(),
        hash="0x" + signed.hash.hex(),
        recorded_at=UnixSeconds(0),
    )


calls = st.binary(max_size=300)


class ReadRawTests(SynchronousTestCase):
    """C{read_raw}."""

    @given(calls, st.integers(0, 7))
    def test_dynamic(self, data: bytes, tip: int) -> None:
        """Of type 2: the tip and the call come back as they were signed."""
        fees = {"type": 2, "maxFeePerGas": 7, "maxPriorityFeePerGas": tip}
        stored = attempt({"data": "0x" + data.hex(), **fees})
        self.assertEqual(read_raw(stored), Said(tip=tip, data=data))

    @given(calls)
    def test_legacy(self, data: bytes) -> None:
        """A legacy one has no tip, and its call is found all the same."""
        stored = attempt({"data": "0x" + data.hex(), "gasPrice": 7})
        self.assertEqual(read_raw(stored), Said(tip=None, data=data))
