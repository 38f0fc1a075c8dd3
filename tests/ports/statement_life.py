"""
Random lives of a wallet, lived through the real facts of a journal, with what came of them.

Each move is drawn; a move that cannot be made now is passed over.  What was charged and what
moved on-chain is counted beside the books, by what each move must come to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sandbox_billing.interfaces import Promise, Ruling, Stored
from sandbox_billing.ledger.identity import Nonce, Reference, SandboxId
from sandbox_billing.ledger.merging import merge_plan
from sandbox_billing.ledger.metering import Session, begin, close, rerated, resized, tick_now
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.settlement import debt_of, split
from sandbox_billing.ledger.statement import Entry, Group, Statement
from sandbox_billing.ledger.voucher import (
    ChargeRecord,
    DeadLettered,
    Forgiven,
    Open,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)
from tests.ports.journal import (
    OWNER,
    World,
    batch_of,
    block,
    create_charge,
    intent,
    looked_at,
    seal,
    session,
)


SANDBOXES = tuple(SandboxId(f"sb-{n}") for n in range(3))
RATES = (1, 7, 59, 61, 10**18 + 1)
FATES = ("paid", "part", "parked", "dead", "void", "kept")

Move = tuple[str, int, int, int]


def moves() -> SearchStrategy[Move]:
    """What happens, to which sandbox or voucher, and how much of it."""
    what = st.sampled_from(
        [
            *("start", "tick", "tick", "tick", "change", "stop", "fail"),
            *("merge", "merge", "settle", "settle", "settle", "cut", "look", "look", "forgive"),
        ]
    )
    which = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5])
    much = st.integers(0, 200) | st.integers(0, 100_000)
    return st.tuples(what, which, st.integers(0, 5), much)


def lives() -> SearchStrategy[list[Move]]:
    """With something to settle soon, and long enough for a debt of a debt of a merged charge."""
    begun = st.just([("start", 0, 3, 0), ("tick", 0, 0, 90), ("tick", 0, 0, 40_000)])
    return st.tuples(begun, st.lists(moves(), min_size=8, max_size=40)).map(
        lambda both: both[0] + both[1]
    )


@define(eq=False)
class Life:
    """
    @ivar charged: neuron, by sandbox, for what ran.
    @ivar fees: neuron, by sandbox, for creating.
    @ivar settled: neuron that moved: the sum of the settled vouchers' payments.
    @ivar forgiven: neuron that an operator wrote off.
    """

    world: World
    charged: dict[SandboxId, int] = field(factory=dict)
    seconds: dict[SandboxId, int] = field(factory=dict)
    fees: dict[SandboxId, int] = field(factory=dict)
    settled: int = 0
    forgiven: int = 0
    _batches: int = 0
    _starts: int = 0

    async def live(self, life: list[Move]) -> None:
        """All of it, in order."""
        for what, which, how, much in life:
            move: Callable[[int, int, int], Any] = getattr(self, f"_{what}")
            await move(which, how, much)

    # what runs

    async def _open(self, sandbox: SandboxId, how: int) -> Stored[Session] | None:
        doors, now = self.world.journal.doors, self.world.wall.now()
        if await doors.session(sandbox) is not None:
            return None
        self._starts += 1
        reference = Reference(f"ref-{self._starts}")
        made = session(
            sandbox,
            reference=reference,
            opened_at=now,
            charged_until=now,
            changed_at=now,
            rate=NeuronPerMinute(RATES[how % len(RATES)]),
        )
        wanted = intent(reference)
        await doors.reserve(wanted, await doors.funds(OWNER))
        fee = create_charge(made) if sandbox not in self.fees else None
        await doors.open_session(wanted, made, fee)
        if fee is not None:
            self.fees[sandbox] = fee.amount
        return await doors.session(sandbox)

    async def _start(self, which: int, how: int, much: int) -> None:
        sandbox = SANDBOXES[which % len(SANDBOXES)]
        opened = await self._open(sandbox, how)
        if opened is not None:
            self.world.wall.moment += much % 7
            begun = begin(opened.value, self.world.wall.now())
            await self.world.journal.meter.begin(opened, begun)

    async def _fail(self, which: int, how: int, much: int) -> None:
        sandbox = SANDBOXES[which % len(SANDBOXES)]
        before = self.fees.get(sandbox)
        opened = await self._open(sandbox, how)
        if opened is None:
            return
        closing = close(opened.value, until=0, now=self.world.wall.now())
        await self.world.journal.meter.close(
            opened, closing, destroyed=False, forgive_create=before is None
        )
        if before is None:
            del self.fees[sandbox]

    async def _running(self, which: int, much: int) -> Stored[Session] | None:
        sandbox = SANDBOXES[which % len(SANDBOXES)]
        found = await self.world.journal.doors.session(sandbox)
        if found is None:
            return None
        self.world.wall.moment += 1 + much
        await self.world.journal.meter.seen({sandbox: self.world.wall.now()})
        return found

    async def _tick(self, which: int, how: int, much: int) -> Stored[Session] | None:
        found = await self._running(which, much)
        if found is None:
            return None
        now = self.world.wall.now()
        step = tick_now(found.value, seen_at=now, now=now)
        if step is None:
            return found
        self._count(found.value, step)
        return await self.world.journal.meter.charge(found, step)

    def _count(self, before: Session, step: Any) -> None:
        sandbox = before.sandbox
        amount = 0 if step.charge is None else step.charge.amount
        self.charged[sandbox] = self.charged.get(sandbox, 0) + amount
        ran = 0 if step.charge is None else step.charge.units
        self.seconds[sandbox] = self.seconds.get(sandbox, 0) + ran

    async def _change(self, which: int, how: int, much: int) -> None:
        found = await self._tick(which, how, much % 500)
        if found is None or found.value.started_at is None:
            return
        rate = NeuronPerMinute(RATES[how % len(RATES)])
        if how % 2:
            after = rerated(found.value, rate, found.value.hold, 2)
        else:
            size = Resources(cpu=1 + how, memory_gib=2, disk_gib=3, gpu=0)
            after = resized(found.value, size, rate, found.value.hold)
        await self.world.journal.meter.begin(found, after)

    async def _stop(self, which: int, how: int, much: int) -> None:
        found = await self._running(which, much % 1_000)
        if found is None:
            return
        now = self.world.wall.now()
        closing = close(found.value, until=now - how, now=now)
        if closing.charge is not None:
            self._count(found.value, closing)
        port: Any = self.world.journal.doors.close_session if how % 2 else self._by_worker
        await port(found, closing, destroyed=False, forgive_create=False)

    @property
    def _by_worker(self) -> Any:
        return self.world.journal.meter.close

    # what becomes of it

    async def _merge(self, which: int, how: int, much: int) -> None:
        merging, now = self.world.journal.merging, self.world.wall.now()
        unsigned = await merging.unsigned(OWNER, now, 999)
        by_id = {one.value.charge.id: one for one in unsigned}
        for group in merge_plan([one.value for one in unsigned])[: 1 + how]:
            await merging.merge([by_id[record.charge.id] for record in group])

    async def _settle(self, which: int, how: int, much: int, *, cut: bool = False) -> None:
        queue, now = self.world.journal.queue, self.world.wall.now()
        ripe = await queue.queue(OWNER, UnixSeconds(now + 10**6), 1 + how)
        if not ripe.records or ripe.in_flight is not None:
            return
        nonce, promises = ripe.last_nonce, []
        for record in ripe.records:
            if record.value.seal is not None:
                promises.append(Promise(record, record.value.seal))
                continue
            nonce = Nonce(nonce + 1)
            amount = record.value.charge.amount
            if cut and amount > 1:
                part, rest = split(record.value, Neuron(1 + much % (amount - 1)), nonce, now)
                promises.append(Promise(record, seal(part, nonce), rest))
            else:
                promises.append(Promise(record, seal(record.value, nonce)))
        self._batches += 1
        batch = await queue.sign(batch_of(promises, f"batch-{self._batches}"), promises)
        rulings = []
        for place, stored in enumerate(await queue.batch_records(batch.value)):
            rulings.append(self._rule(stored, FATES[(which + place) % len(FATES)], much))
        await queue.resolve(batch, block(), rulings, (), ())

    async def _cut(self, which: int, how: int, much: int) -> None:
        await self._settle(which, how, much, cut=True)

    def _rule(self, stored: Stored[ChargeRecord], fate: str, much: int) -> Ruling:
        record, now = stored.value, self.world.wall.now()
        mine = record.seal
        assert mine is not None
        debt = None
        if fate == "void" and not record.voided:
            after = record.void()
        elif fate == "part":
            paid = much % mine.fee
            debt = debt_of(record.charge, Neuron(mine.fee - paid), now)
            self.settled += paid
            state = _partial(mine, paid, debt)
            after = record.become(state)
        elif fate == "parked":
            after = record.become(Parked(mine))
        elif fate == "dead":
            after = record.become(DeadLettered(seal=mine, reason="refused with status 5"))
        elif fate == "kept":
            after = record.become(Signed(mine))
        else:
            self.settled += mine.fee
            after = record.become(Paid(seal=mine, transaction="0x01", block=10))
        return Ruling(record=stored, after=after, debt=debt, retry_at=now)

    async def _look(self, which: int, how: int, much: int) -> None:
        await looked_at(self.world)

    async def _forgive(self, which: int, how: int, much: int) -> None:
        records = [
            record
            for record in await self.world.journal.history.charges(OWNER)
            if isinstance(record.state, Open | DeadLettered)
        ]
        if not records:
            return
        name = records[which % len(records)].charge.id
        stored = await self.world.journal.forgiving.forgivable(name)
        assert stored is not None
        amount = stored.value.charge.amount
        word = Forgiven(
            seal=stored.value.seal, reason="waived", by="operator", at=self.world.wall.now()
        )
        await self.world.journal.forgiving.forgive(stored, word, fenced=False)
        self.forgiven += amount


def _partial(mine: Seal, paid: int, debt: Any) -> Partial:
    return Partial(
        seal=mine,
        paid=Neuron(paid),
        owed=debt.amount,
        debt=debt.id,
        transaction="0x01",
        block=10,
    )


async def entries_of(world: World, since: int, until: int, **only: Any) -> list[Entry]:
    """All of a wallet's, for a span."""
    found: list[Entry] = []
    async for some in world.journal.history.entries(OWNER, since=since, until=until, **only):
        found.extend(some)
    return found


async def statement_of(
    world: World, since: int = 0, until: int = 10**10, group: Group = Group.SANDBOX, **only: Any
) -> Statement:
    """What a wallet would be told."""
    made = Statement(since=since, until=until, group=group)
    for entry in await entries_of(world, since, until, **only):
        made.add(entry)
    return made
