"""Tests for L{sandbox_billing.cli.amounts}."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.amounts import both, parse_amount
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.money import UINT256_MAX, format_0g


AMOUNTS = st.one_of(st.integers(0, UINT256_MAX), st.integers(0, 10**21))


class AmountTests(SynchronousTestCase):
    """What is read and what is shown."""

    def test_forms(self) -> None:
        """The three forms, in any case, with or without a fraction."""
        for text, amount in (
            ("0.01 0G", 10**16),
            ("0.01 0g", 10**16),
            ("1 0G", 10**18),
            ("1.0 0G", 10**18),
            ("0.000000000000000001 0G", 1),
            ("10000 neuron", 10_000),
            ("10000  Neuron", 10_000),
            ("10000", 10_000),
            (" 0 ", 0),
            (str(UINT256_MAX), UINT256_MAX),
        ):
            with self.subTest(text=text):
                self.assertEqual(amount, parse_amount(text))

    def test_refused(self) -> None:
        """What could mean two things, or is finer than a neuron, or is no number at all."""
        for text in (
            "",
            "0G",
            "1000G",
            "1 G",
            "0.01",
            "0.5 neuron",
            "1,5 0G",
            "1_000",
            "-1",
            "+1",
            "1e18",
            "0x10",
            ".5 0G",
            "1. 0G",
            "٣",
            "1 0G 2",
            "1\n0G",
            "0.0000000000000000001 0G",
            str(UINT256_MAX + 1),
            f"{UINT256_MAX} 0G",
            "9" * 79,
            "NaN",
        ):
            with self.subTest(text=text):
                self.assertRaises(BadInput, parse_amount, text)

    @given(AMOUNTS)
    def test_round_trip(self, amount: int) -> None:
        """Whatever is printed, in either unit, is read as the same amount."""
        self.assertEqual(amount, parse_amount(str(amount)))
        self.assertEqual(amount, parse_amount(f"{amount} neuron"))
        self.assertEqual(amount, parse_amount(format_0g(amount)))
        match = re.fullmatch(r"(.*) \((.*)\)", both(amount))
        assert match is not None
        self.assertEqual([amount, amount], [parse_amount(part) for part in match.groups()])

    @given(st.integers(0, 10**9), st.text("0123456789", min_size=1, max_size=18))
    def test_fraction(self, whole: int, digits: str) -> None:
        """Every digit after the dot counts what its place says."""
        expected = whole * 10**18 + int(digits) * 10 ** (18 - len(digits))
        self.assertEqual(expected, parse_amount(f"{whole}.{digits} 0G"))

    def test_both(self) -> None:
        """The form that is documented."""
        self.assertEqual("10000000000000000 neuron (0.01 0G)", both(10**16))
        self.assertEqual("-5 neuron (-0.000000000000000005 0G)", both(-5))
