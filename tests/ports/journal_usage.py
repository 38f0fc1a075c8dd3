"""What every L{IHistory} must tell of what was charged, and what sandboxes ran."""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.redis import records as records_module
from sandbox_billing.adapters.redis import runs as runs_module
from sandbox_billing.adapters.redis import usage as usage_module
from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Promise, Ruling
from sandbox_billing.ledger import _codec
from sandbox_billing.ledger.identity import Nonce, Reference, SandboxId, create_charge_id
from sandbox_billing.ledger.merging import merge_plan
from sandbox_billing.ledger.metering import begin, close, rerated, tick
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.run import BY_OWNER, FAILED, OBSERVED, REPRICED
from sandbox_billing.ledger.settlement import split
from sandbox_billing.ledger.statement import Group, Statement
from tests.ports.journal import (
    FEE,
    INTERVAL,
    OWNER,
    RATE,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    batch_of,
    block,
    closed,
    intent,
    looked_at,
    meddle,
    mirrored,
    pending,
    rulings,
    running,
    seal,
    session,
    signed,
    ticked,
)
from tests.ports.journal_merging import parts_of, periods
from tests.ports.journal_queue import paid
from tests.ports.statement_life import Life, entries_of, statement_of


class UsageCase(JournalCase):
    """Statements and runs, as they are read."""

    async def test_state(self) -> None:
        """Mirror, account, exposure and flag in one look; of a stranger, nothing but the mirror."""
        history = self.world.journal.history
        self.assertIsNone((await history.state(OWNER)).mirror)
        head = await mirrored(self.world, account())
        await running(self.world)
        state = await history.state(OWNER)
        self.assertEqual(state.mirror, head.value)
        self.assertEqual(state.funds, await self.world.journal.doors.funds(OWNER))
        state = await history.state(STRANGER)
        self.assertEqual((state.mirror, state.funds.account), (head.value, None))

    async def test_a_long_life(self) -> None:
        """Debts of debts, what was cut and merged, voids and what was forgiven: to the neuron."""
        lived = Life(self.world)
        await lived.live(
            [
                *[("start", 0, 3, 0), ("tick", 0, 0, 90), ("tick", 0, 0, 40_000)],
                *[("merge", 0, 5, 0), ("cut", 0, 5, 7), ("look", 0, 0, 0)],
                *[("settle", 1, 5, 3), ("look", 0, 0, 0), ("settle", 1, 5, 2)],
                *[("start", 1, 4, 1), ("tick", 1, 0, 60), ("settle", 4, 5, 0)],
                *[("tick", 1, 0, 60), ("cut", 0, 5, 99_999), ("forgive", 0, 0, 0)],
                *[("settle", 0, 5, 1), ("fail", 2, 0, 0), ("stop", 1, 1, 5)],
            ]
        )
        totals = (await statement_of(self.world)).totals
        self.assertEqual((totals.settled, totals.forgiven), (lived.settled, lived.forgiven))
        self.assertGreater(totals.settled * totals.forgiven * totals.owed, 0)
        self.assertEqual(totals.charged, sum(lived.charged.values()) + sum(lived.fees.values()))
        by_day = await statement_of(self.world, group=Group.DAY)
        self.assertEqual(by_day.totals, totals)

    async def test_one_sandbox(self) -> None:
        """Only what it was charged, also where another's name begins with its own."""
        await periods(self.world, 1)
        await periods(self.world, 2, "sb-10")
        found = await entries_of(self.world, 0, 10**10, sandbox=SandboxId(SB))
        self.assertEqual({entry.charge.id for entry in found}, {f"{SB}:create", f"{SB}:{T0}"})
        self.assertEqual(await self._entries_of_stranger(), [])

    async def _entries_of_stranger(self) -> list[Any]:
        found: list[Any] = []
        history = self.world.journal.history
        async for some in history.entries(STRANGER, since=0, until=10**10):
            found.extend(some)
        return found

    async def test_slices(self) -> None:
        """However many are of one second, and whatever comes between, each is told once."""
        self.patch(usage_module, "NAMES", 3)
        self.patch(usage_module, "CHARGES", 2)
        for number in range(7):
            await periods(self.world, 1, f"sb-{number}")
            self.world.wall.moment = T0
        names = []
        async for some in self.world.journal.history.entries(OWNER, since=0, until=10**10):
            names += [entry.charge.id for entry in some]
            if len(names) == 4:
                # Older than all that was told.
                late = await running(self.world, "sb-old", opened_at=UnixSeconds(T0 - 1))
                await ticked(self.world, late)
        self.assertEqual(len(names), len(set(names)))
        wanted = {f"sb-{n}:{what}" for n in range(7) for what in ("create", str(T0))}
        self.assertLessEqual(wanted, set(names))

    async def test_too_many(self) -> None:
        """Nobody has the daemon look at more than it can."""
        self.patch(usage_module, "MOST_NAMES", 3)
        await periods(self.world, 2)
        await statement_of(self.world)
        await periods(self.world, 1, "sb-2")
        await self.refused(BadInput, statement_of(self.world))

    async def test_merged_meanwhile(self) -> None:
        """What is merged while it is told is told once, by its parts."""
        self.patch(usage_module, "CHARGES", 2)
        await periods(self.world, 5)
        total = 0
        async for some in self.world.journal.history.entries(OWNER, since=0, until=10**10):
            total += sum(entry.amount for entry in some)
            parts = await parts_of(self.world)
            if merge_plan([part.value for part in parts]):
                await self.world.journal.merging.merge(parts)
        self.assertEqual(total, RATE * 5 + FEE)

    async def test_cut_meanwhile(self) -> None:
        """What is cut while it is told is told whole, by itself or with its rest."""
        self.patch(usage_module, "CHARGES", 2)
        await periods(self.world, 5)
        total, cuts = Statement(since=0, until=10**10), 0
        async for some in self.world.journal.history.entries(OWNER, since=0, until=10**10):
            for entry in some:
                total.add(entry)
            if not cuts:
                cuts = await self._cut_all()
        self.assertEqual((total.totals.charged, cuts), (RATE * 5 + FEE, 6))

    async def _cut_all(self, batch: str = "batch-1") -> int:
        """A neuron of each that has more is signed; how many."""
        queue, now = self.world.journal.queue, self.world.wall.now()
        ripe = await queue.queue(OWNER, UnixSeconds(now + 10**6), 99)
        nonce, promises = ripe.last_nonce, []
        for record in ripe.records:
            if record.value.charge.amount == 1:
                continue
            nonce = Nonce(nonce + 1)
            part, rest = split(record.value, Neuron(1), nonce, now)
            promises.append(Promise(record, seal(part, nonce), rest))
        await queue.sign(batch_of(promises, batch), promises)
        return len(promises)

    async def test_cut_after_a_void(self) -> None:
        """A rest whose nonce its charge forgot is told, and one that is cut off meanwhile."""
        self.patch(usage_module, "CHARGES", 1)
        await periods(self.world, 2)
        await self._cut_all()
        queue = self.world.journal.queue
        (batch,) = await queue.batches()
        lost = [
            Ruling(record=stored, after=stored.value.void(), debt=None, retry_at=UnixSeconds(T0))
            for stored in await queue.batch_records(batch.value)
        ]
        await queue.resolve(batch, block(), lost, (), ())
        whole = RATE * 2 + FEE
        totals = (await statement_of(self.world)).totals
        # A neuron of each of the three waits for another nonce.
        self.assertEqual((totals.charged, totals.pending), (whole, 3))
        self.assertEqual(totals.owed, whole - 3)
        total, cuts = Statement(since=0, until=10**10), 0
        async for some in self.world.journal.history.entries(OWNER, since=0, until=10**10):
            for entry in some:
                total.add(entry)
            if not cuts:
                cuts = await self._cut_all("batch-2")
        self.assertEqual((total.totals.charged, cuts), (whole, 3))

    async def test_old_spans(self) -> None:
        """What was charged since counts nothing against the statement of an old span."""
        self.patch(usage_module, "MOST_NAMES", 6)
        await periods(self.world, 5)
        until = T0 + 2 * INTERVAL
        before = (await statement_of(self.world, 0, until)).totals
        at = UnixSeconds(until + INTERVAL)
        began = {"opened_at": at, "charged_until": at, "changed_at": at}
        await periods(self.world, 9, "sb-later", **began)
        only = SandboxId(SB)
        after = (await statement_of(self.world, 0, until, sandbox=only)).totals
        self.assertEqual((after, before.charged), (before, RATE * 2 + FEE))

    async def test_charged_late(self) -> None:
        """What ran in a span and was charged weeks after it belongs to it."""
        stored = await running(self.world)
        late = UnixSeconds(T0 + 21 * 86_400)
        self.world.wall.moment = late
        await self.world.journal.meter.seen({stored.value.sandbox: late})
        step = tick(stored.value, seen_at=late, now=late, interval_seconds=INTERVAL)
        assert step is not None
        await self.world.journal.meter.charge(stored, step)
        totals = (await statement_of(self.world, 0, T0 + INTERVAL)).totals
        self.assertEqual(totals.charged, RATE + FEE)

    async def test_parts_before_the_span(self) -> None:
        """A part of a merged charge knows its place, though those before it are not asked for."""
        await periods(self.world, 4)
        await self.world.journal.merging.merge(await parts_of(self.world))
        entries = await entries_of(self.world, T0 + 3 * INTERVAL, T0 + 4 * INTERVAL)
        (last,) = [e for e in entries if e.charge.period_start == T0 + 3 * INTERVAL]
        self.assertEqual(last.before, 3 * RATE)

    async def test_damaged(self) -> None:
        """A charge that cannot be read is reported and left out; a whole, its parts wait."""
        await periods(self.world, 2)
        whole = await self.world.journal.merging.merge(await parts_of(self.world))
        keys = self.world.journal.store.keys
        await meddle(self.world.keyspace, Write("SET", keys.charge(whole.value.charge.id), ("?",)))
        fee = keys.charge(create_charge_id(SB))
        await meddle(self.world.keyspace, Write("SET", fee, ('{"v":9}',)))
        totals = (await statement_of(self.world)).totals
        self.assertEqual((totals.create_fees, totals.compute), (0, 2 * RATE))
        self.assertEqual(totals.pending, 2 * RATE)

    # runs

    async def ran(self, since: int = 0, sandbox: str = SB) -> Any:
        """What a sandbox ran."""
        found = await self.world.other.history.ran(SandboxId(sandbox), since=since, most=100)
        assert found is not None
        return found

    async def test_runs(self) -> None:
        """Written with the fact that ends them, once; the one that goes on is the session's."""

        async def scenario(world: World, sure: Any) -> None:
            stored = await ticked(world, await running(world))
            after = rerated(stored.value, NeuronPerMinute(7), Neuron(1), 2)
            await sure(lambda: world.journal.meter.begin(stored, after))
            again = await world.journal.doors.session(SandboxId(SB))
            assert again is not None
            first, second = (await self.ran()).runs
            self.assertEqual((first.why, first.cost, first.seconds), (REPRICED, RATE, INTERVAL))
            self.assertEqual((second.ended_at, second.rate, second.cost), (None, 7, 0))
            until = UnixSeconds(T0 + 3 * INTERVAL)
            world.wall.moment = until
            closing = close(again.value, until=until, now=until)
            await sure(
                lambda: world.journal.doors.close_session(
                    again, closing, destroyed=True, forgive_create=False
                )
            )
            found = await self.ran()
            self.assertEqual([run.why for run in found.runs], [REPRICED, BY_OWNER])
            self.assertEqual(found.runs[1].cost, 14)
            self.assertEqual((found.charged_until, found.destroyed_at), (until, until))

        await self.same_books(scenario)

    async def test_expire(self) -> None:
        """They are kept for as long as the record, and last again when it runs again."""
        keys = self.world.journal.store.keys
        await closed(self.world, await running(self.world), T0 + 9, destroyed=True)
        for key in (keys.runs(SandboxId(SB)), keys.sandbox(SandboxId(SB))):
            left = int(await self.raw("PTTL", key))
            self.assertTrue(29 * 86_400_000 < left <= 30 * 86_400_000, (key, left))
        wanted = intent("ref-2", sandbox=SandboxId(SB))
        doors = self.world.journal.doors
        await doors.reserve(wanted, await doors.funds(OWNER))
        again = session(SB, reference=Reference("ref-2"), opened_at=UnixSeconds(T0 + 20))
        await doors.open_session(wanted, again, None)
        self.assertEqual(int(await self.raw("PTTL", keys.runs(SandboxId(SB)))), -1)
        self.assertIsNone((await self.ran()).destroyed_at)

    async def test_deleted_while_stopped(self) -> None:
        """When it was deleted is known, and does not move when that is seen again."""
        await closed(self.world, await running(self.world), T0 + 9, destroyed=False)
        self.assertIsNone((await self.ran()).destroyed_at)
        for moment in (T0 + 50, T0 + 60):
            self.world.wall.moment = moment
            await self.world.journal.doors.destroyed(SandboxId(SB))
        self.assertEqual((await self.ran()).destroyed_at, T0 + 50)

    async def test_why(self) -> None:
        """By order, by the worker's look, or never started."""
        stored = await running(self.world)
        closing = close(stored.value, until=T0, now=T0)
        await self.world.journal.meter.close(stored, closing, destroyed=False, forgive_create=False)
        self.assertEqual((await self.ran()).runs[-1].why, OBSERVED)
        failed = await pending(self.world, "sb-2")
        closing = close(failed.value, until=0, now=T0)
        await self.world.journal.meter.close(failed, closing, destroyed=True, forgive_create=True)
        (run,) = (await self.ran(sandbox="sb-2")).runs
        self.assertEqual((run.why, run.started_at, run.cost), (FAILED, None, 0))

    async def test_many_runs(self) -> None:
        """Read in parts from the newest back, in order, and no more than are wanted."""
        self.patch(runs_module, "_AT_ONCE", 2)
        for number in range(7):
            await self._minute(number)
        remembered = _codec._decoded.cache_info()
        begun = [run.started_at for run in (await self.ran()).runs]
        self.assertEqual(_codec._decoded.cache_info(), remembered)
        self.assertEqual(begun, [T0 + 100 * number for number in range(7)])
        late = [run.started_at for run in (await self.ran(since=T0 + 360)).runs]
        self.assertEqual(late, [T0 + 400, T0 + 500, T0 + 600])
        history = self.world.journal.history
        await self.refused(BadInput, history.ran(SandboxId(SB), since=0, most=6))
        self.assertIsNone(await history.ran(SandboxId("sb-none"), since=0, most=6))

    async def _minute(self, number: int) -> None:
        """A minute of the sandbox."""
        doors, moment = self.world.journal.doors, UnixSeconds(T0 + 100 * number)
        wanted = intent(f"ref-{number}", sandbox=SandboxId(SB))
        await doors.reserve(wanted, await doors.funds(OWNER))
        made = session(
            SB,
            reference=wanted.reference,
            opened_at=moment,
            charged_until=moment,
            changed_at=moment,
        )
        await doors.open_session(wanted, begin(made, moment), None)
        stored = await doors.session(SandboxId(SB))
        assert stored is not None
        await closed(self.world, stored, moment + 60, destroyed=False)

    async def test_ended_meanwhile(self) -> None:
        """A run that ends between two parts of the others hides none of the older ones."""
        self.patch(runs_module, "_AT_ONCE", 2)
        for number in range(7):
            await self._minute(number)
        readable, ended = runs_module._readable, []

        async def slowly(*read: Any) -> Any:
            found = await readable(*read)
            if not ended:
                ended.append(7)
                await self._minute(7)
            return found

        self.patch(runs_module, "_readable", slowly)
        begun = [run.started_at for run in (await self.ran()).runs]
        self.assertEqual(begun, [T0 + 100 * number for number in range(7)])

    async def test_newest_runs(self) -> None:
        """So many are kept; of the others their charges tell."""
        self.patch(records_module, "KEPT_RUNS", 2)
        stored = await running(self.world)
        for rate in (7, 8, 9):
            stored = await ticked(self.world, stored)
            after = rerated(stored.value, NeuronPerMinute(rate), Neuron(1), 2)
            await self.world.journal.meter.begin(stored, after)
            again = await self.world.journal.doors.session(SandboxId(SB))
            assert again is not None
            stored = again
        self.assertEqual([run.rate for run in (await self.ran()).runs], [7, 8, 9])

    async def test_damaged_run(self) -> None:
        """One that cannot be read is reported; the others are told."""
        await closed(self.world, await running(self.world), T0 + 9, destroyed=False)
        keys = self.world.journal.store.keys
        await meddle(self.world.keyspace, Write("RPUSH", keys.runs(SandboxId(SB)), ('{"v":2}',)))
        self.assertEqual(len((await self.ran()).runs), 1)

    # labels

    async def test_labels(self) -> None:
        """Kept with the record and with nothing else; those that have none are left out."""
        await running(self.world)
        doors, history = self.world.journal.doors, self.world.journal.history
        for _ in range(2):
            await doors.label(SandboxId(SB), {"team": "röd", "=a": ""})
        await doors.label(SandboxId("sb-none"), {"team": "red"})
        asked = [SandboxId(SB), SandboxId("sb-none")]
        self.assertEqual(await history.labels(asked), {SB: {"team": "röd", "=a": ""}})
        self.assertIsNone(await doors.record(SandboxId("sb-none")))
        keys = self.world.journal.store.keys
        await meddle(
            self.world.keyspace, Write("HSET", keys.sandbox(SandboxId(SB)), ("labels", "?"))
        )
        self.assertEqual(await history.labels(asked), {})

    async def test_settled_is_told_of_the_original(self) -> None:
        """A debt that is collected later counts for the time that it was charged for."""
        lived = Life(self.world)
        await lived.live([("start", 0, 4, 0), ("tick", 0, 0, 59), ("settle", 1, 5, 10)])
        early = self.world.wall.now()
        self.world.wall.moment += 10**6
        await looked_at(self.world)
        await signed(self.world, id="batch-debt")
        (batch,) = await self.world.journal.queue.batches()
        settled = lived.settled
        for stored in await self.world.journal.queue.batch_records(batch.value):
            assert stored.value.seal is not None
            settled += stored.value.seal.fee
        ruled = await rulings(self.world, batch, paid)
        await self.world.journal.queue.resolve(batch, block(), ruled, (), ())
        totals = (await statement_of(self.world, 0, early + 1)).totals
        self.assertEqual(totals.settled, settled)
        later = (await statement_of(self.world, early + 1, 10**10)).totals
        self.assertEqual(later.charged, 0)


def usage_suite(name: str, make: MakeWorld) -> type[UsageCase]:
    """The suite for one adapter."""
    return type(f"{name}UsageTests", (UsageCase,), {"make_world": staticmethod(make)})
