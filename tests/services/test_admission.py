"""Tests of C{sandbox_billing.services.admission}: when nobody may run anything."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from sandbox_billing.adapters.memory.chain_faults import GoodDay, ReadsFail
from sandbox_billing.adapters.memory.contract import LOCK_SECONDS
from sandbox_billing.interfaces import (
    CannotPay,
    NotReady,
    Sandbox,
)
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    PROVIDER,
    RATE,
    World,
    WorldCase,
)


class ReadyTests(WorldCase):
    """When nobody may create anything."""

    def make(self) -> Coroutine[Any, Any, Sandbox]:
        """A create under way."""
        return self.world.process.intake.create(ALICE, {}, auto_stop_minutes=None)

    def test_old_mirror(self) -> None:
        """A mirror older than MIRROR_MAX_AGE_SEC answers 503 to create and start."""
        world = self.world
        world.fund(100_000)
        sandbox = world.create()
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(15)
        world.process.node.fault = ReadsFail()
        world.advance(world.policy.mirror_max_age + 2)
        self.fails(NotReady, self.make())
        self.fails(NotReady, world.process.intake.start(ALICE, sandbox))
        self.assertEqual(world.state(sandbox), "stopped")
        world.process.node.fault = GoodDay()
        world.advance(4)
        world.run(self.make())

    def test_no_blocks(self) -> None:
        """A chain without new blocks is still a chain that answers."""
        world = self.world
        world.fund(100_000)
        world.mining = False
        world.advance(2 * world.policy.mirror_max_age)
        world.run(self.make())

    def test_strangers(self) -> None:
        """Who asks with a key that never was on the chain is refused, and is not stored."""
        world = self.world
        world.fund(100_000)
        refused = self.fails(
            CannotPay, world.process.intake.create(BOB, {}, auto_stop_minutes=None)
        )
        self.assertEqual(refused.code, "not_acknowledged")
        self.assertIsNone(world.funds(BOB).account)
        world.acknowledge(BOB)
        world.advance(4)
        refused = self.fails(
            CannotPay, world.process.intake.create(BOB, {}, auto_stop_minutes=None)
        )
        self.assertEqual(refused.code, "insufficient_balance")
        self.assertIsNotNone(world.funds(BOB).account)

    def test_before_the_first_step(self) -> None:
        """Nothing is admitted before the chain was read."""
        world = World()
        self.addCleanup(world.simulator.close)
        with self.assertRaises(NotReady):
            world.run(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_leaving(self) -> None:
        """A provider who announced to leave takes no new work; what runs goes on."""
        world = self.world
        world.fund(100_000)
        sandbox = world.create()
        world.net.act(lambda c: c.announce_leave(PROVIDER))
        world.advance(4)
        self.fails(NotReady, self.make())
        world.advance(70)
        self.assertEqual(world.state(sandbox), "started")
        self.assertEqual(world.earned, FEE + RATE)

    def test_unregistered(self) -> None:
        """A provider who has left takes no work at all."""
        world = self.world
        world.fund(100_000)
        world.net.act(lambda c: c.announce_leave(PROVIDER))
        world.clock.advance(LOCK_SECONDS + 60)
        world.advance(1)
        world.net.act(lambda c: c.leave(PROVIDER))
        world.advance(4)
        self.fails(NotReady, self.make())
