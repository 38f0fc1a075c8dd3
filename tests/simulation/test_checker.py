"""The checker can fail: books that were tampered with, and daemons with a defect planted."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.blocks import Transaction
from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.interfaces import Ruling
from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.hold import Exposure
from sandbox_billing.ledger.identity import ChargeId, Nonce
from sandbox_billing.ledger.metering import Tick
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered, Paid, Partial
from sandbox_billing.wiring import Parts
from tests.fixtures import ALICE
from tests.services.lives import PROVIDER
from tests.simulation.clock import BASE
from tests.simulation.explore import finish, live
from tests.simulation.scenarios import BY_NAME, Scenario
from tests.simulation.stories import Story
from tests.simulation.world import KEYS, Sent, World


class Instead:
    """A port with some of its methods replaced."""

    def __init__(self, inner: Any, **methods: Any) -> None:
        self._inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def write(world: World, *steps: Write, token: bytes | None = None) -> None:
    """Store something behind everybody's back."""
    commit = Commit(name="tampered", fence=KEYS.fence(), token=token, writes=steps)
    _now(world.keyspace.commit(commit))


def _now(work: Any) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def compute_charge(world: World) -> ChargeRecord:
    """The first period that was charged."""
    values = world.keyspace.values()
    records = [
        decode(ChargeRecord, value)  # type: ignore[arg-type]
        for key, value in values.items()
        if key.startswith("billing:charge:")
    ]
    return min((r for r in records if r.charge.units), key=lambda r: r.charge.period_start)


def store(world: World, record: ChargeRecord) -> None:
    """As a charge is stored, with all that lists it."""
    charge = record.charge
    write(
        world,
        Write("SET", KEYS.charge(charge.id), (encode(record),)),
        Write("ZADD", KEYS.usage(charge.owner), (charge.created_at, charge.id)),
    )


