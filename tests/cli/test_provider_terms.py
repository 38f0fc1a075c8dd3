"""Tests for C{sandbox_billing.cli.provider_terms}: what is meant by what is said."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.provider_terms import Terms, Wanted
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices


SIGNER, OTHER = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
PRICES = Prices(
    per_cpu_per_minute=Neuron(6), per_memory_gib_per_minute=Neuron(3), create_fee=Neuron(5)
)
KNOWN = Terms(url="https://p.example", signer=SIGNER, prices=PRICES)


def wanted(**said: Any) -> Wanted:
    """What was said; the rest was not."""
    nothing = Wanted(url=None, signer=None, cpu=None, memory=None, create_fee=None, flat=False)
    return evolve(nothing, **said)


class WantedTests(SynchronousTestCase):
    """Over what is known, or nothing."""

    def test_kept(self) -> None:
        """What is not named stays, also a registration without prices."""
        self.assertEqual(wanted().over(KNOWN), KNOWN)
        free = evolve(KNOWN, prices=Prices(create_fee=Neuron(5)))
        self.assertEqual(wanted().over(free), free)
        self.assertEqual(wanted(url="https://q").over(free), evolve(free, url="https://q"))

    def test_named(self) -> None:
        """Each name changes its own part alone."""
        for said, prices in (
            ({"cpu": Neuron(7)}, evolve(PRICES, per_cpu_per_minute=Neuron(7))),
            ({"memory": Neuron(7)}, evolve(PRICES, per_memory_gib_per_minute=Neuron(7))),
            ({"create_fee": Neuron(0)}, evolve(PRICES, create_fee=Neuron(0))),
            ({"flat": True}, Prices(create_fee=Neuron(5))),
        ):
            self.assertEqual(wanted(**said).over(KNOWN), evolve(KNOWN, prices=prices))
        self.assertEqual(wanted(signer=OTHER).over(KNOWN), evolve(KNOWN, signer=OTHER))

    def test_first(self) -> None:
        """The first time everything must be said, and prices of 0 with their own word (B14)."""
        full = wanted(url="https://p", signer=SIGNER, cpu=Neuron(6), memory=Neuron(3))
        self.assertEqual(full.over(None).prices.create_fee, 0)
        self.assertEqual(evolve(full, signer=None).over(None, OTHER).signer, OTHER)
        for broken in (
            evolve(full, url=None),
            evolve(full, signer=None),
            evolve(full, cpu=None),
            evolve(full, memory=None),
            evolve(full, cpu=Neuron(0)),
            evolve(full, memory=Neuron(0)),
            evolve(full, cpu=Neuron(0), memory=Neuron(0)),
            evolve(full, flat=True),
        ):
            self.assertRaises(BadInput, broken.over, None)
        flat = evolve(full, cpu=None, memory=None, flat=True)
        self.assertFalse(flat.over(None).prices.by_size)

    def test_by_accident(self) -> None:
        """A price that is known is not dropped to 0 without the word."""
        self.assertRaises(BadInput, wanted(cpu=Neuron(0)).over, KNOWN)
        free = evolve(KNOWN, prices=Prices())
        self.assertRaises(BadInput, wanted(cpu=Neuron(7)).over, free)

    def test_binding(self) -> None:
        """A URL is no part of what users acknowledge; prices, fee and signer are."""
        self.assertEqual(evolve(KNOWN, url="x").binding, KNOWN.binding)
        for other in (
            evolve(KNOWN, signer=OTHER),
            evolve(KNOWN, prices=evolve(PRICES, create_fee=Neuron(6))),
        ):
            self.assertNotEqual(other.binding, KNOWN.binding)
