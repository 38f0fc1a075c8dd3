"""What would run free is not run at all (B14, B21)."""

from __future__ import annotations

from sandbox_billing.errors import Refused
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from tests.fixtures import ALICE, FEE, PER_CPU, World, WorldCase


class UnpricedTests(WorldCase):
    """Prices that leave nothing to pay."""

    def served(self, chain: Prices) -> World:
        """A provider whose environment has no price either."""
        self.world.simulator.close()
        self.world = world = World(prices=Prices()).start()
        world.register(prices=chain)
        world.fund(10**7)
        return world

    def refused(self, world: World) -> str:
        """Why nothing can be created; nothing is held or asked of Daytona for it."""
        work = world.process.intake.create(ALICE, {}, auto_stop_minutes=None)
        why: Refused = self.fails(Refused, work)
        self.assertEqual({}, dict(world.funds().exposure.fields))
        self.assertEqual({}, dict(world.simulator.records))
        return why.text

    def test_price_0(self) -> None:
        """A provider who has registered prices of 0 sells nothing."""
        self.assertIn("no price", self.refused(self.served(Prices())))

    def test_only_a_fee(self) -> None:
        """A fee for creating is no price of running."""
        self.assertIn("no price", self.refused(self.served(Prices(create_fee=Neuron(FEE)))))

    def test_some_price(self) -> None:
        """With a price of either it is sold."""
        world = self.served(Prices(per_cpu_per_minute=Neuron(PER_CPU)))
        self.assertEqual(PER_CPU, world.session(world.create()).rate)
