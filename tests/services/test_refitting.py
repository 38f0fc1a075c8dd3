"""A sandbox in another size: the run is split where the new size is seen (P6, P9)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from sandbox_billing.errors import BadInput, Refused, UnknownOutcome
from sandbox_billing.interfaces import CannotPay, DaytonaRefused, NotYours, Sandbox, StopPending
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.resources import Resources
from tests.fixtures import ALICE, BOB, FEE, HOLD, PER_SECOND, RATE, World, WorldCase


DOUBLE = 2 * RATE
"""neuron per minute of two cores and two GiB."""


def _rates(world: World) -> list[tuple[int, int]]:
    """Rate and seconds of every charge for running, in their order."""
    return [(r.charge.rate, r.charge.units) for r in world.charges() if r.charge.units]


class BehindOurBackTests(WorldCase):
    """Somebody with Daytona's own key resized it."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(1_000_000)
        self.sandbox = self.world.create()
        self.world.advance(20)

    def resize(self, **sizes: int) -> None:
        """At once, without a state between."""
        world = self.world
        world.simulator.edit(world.simulator.records[self.sandbox], **sizes)

    def test_split(self) -> None:
        """Up to the observation at the old rate, from there at the new one, without a gap."""
        world = self.world
        begun = world.session(self.sandbox).started_at
        self.resize(cpu=2, memory=2)
        world.until(lambda: world.session(self.sandbox).rate == DOUBLE)
        session = world.session(self.sandbox)
        self.assertEqual(Resources(cpu=2, memory_gib=2), session.resources)
        self.assertEqual(2 * HOLD, session.hold)
        split = session.started_at
        self.assertEqual([(RATE, split - begun)], _rates(world))
        world.advance(10)
        at = world.wall.now()
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        self.assertEqual([(RATE, split - begun), (DOUBLE, at - split)], _rates(world))
        total = FEE + PER_SECOND * (split - begun) + 2 * PER_SECOND * (at - split)
        self.assertEqual(total, sum(world.amounts().values()))
        world.check_laws(ALICE)

    def test_smaller(self) -> None:
        """Less is cheaper from then on."""
        self.resize(cpu=2, memory=2)
        self.world.until(lambda: self.world.session(self.sandbox).rate == DOUBLE)
        self.resize(cpu=1, memory=1)
        self.world.until(lambda: self.world.session(self.sandbox).rate == RATE)

    def test_disk_alone(self) -> None:
        """What has no price of its own changes no rate, and is asked about once."""
        world = self.world
        self.resize(disk=9)
        world.until(lambda: world.session(self.sandbox).resources.disk_gib == 9)
        before = world.session(self.sandbox)
        self.assertEqual(RATE, before.rate)
        world.advance(20)
        self.assertEqual(before.started_at, world.session(self.sandbox).started_at)

    def test_unpriced(self) -> None:
        """A part without a price must not run: it is stopped, and charged as before until then."""
        world = self.world
        self.resize(gpu=1)
        world.until(lambda: world.state(self.sandbox) == "stopped")
        self.assertEqual({RATE}, {rate for rate, _ in _rates(world)})

    def test_runs_dry_sooner(self) -> None:
        """A size that its wallet cannot pay for long is stopped when the money ends."""
        world = self.world
        world.request_refund(world.slot().balance - 3 * HOLD)
        self.resize(cpu=4, memory=8)
        world.until(lambda: world.state(self.sandbox) == "stopped")
        world.advance(30)
        self.assertFalse(world.funds().exposure.in_debt)


