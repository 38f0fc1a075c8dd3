"""Tests of C{sandbox_billing.adapters.system}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.system import RandomIds, SystemClock
from sandbox_billing.interfaces import IIds, IWallClock


class ClockTests(SynchronousTestCase):
    """L{SystemClock}."""

    def setUp(self) -> None:
        """Two clocks that are moved by hand."""
        self.wall, self.steady = 1_750_000_000.9, 500.0
        self.clock = SystemClock(lambda: self.wall, lambda: self.steady)
        verifyObject(IWallClock, self.clock)

    def test_goes_on(self) -> None:
        """Time passes in whole seconds, rounded down; up for what begins."""
        self.assertEqual(self.clock.now(), 1_750_000_000)
        self.wall, self.steady = self.wall + 10.2, self.steady + 10.2
        self.assertEqual(self.clock.now(), 1_750_000_011)
        self.assertEqual(self.clock.after(), 1_750_000_012)
        self.assertIsNone(self.clock.trouble())

    def test_a_step_changes_nothing(self) -> None:
        """A wall clock set a day ahead charges nobody a day, and is told of (B10)."""
        self.wall += 86_400
        self.assertEqual(self.clock.now(), 1_750_000_000)
        self.assertIn("stepped by 86400 s", self.clock.trouble() or "")

    def test_the_machine_s(self) -> None:
        """By default both are the machine's, and agree."""
        self.assertIsNone(SystemClock().trouble())


class IdsTests(SynchronousTestCase):
    """L{RandomIds}."""

    def test_unlike(self) -> None:
        """No two are alike, and all are of the promised letters."""
        ids = RandomIds()
        verifyObject(IIds, ids)
        made = {ids.reference() for _ in range(100)} | {ids.batch() for _ in range(100)}
        self.assertEqual(len(made), 200)
        for one in made:
            self.assertRegex(one, r"\A[a-z0-9-]{1,40}\Z")
