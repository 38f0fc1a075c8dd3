"""
What a review found in pause and backlog: charges that nobody saw, and doors that stayed shut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox_billing.adapters.redis.commit import Read, Reply
from sandbox_billing.adapters.redis.store import Store
from sandbox_billing.interfaces import DueSession
from sandbox_billing.ledger.identity import ChargeId
from sandbox_billing.ledger.merging import merge_plan
from sandbox_billing.ledger.metering import Tick
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services import generator
from sandbox_billing.services.backlog import left_before
from sandbox_billing.services.generator import Generator
from sandbox_billing.services.merger import Merger
from tests.fixtures import ALICE, BOB, INTERVAL, World, WorldCase
from tests.services.test_pause import DRAINED, PauseCase


class PagingTests(PauseCase):
    """Sessions that cannot be charged stand in front of those that can."""

    def test_behind_the_unchargeable(self) -> None:
        """Under a pause every session is looked at, however many cannot be charged (K21)."""
        world = self.world
        stuck = world.create()
        world.advance(10)
        other = world.create()
        world.advance(20)
        self.patch(generator, "PAGE", 1)
        self.pause()
        step = Generator._step

        def without(
            service: Generator, due: DueSession, now: UnixSeconds, since: UnixSeconds | None
        ) -> Tick | None:
            if due.session.value.sandbox == stuck and since is not None:
                return None
            return step(service, due, now, since)

        self.patch(Generator, "_step", without)
        world.advance(DRAINED)
        self.assertGreaterEqual(world.session(other).charged_until, self.stands.value.since)


class MergedTests(WorldCase):
    """Charges become one while they are counted."""

    def setUp(self) -> None:
        async def nothing(_merger: Merger) -> None:
            pass

        # Before the world: its worker keeps the method.
        self.patch(Merger, "turn", nothing)
        super().setUp()

    def test_merged_between_list_and_charges(self) -> None:
        """A drain sees the whole that its listed parts have just become (K21)."""
        world = self.world
        world.fund(10**7)
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: len(world.charges()) >= 5, 8 * INTERVAL)
        eyes, now = world.eyes, world.wall.now()
        expected = world.now(left_before(eyes.meter, eyes.backlog, now))
        merging, read_many = world.process.journal.merging, Store.read_many
        merged: list[int] = []
        begun: list[bool] = []

        async def late(store: Store, reads: Sequence[Read]) -> tuple[Reply, ...]:
            if not begun and reads and ":charge:" in reads[0].key:
                begun.append(True)
                found = await merging.unsigned(ALICE, now, 1000)
                records = {r.value.charge.id: r for r in found}
                for group in merge_plan(r.value for r in found):
                    merged.append(len(group))
                    await merging.merge([records[part.charge.id] for part in group])
            return await read_many(store, reads)

        self.patch(Store, "read_many", late)
        seen = world.run(left_before(eyes.meter, eyes.backlog, now))
        self.assertGreater(sum(merged), 1)
        self.assertEqual(seen.amount, expected.amount)


class LeftOutTests(WorldCase):
    """A wallet that the settler leaves to a human."""

    def damaged(self, key: Any) -> None:
        """Something of Alice's cannot be read, and time passes."""
        world = self.world
        world.keyspace._values[key] = b"{"
        world.advance(8 * INTERVAL)
        world.fund(10**6, BOB)
        world.run(world.process.intake.create(BOB, {}, auto_stop_minutes=None))

    def setUp(self) -> None:
        self.world = World(lock_time=300).start()
        self.addCleanup(self.world.simulator.close)
        self.world.fund(10**6)

    def test_parked_charge(self) -> None:
        """A sealed charge that is damaged closes its own wallet's door alone (K13)."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        sandbox = world.create()
        world.until(lambda: world.charges()[0].seal is not None)
        world.acknowledge(acknowledged=False)
        world.net.withholds = lambda transaction: False
        world.until(lambda: type(world.charges()[0].state).__name__ == "Parked", 100)
        world.acknowledge()
        self.damaged(world.eyes.store.keys.charge(ChargeId(f"{sandbox}:create")))

    def test_account(self) -> None:
        """So does an account that is damaged."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: world.charges()[0].seal is not None)
        self.damaged(world.eyes.store.keys.account(ALICE))