class TamperedTests(SynchronousTestCase):
    """Every law has books that break it."""

    if os.environ.get("SIM_SEED") is not None:
        skip = "one seed is lived again"

    def tearDown(self) -> None:
        """What is broken complains, too."""
        self.flushLoggedErrors()

    def caught(self, law: str, tamper: Callable[[World], None]) -> None:
        """It is noticed, by its number."""
        ended = live(BY_NAME["create-tick-stop"], tamper=tamper)
        found = {problem.split(":")[0] for problem in ended.problems}
        self.assertIn(law, found, ended.problems)

    def test_l1(self) -> None:
        """Money that left the contract, or a balance that nobody paid in."""

        def native(world: World) -> None:
            world.net.head.state.native -= 1

        def balance(world: World) -> None:
            state = world.net.head.state
            slot = state.slot(PROVIDER, ALICE)
            state.slots[PROVIDER, ALICE] = evolve(slot, balance=slot.balance + 1)
            state.native += 1

        self.caught("L1", native)
        self.caught("L1", balance)

    def test_l2(self) -> None:
        """A period that overlaps another."""

        def twice(world: World) -> None:
            record = compute_charge(world)
            charge = record.charge
            again = evolve(
                charge,
                id=ChargeId(f"{charge.sandbox}:{charge.period_start + 1}"),
                period_start=UnixSeconds(charge.period_start + 1),
                units=charge.units - 1,
            )
            store(world, ChargeRecord(again))

        self.caught("L2", twice)

    def test_l3(self) -> None:
        """A second before it ran."""

        def early(world: World) -> None:
            record = compute_charge(world)
            start = UnixSeconds(record.charge.period_start - 9)
            charge = evolve(record.charge, period_start=start, units=record.charge.units + 9)
            store(world, evolve(record, charge=charge))

        self.caught("L3", early)

    def test_l4(self) -> None:
        """A hole in the middle, and a run that Daytona says was longer."""

        def hole(world: World) -> None:
            record = compute_charge(world)
            end = UnixSeconds(record.charge.period_end - 3)
            charge = evolve(record.charge, period_end=end, units=record.charge.units - 3)
            store(world, evolve(record, charge=charge))

        def longer(world: World) -> None:
            for row in world.simulator.records.values():
                start, end = row.shown.intervals[0]
                row.shown.intervals[0] = (start - 20, end)

        self.caught("L4", hole)
        self.caught("L4", longer)

    def test_l5(self) -> None:
        """A charge bound to two numbers, and a number bound to two charges."""

        def renumbered(world: World) -> None:
            record = compute_charge(world)
            assert isinstance(record.state, Paid)
            seal = evolve(record.state.seal, nonce=Nonce(99))
            store(world, evolve(record, state=evolve(record.state, seal=seal)))

        def shared(world: World) -> None:
            record = compute_charge(world)
            charge = evolve(record.charge, id=ChargeId("sb-1:9"), units=0)
            store(world, evolve(record, charge=charge))

        self.caught("L5", renumbered)
        self.caught("L5", shared)

    def test_l6(self) -> None:
        """A charge that is gone, given up, booked and not on chain, or hidden."""

        def gone(world: World) -> None:
            write(world, Write("DEL", KEYS.charge(compute_charge(world).charge.id)))

        def dead(world: World) -> None:
            record = compute_charge(world)
            store(world, evolve(record, state=DeadLettered(seal=record.seal, reason="lost")))

        def never(world: World) -> None:
            for block in world.net.blocks:
                if any(log.event.name == "VoucherSettled" for log in block.logs):
                    place = world.net.blocks.index(block)
                    world.net.blocks[place] = evolve(block, logs=())

        def hidden(world: World) -> None:
            write(world, Write("ZREM", KEYS.usage(ALICE), (compute_charge(world).charge.id,)))

        def held(world: World) -> None:
            write(world, Write("HSET", KEYS.exposure(ALICE), ("hold:ref-1", "5")))

        for tamper in (gone, dead, never, hidden, held):
            self.caught("L6", tamper)

    def test_l7(self) -> None:
        """A create that nobody reserved for, and one that its wallet could not cover."""

        def nobody(world: World) -> None:
            world.admitted.clear()

        def dear(world: World) -> None:
            world.admitted[0] = evolve(world.admitted[0], exposed=world.admitted[0].funds + 1)

        self.caught("L7", nobody)
        self.caught("L7", dear)

    def test_l8(self) -> None:
        """A stop that was ordered while it ran on for long."""

        def ordered(world: World) -> None:
            record = compute_charge(world)
            world.orders.append((record.charge.period_start + 1, record.charge.sandbox, True))

        self.caught("L8", ordered)

    def test_l10(self) -> None:
        """Bytes that were never stored, and a fact under an old token."""

        def stray(world: World) -> None:
            world.sent.append(Sent(BASE, "0xabc", 10**6))

        def too_early(world: World) -> None:
            world.sent[0] = evolve(world.sent[0], durable=0)

        def stale(world: World) -> None:
            write(world, Write("SET", KEYS.fence(), (b"1",)))
            write(world, Write("SET", KEYS.settled_until(), (b"1",)), token=b"1")

        for tamper in (stray, too_early, stale):
            self.caught("L10", tamper)

    def test_l11(self) -> None:
        """A charge that could be paid and is not."""

        def waits(world: World) -> None:
            record = compute_charge(world)
            store(world, ChargeRecord(record.charge))

        self.caught("L11", waits)

    def test_l12(self) -> None:
        """More than the seconds cost."""

        def dear(world: World) -> None:
            record = compute_charge(world)
            charge = evolve(record.charge, amount=Neuron(record.charge.amount + 1))
            store(world, evolve(record, charge=charge))

        self.caught("L12", dear)

    def test_nothing_planted(self) -> None:
        """Without any of this nothing is found."""
        self.assertEqual(live(BY_NAME["create-tick-stop"]).problems, [])