class ResizeTests(WorldCase):
    """C{POST /api/sandbox/<id>/resize}."""

    # While it is C{resizing} it is not shown running, and charged all the same (§4.2).
    observed = False

    def setUp(self) -> None:
        """With the flag on, here and at Daytona."""
        self.world = self.started(allow_resize=True)
        self.sandbox = self.world.create()
        self.world.advance(20)

    def started(self, **policy: Any) -> World:
        """A world whose Daytona resizes."""
        world = World(**policy).start()
        self.addCleanup(world.simulator.close)
        world.simulator.resizes = True
        world.fund(FEE + 3 * HOLD)
        return world

    def resize(self, who: Address = ALICE, **sizes: int) -> Coroutine[Any, Any, Sandbox]:
        """A resize under way."""
        return self.world.process.intake.resize(who, self.sandbox, sizes)

    def resizes(self) -> int:
        """How often Daytona was asked."""
        return [name for name, *_ in self.world.process.runtime.asked].count("resize")

    def held(self) -> list[str]:
        """What intents hold."""
        return [f for f in self.world.funds().exposure.fields if f.startswith("hold")]

    def test_not_offered(self) -> None:
        """403 unless the operator allows it, and Daytona is not asked."""
        self.world = self.started()
        self.sandbox = self.world.create()
        self.assertIs(Refused, type(self.fails(Refused, self.resize(cpu=2))))
        self.assertEqual(0, self.resizes())

    def test_metered(self) -> None:
        """Money for the bigger size is held at once, and its rate counts once it is seen."""
        world = self.world
        world.run(self.resize(cpu=2, memory=2))
        if world.session(self.sandbox).rate != DOUBLE:
            self.assertEqual(1, len(self.held()))
        world.until(lambda: world.session(self.sandbox).rate == DOUBLE)
        self.assertEqual([], self.held())
        self.assertEqual(2 * HOLD, world.session(self.sandbox).hold)
        self.assertEqual({RATE}, {rate for rate, _ in _rates(world)})
        world.advance(70)
        self.assertEqual({RATE, DOUBLE}, {rate for rate, _ in _rates(world)})

    def test_cannot_pay(self) -> None:
        """402 when it does not fit; it runs on as it was."""
        world = self.world
        why = self.fails(CannotPay, self.resize(cpu=8, memory=8))
        self.assertEqual("insufficient_balance", why.code)
        self.assertEqual((0, []), (self.resizes(), self.held()))
        self.assertEqual(RATE, world.session(self.sandbox).rate)

    def test_disk(self) -> None:
        """Not beyond MAX_DISK_GB."""
        self.fails(BadInput, self.resize(disk=11))
        self.assertEqual(0, self.resizes())

    def test_refused(self) -> None:
        """What Daytona refuses is not held: less cannot be had while it runs."""
        self.world.run(self.resize(cpu=2))
        self.world.advance(20)
        self.fails(DaytonaRefused, self.resize(cpu=1, memory=3))
        self.assertEqual([], self.held())

    def test_stopped(self) -> None:
        """A stopped one takes nothing; its next start is admitted and rated by the new size."""
        world = self.world
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        world.advance(20)
        world.run(self.resize(cpu=2, memory=2, disk=5))
        self.assertEqual({}, dict(world.funds().exposure.fields))
        world.advance(20)
        world.run(world.process.intake.start(ALICE, self.sandbox))
        self.assertEqual(DOUBLE, world.session(self.sandbox).rate)

    def test_lost_reply(self) -> None:
        """Whatever became of it, the sweep meters what is seen, and the money is given back."""
        world = self.world
        world.simulator.lose_reply_next(route="resize")
        self.fails(UnknownOutcome, self.resize(cpu=2, memory=2))
        world.until(lambda: world.session(self.sandbox).rate == DOUBLE)
        self.assertEqual([], self.held())

    def test_never_done(self) -> None:
        """A request that got lost holds its money for the grace of any intent, and no longer."""
        world = self.world
        world.simulator.fail_next(502, route="resize")
        self.fails(UnknownOutcome, self.resize(cpu=2, memory=2))
        self.assertEqual(1, len(self.held()))
        world.deposit(100 * HOLD)
        world.advance(320)
        self.assertEqual([], self.held())
        self.assertEqual(RATE, world.session(self.sandbox).rate)

    def test_stranger(self) -> None:
        """Nobody resizes another's (L9)."""
        self.fails(NotYours, self.resize(BOB, cpu=2))
        self.assertEqual(0, self.resizes())

    def test_stop_pending(self) -> None:
        """409 while a stop order stands."""
        world = self.world
        world.now(world.process.journal.stops.order(self.sandbox, "operator", world.wall.now()))
        self.fails(StopPending, self.resize(cpu=2))

    def test_new_sandbox(self) -> None:
        """What was adopted by no session yet is left for a moment."""
        world = self.world
        world.process.turns["reconciler"].stopService()
        world.run(world.process.intake.stop(ALICE, self.sandbox))
        world.advance(20)
        world.simulator.start_behind(self.sandbox)
        self.fails(StopPending, self.resize(cpu=2))


class IdentityTests(WorldCase):
    """A refit is of the run it was planned for."""

    def test_later_run(self) -> None:
        """A session that was closed and opened again meanwhile keeps its own price."""
        world = self.world
        world.fund(1_000_000)
        sandbox = SandboxId(world.create())
        world.advance(20)
        record = world.simulator.records[sandbox]
        world.simulator.edit(record, cpu=2, memory=2)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(20)
        world.run(world.process.intake.start(ALICE, sandbox))
        world.advance(20)
        self.assertEqual([RATE], sorted({rate for rate, _ in _rates(world)}))
        self.assertEqual(DOUBLE, world.session(sandbox).rate)
