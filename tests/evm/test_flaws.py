"""Tests for L{tests.evm.flaws}: the tests of the contract notice when it is wrong."""

from __future__ import annotations

from tests.evm.flaws import CAUGHT_BY, flaws, of_row
from tests.evm.flaws.standing import StandingCase


class MutationTests(StandingCase):
    """Every flaw is noticed by the tests that are said to; L{tests.traps} tries those of rows."""

    def test_list(self) -> None:
        """Each flaw has its tests, and each test is for a flaw that is there."""
        self.assertEqual({each.id for each in flaws()}, set(CAUGHT_BY))
        self.assertGreaterEqual(len(flaws()), 30)

    def test_real(self) -> None:
        """On the real contract, deployed in the same way, all those tests are green."""
        names = sorted({name for each in flaws() for name in each.caught_by})
        results = self.ran({}, names)
        red = {name: one.errors + one.failures for name, one in results.items()}
        self.assertEqual({}, {name: why for name, why in red.items() if why})

    def test_noticed(self) -> None:
        """Flaws without a row of failures.md."""
        self.assert_noticed(of_row(None))
