"""
Tests of C{sandbox_billing.adapters.chain.fees}.
"""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.fees import (
    MINIMUM_TIP,
    DynamicFees,
    Fees,
    LegacyFees,
    bump,
    fees_of,
    suggest,
)
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.signing.key import SigningKey


GWEI = 10**9

prices = st.integers(min_value=0, max_value=10**13)


def dynamic_fees() -> st.SearchStrategy[Fees]:
    """Fees of type 2 whose tip is within the cap."""
    return st.tuples(prices, prices).map(lambda two: DynamicFees(tip=min(two), cap=max(two)))


def legacy_fees() -> st.SearchStrategy[Fees]:
    """Fees of a chain without EIP-1559."""
    return prices.map(LegacyFees)


class SuggestTests(SynchronousTestCase):
    """C{suggest}."""

    def test_known(self) -> None:
        """The cap is the tip and twice the base fee (T-3)."""
        fees = suggest(base_fee=3 * GWEI, tip=GWEI, gas_price=0, ceiling=100 * GWEI)
        self.assertEqual(fees, DynamicFees(tip=GWEI, cap=7 * GWEI))

    @given(prices, prices, prices)
    def test_within_the_ceiling(self, base_fee: int, tip: int, ceiling: int) -> None:
        """What is suggested can be mined now, tips something and is under the ceiling."""
        assume(ceiling >= base_fee + MINIMUM_TIP)
        fees = suggest(base_fee=base_fee, tip=tip, gas_price=0, ceiling=ceiling)
        assert isinstance(fees, DynamicFees)
        self.assertLessEqual(fees.cap, ceiling)
        self.assertGreaterEqual(fees.cap, base_fee + fees.tip)
        self.assertGreaterEqual(fees.tip, MINIMUM_TIP)

    def test_too_dear(self) -> None:
        """Gas above the ceiling is refused, not sent to wait for ever."""
        with self.assertRaises(Refused):
            suggest(base_fee=5 * GWEI, tip=GWEI, gas_price=0, ceiling=5 * GWEI)
        with self.assertRaises(Refused):
            suggest(base_fee=None, tip=0, gas_price=5 * GWEI + 1, ceiling=5 * GWEI)

    def test_room_to_be_outbid(self) -> None:
        """A first attempt near the ceiling can be outbid under it, where less is enough."""
        ceiling = 100 * GWEI
        first = suggest(base_fee=60 * GWEI, tip=GWEI, gas_price=0, ceiling=ceiling)
        self.assertLessEqual(bump(first, first, ceiling, multiple=None).cap, ceiling)
        tight = suggest(base_fee=99 * GWEI, tip=GWEI, gas_price=0, ceiling=ceiling)
        self.assertGreater(tight.cap, 99 * GWEI)

    def test_without_a_base_fee(self) -> None:
        """A chain without EIP-1559 is offered its gas price."""
        fees = suggest(base_fee=None, tip=GWEI, gas_price=2 * GWEI, ceiling=5 * GWEI)
        self.assertEqual(fees, LegacyFees(2 * GWEI))


class BumpTests(SynchronousTestCase):
    """C{bump}."""

    @given(
        st.one_of(
            st.tuples(dynamic_fees(), dynamic_fees()), st.tuples(legacy_fees(), legacy_fees())
        )
    )
    def test_a_tenth_more(self, pair: tuple[Fees, Fees]) -> None:
        """Each fee rises by a tenth or more, so that nodes take the replacement (T-3)."""
        earlier, now = pair
        fees = bump(earlier, now, 10**15, multiple=None)
        self.assertGreaterEqual(fees.cap * 10, earlier.cap * 11)
        self.assertGreaterEqual(fees.cap, now.cap)
        if isinstance(fees, DynamicFees):
            assert isinstance(earlier, DynamicFees)
            self.assertGreaterEqual(fees.tip * 10, earlier.tip * 11)
            self.assertLessEqual(fees.tip, fees.cap)

    def test_rounded_up(self) -> None:
        """A tenth of 5 is one, not nothing."""
        fees = bump(DynamicFees(tip=1, cap=5), DynamicFees(tip=1, cap=5), 100)
        self.assertEqual(fees, DynamicFees(tip=2, cap=6))

    def test_ceiling(self) -> None:
        """A bump stops at the ceiling; today's price alone never breaks it."""
        earlier = DynamicFees(tip=GWEI, cap=10 * GWEI)
        dear = DynamicFees(tip=GWEI, cap=50 * GWEI)
        self.assertEqual(bump(earlier, dear, 20 * GWEI).cap, 20 * GWEI)
        with self.assertRaises(Refused):
            bump(earlier, earlier, 11 * GWEI - 1)

    def test_multiple(self) -> None:
        """
        What has waited at five times today's price does not wait for want of a price (T-3);
        a call that has to be outbid is, all the same.
        """
        today = DynamicFees(tip=GWEI, cap=3 * GWEI)
        fees: Fees = today
        for _ in range(100):
            try:
                fees = bump(fees, today, 10**15)
            except Refused:
                break
        self.assertTrue(13 * GWEI < fees.cap <= 15 * GWEI, fees)
        self.assertGreater(bump(fees, today, 10**15, multiple=None).cap, 15 * GWEI)

    @given(dynamic_fees(), prices, prices)
    def test_multiple_and_base_fee(self, earlier: Fees, base_fee: int, tip: int) -> None:
        """What cannot be mined for the base fee is never too dear a bump (T-3)."""
        assume(base_fee > earlier.cap)
        today = suggest(base_fee=base_fee, tip=tip, gas_price=0, ceiling=10**15)
        self.assertGreaterEqual(bump(earlier, today, 10**15).cap, base_fee)

    def test_small_prices(self) -> None:
        """Where gas costs next to nothing, a multiple of that is no limit yet."""
        fees = bump(DynamicFees(tip=1, cap=10**8), DynamicFees(tip=1, cap=10), 10**15)
        self.assertEqual(110_000_000, fees.cap)


class FeesOfTests(SynchronousTestCase):
    """C{fees_of}."""

    def _attempt(self, **fees: int) -> Attempt:
        # wire.md's well-known development key; it never guards real money.
        signed = SigningKey.from_bytes(b"\x11" * 32).sign_transaction(
            {"chainId": 1, "nonce": 0, "to": None, "value": 0, "gas": 1, "data": b"", **fees}
        )
        cap = fees.get("maxFeePerGas") or fees["gasPrice"]
        return Attempt(
            sender=Address("0x" + "11" * 20),
            account_nonce=0,
            gas_limit=1,
            fee_cap=Neuron(cap),
            raw="0x" + signed.raw.hex(),
            hash="0x" + signed.hash.hex(),
            recorded_at=UnixSeconds(0),
        )

    def test_read_back(self) -> None:
        """A bump starts from what the stored bytes offer."""
        self.assertEqual(
            fees_of(self._attempt(maxFeePerGas=7, maxPriorityFeePerGas=3)),
            DynamicFees(tip=3, cap=7),
        )
        self.assertEqual(fees_of(self._attempt(gasPrice=7)), LegacyFees(7))
