"""Tests of C{sandbox_billing.services.purse}: an operator hears of an empty purse in time."""

from __future__ import annotations

from attrs import evolve
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.gas import BATCH, MANY, ONE, committed
from sandbox_billing.adapters.memory.blocks import GAS_PRICE
from sandbox_billing.adapters.memory.chain_faults import ReadsFail
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.services.purse import (
    FLOORS,
    GAS_OF_A_LINE,
    GAS_OF_A_VOUCHER,
    SAY_AGAIN_SECONDS,
    TRANSACTIONS,
    PurseWatch,
    low_create_fee,
)
from tests.fixtures import FEE, PRICES, PROVIDER, SIGNER, Wall, World, WorldCase


class PurseTests(WorldCase):
    """A purse that empties."""

    def watch(self, world: World, balance: int) -> PurseWatch:
        """What the worker would see."""
        world.net.purses[SIGNER.address] = balance
        parts = world.process.parts
        self.wall = Wall(world.clock)
        return PurseWatch(
            chain=parts.chain, wall=self.wall, policy=parts.policy, sender=SIGNER.address
        )

    def enough(self, world: World) -> int:
        """For so many full batches."""
        gas = GAS_OF_A_VOUCHER + GAS_OF_A_LINE * (world.policy.batch_max - 1)
        return TRANSACTIONS * gas * GAS_PRICE

    def warnings(self, watch: PurseWatch, turns: int = 1, seconds: int = 0) -> int:
        """How many its turns log."""
        with capturedLogs() as logs:
            for _ in range(turns):
                self.world.run(watch.turn())
                self.wall.skew += seconds
        return sum(
            event["log_level"] == LogLevel.warn
            for event in logs
            if "gas is low" in event["log_format"]
        )

    def test_enough(self) -> None:
        """With enough for a hundred batches nobody is told anything."""
        watch = self.watch(self.world, self.enough(self.world))
        self.assertIsNone(watch.notice())
        self.assertEqual(self.warnings(watch), 0)
        self.assertIsNone(watch.notice())

    def test_low(self) -> None:
        """With less the notice says how long it lasts, and the log says it once an hour."""
        watch = self.watch(self.world, self.enough(self.world) - 1)
        self.assertEqual(self.warnings(watch, turns=5), 1)
        self.assertIn("enough for about 99 full batches", watch.notice() or "")
        self.assertEqual(self.warnings(watch, turns=2, seconds=SAY_AGAIN_SECONDS), 1)
        self.world.net.purses[SIGNER.address] += 1
        self.assertEqual(self.warnings(watch), 0)
        self.assertIsNone(watch.notice())
        self.world.net.purses[SIGNER.address] -= 1
        self.assertEqual(self.warnings(watch), 1)

    def test_floor(self) -> None:
        """However cheap gas is, the floor at which sending stops must be far away."""
        floor = self.enough(self.world)
        world = World(gas_floor=Neuron(floor))
        watch = self.watch(world, FLOORS * floor - 1)
        world.run(watch.turn())
        self.assertIn("before sending stops", watch.notice() or "")
        world.net.purses[SIGNER.address] = FLOORS * floor
        world.run(watch.turn())
        self.assertIsNone(watch.notice())
        world.simulator.close()

    def test_told(self) -> None:
        """The worker tells readiness, as a notice: it is no fault yet."""
        readiness = self.world.process.readiness
        self.assertNotIn("gas account", readiness.notices())
        self.world.net.purses[SIGNER.address] = self.enough(self.world) // 2
        self.world.advance(40)
        self.assertIn("gas account", readiness.notices())
        self.assertNotIn("gas account", readiness.reasons())


class FeeTests(WorldCase):
    """What a create brings, and what it costs."""

    def told(self, **environment: Neuron) -> str | None:
        """What the log would say at start-up."""
        chain = self.world.process.chain
        return self.world.run(low_create_fee(chain, PROVIDER, Prices(**environment)))

    def test_low(self) -> None:
        """A fee on chain below the gas of its voucher is told with both figures."""
        text = self.told() or ""
        self.assertIn(f"the create fee is {FEE} neuron", text)
        self.assertIn(f"about {GAS_OF_A_VOUCHER * GAS_PRICE}", text)

    def test_enough(self) -> None:
        """One that covers it is not, to the neuron."""
        cost = GAS_OF_A_VOUCHER * GAS_PRICE
        for fee, fine in ((cost, True), (cost - 1, False)):
            self.world.register(prices=evolve(PRICES, create_fee=Neuron(fee)))
            self.assertEqual(self.told() is None, fine)

    def test_environment(self) -> None:
        """While the chain carries no prices, the environment's fee counts."""
        self.world.register(prices=Prices())
        cost = GAS_OF_A_VOUCHER * GAS_PRICE
        self.assertIsNotNone(self.told(flat_per_second=Neuron(7), create_fee=Neuron(11)))
        self.assertIsNone(self.told(flat_per_second=Neuron(7), create_fee=Neuron(cost)))

    def test_unknown(self) -> None:
        """A chain that is out holds no start up for this."""
        self.world.process.node.fault = ReadsFail()
        self.assertIsNone(self.told())


class GasTests(SynchronousTestCase):
    """What we reckon with is what was measured."""

    def test_measured(self) -> None:
        """One voucher alone, and each further one in a batch, within a few parts in a hundred."""
        gas = {(one.wallets, one.size): one.gas for one in committed() if one.path == BATCH}
        self.assertLess(abs(GAS_OF_A_VOUCHER - gas[ONE, 1]), gas[ONE, 1] / 50)
        further = (gas[MANY, 50] - gas[MANY, 1]) / 49
        self.assertLess(abs(GAS_OF_A_LINE - further), further / 50)
