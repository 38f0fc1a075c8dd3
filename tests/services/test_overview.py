"""
What the worker keeps for operators, in a whole world.
"""

from __future__ import annotations

from sandbox_billing.interfaces import Overview
from sandbox_billing.services.purse import WATCH_SECONDS
from tests.fixtures import ALICE, SIGNER, WorldCase


class OverviewTests(WorldCase):
    """
    A provider with a user.
    """

    def seen(self) -> Overview:
        """By a process that has not the lease."""
        return self.world.now(self.world.eyes.overview.overview())

    def test_differences(self) -> None:
        """What runs past us is told once, however many sweeps see it; a usual life is not."""
        world = self.world.start()
        world.fund(10**12)
        sandbox = world.create()
        world.until(lambda: world.state(sandbox) == "started")
        world.advance(30)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.state(sandbox) == "stopped")
        world.advance(30)
        self.assertEqual(self.seen().differences, ())
        world.simulator.start_behind(sandbox)
        world.until(lambda: world.session(sandbox) is not None, 60)
        world.advance(60)
        (found,) = self.seen().differences
        self.assertEqual((found.sandbox, found.what), (sandbox, "adopted"))
        world.simulator.stop_behind(sandbox)
        world.until(lambda: world.session(sandbox) is None, 60)
        world.advance(30)
        newest = self.seen().differences[0]
        self.assertEqual((newest.sandbox, newest.what), (sandbox, "closed"))
        self.assertGreater(newest.at, found.at)

    def test_settled(self) -> None:
        """The gas account is told as it is, and the hours add up to what was settled."""
        world = self.world.start()
        world.fund(10**12)
        sandbox = world.create()
        world.advance(120)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: not self.world.now(world.eyes.history.pending()), 400)
        world.advance(WATCH_SECONDS + 1)
        seen = self.seen()
        assert seen.purse is not None
        self.assertEqual(seen.purse.sender, SIGNER.address)
        balance = world.run(world.process.parts.chain.gas_balance())
        self.assertEqual(seen.purse.balance, balance)
        self.assertGreater(seen.totals.fees, 0)
        together = seen.hours[0].totals
        for hour in seen.hours[1:]:
            together = together.plus(hour.totals)
        self.assertEqual(together, seen.totals)
