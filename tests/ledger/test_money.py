"""Amounts: exact, bounded, and of one spelling."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.money import (
    NEURON_PER_0G,
    UINT256_MAX,
    Neuron,
    add,
    format_0g,
    less,
    neuron,
    parse_neuron,
)
from tests.strategies import amounts


class NeuronTests(SynchronousTestCase):
    """Bounds of an amount."""

    def test_bounds(self) -> None:
        """The smallest and the largest uint256 are amounts."""
        self.assertEqual((0, UINT256_MAX), (neuron(0), neuron(UINT256_MAX)))

    def test_no_amount(self) -> None:
        """What is negative, too large, or no integer is refused; a bool is no integer."""
        for bad in (-1, UINT256_MAX + 1, True, 1.0, "1", None):
            with self.subTest(bad=bad):
                self.assertRaises(BadInput, neuron, bad)

    @given(amounts(), amounts())
    def test_add_and_less(self, one: Neuron, other: Neuron) -> None:
        """What was added can be taken away again; more than there is cannot."""
        small, large = sorted((one, other))
        self.assertEqual(large, add(small, less(large, small)))
        if small != large:
            self.assertRaises(BadInput, less, small, large)

    def test_sum_too_large(self) -> None:
        """A sum beyond uint256 is refused, never wrapped."""
        self.assertRaises(BadInput, add, Neuron(UINT256_MAX), Neuron(1))


class ParseNeuronTests(SynchronousTestCase):
    """The one spelling of an amount."""

    @given(amounts())
    def test_round_trip(self, amount: Neuron) -> None:
        """What is written is read back, to the last digit."""
        self.assertEqual(amount, parse_neuron(str(amount)))

    def test_other_spellings(self) -> None:
        """Python's int() takes each of these; an amount is none of them."""
        spellings = ("", " 1", "1 ", "1\n", "+1", "-1", "-0", "007", "00", "1_000", "1.0", "1e3")
        for bad in (*spellings, "0x1", "١", str(UINT256_MAX + 1), "9" * 79, "nan"):
            with self.subTest(bad=bad):
                self.assertRaises(BadInput, parse_neuron, bad)

    @given(st.text(max_size=6))
    def test_nothing_else(self, text: str) -> None:
        """Any text is refused or is the canonical spelling of what was read."""
        try:
            amount = parse_neuron(text)
        except BadInput:
            return
        self.assertEqual(text, str(amount))


class Format0GTests(SynchronousTestCase):
    """Amounts for people."""

    def test_examples(self) -> None:
        """Whole, fractional, smallest and negative amounts."""
        for amount, text in (
            (0, "0 0G"),
            (1, "0.000000000000000001 0G"),
            (NEURON_PER_0G, "1 0G"),
            (10 * NEURON_PER_0G, "10 0G"),
            (NEURON_PER_0G * 3 // 2, "1.5 0G"),
            (-NEURON_PER_0G // 2, "-0.5 0G"),
        ):
            with self.subTest(amount=amount):
                self.assertEqual(text, format_0g(amount))

    @given(amounts(), st.sampled_from([1, -1]))
    def test_exact(self, amount: Neuron, sign: int) -> None:
        """No digit is lost or added."""
        digits, unit = format_0g(sign * amount).split(" ")
        self.assertEqual("0G", unit)
        whole, _, fraction = digits.lstrip("-").partition(".")
        self.assertEqual(amount, int(whole) * NEURON_PER_0G + int(fraction.ljust(18, "0")))
        self.assertEqual(Decimal(digits) < 0, sign * amount < 0)
