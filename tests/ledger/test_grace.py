"""Tests of C{sandbox_billing.ledger.grace}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.grace import ending
from sandbox_billing.ledger.hold import Exposure, runs_dry_at
from sandbox_billing.ledger.money import Neuron, UnixSeconds


NOW = UnixSeconds(1_000_000)

AMOUNTS = st.integers(0, 10**6)
RUNS = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 600)), max_size=3)


def exposed(runs: list[tuple[int, int]], owed: int) -> Exposure:
    """Sessions at rates, charged so long ago, and a charge."""
    fields = {f"session:sb-{n}": f"0:{r}:{NOW - ago}" for n, (r, ago) in enumerate(runs)}
    return Exposure({**fields, "charge:c": str(owed)})


class EndingTests(SynchronousTestCase):
    """When what runs is stopped."""

    @given(RUNS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 5000), st.integers(0, 9000))
    def test_bounds(
        self,
        runs: list[tuple[int, int]],
        owed: int,
        balance: int,
        cap: int,
        grace: int,
        ago: int,
    ) -> None:
        """
        Never later than the loss cap lasts, never before the wallet's own money has ended, and
        never longer after that than the grace; without a grace as ever.
        """
        exposure = exposed(runs, owed)

        def dry(lent: int) -> UnixSeconds | None:
            return runs_dry_at(
                exposure,
                balance=Neuron(balance),
                loss_cap=Neuron(lent),
                stop_delay=10,
                now=NOW,
            )

        for since in (None, UnixSeconds(NOW - ago)):
            found = ending(
                exposure,
                balance=Neuron(balance),
                loss_cap=Neuron(cap),
                stop_delay=10,
                grace=grace,
                dry_since=since,
                now=NOW,
            )
            last, own = dry(cap), dry(0)
            if last is None or own is None:
                self.assertEqual((found.stops_at, found.own_ends_at), (None, None))
                continue
            if not grace:
                self.assertEqual((found.stops_at, found.own_ends_at), (last, None))
                continue
            assert found.stops_at is not None
            self.assertLessEqual(found.stops_at, last)
            self.assertEqual(found.own_ends_at, own)
            self.assertEqual(found.in_grace(NOW), own <= NOW)
            begun = since if since is not None else max(own, 0)
            self.assertEqual(found.stops_at, min(last, max(own, begun + grace)))
            self.assertGreaterEqual(found.stops_at, own)

    def test_small_top_ups(self) -> None:
        """Money for moments is used up before the stop, and gives no grace of its own."""
        for balance, stops in ((100, 30), (300, 30), (500, 40), (1000, 90)):
            found = ending(
                exposed([(600, 0)], 0),
                balance=Neuron(balance),
                loss_cap=Neuron(10**6),
                stop_delay=10,
                grace=60,
                dry_since=UnixSeconds(NOW - 30),
                now=NOW,
            )
            self.assertEqual(found.stops_at, NOW + stops, balance)

    def test_worked_example(self) -> None:
        """As C{docs/controls.rst} tells it."""
        exposure = exposed([(600, 0)], 0)
        for grace, since, stops in ((0, None, 190), (60, None, 150), (1000, None, 190)):
            found = ending(
                exposure,
                balance=Neuron(1000),
                loss_cap=Neuron(1000),
                stop_delay=10,
                grace=grace,
                dry_since=since,
                now=NOW,
            )
            self.assertEqual(found.stops_at, NOW + stops)
            self.assertEqual(found.own_ends_at, NOW + 90 if grace else None)
