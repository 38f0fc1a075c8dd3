"""The dead-man's switch, and auto-stop wishes that Daytona cannot carry out for us (§4.9)."""

from __future__ import annotations

from typing import Any, ClassVar

from sandbox_billing.ledger.identity import SandboxId
from tests.fixtures import ALICE, World, WorldCase


MINUTE = 60


class DeadmanTests(WorldCase):
    """L{sandbox_billing.services.deadman.DeadmansSwitch}."""

    policy: ClassVar[Any] = {"deadman_minutes": 3}

    def setUp(self) -> None:
        """Everybody can pay for hours."""
        self.world = World(**self.policy).start()
        self.world.fund(10_000_000)

    def make(self, auto_stop: int | None) -> SandboxId:
        """A running sandbox with a wish."""
        world = self.world
        made = world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=auto_stop))
        world.until(lambda: world.state(made.id) == "started")
        return made.id

    def test_touched(self) -> None:
        """Without a wish an idle sandbox runs on: it is touched before Daytona stops it."""
        sandbox = self.make(None)
        self.world.advance(10 * MINUTE)
        self.assertEqual(self.world.state(sandbox), "started")

    def test_daemon_dies(self) -> None:
        """When this daemon is gone, Daytona stops what is idle."""
        sandbox = self.make(None)
        self.world.kill()
        self.world.clock.pump([1.0] * (4 * MINUTE))
        self.assertEqual(self.world.state(sandbox), "stopped")

    def test_short_wish_is_daytonas(self) -> None:
        """A wish within the dead-man's time is not disturbed by our touches."""
        sandbox = self.make(2)
        self.world.until(lambda: self.world.state(sandbox) == "stopped", 3 * MINUTE)

    def test_long_wish_is_ours(self) -> None:
        """A longer wish is carried out although our touches look like activity to Daytona."""
        sandbox = self.make(5)
        taken = self.world.until(lambda: self.world.state(sandbox) == "stopped", 8 * MINUTE)
        self.assertGreaterEqual(taken, 5 * MINUTE - 30)

    def test_user_is_active(self) -> None:
        """What the user does in between starts the wish's time anew."""
        world = self.world
        sandbox = self.make(5)
        world.advance(4 * MINUTE)
        world.simulator.touch(world.simulator.find(sandbox))
        world.advance(4 * MINUTE)
        self.assertEqual(world.state(sandbox), "started")
        world.until(lambda: world.state(sandbox) == "stopped", 3 * MINUTE)

    def test_wish_outlives_a_stop(self) -> None:
        """A stopped and started sandbox keeps the wish it was created with."""
        world = self.world
        sandbox = self.make(5)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.state(sandbox) == "stopped")
        world.run(world.process.intake.start(ALICE, sandbox))
        self.assertEqual(world.session(sandbox).auto_stop_minutes, 5)
        world.until(lambda: world.state(sandbox) == "stopped", 8 * MINUTE)
