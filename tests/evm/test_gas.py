"""
What settling costs: to the last gas as committed, and within the budgets of our plan.

A change of the contract that changes a figure changes C{benchmarks/gas.json} in the same
commit: C{python -m benchmarks.gas --write}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.gas import BATCH, MANY, ONE, SIZES, VOUCHERS, committed, measure, snapshot


BUDGETS = {
    (VOUCHERS, MANY, 50): 18_600,
    (VOUCHERS, ONE, 50): 13_900,
    (VOUCHERS, ONE, 1): 61_000,
    (VOUCHERS, MANY, 1): 61_000,
    (BATCH, MANY, 50): 12_900,
    (BATCH, ONE, 50): 8_100,
}
"""Gas per voucher at most, by path, wallets and size."""


class GasTests(SynchronousTestCase):
    """The whole transaction, through the proxy, divided by its vouchers."""

    timeout = 180

    def test_as_committed(self) -> None:
        """Both paths cost exactly what C{gas.json} says, at every size."""
        found = measure()
        self.assertEqual(snapshot(committed()), snapshot(found))

    def test_budgets(self) -> None:
        """The committed figures are within the budgets."""
        per_voucher = {
            (each.path, each.wallets, each.size): each.per_voucher for each in committed()
        }
        self.assertEqual(2 * 2 * len(SIZES), len(per_voucher))
        for case, budget in BUDGETS.items():
            self.assertLessEqual(per_voucher[case], budget, case)

    def test_half_of_the_deployed(self) -> None:
        """A provider that sends fifty at once pays less than half of what it pays today."""
        ratios = {(each.path, each.wallets): each.ratio for each in committed() if each.size == 50}
        for wallets in (MANY, ONE):
            ratio = ratios[BATCH, wallets]
            assert ratio is not None
            self.assertLess(ratio, 0.5)
