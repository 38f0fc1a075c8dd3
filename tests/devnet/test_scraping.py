"""A scrape against the books, as the demo compares them."""

from __future__ import annotations

from prometheus_client import generate_latest
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.prometheus.registry import PrometheusMeasures
from sandbox_billing.devnet.scraping import disagreements, in_words, read_figures
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.voucher import ChargeRecord, Paid
from sandbox_billing.measures import (
    CHARGED_NEURON,
    CHARGES,
    GAS_USED,
    LEASE_HELD,
    SESSIONS,
    SETTLED_NEURON,
    SETTLED_VOUCHERS,
)
from tests.ledger.test_settlement import charge, seal


class ScrapingTests(SynchronousTestCase):
    """One paid voucher."""

    def setUp(self) -> None:
        """Books and figures that say the same."""
        state = Paid(seal=seal(1, 500), transaction="0x1", block=7)
        self.record = ChargeRecord(charge("a", 500), state)
        amount = self.record.charge.amount
        self.kept = PrometheusMeasures()
        self.kept.count(CHARGES, kind="compute")
        self.kept.count(CHARGED_NEURON, amount)
        self.kept.count(SETTLED_NEURON, amount)
        self.kept.count(SETTLED_VOUCHERS, outcome="paid")
        self.kept.count(GAS_USED, 55_000)
        self.kept.set(SESSIONS, 0)
        self.kept.set(LEASE_HELD, 1)

    def found(self) -> list[str]:
        """Where they part."""
        figures = read_figures(generate_latest(self.kept.registry).decode())
        self.assertIn("1 charges, 1 vouchers settled for 55,000 gas", in_words(figures))
        return disagreements(figures, [self.record])

    def test_agree(self) -> None:
        """Nothing to tell."""
        self.assertEqual([], self.found())

    def test_disagree(self) -> None:
        """A sandbox too many and a neuron too few are both told."""
        self.kept.set(SESSIONS, 1)
        self.kept.count(SETTLED_NEURON, Neuron(self.record.charge.amount))
        self.assertEqual(
            ["sandboxes metered", "neuron settled"], [w.split(":")[0] for w in self.found()]
        )
