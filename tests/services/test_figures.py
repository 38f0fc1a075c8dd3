"""What a whole world's worker measures, against its books."""

from __future__ import annotations

from math import inf

from attrs import evolve

from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.interfaces import UNMEASURED
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.laws import standing
from sandbox_billing.ledger.overview import QueueCount
from sandbox_billing.ledger.voucher import Paid
from sandbox_billing.services.figures import OF_THE_WORKER
from sandbox_billing.services.purse import WATCH_SECONDS
from tests.fixtures import ALICE, STOP_DELAY, SWEEP, World, WorldCase


READING = SWEEP + 1
"""As often as a sweep, where that is more often than every fifteen seconds."""


class FiguresTests(WorldCase):
    """A provider with a user, measured by what is strict about the vocabulary."""

    def setUp(self) -> None:
        """In the place of the process that every world has."""
        self.measures = MemoryMeasures()
        self.world = World()
        self.world.measures = self.measures
        self.world.process = self.world.birth()

    def shown(self, name: str, *labels: str) -> float:
        """A gauge."""
        return self.measures.shown[(name, *labels)]

    def test_a_day(self) -> None:
        """Whatever was charged, signed, settled and stopped is counted once, as it is booked."""
        world = self.world.start()
        world.fund(10**12)
        sandbox = world.create()
        world.until(lambda: world.state(sandbox) == "started")
        world.advance(READING)
        self.assertEqual(1, self.shown("sessions"))
        world.advance(130)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: not world.now(world.eyes.history.pending()), 400)
        world.advance(WATCH_SECONDS + 1)
        records = world.charges()
        counts, seen = self.measures.counts, self.measures.seen
        self.assertTrue(all(isinstance(one.state, Paid) for one in records))
        amount = sum(charge.amount for charge in standing(records))
        self.assertEqual(amount, counts["charged_neuron_total",])
        self.assertEqual(amount, counts["settled_neuron_total",])
        self.assertEqual(1, counts["charges_total", "create"])
        self.assertEqual(len(records) - 1, counts["charges_total", "compute"])
        self.assertEqual(len(records), counts["settled_vouchers_total", "paid"])
        self.assertEqual(len(records), sum(seen["batch_vouchers",]))
        totals = world.now(world.eyes.history.totals())
        self.assertEqual(totals.batches, len(seen["batch_gas",]))
        self.assertEqual(totals.batches, len(seen["confirmation_seconds",]))
        self.assertEqual(sum(seen["batch_gas",]), counts["gas_used_total",])
        self.assertEqual(0, self.shown("sessions"))
        self.assertEqual(0, self.shown("queue_charges", "unsigned"))
        self.assertEqual(0, self.shown("batches_in_flight"))
        self.assertEqual(0, self.shown("admissions_paused"))
        mirror = world.now(world.eyes.mirror.mirror())
        assert mirror is not None
        self.assertLessEqual(self.shown("mirror_block"), mirror.value.block.number)
        self.assertGreater(self.shown("gas_price_neuron"), 0)
        self.assertTrue(0 < self.shown("gas_wallet_days") < inf)
        self.assertEqual(
            world.run(world.process.parts.chain.gas_balance()), self.shown("gas_wallet_neuron")
        )
        self.assertIn(("turn_seconds", "settler"), seen)

    def test_ages(self) -> None:
        """What is not read any more grows old in the figures, whoever looks."""
        world = self.world.start()
        world.advance(READING)
        figures = world.process.work.figures
        assert figures is not None
        figures.show()
        before = self.shown("mirror_age_seconds")
        world.process.life.dead = True
        world.advance(50)
        figures.show()
        self.assertEqual(before + 50, self.shown("mirror_age_seconds"))

    def test_not_the_worker(self) -> None:
        """Who stops being the worker shows none of what only a worker knows."""
        world = self.world.start()
        world.fund(10**12)
        world.advance(WATCH_SECONDS + 1)
        names = {key[0] for key in self.measures.shown}
        self.assertEqual(set(), {one.name for one in OF_THE_WORKER} - names, "some are never shown")
        figures = world.process.work.figures
        assert figures is not None
        self.successResultOf(world.process.stop())
        figures.show()
        shown = {key[0] for key in self.measures.shown}
        self.assertEqual(set(), shown & {one.name for one in OF_THE_WORKER})

    def test_grown_meanwhile(self) -> None:
        """What was counted before it was read is never fewer than none."""
        world = self.world.start()
        world.advance(READING)
        figures = world.process.work.figures
        assert figures is not None and figures._seen is not None
        one = DeadLetter(kind="batch", name="b", reason="strange", since=world.wall.now())
        overview = evolve(
            figures._seen.overview, letters=(one,), queue=QueueCount(depth=0, counted=1)
        )
        figures._seen = evolve(figures._seen, overview=overview)
        figures.show()
        self.assertEqual(0, self.shown("dead_letters", "uncounted"))
        self.assertEqual(1, self.shown("dead_letters", "batch"))
        self.assertEqual(0, self.shown("queue_charges", "uncounted"))

    def test_differences_and_stops(self) -> None:
        """What ran past us is counted by what was found; a stop, from its order to its end."""
        world = self.world.start()
        world.fund(10**12)
        sandbox = world.create()
        world.until(lambda: world.state(sandbox) == "started")
        world.advance(30)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.state(sandbox) == "stopped")
        world.advance(30)
        world.simulator.start_behind(sandbox)
        world.until(lambda: world.session(sandbox) is not None, 60)
        self.assertEqual(1, self.measures.counts["reconcile_differences_total", "adopted"])
        now = world.wall.now()
        world.now(world.process.journal.stops.order(sandbox, "operator", now))
        world.until(lambda: world.state(sandbox) == "stopped", 60)
        world.advance(30)
        (seconds,) = self.measures.seen["stop_seconds",]
        self.assertTrue(0 <= seconds <= 30 + STOP_DELAY, seconds)

    def test_silent(self) -> None:
        """Where nobody measures nothing is read for it."""
        self.world.measures = UNMEASURED
        self.world.process = self.world.birth()
        self.world.start()
        self.assertIsNone(self.world.process.work.figures)
