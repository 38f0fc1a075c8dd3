"""The environment's prices change while sandboxes run."""

from __future__ import annotations

from itertools import pairwise

from attrs import evolve

from sandbox_billing.adapters.memory.chain_faults import ReadsFail
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.tariff import Tariff
from tests.fixtures import ALICE, BASE, INTERVAL, PROVIDER, World, WorldCase


CHEAP = Prices(flat_per_second=Neuron(7), create_fee=Neuron(11))
DEAR = Prices(flat_per_second=Neuron(21), create_fee=Neuron(13))


class TariffTests(WorldCase):
    """Prices of the environment, on a chain that has none."""

    def setUp(self) -> None:
        self.tariff = Tariff(CHEAP, since=UnixSeconds(BASE))
        self.world = World(prices=self.tariff)
        self.world.register(prices=Prices())
        self.world.start()
        self.world.fund(10**7)

    def running(self) -> SandboxId:
        """A sandbox that was seen running."""
        sandbox = self.world.create()
        self.world.until(lambda: self.world.session(sandbox).started_at is not None)
        return sandbox

    def change(self, prices: Prices = DEAR) -> UnixSeconds:
        """What a reload does; from when on it counts."""
        since = self.world.wall.after()
        self.tariff.change(prices, since)
        return since

    def ran(self) -> int:
        """What was charged for running."""
        return sum(self.world.amounts().values()) - CHEAP.create_fee

    def test_split_to_the_second(self) -> None:
        """Every second before the change is at the old price, every one after it at the new."""
        world = self.world
        sandbox = self.running()
        begun = world.session(sandbox).started_at
        world.advance(INTERVAL // 3)
        since = self.change()
        world.until(lambda: world.session(sandbox).rate == 60 * 21)
        self.assertEqual(world.session(sandbox).started_at, since)
        self.assertEqual(self.ran(), 7 * (since - begun))
        world.advance(2 * INTERVAL)
        after = world.session(sandbox)
        self.assertEqual(self.ran(), 7 * (since - begun) + 21 * (after.charged_until - since))
        self.assertGreater(after.charged_until, since)

    def test_not_before_it_was_seen(self) -> None:
        """Nothing is split before an observation shows that the sandbox ran until the change."""
        world = self.world
        sandbox = self.running()
        world.advance(5)
        since = self.change()
        world.until(lambda: world.session(sandbox).rate == 60 * 21)
        self.assertGreaterEqual(world.now(world.eyes.meter.seen_at(sandbox)), since)

    def test_charged_meanwhile(self) -> None:
        """A period that was charged past the change stays charged; it is split after that."""
        world = self.world
        sandbox = self.running()
        begun = world.session(sandbox).started_at
        world.until(lambda: world.session(sandbox).charged_until > begun)
        charged = world.session(sandbox).charged_until
        self.tariff.change(DEAR, UnixSeconds(charged - 2))
        world.until(lambda: world.session(sandbox).rate == 60 * 21)
        self.assertEqual(world.session(sandbox).started_at, charged)
        self.assertEqual(self.ran(), 7 * (charged - begun))

    def test_admission(self) -> None:
        """Whoever creates after the change pays its fee and is admitted by its price."""
        self.change()
        sandbox = self.running()
        self.assertEqual(self.world.session(sandbox).rate, 60 * 21)
        self.assertEqual(sum(self.world.amounts().values()), 13)

    def test_chain_away(self) -> None:
        """Nobody waits for the chain: what it said last is enough, and an old price no more due."""
        world = self.world
        sandbox = self.running()
        begun = world.session(sandbox).started_at
        world.process.node.fault = ReadsFail()
        world.advance(2 * INTERVAL)
        charged = world.session(sandbox).charged_until
        since = self.change()
        world.advance(3 * INTERVAL)
        self.assertIn("too old", world.process.troubles()["treasurer"])
        after = world.session(sandbox)
        self.assertEqual(after.rate, 60 * 21)
        self.assertEqual(self.ran(), 7 * (since - begun) + 21 * (after.charged_until - since))
        self.assertGreater(after.charged_until, max(since, charged))

    def test_begun_at_the_old_price(self) -> None:
        """What was admitted before the change and began after it is at the new price."""
        world = self.world
        created = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        since = self.change()
        world.until(lambda: created.called)
        sandbox = self.successResultOf(created).id
        self.assertEqual(world.session(sandbox).rate, 60 * 7)
        world.until(lambda: world.session(sandbox).rate == 60 * 21)
        world.advance(INTERVAL * 2)
        session = world.session(sandbox)
        self.assertGreaterEqual(session.started_at, since)
        self.assertEqual(self.ran(), 21 * (session.charged_until - session.started_at))

    def test_next_worker(self) -> None:
        """With another price after a restart, what ran before that is at the price of before."""
        world = self.world
        sandbox = self.running()
        begun = world.session(sandbox).started_at
        world.advance(10)
        world.kill()
        self.tariff.change(DEAR, UnixSeconds(BASE))
        world.advance(5)
        world.restart()
        again = world.wall.now()
        world.until(lambda: world.session(sandbox).rate == 60 * 21)
        split = world.session(sandbox).started_at
        self.assertGreaterEqual(split, again)
        self.assertEqual(self.ran(), 7 * (split - begun))

    def test_dies_in_between(self) -> None:
        """Whoever dies between charge and new rate leaves no second out and takes none twice."""
        steps = [(name, after) for name in ("charge", "begin") for after in (False, True)]
        for name, after in steps:
            self.tearDown()
            self.setUp()
            world = self.world
            sandbox = self.running()
            world.advance(10)
            since, life = self.change(), world.process.life
            before = len(life.calls)
            life.dies_at, life.after = before + (1 if name == "charge" else 2), after
            world.until(lambda life=life: life.dead)
            self.assertTrue(life.calls[-1].startswith(name), life.calls[before:])
            world.restart()
            world.until(lambda world=world, one=sandbox: world.session(one).rate == 60 * 21)
            world.advance(2 * INTERVAL)
            world.check_laws(ALICE)
            charges = [one.charge for one in world.charges() if one.charge.units]
            charges.sort(key=lambda charge: charge.period_start)
            for earlier, later in pairwise(charges):
                self.assertEqual(earlier.period_end, later.period_start)
            for charge in charges:
                self.assertEqual(charge.amount, charge.units * charge.rate // 60)
                self.assertTrue(charge.rate == 60 * 7 or charge.period_start >= since)
            self.assertEqual({charge.rate for charge in charges}, {60 * 7, 60 * 21})

    def test_price_of_the_chain(self) -> None:
        """While the chain has prices, the environment's change nothing."""
        world = World(prices=self.tariff).start()
        self.addCleanup(world.simulator.close)
        world.fund(10**7)
        sandbox = world.create()
        rate = world.session(sandbox).rate
        self.change()
        world.advance(INTERVAL)
        self.assertEqual(world.session(sandbox).rate, rate)

    def test_no_price_left(self) -> None:
        """Without a price for it, what runs keeps the one that it has."""
        sandbox = self.running()
        self.change(Prices())
        self.world.advance(INTERVAL)
        self.assertEqual(self.world.session(sandbox).rate, 60 * 7)

    def test_read_again(self) -> None:
        """A registration that no event told of is found when a reload asks for it."""
        world = self.world
        services = world.net.head.state.services
        services[PROVIDER] = evolve(services[PROVIDER], url="https://moved.example")
        world.advance(10)
        self.assertEqual(self.url(), "https://p.example")
        self.tariff.read_again = True
        world.until(lambda: not self.tariff.read_again)
        self.assertEqual(self.url(), "https://moved.example")

    def url(self) -> str:
        """Of the provider, as the mirror has it."""
        return str(self.world.now(self.world.eyes.doors.mirror()).value.service.url)
