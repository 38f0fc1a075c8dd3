"""
Ways of losing or taking money that a review found, each put back by what the world does.

Named after what would go wrong; every one of these failed before its fix.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.devnet.daytona import Fault, FaultKind, Timings
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import NoSuchSnapshot, NotReady, StopPending
from sandbox_billing.ledger.effects import Close
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.services.reconciler import Reconciler
from tests.fixtures import ALICE, FEE, PER_CPU, PER_GIB, RATE, World, WorldCase
from tests.services.lives import SWEEP


DEARER = Prices(
    per_cpu_per_minute=Neuron(2 * PER_CPU),
    per_memory_gib_per_minute=Neuron(2 * PER_GIB),
    create_fee=Neuron(FEE),
)


class TrapTests(WorldCase):
    """Each a short story with an ending that was wrong once."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**7)

    def charged(self) -> int:
        """Seconds charged to Alice."""
        return sum(record.charge.units for record in self.world.charges())

    def stop(self, sandbox: SandboxId) -> None:
        """By its owner, until Daytona shows it."""
        self.world.run(self.world.process.intake.stop(ALICE, sandbox))
        self.world.until(lambda: self.world.state(sandbox) == "stopped")

    def test_delete_of_what_had_stopped(self) -> None:
        """Daytona deletes in any state: an accepted delete proves no running (L3)."""
        world = self.world
        sandbox = world.create()
        world.advance(60)
        # Sweeps fail, so nobody sees that it stops by itself.
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=500, route="list", count=None)
        )
        world.simulator.exit_container(sandbox)
        world.advance(1800)
        ran = world.simulator.running_seconds(sandbox)
        world.run(world.process.intake.delete(ALICE, sandbox))
        self.assertLessEqual(self.charged(), ran)

    def test_late_close(self) -> None:
        """What a sweep saw of one run does not end the next one (§4.2)."""
        world = self.world
        sandbox = world.create()
        world.advance(30)
        applying, gate = Reconciler._apply, Deferred[None]()
        held: list[Any] = []

        async def slow(reconciler: Reconciler, change: Any, seen: Any) -> None:
            if isinstance(change, Close) and not held:
                held.append(change)
                await gate
            await applying(reconciler, change, seen)

        self.patch(Reconciler, "_apply", slow)
        world.simulator.exit_container(sandbox)
        world.until(lambda: bool(held))
        world.advance(13)
        world.run(world.process.intake.start(ALICE, sandbox))
        opened = world.session(sandbox)
        gate.callback(None)
        world.flush()
        self.assertEqual(world.session(sandbox).reference, opened.reference)

    def test_start_and_stop_between_sweeps(self) -> None:
        """Many short runs are not many free ones."""
        world = self.world
        sandbox = world.create()
        self.stop(sandbox)
        ran, charged = world.simulator.running_seconds(sandbox), self.charged()
        for _ in range(10):
            world.until(lambda: world.clock.seconds() % SWEEP == 1)
            world.run(world.process.intake.start(ALICE, sandbox))
            world.advance(3)
            self.stop(sandbox)
        ran = world.simulator.running_seconds(sandbox) - ran
        self.assertGreater(self.charged() - charged, ran / 2)

    def test_second_start_while_restoring(self) -> None:
        """A sandbox that is being restored is shown archived, and has not ended."""
        world = World(Timings(restore_seconds=40.0)).start()
        self.addCleanup(world.simulator.close)
        self.world.simulator.close()
        self.world = world
        world.fund(10**7)
        sandbox = world.create()
        self.stop(sandbox)
        world.run(world.process.intake.archive(ALICE, sandbox))
        world.until(lambda: world.state(sandbox) == "archived")
        world.run(world.process.intake.start(ALICE, sandbox))
        world.advance(15)
        self.fails(StopPending, world.process.intake.start(ALICE, sandbox))
        self.assertIsNotNone(world.session(sandbox))

    def test_intent_beside_a_session(self) -> None:
        """A start that died holds nothing for ever once another start has succeeded."""
        world = self.world
        sandbox = world.create()
        self.stop(sandbox)
        world.advance(15)
        left = Intent(
            reference=world.ids.reference(),
            action="start",
            owner=ALICE,
            provider=world.policy.provider,
            sandbox=sandbox,
            hold=Neuron(77),
            create_fee=Neuron(0),
            rate=NeuronPerMinute(RATE),
            prices=world.policy.prices,
            signer_version=1,
            auto_stop_minutes=None,
            created_at=world.wall.now(),
        )
        world.now(world.eyes.doors.reserve(left, world.funds()))
        world.run(world.process.intake.start(ALICE, sandbox))
        world.advance(320)
        self.assertEqual(world.now(world.eyes.meter.intents()), ())
        self.assertNotIn(f"hold:{left.reference}", world.funds().exposure.fields)

    def test_chain_that_stands_still(self) -> None:
        """A node that answers and no longer follows the chain lets nobody in (§4.8)."""
        world = self.world
        stuck = world.net.head.ref.number
        self.patch(MemoryChain, "_newest", lambda chain: stuck)
        world.advance(10)
        world.request_refund(10**7)
        world.advance(world.policy.mirror_max_age + 20)
        self.fails(NotReady, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))

    def test_forgetful_node(self) -> None:
        """A batch that was mined long ago is resolved without the state of its block."""
        world = self.world
        world.create()
        world.until(lambda: any(b.value.attempts for b in world.now(world.eyes.queue.batches())))
        world.kill()
        world.net.mine(300)
        reading = MemoryChain._at

        def pruned(chain: MemoryChain, at: Any) -> Any:
            if chain.net.head.ref.number - at.number > 128:
                raise Transient("missing trie node")
            return reading(chain, at)

        self.patch(MemoryChain, "_at", pruned)
        world.restart()
        world.until(lambda: world.books().settled >= FEE, 60)

    def test_price_raised_before_the_session(self) -> None:
        """What is opened is rated on the card it was admitted with (§4.8)."""
        world = World(Timings(create_seconds=15)).start()
        self.addCleanup(world.simulator.close)
        self.world.simulator.close()
        self.world = world
        world.fund(10**7)
        made = world.begin(world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.advance(2)
        world.register(prices=DEARER)
        world.until(lambda: bool(made.called))
        self.assertEqual(world.session(SandboxId("sb-1")).rate, RATE)

    def test_price_of_what_runs(self) -> None:
        """Once the new version is acknowledged, what runs goes on at the new price (§4.8)."""
        world = self.world
        sandbox = world.create()
        world.advance(20)
        world.register(prices=DEARER)
        world.advance(10)
        self.assertEqual(world.session(sandbox).rate, RATE)
        world.acknowledge()
        world.until(lambda: world.session(sandbox).rate == 2 * RATE, 10)
        split_at = world.session(sandbox).started_at
        world.advance(60)
        self.stop(sandbox)
        dear = [r.charge for r in world.charges() if r.charge.period_start >= split_at]
        cheap = [
            r.charge
            for r in world.charges()
            if r.charge.units > 0 and r.charge.period_end <= split_at
        ]
        self.assertEqual({c.rate for c in dear}, {2 * RATE})
        self.assertEqual({c.rate for c in cheap}, {RATE})

    def test_unpriced_sandbox_of_ours(self) -> None:
        """What runs under a known wallet's label and has no price is stopped (B21)."""
        world = self.world
        world.create()
        made = world.run(
            world.runtime.create(
                {
                    "snapshot": "daytona-gpu",
                    "labels": {"daytona-owner": ALICE.hex},
                    "autoDeleteInterval": 0,
                }
            )
        )
        world.until(lambda: world.state(made.id) == "started")
        world.until(lambda: world.state(made.id) == "gone", 30)
        self.assertIsNone(world.session(made.id))

    def test_private_snapshot(self) -> None:
        """A snapshot that is not offered cannot be started from."""
        world = self.world
        snapshots = world.simulator.snapshots
        first = next(iter(snapshots))
        snapshots[first] = evolve(snapshots[first], general=False)
        self.fails(
            NoSuchSnapshot,
            world.process.intake.create(
                ALICE, {"snapshot": snapshots[first].name}, auto_stop_minutes=None
            ),
        )
