"""
The whole daemon against the contract that is deployed today: C{services.planning},
C{services.tracing} and what the others do there (failures.md, D1 to D7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from sandbox_billing.adapters.memory.blocks import read_settlement
from sandbox_billing.adapters.memory.contract import Contract
from sandbox_billing.interfaces import CannotPay, Line, NodeBehind
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.backlog import Standing
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    ChargeRecord,
    Open,
    Paid,
    Parked,
    Partial,
    Signed,
)
from sandbox_billing.services.readiness import DoorWatch
from sandbox_billing.services.second_look import DEPTH
from sandbox_billing.services.tracing import PATIENCE_SECONDS
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    HOLD,
    INTERVAL,
    PER_CPU,
    PER_GIB,
    PER_SECOND,
    PROVIDER,
    SIGNER,
    World,
    WorldCase,
)


STRANGER = Address("0x" + "5a" * 20)
RICH = 10**6


class FlawedCase(WorldCase):
    """A world with the flawed contract; nothing is lost or taken too much unless a race did."""

    def setUp(self) -> None:
        self.world = World(behaviour=Behaviour.FLAWED).start()

    def tearDown(self) -> None:
        self.mined()
        self.world.advance(6)
        lost = sum(race.lost for race in self.races)
        credit = sum(race.credit for race in self.races)
        self.assertEqual(self.world.net.head.state.nobodys, lost, "L12: K1 was set off")
        settled = sum(self.world.books(who).settled for who in (ALICE, BOB))
        self.assertEqual(self.world.earned, settled + credit, "L12: K2")
        super().tearDown()

    @property
    def races(self) -> Sequence[Race]:
        """What was noted."""
        return self.world.now(self.world.eyes.history.races())

    def unlock(self) -> None:
        """The refund that is pending is withdrawn, as if the lock had passed."""

        def past(contract: Contract) -> None:
            slot = contract.state.slot(PROVIDER, ALICE)
            contract.state.slots[(PROVIDER, ALICE)] = evolve(slot, unlock_at=0)
            contract.withdraw_refund(ALICE, PROVIDER)

        self.world.deposits[ALICE] -= self.world.slot().pending
        self.world.net.act(past)

    def signed(self) -> None:
        """A first voucher is signed and sent, and not mined yet."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: any(isinstance(r.state, Signed) for r in world.charges()))
        world.until(lambda: world.net.pool != [])

    def mined(self) -> None:
        """What was withheld is mined."""
        self.world.net.withholds = lambda transaction: False

    def seen(self) -> list[Line]:
        """The vouchers that anybody sees in the pool."""
        lines: list[Line] = []
        spied: Any = type("Spy", (), {"settle": lambda _s, _f, _p, found: lines.extend(found)})()
        for batch in self.world.now(self.world.eyes.queue.batches()):
            for attempt in batch.value.attempts[-1:]:
                read_settlement(attempt.raw).call(spied)
        return lines

    def front_run(self, *lines: Line) -> None:
        """A stranger submits them first (K8)."""
        self.world.net.act(lambda contract: contract.settle(STRANGER, PROVIDER, lines))

    def state(self, id_end: str = ":create") -> Any:
        """Of the charge whose id ends so."""
        (record,) = [r for r in self.world.charges() if r.charge.id.endswith(id_end)]
        return record.state