class PlantedTests(SynchronousTestCase):
    """Defects of the daemon that the laws notice."""

    if os.environ.get("SIM_SEED") is not None:
        skip = "one seed is lived again"

    def tearDown(self) -> None:
        """What is broken complains, too."""
        self.flushLoggedErrors()

    def caught(
        self,
        law: str,
        scenario: str,
        planted: Callable[[Parts], Parts],
    ) -> None:
        """It is noticed, by its number."""
        ended = live(BY_NAME[scenario], planted=planted)
        found = {problem.split(":")[0] for problem in ended.problems}
        self.assertIn(law, found, ended.problems)

    def test_last_voucher_lost(self) -> None:
        """B8: a session is closed without its last charge."""

        def planted(parts: Parts) -> Parts:
            doors = parts.journal.doors

            async def close_session(session: Any, closing: Tick, **kwargs: Any) -> None:
                await doors.close_session(session, evolve(closing, charge=None), **kwargs)

            journal: Any = evolve(parts.journal, doors=Instead(doors, close_session=close_session))
            return evolve(parts, journal=journal)

        self.caught("L4", "create-tick-stop", planted)

    def test_orders_forgotten(self) -> None:
        """B9: nobody carries a stop order out."""

        def planted(parts: Parts) -> Parts:
            async def due(now: int, limit: int) -> tuple[()]:
                return ()

            journal: Any = evolve(parts.journal, stops=Instead(parts.journal.stops, due=due))
            return evolve(parts, journal=journal)

        self.caught("L8", "revoke", planted)

    def test_limits_forgotten(self) -> None:
        """Nobody looks at what tokens have caused."""

        def planted(parts: Parts) -> Parts:
            async def to_check(now: int, limit: int) -> tuple[()]:
                return ()

            port: Any = Instead(parts.journal.spending, to_check=to_check)
            return evolve(parts, journal=evolve(parts.journal, spending=port))

        self.caught("L7", "limited-token", planted)

    def test_sent_before_it_is_on_disk(self) -> None:
        """S14: an attempt is broadcast that the store may forget."""

        def planted(parts: Parts) -> Parts:
            async def wait_for_disk(*_: Any) -> None:
                return

            parts.journal.queue.inner.store.keyspace.wait_for_disk = wait_for_disk
            return parts

        self.caught("L10", "create-tick-stop", planted)

    def test_admitted_twice(self) -> None:
        """P13: what is reserved already is not counted."""

        def planted(parts: Parts) -> Parts:
            doors = parts.journal.doors

            async def reserve(*args: Any, **kwargs: Any) -> Exposure:
                full = await doors.reserve(*args, **kwargs)
                held = [n for n in full.fields if n.startswith("hold:")]
                return Exposure({held[-1]: full.fields[held[-1]]} if held else {})

            journal: Any = evolve(parts.journal, doors=Instead(doors, reserve=reserve))
            return evolve(parts, journal=journal)

        self.caught("L7", "create-twice-at-once", planted)

    def test_debt_forgotten(self) -> None:
        """K4: what a partial payment left is written off without a word."""

        def planted(parts: Parts) -> Parts:
            queue = parts.journal.queue

            async def resolve(batch: Any, block: Any, rulings: Any, *rest: Any) -> None:
                await queue.resolve(batch, block, [_forgetful(r) for r in rulings], *rest)

            journal: Any = evolve(parts.journal, queue=Instead(queue, resolve=resolve))
            return evolve(parts, journal=journal)

        self.caught("L6", "create-broke-stop", planted)

    def test_flaw_ignored(self) -> None:
        """K1: the deployed contract is taken for ours, and a refund is trimmed."""

        def planted(parts: Parts) -> Parts:
            async def behaviour(at: Any) -> Behaviour:
                return Behaviour.FIXED

            chain: Any = Instead(parts.chain, behaviour=behaviour)
            return evolve(parts, chain=chain)

        async def script(story: Story) -> None:
            await story.fund(ALICE, 10**6)
            await story.create(ALICE)
            await story.world.sleep(10)
            balance = story.world.net.head.state.slot(PROVIDER, ALICE).balance
            # There is room for what runs, and for nothing of it beside the refund.
            story.world.request_refund(ALICE, balance * 6 // 10)
            await story.world.sleep(40)

        for plant, law in ((planted, {"L12"}), (lambda parts: parts, set())):
            world = World(behaviour=Behaviour.FLAWED, planted=plant)
            problems = finish(world, Scenario("refund", script)).problems
            # It ends in the middle: what is on its way is no matter here.
            found = {problem.split(":")[0] for problem in problems}
            self.assertEqual(found & {"L1", "L12", "surprise"}, law, problems)

    def test_daytona_ignored(self) -> None:
        """B11: what is shown stopped counts as seen running."""

        def planted(parts: Parts) -> Parts:
            meter = parts.journal.meter

            async def seen(observations: Any, *about: Any) -> None:
                now = parts.wall.now()
                sessions = await meter.sessions()
                await meter.seen({s.value.sandbox: now for s in sessions}, *about)

            journal: Any = evolve(parts.journal, meter=Instead(meter, seen=seen))
            return evolve(parts, journal=journal)

        self.caught("L3", "by-itself", planted)

    def test_sent_without_a_record(self) -> None:
        """T-2: something is broadcast that nobody stored."""

        def planted(parts: Parts) -> Parts:
            async def broadcast(attempt: Any) -> None:
                stray = Transaction(name="0xfeed", call=lambda c: None, sender=attempt.sender)
                parts.chain.inner.net.on_submit(stray)
                await parts.chain.broadcast(attempt)

            chain: Any = Instead(parts.chain, broadcast=broadcast)
            return evolve(parts, chain=chain)

        self.caught("L10", "two-workers", planted)


def _forgetful(ruling: Ruling) -> Ruling:
    state = ruling.after.state
    if not isinstance(state, Partial):
        return ruling
    paid = Paid(seal=state.seal, transaction=state.transaction, block=state.block)
    return evolve(ruling, after=evolve(ruling.after, state=paid), debt=None)
