"""What every L{IResolved} and L{IDeadLetters} must do, and the totals."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.adapters.redis.resolution import HELD
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import (
    BlockedWallet,
    IDeadLetters,
    ILoss,
    IResolved,
    LeaseLost,
    Stale,
    Stored,
)
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.second_look import Resolution
from sandbox_billing.ledger.totals import Totals
from tests.ports.journal import (
    FEE,
    OWNER,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    batch_of,
    block,
    meddle,
    mirror,
    promised,
    rulings,
    running,
    signed,
    ticked,
)
from tests.ports.journal_queue import FAR, half, paid


async def ended(world: World, after: Any = half, number: int = 10) -> Stored[Resolution]:
    """A batch of a create fee and a period, resolved at a block."""
    await ticked(world, await running(world))
    batch = await signed(world)
    ruled = await rulings(world, batch, after, 30)
    await world.journal.queue.resolve(batch, block(number), ruled, (), (), gas=Neuron(21))
    (found,) = await world.journal.resolved.due(number, 9)
    return found


class ResolvedCase(JournalCase):
    """The second look."""

    async def test_interface(self) -> None:
        """The ports are provided as declared."""
        verifyObject(IResolved, self.world.journal.resolved)
        verifyObject(IDeadLetters, self.world.journal.letters)

    async def test_due(self) -> None:
        """A resolved batch is due at the block it was resolved at, and not before."""
        found = await ended(self.world, number=12)
        self.assertEqual(await self.world.journal.resolved.due(11, 9), ())
        self.assertEqual(found.value.block, block(12))
        self.assertEqual(
            [(v.wallet, v.nonce, v.paid) for v in found.value.verdicts],
            [(OWNER, 1, 1), (OWNER, 2, 1)],
        )

    async def test_debts_wait(self) -> None:
        """A debt, and all else the wallet owes, waits until its batch was looked at again."""
        found = await ended(self.world)
        older = UnixSeconds(T0 - 9)
        await running(self.world, "sb-0", opened_at=older, charged_until=older)
        queue = self.world.journal.queue
        self.assertEqual((await queue.queue(OWNER, FAR, 9)).records, ())
        await self.world.journal.resolved.checked(found, {}, ())
        self.assertEqual(await self.world.journal.resolved.due(FAR, 9), ())
        now = self.world.wall.now()
        self.assertEqual(await queue.ready(now, 9), (OWNER,))
        kinds = [r.value.charge.kind.value for r in (await queue.queue(OWNER, now, 2)).records]
        self.assertEqual(kinds, ["debt", "debt"])

    async def both_in_one(self, world: World) -> Stored[Batch]:
        """Two wallets' create fees in one batch."""
        await running(world)
        await running(world, "sb-2", owner=STRANGER)
        promises = [*await promised(world), *await promised(world, STRANGER)]
        return await world.journal.queue.sign(batch_of(promises), promises)

    async def test_in_parts(self) -> None:
        """What is clear of a batch ends, in any wallet's own part; the rest stays in it."""

        async def scenario(world: World, sure: Any) -> None:
            queue, gas = world.journal.queue, Neuron(21)
            batch = await self.both_in_one(world)
            first, second = await rulings(world, batch, half)
            news = account(balance=Neuron(7), block=11)
            await sure(lambda: queue.resolve(batch, block(), [first], [news], (), gas=gas))
            (left,) = await queue.batches()
            self.assertEqual((left.value.wallets, len(left.value.charges)), ((STRANGER,), 1))
            self.assertEqual(left.value.attempts, batch.value.attempts)
            self.assertIsNone((await queue.queue(OWNER, FAR, 9)).in_flight)
            self.assertEqual((await queue.queue(STRANGER, FAR, 9)).in_flight, left.value.id)
            totals = Totals(batches=0, vouchers=1, fees=Neuron(1))
            self.assertEqual(await world.journal.history.totals(), totals)
            await sure(lambda: queue.resolve(left, block(12), [second], (), (), gas=gas))
            self.assertEqual(await queue.batches(), ())
            totals = Totals(batches=1, vouchers=2, fees=Neuron(2), gas=gas)
            self.assertEqual(await world.journal.history.totals(), totals)
            # Each part is looked at again by itself, and its debts wait for that.
            parts = await world.journal.resolved.due(12, 9)
            told = [(p.value.block.number, [v.wallet for v in p.value.verdicts]) for p in parts]
            self.assertEqual(told, [(10, [OWNER]), (12, [STRANGER])])
            await world.journal.resolved.checked(parts[0], {}, ())
            ripe = await queue.queue(OWNER, world.wall.now(), 9)
            self.assertEqual([r.value.charge.kind.value for r in ripe.records], ["debt"])
            self.assertEqual((await queue.queue(STRANGER, FAR, 9)).records, ())

        await self.same_books(scenario)

    async def test_parts_of_something_else(self) -> None:
        """Nothing ends by the ruling of what is not in the batch, or of nothing (L6)."""
        world = self.world
        batch = await self.both_in_one(world)
        ruled = await rulings(world, batch, half)
        twice = [ruled[0], ruled[0]]
        for odd in ((), twice):
            await self.unchanged(
                BrokenLaw,
                lambda odd=odd: world.journal.queue.resolve(batch, block(), odd, (), ()),
            )

    async def test_forgiven_meanwhile(self) -> None:
        """A debt that is not in the queue any more does not come back."""
        found = await ended(self.world)
        keys = self.world.journal.store.keys
        gone = f"{SB}:create:debt:1"
        await meddle(self.world.keyspace, Write("ZREM", keys.first(OWNER), (gone,)))
        await self.world.journal.resolved.checked(found, {}, ())
        left = await self.raw("ZRANGE", keys.first(OWNER), 0, -1)
        self.assertNotIn(gone.encode(), left)

    async def test_kept(self) -> None:
        """It is kept until it was looked at, and a day from then."""
        found = await ended(self.world)
        key = self.world.journal.store.keys.outcome(found.value.batch.id)
        self.assertEqual(await self.raw("PTTL", key), b"-1")
        await self.world.journal.resolved.checked(found, {}, ())
        self.assertTrue(0 < int(await self.raw("PTTL", key)) <= 86_400_000)

    async def test_checked_twice(self) -> None:
        """Once is enough: a debt that was signed since is not put into the queue's order anew."""
        found = await ended(self.world)
        await self.world.journal.resolved.checked(found, {}, ())
        promises = await promised(self.world)
        await self.world.journal.queue.sign(batch_of(promises, "batch-2"), promises)
        self.world.wall.moment += 1
        await self.unchanged(Stale, lambda: self.world.journal.resolved.checked(found, {}, ()))

    async def test_lost_answers(self) -> None:
        """The same is stored whether or not an answer was lost."""

        async def scenario(world: World, sure: Any) -> None:
            found = await ended(world)
            funds = await world.journal.funds.funds(OWNER)
            blocked = [BlockedWallet(funds, "whatever")]
            doubts = {OWNER: "another outcome"}
            await sure(lambda: world.journal.resolved.checked(found, doubts, blocked))

        await self.same_books(scenario)

    async def test_doubts(self) -> None:
        """Another outcome quarantines the wallet, stops what it runs, and is told to a human."""
        found = await ended(self.world)
        funds = await self.world.journal.funds.funds(OWNER)
        doubts = {OWNER: "nonce 1 had paid more"}
        await self.world.journal.resolved.checked(found, doubts, [BlockedWallet(funds, "")])
        after = await self.world.journal.funds.funds(OWNER)
        self.assertEqual(after.blocked, QUARANTINED)
        self.assertEqual(await self.world.other.doors.stop_reason(found_sandbox()), QUARANTINED)
        (letter,) = await self.world.other.letters.letters()
        self.assertEqual((letter.kind, letter.reason), ("outcome", "nonce 1 had paid more"))
        self.assertEqual(letter.since, self.world.wall.now())

    async def test_funds_moved(self) -> None:
        """A wallet is not quarantined by what was read of it before it opened something."""
        found = await ended(self.world)
        funds = await self.world.journal.funds.funds(OWNER)
        await running(self.world, "sb-0")
        blocked = [BlockedWallet(funds, "")]
        checked = self.world.journal.resolved.checked
        await self.unchanged(Stale, lambda: checked(found, {OWNER: "why"}, blocked))

    async def test_stale_worker(self) -> None:
        """Only the worker looks."""
        found = await ended(self.world)
        await self.usurp()
        await self.unchanged(LeaseLost, lambda: self.world.journal.resolved.checked(found, {}, ()))

    async def test_damaged(self) -> None:
        """What cannot be read is told of, and out of the others' way for a while."""
        found = await ended(self.world)
        keys = self.world.journal.store.keys
        await meddle(self.world.keyspace, Write("SET", keys.outcome(found.value.batch.id), ("{",)))
        resolved = self.world.journal.resolved
        self.assertEqual(await resolved.due(10, 9), ())
        (letter,) = await self.world.journal.letters.letters()
        self.assertEqual((letter.kind, letter.name), ("outcome", found.value.batch.id))
        self.assertEqual(await self.raw("ZRANGEBYSCORE", keys.unchecked(), "-inf", 60), [])

    async def test_totals(self) -> None:
        """What was settled and what it cost adds up, batch by batch."""
        history = self.world.other.history
        self.assertEqual(await history.totals(), Totals())
        found = await ended(self.world, paid)
        fees = sum(v.paid or 0 for v in found.value.verdicts)
        self.assertGreater(fees, FEE)
        expected = Totals(batches=1, vouchers=2, fees=Neuron(fees), gas=Neuron(21))
        self.assertEqual(await history.totals(), expected)

    async def test_totals_once(self) -> None:
        """A batch that is resolved again after a lost answer counts once."""

        async def scenario(world: World, sure: Any) -> None:
            await ticked(world, await running(world))
            batch = await signed(world)
            ruled = await rulings(world, batch, half, 30)
            gas = Neuron(5)
            queue = world.journal.queue
            await sure(lambda: queue.resolve(batch, block(), ruled, (), (), gas=gas))
            totals = await world.journal.history.totals()
            self.assertEqual(totals, Totals(batches=1, vouchers=2, fees=Neuron(2), gas=gas))

        await self.same_books(scenario)

    async def test_damaged_totals(self) -> None:
        """A damaged count begins anew; what was there is told, and nothing waits for it."""
        key = self.world.journal.store.keys.totals()
        await meddle(self.world.keyspace, Write("SET", key, ("1e9",)))
        await ended(self.world)
        self.assertEqual((await self.world.journal.history.totals()).batches, 1)
        (letter,) = await self.world.journal.letters.letters()
        self.assertIn("1e9", letter.name)

    async def test_letters(self) -> None:
        """They are listed by age and dismissed one by one, by anybody."""
        letters = self.world.other.letters
        keys = self.world.journal.store.keys
        await ended(self.world)
        for sandbox in ("sb-9", "sb-8"):
            await meddle(
                self.world.keyspace,
                Write("SADD", keys.sessions(), (sandbox,)),
                Write("SET", keys.session(sandbox), ("{",)),  # type: ignore[arg-type]
            )
            await self.world.journal.meter.sessions()
            self.world.wall.moment += 1
        found = await letters.letters()
        self.assertEqual([letter.name for letter in found], ["sb-9", "sb-8"])
        other = evolve(found[0], reason="another")
        await self.unchanged(Stale, lambda: letters.dismiss(other))
        await letters.dismiss(found[0])
        await letters.dismiss(found[0])
        self.assertEqual(await letters.letters(), found[1:])

    async def test_unreadable_letter(self) -> None:
        """A letter that cannot be read is one."""
        keys = self.world.journal.store.keys
        await meddle(self.world.keyspace, Write("HSET", keys.letters(), ("session:sb-1", "{")))
        (letter,) = await self.world.other.letters.letters()
        self.assertEqual((letter.kind, letter.name), ("session", "sb-1"))
        self.assertIsInstance(letter, DeadLetter)

    async def test_expel(self) -> None:
        """What cannot be read leaves its batch; the rest of it is resolved."""
        await ticked(self.world, await running(self.world))
        batch = await signed(self.world)
        keys = self.world.journal.store.keys
        bad, good = batch.value.charges
        await meddle(self.world.keyspace, Write("SET", keys.charge(bad), ("{",)))
        queue = self.world.journal.queue
        left = await queue.expel(batch)
        self.assertEqual(left.value.charges, (good,))
        self.assertEqual(await queue.expel(batch), left)
        ruled = await rulings(self.world, left, paid, 30)
        await queue.resolve(left, block(), ruled, (), ())
        self.assertEqual(await queue.batches(), ())
        (letter,) = await self.world.journal.letters.letters()
        self.assertEqual((letter.kind, letter.name), ("charge", bad))
        self.assertIn(bad, await self.world.journal.history.pending())
        # A later nonce of its wallet would make what was sealed void (L5).
        self.assertEqual((await self.world.journal.doors.funds(OWNER)).blocked, QUARANTINED)

    async def test_expel_a_wallet(self) -> None:
        """A wallet of which nothing is left in a batch is in flight in nothing."""
        await running(self.world, "sb-1")
        await running(self.world, "sb-2", owner=STRANGER)
        promises = await promised(self.world, OWNER) + await promised(self.world, STRANGER)
        queue = self.world.journal.queue
        batch = await queue.sign(batch_of(promises, "batch-1"), promises)
        keys = self.world.journal.store.keys
        await meddle(
            self.world.keyspace,
            Write("SET", keys.charge(promises[0].record.value.charge.id), ("{",)),
        )
        left = await queue.expel(batch)
        self.assertEqual(left.value.wallets, (STRANGER,))
        doors = self.world.journal.doors
        blocked = [(await doors.funds(wallet)).blocked for wallet in (OWNER, STRANGER)]
        self.assertEqual(blocked, [QUARANTINED, None])
        self.assertIsNone(await self.raw("HGET", keys.in_flight(), OWNER.hex))
        self.assertEqual(await self.raw("HGET", keys.in_flight(), STRANGER.hex), b"batch-1")

    async def test_expel_everything(self) -> None:
        """A batch of which nothing is left, and that was never sent, is ended."""
        await running(self.world)
        batch = await signed(self.world)
        keys = self.world.journal.store.keys
        (bad,) = batch.value.charges
        await meddle(self.world.keyspace, Write("SET", keys.charge(bad), ("{",)))
        queue = self.world.journal.queue
        self.assertIsNone(await queue.expel(batch))
        self.assertIsNone(await queue.expel(batch))
        self.assertEqual(await queue.batches(), ())
        self.assertIsNone(await self.raw("HGET", keys.in_flight(), OWNER.hex))

    async def test_given(self) -> None:
        """Whoever has something to settle is told with the last nonce given, or 0."""
        verifyObject(ILoss, self.world.journal.loss)
        await running(self.world, "sb-0", owner=STRANGER)
        await ticked(self.world, await running(self.world))
        loss = self.world.journal.loss
        self.assertEqual(await loss.given(), {OWNER: 0, STRANGER: 0})
        await signed(self.world)
        self.assertEqual(await loss.given(), {OWNER: 2, STRANGER: 0})

    async def test_seeded(self) -> None:
        """A wallet that is mirrored for the first time begins with the chain's nonce, once."""
        journal = self.world.journal
        await journal.mirror.step(None, mirror(), (), (), ())
        head = await journal.mirror.mirror()
        assert head is not None
        await self.world.other.doors.add_account(head, account(last_nonce=Nonce(40)))
        await running(self.world)
        self.assertEqual(await journal.loss.given(), {OWNER: 40})
        promises = await promised(self.world)
        self.assertEqual([p.seal.nonce for p in promises], [41])
        await journal.queue.sign(batch_of(promises, "batch-1"), promises)
        self.assertEqual(await journal.loss.given(), {OWNER: 41})

    async def test_seeded_by_a_step(self) -> None:
        """So does one that a step of the mirror brings; of those that are known nothing is."""
        journal = self.world.journal
        await journal.mirror.step(None, mirror(), [account()], (), ())
        accounts = [account(last_nonce=Nonce(7)), account(STRANGER, last_nonce=Nonce(40))]

        head = await journal.mirror.mirror()
        await journal.mirror.step(head, mirror(11), accounts, (), (), known=[OWNER])
        self.assertEqual(await journal.loss.given(), {OWNER: 0, STRANGER: 40})

    async def test_behind(self) -> None:
        """A wallet behind the chain is quarantined, and a human is told."""

        async def scenario(world: World, sure: Any) -> None:
            await running(world)
            funds = await world.journal.funds.funds(OWNER)
            await sure(lambda: world.journal.loss.behind(BlockedWallet(funds, "behind")))
            after = await world.journal.funds.funds(OWNER)
            self.assertEqual(after.blocked, QUARANTINED)
            (letter,) = await world.other.letters.letters()
            self.assertEqual((letter.kind, letter.name), ("wallet", OWNER.hex))
            await self.refused(
                Stale, world.journal.loss.behind(BlockedWallet(evolve(funds, revision=b"0"), ""))
            )

        await self.same_books(scenario)

    async def test_run_id(self) -> None:
        """One life of the store has one name."""
        first = await self.world.journal.loss.run_id()
        self.assertEqual(await self.world.journal.loss.run_id(), first)
        self.assertTrue(first)

    def test_held(self) -> None:
        """No clock of ours gets as far as a debt that waits."""
        self.assertGreater(HELD, FAR)


def found_sandbox() -> Any:
    """The one that C{ended} was charged for."""
    return SB


def resolved_suite(name: str, make_world: MakeWorld) -> type[TestCase]:
    """The suite for one adapter."""
    return type(f"{name}ResolvedTests", (ResolvedCase,), {"make_world": staticmethod(make_world)})