class OrdinaryTests(FlawedCase):
    """Where nobody asks for a refund and everybody can pay."""

    def test_a_life(self) -> None:
        """Created, ticked, stopped and paid, on a version that starts at 0."""
        world = self.world
        service = world.net.head.state.services[PROVIDER]
        self.assertEqual(service.signer_version, 0)
        world.fund(RICH)
        sandbox = world.create()
        world.advance(2 * INTERVAL)
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.until(lambda: world.books().pending == 0 and world.quiet, 120)
        self.assertEqual(world.earned, sum(world.amounts().values()))
        self.assertGreater(world.earned, FEE + INTERVAL * PER_SECOND)

    def test_known(self) -> None:
        """The mirror says what contract it is, and readiness tells."""
        world = self.world
        mirror = world.now(world.eyes.doors.mirror())
        assert mirror is not None
        self.assertIs(mirror.value.behaviour, Behaviour.FLAWED)
        watch = DoorWatch(doors=world.eyes.doors, wall=world.wall, policy=world.policy)
        self.assertIsNone(watch.contract())
        world.now(watch.turn())
        self.assertIn("K1", str(watch.contract()))

    def test_acknowledgement(self) -> None:
        """Yes, no, and yes again: what was refused is parked, and paid with the same bytes."""
        world = self.world
        world.fund(RICH)
        self.signed()
        (nonce,) = [line.nonce for line in self.seen()]
        world.acknowledge(acknowledged=False)
        self.mined()
        world.until(lambda: isinstance(self.state(), Parked), 60)
        world.acknowledge()
        world.until(lambda: isinstance(self.state(), Paid), 90)
        self.assertEqual(self.state().seal.nonce, nonce)

    def test_versions(self) -> None:
        """A raise from 0 to 1 voids the yes of version 0, and only that."""
        world = self.world
        world.fund(RICH)
        raised = Prices(
            per_cpu_per_minute=Neuron(2 * PER_CPU),
            per_memory_gib_per_minute=Neuron(PER_GIB),
            create_fee=Neuron(FEE),
        )
        world.register(prices=raised)
        world.advance(5)
        self.assertEqual(world.net.head.state.services[PROVIDER].signer_version, 1)
        why = self.fails(CannotPay, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        self.assertEqual(why.code, "not_acknowledged")
        world.acknowledge()
        world.advance(5)
        world.create()


class PoorTests(FlawedCase):
    """D2: never a fee above the balance."""

    def test_cut(self) -> None:
        """What is there is paid in full; the rest is a debt, and paid first after a deposit."""
        world = self.world
        world.fund(RICH)
        sandbox = world.create()
        world.until(lambda: world.earned == FEE, 60)
        # Nobody could see this coming: the money is gone while it runs.
        world.withdraw(world.slot().balance - 7)
        world.until(lambda: any(":rest:" in name for name in world.amounts()), 120)
        (rest,) = [r.charge for r in world.charges() if ":rest:" in r.charge.id]
        whole, _, nonce = rest.id.partition(":rest:")
        self.assertEqual(world.amounts()[whole], 7)
        self.assertEqual((0, ChargeKind.DEBT), (rest.units, rest.kind))
        self.assertTrue(world.funds().exposure.in_debt)
        world.until(lambda: world.earned == FEE + 7, 60)
        world.until(lambda: isinstance(self.state(whole), Paid), 30)
        self.assertEqual(nonce, str(self.state(whole).seal.nonce))
        world.until(lambda: world.funds().blocked is not None, 30)
        world.until(lambda: world.state(sandbox) == "stopped", 120)
        world.deposit(RICH)
        world.until(lambda: world.books().settled == world.books().charged, 200)
        world.until(lambda: world.funds().blocked is None, 60)

    def test_nothing(self) -> None:
        """With balance 0 nothing is sent, and nothing signed."""
        world = self.world
        world.fund(RICH)
        world.create()
        world.until(lambda: world.earned == FEE, 60)
        world.withdraw(world.slot().balance)
        world.advance(60)
        states = [r.state for r in world.charges() if r.charge.kind is ChargeKind.COMPUTE]
        self.assertTrue(states)
        self.assertEqual({Open()}, set(states))
        self.assertEqual(world.earned, FEE)


class RefundTests(FlawedCase):
    """D1 and D6."""

    def test_held(self) -> None:
        """What would trim the refund is held and stays counted, until it is withdrawn."""
        world = self.world
        world.fund(RICH)
        world.net.withholds = lambda transaction: False
        world.request_refund(RICH * 6 // 10)
        world.advance(4)
        why = self.fails(CannotPay, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        self.assertEqual(why.code, "insufficient_balance")
        self.unlock()
        world.advance(4)
        world.create()
        world.until(lambda: world.earned == FEE, 60)

    def test_settled_at_once(self) -> None:
        """What passes goes out; what does not waits, and closes nobody else's door."""
        world = self.world
        world.fund(RICH)
        sandbox = world.create()
        world.until(lambda: world.earned == FEE, 60)
        world.request_refund(world.slot().balance - 1)
        world.until(lambda: world.order(sandbox) is not None, 10)
        world.until(lambda: world.state(sandbox) == "stopped", 60)
        world.advance(90)
        self.assertEqual(world.earned, FEE)
        held = [r for r in world.charges() if isinstance(r.state, Open)]
        self.assertTrue(held)
        self.assertGreaterEqual(world.funds().exposure.owed(0), sum(r.charge.amount for r in held))
        claims = world.now(world.eyes.backlog.claims(0, None)).found
        self.assertEqual({Standing.UNFUNDED}, {claim.standing for claim in claims})
        # Made smaller, so that everything fits.
        world.request_refund(RICH // 10)
        world.until(lambda: world.books().pending == 0, 90)
        self.assertEqual(world.slot().pending, RICH // 10)

    def test_all_asked_back(self) -> None:
        """Who asks for everything is stopped at once, and what is owed beyond it goes out whole."""
        world = self.world
        world.fund(FEE + HOLD + 100)
        sandbox = world.create()
        world.until(lambda: world.earned == FEE, 60)
        world.advance(20)
        world.request_refund(world.slot().balance)
        world.until(lambda: world.order(sandbox) is not None, 10)
        world.until(lambda: world.state(sandbox) == "stopped", 60)
        world.advance(60)
        self.assertEqual(world.earned, FEE)

    def test_stopped_at_once(self) -> None:
        """D6: less than an interval is left beside the refund: stopped, long before it is empty."""
        world = self.world
        world.fund(RICH)
        sandbox = world.create()
        world.until(lambda: world.earned == FEE, 60)
        left = HOLD - PER_SECOND
        # Half of it is as much as the refund, and cannot be collected beside it.
        world.withdraw(world.slot().balance - 3 * left)
        world.advance(4)
        self.assertIsNone(world.order(sandbox))
        world.request_refund(left)
        world.until(lambda: world.order(sandbox) is not None, 8)

    def test_signed_and_not_sent(self) -> None:
        """Between signing and the first broadcast the newest block is looked at again."""
        world = self.world
        world.fund(RICH)
        # Sign, and nothing to pay gas with.
        purse = world.net.purses[SIGNER.address]
        world.net.purses[SIGNER.address] = 0
        world.create()
        world.until(lambda: any(isinstance(r.state, Signed) for r in world.charges()), 60)
        world.request_refund(RICH * 6 // 10)
        world.net.purses[SIGNER.address] = purse
        world.advance(60)
        self.assertEqual(world.earned, 0)
        self.assertIsInstance(self.state(), Signed)
        nonce = self.state().seal.nonce
        self.unlock()
        world.until(lambda: isinstance(self.state(), Paid), 90)
        self.assertEqual(self.state().seal.nonce, nonce)

    def test_upgraded(self) -> None:
        """Once the contract is mended, what was held goes out, refund pending or not."""
        world = self.world
        world.fund(RICH)
        world.create()
        world.until(lambda: world.earned == FEE, 60)
        world.request_refund(world.slot().balance - 1)
        world.advance(40)
        self.assertEqual(world.earned, FEE)

        def mend(contract: Contract) -> None:
            slot = contract.state.slot(PROVIDER, ALICE)
            service = contract.state.services[PROVIDER]
            contract.state.services[PROVIDER] = evolve(service, signer_version=1)
            after = evolve(slot, acknowledged=1)
            contract.state.slots[(PROVIDER, ALICE)] = after
            contract.state.behaviour = Behaviour.FIXED

        world.net.act(mend)
        world.until(lambda: world.books().pending == 0, 120)
        self.assertGreater(world.earned, FEE)


class RaceTests(FlawedCase):
    """The race that remains: found out, counted, credited (D7)."""

    def test_k1(self) -> None:
        """A refund between our look and our transaction is trimmed: counted as lost."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.request_refund(RICH * 9 // 10)
        self.mined()
        world.until(lambda: isinstance(self.state(), Paid), 60)
        (race,) = self.races
        kept = RICH // 10 - FEE
        self.assertEqual((RICH * 9 // 10 - kept, 0), (race.lost, race.credit))
        self.assertEqual((ALICE, self.state().seal.nonce), (race.wallet, race.nonce))
        world.until(lambda: "credits" in world.process.readiness.notices(), 70)
        self.assertIn(f"{race.lost} neuron", world.process.readiness.notices()["credits"])

    def test_k2(self) -> None:
        """All of it taken for a small fee: paid, and the rest is the user's credit."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.request_refund(RICH)
        self.mined()
        world.until(lambda: isinstance(self.state(), Paid), 60)
        (race,) = self.races
        self.assertEqual((0, RICH - FEE), (race.lost, race.credit))
        world.until(lambda: "credits" in world.process.readiness.notices(), 70)
        notice = world.process.readiness.notices()["credits"]
        self.assertIn(f"{ALICE.hex} {RICH - FEE}", notice)
        self.assertNotIn("lost", notice)
        self.assertEqual(world.books().dead, 0)

    def test_in_one_block(self) -> None:
        """The refund stands in the block of the voucher, before it."""
        world = self.world
        world.fund(RICH)
        self.signed()
        self.mined()
        world.net.call(lambda c: c.deposit(ALICE, PROVIDER, 10))
        world.net.call(lambda c: c.request_refund(ALICE, PROVIDER, RICH + 10))
        world.deposits[ALICE] += 10
        ours, *users = world.net.pool
        world.net.pool[:] = [*users, ours]
        world.until(lambda: isinstance(self.state(), Paid), 60)
        self.assertEqual([RICH + 10 - FEE], [race.credit for race in self.races])

    def test_partial(self) -> None:
        """The event says the fee, the replay what was paid: the rest is a debt, to the neuron."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.withdraw(RICH - 3_000)
        self.mined()
        world.until(lambda: isinstance(self.state(), Partial), 60)
        state = self.state()
        self.assertEqual((3_000, FEE - 3_000), (state.paid, state.owed))
        self.assertEqual((), self.races)
        world.until(lambda: world.funds().blocked is not None, 10)


class FrontRunTests(FlawedCase):
    """K8: anybody may submit what is seen in the pool."""

    def test_paid(self) -> None:
        """The event counts, in whatever transaction it stands; ours finds the nonce used."""
        world = self.world
        world.fund(RICH)
        self.signed()
        self.front_run(*self.seen())
        self.assertEqual(world.earned, FEE)
        self.mined()
        world.until(lambda: isinstance(self.state(), Paid), 60)
        ours = [b.value.attempts for b in world.now(world.eyes.queue.batches())]
        self.assertEqual([], ours)
        world.advance(30)
        self.assertEqual(world.books().settled, world.earned)

    def test_insufficient(self) -> None:
        """A user with little submits his own first: booked as what it is, and he is stopped."""
        world = self.world
        world.fund(RICH)
        self.signed()
        (sandbox,) = world.simulator.records
        world.withdraw(RICH - 1)
        self.front_run(*self.seen())
        self.mined()
        world.until(lambda: isinstance(self.state(), Partial), 60)
        self.assertEqual(1, self.state().paid)
        world.until(
            lambda: world.order(sandbox) is not None or world.state(sandbox) != "started", 20
        )
        world.until(lambda: world.state(sandbox) == "stopped", 90)

    def test_only_the_last(self) -> None:
        """The last of several alone: the others are void, get new nonces, and are paid."""
        self.world.simulator.close()
        world = self.world = World(behaviour=Behaviour.FLAWED, settle_min=Neuron(RICH)).start()
        world.fund(RICH)
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.create()
        world.until(lambda: world.net.pool != [], 60)
        lines = self.seen()
        nonces = [line.nonce for line in lines]
        self.assertEqual([1, 2], nonces)
        self.front_run(lines[-1])
        self.mined()
        world.until(lambda: world.books().pending == 0 and world.earned > 2 * FEE, 200)
        self.assertEqual(world.books().settled, world.earned)
        self.assertEqual(world.books().dead, 0)


class FlightTests(FlawedCase):
    """D4."""

    def test_one_transaction_per_wallet(self) -> None:
        """While a wallet's batch is on its way nothing more of it is signed, in order after it."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.advance(INTERVAL + 10)
        batches = world.now(world.eyes.queue.batches())
        self.assertEqual(1, len(batches))
        self.mined()
        world.until(lambda: world.books().pending == 0, 120)
        settled = world.now(
            world.eyes.history.settlements(ALICE, since=0, page=0, page_size=50)  # type: ignore[arg-type]
        )[1]
        nonces = [event.nonce for event in settled]
        self.assertEqual(sorted(set(nonces)), nonces)


class Forgetful:
    """
    A chain whose node keeps no state but the newest.

    @ivar forgets: Whether it does.
    @ivar only: Blocks that it has forgotten; None: all but the newest.
    """

    def __init__(self, world: World) -> None:
        self._world, self._inner = world, world.process.chain.inner
        self.forgets = True
        self.only: set[int] | None = None
        world.process.chain.inner = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def accounts(self, wallets: Any, at: Any) -> Any:
        """As they are now, or not at all."""
        old = at.number < self._world.net.head.ref.number - 2
        if self.forgets and (old if self.only is None else at.number in self.only):
            raise NodeBehind("pruned")
        return await self._inner.accounts(wallets, at)


class ForgetfulTests(FlawedCase):
    """What nodes do not keep."""

    def test_hiccup_after_an_outage(self) -> None:
        """An hour is counted from our first try: one refusal after a long outage is no hour."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.withdraw(RICH - 3_000)
        world.kill()
        self.mined()
        world.advance(7_200)
        world.process = world.birth()
        node = Forgetful(world)
        world.process.start()
        world.flush()
        world.advance(60)
        self.assertIsInstance(self.state(), Signed)
        node.forgets = False
        world.until(lambda: isinstance(self.state(), Partial), 60)
        self.assertEqual(3_000, self.state().paid)

    def test_hiccup_at_a_race(self) -> None:
        """One refusal hides no race of a voucher that was paid in full."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.request_refund(RICH * 9 // 10)
        node = Forgetful(world)
        self.mined()
        world.advance(20)
        self.assertEqual((), self.races)
        node.forgets = False
        world.until(lambda: isinstance(self.state(), Paid), 60)
        (race,) = self.races
        self.assertEqual(RICH * 9 // 10 - (RICH // 10 - FEE), race.lost)

    def test_gap_in_the_logs(self) -> None:
        """A node that has lost the event we know of hides no race, and is no riddle."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.request_refund(RICH * 9 // 10)
        inner = world.process.chain.inner

        class Gap:
            """Tells of settlements while it is asked for more than one block."""

            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            async def happenings(self, first: int, last: int) -> Any:
                told = await inner.happenings(first, last)
                return evolve(told, settlements=()) if first == last else told

        world.process.chain.inner = Gap()
        self.mined()
        world.until(lambda: isinstance(self.state(), Paid), 60)
        (race,) = self.races
        self.assertEqual(RICH * 9 // 10 - (RICH // 10 - FEE), race.lost)

    def both_signed(self) -> None:
        """Create fees of two wallets, in one transaction that nobody mines yet."""
        world = self.world
        world.fund(RICH)
        world.fund(RICH, BOB)
        world.net.withholds = lambda transaction: transaction.sender is not None
        for who in (ALICE, BOB):
            world.begin(world.process.intake.create(who, {}, auto_stop_minutes=None))
        world.until(lambda: world.net.pool != [], 60)

    def test_nobody_waits_for_another(self) -> None:
        """What one wallet was paid cannot be told: the others of its batch are settled at once."""
        world = self.world
        self.both_signed()
        (batch,) = world.now(world.eyes.queue.batches())
        self.assertEqual({ALICE, BOB}, set(batch.value.wallets))
        # Bob's was in an earlier block, of which everything is known.
        self.front_run(*[line for line in self.seen() if line.user == BOB])
        world.withdraw(RICH - 3_000)
        number = world.net.head.ref.number + 1
        node = Forgetful(world)
        node.only = {number - 1, number}
        self.mined()
        world.advance(40)
        self.assertGreater(world.books(BOB).settled, 0)
        self.assertIsInstance(self.state(), Signed)
        before = world.now(world.eyes.history.totals())
        node.forgets = False
        world.until(lambda: isinstance(self.state(), Partial), 400)
        self.assertEqual(3_000, self.state().paid)
        after = world.now(world.eyes.history.totals())
        self.assertGreater(after.batches, before.batches)
        # Each part is looked at again by itself.
        world.advance(DEPTH)
        debts = [r for r in world.charges() if ":debt:" in r.charge.id]
        world.deposit(RICH)
        world.until(lambda: all(r.state != Open() for r in self.again(debts)), 120)

    def test_in_one_transaction(self) -> None:
        """Nor in the very transaction: what a wallet was paid in full is told by its event."""
        world = self.world
        self.both_signed()
        self.assertEqual({ALICE, BOB}, {line.user for line in self.seen()})
        world.withdraw(RICH - 3_000)
        node = Forgetful(world)
        node.only = {world.net.head.ref.number}
        self.mined()
        world.until(lambda: world.books(BOB).settled > 0, 4 * PATIENCE_SECONDS)
        self.assertIsInstance(self.state(), Signed)
        node.forgets = False
        world.until(lambda: isinstance(self.state(), Partial), 400)
        world.until(lambda: world.earned == sum(world.books(w).settled for w in (ALICE, BOB)), 60)

    def again(self, records: Sequence[ChargeRecord]) -> list[ChargeRecord]:
        """The same charges as they are now."""
        ids = {record.charge.id for record in records}
        return [record for record in self.world.charges() if record.charge.id in ids]

    def test_waits(self) -> None:
        """Without the parent's state nothing is decided, and nobody else waits; then it is."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.withdraw(RICH - 3_000)
        node = Forgetful(world)
        self.mined()
        world.advance(40)
        self.assertIsInstance(self.state(), Signed)
        self.assertNotIn("watcher", world.process.troubles())
        node.forgets = False
        world.until(lambda: isinstance(self.state(), Partial), 60)
        self.assertEqual(3_000, self.state().paid)

    def test_paid_is_paid(self) -> None:
        """What an event says in full needs no old state."""
        world = self.world
        world.fund(RICH)
        node = Forgetful(world)
        world.create()
        world.until(lambda: isinstance(self.state(), Paid), PATIENCE_SECONDS + 60)
        node.forgets = False
        world.until(lambda: world.books().settled == world.earned, 120)
