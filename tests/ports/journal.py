"""
What every suite of the journal's ports stands on: a world to run in, and values to write.

A suite is a function from a way to make worlds to a C{TestCase}.  A world has
two processes over one keyspace: C{journal} holds the lease, C{other} does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from attrs import define, evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sandbox_billing.adapters.memory import Fault, FaultyKeyspace
from sandbox_billing.adapters.redis.commit import Commit, Read, Write
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.seam import IKeyspace
from sandbox_billing.errors import UnknownOutcome
from sandbox_billing.interfaces import IWallClock, Promise, Ruling, Stored
from sandbox_billing.ledger.account import Account, BlockRef, Mirror, ServiceRecord, Settlement
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import (
    Address,
    BatchId,
    Nonce,
    Reference,
    SandboxId,
    create_charge_id,
)
from sandbox_billing.ledger.metering import Session, begin, close, tick
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.voucher import Charge, ChargeKind, ChargeRecord, Seal


T = TypeVar("T")

PROVIDER = Address("0x" + "2b" * 20)
OWNER = Address("0x" + "1a" * 20)
STRANGER = Address("0x" + "3c" * 20)
SB = SandboxId("sb-1")
T0 = UnixSeconds(1_700_000_000)
INTERVAL = 60
RIPEN = 600
LEASE_SECONDS = 600
"""By the server's clock, which no test moves: longer than one takes on any machine."""

RATE = NeuronPerMinute(6 * 10**18 + 1)
FEE = Neuron(5 * 10**18 + 7)


@implementer(IWallClock)
@define(eq=False)
class Wall:
    """A wall clock that is set by hand."""

    moment: int = T0

    def now(self) -> UnixSeconds:
        """What it is set to."""
        return UnixSeconds(self.moment)

    def after(self) -> UnixSeconds:
        """It is set to whole seconds."""
        return UnixSeconds(self.moment)


@define(eq=False, kw_only=True)
class World:
    """
    @ivar keyspace: Without faults, for looking and for meddling.
    @ivar faults: In front of C{journal}.
    @ivar dump: Everything that is stored.
    @ivar close: Leave nothing behind.
    """

    wall: Wall
    keyspace: IKeyspace
    faults: FaultyKeyspace
    journal: Journal
    other: Journal
    dump: Callable[[], Awaitable[dict[str, Any]]]
    close: Callable[[], Awaitable[None]]


MakeWorld = Callable[[], Awaitable[World]]


def journals(keyspace: IKeyspace, faults: FaultyKeyspace, wall: Wall) -> tuple[Journal, Journal]:
    """Two processes over one keyspace."""

    def over(seen: IKeyspace, owner: str) -> Journal:
        return Journal.over(
            seen,
            PROVIDER,
            wall,
            owner=owner,
            lease_seconds=LEASE_SECONDS,
            interval_seconds=INTERVAL,
            ripen_seconds=RIPEN,
        )

    return over(faults, "one"), over(keyspace, "two")


Sure = Callable[[Callable[[], Awaitable[T]]], Awaitable[T]]


class Scenario(Protocol):
    """A piece of life in which some calls are made C{sure}: again, after a lost answer."""

    async def __call__(self, world: World, sure: Any) -> None: ...


class JournalCase(TestCase):
    """
    A test in a world of its own.

    @cvar make_world: Of the adapter under test.
    """

    make_world: MakeWorld
    world: World

    def setUp(self) -> Deferred[None]:
        """An empty journal whose lease is held."""
        return Deferred.fromCoroutine(self._set_up())

    async def _set_up(self) -> None:
        await self._fresh()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.close()))

    async def _fresh(self) -> None:
        self.world = await type(self).make_world()
        self.assertTrue(await self.world.journal.lease.acquire())

    async def same_books(self, scenario: Scenario) -> None:
        """
        A scenario ends in the same stored state whether no answer was lost, or whether of
        each sure call the request, or the reply, was lost and the call was repeated.
        """
        dumps = []
        for fault in (None, Fault.REQUEST_LOST, Fault.REPLY_LOST):
            if dumps:
                await self.world.close()
                await self._fresh()
            await scenario(self.world, self._sure(fault))
            dumps.append(await self.world.dump())
        self.assertEqual(dumps[1], dumps[0], "after a lost request")
        self.assertEqual(dumps[2], dumps[0], "after a lost reply")

    def _sure(self, fault: Fault | None) -> Any:
        async def sure(call: Callable[[], Awaitable[T]]) -> T:
            if fault is not None:
                self.world.faults.faults.append(fault)
                await self.refused(UnknownOutcome, call())
                self.assertEqual(self.world.faults.faults, [])
            return await call()

        return sure

    async def refused(self, error: type[Exception], call: Awaitable[Any]) -> Exception:
        """@return: The exception, which must come."""
        try:
            result = await call
        except error as why:
            self.assertIs(type(why), error)
            return why
        self.fail(f"{error.__name__} was not raised, the answer was {result!r}")
        raise AssertionError

    async def usurp(self) -> None:
        """Another process becomes the worker; the first does not know."""
        lease = self.world.journal.store.keys.lease()
        await meddle(self.world.keyspace, Write("DEL", lease))
        self.assertTrue(await self.world.other.lease.acquire())

    async def unchanged(self, error: type[Exception], call: Callable[[], Awaitable[Any]]) -> None:
        """A call is refused, and nothing stored has changed."""
        before = await self.world.dump()
        await self.refused(error, call())
        self.assertEqual(await self.world.dump(), before)

    def overtaken(self, by: Callable[[], Awaitable[Any]]) -> None:
        """Another process is quicker than the next write of ours."""
        inner = self.world.faults.inner
        self.world.faults.inner = _Overtaken(inner, by)  # type: ignore[assignment]

    # what is stored, raw

    async def raw(self, command: str, key: str, *arguments: str | int) -> Any:
        """One reading command."""
        (reply,) = await self.world.keyspace.read([Read(command, key, arguments)])
        return reply

    async def exposure(self, wallet: Address = OWNER) -> dict[str, str]:
        """The exposure fields."""
        return dict((await self.world.other.doors.funds(wallet)).exposure.fields)


class _Overtaken:
    """Lets something happen between what was read and the next write."""

    def __init__(self, inner: IKeyspace, by: Callable[[], Awaitable[Any]]) -> None:
        self._inner = inner
        self._by: Callable[[], Awaitable[Any]] | None = by

    async def commit(self, commit: Commit) -> Any:
        """The first time, too late."""
        by, self._by = self._by, None
        if by is not None:
            await by()
        return await self._inner.commit(commit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def meddle(keyspace: IKeyspace, *writes: Write) -> None:
    """Write past all ports."""
    await keyspace.commit(Commit(name="meddle", fence="unused", writes=writes))


# --- values -------------------------------------------------------------------------


def intent(reference: str = "ref-1", **changes: Any) -> Intent:
    """A create under way."""
    made = Intent(
        reference=Reference(reference),
        action="create",
        owner=OWNER,
        provider=PROVIDER,
        sandbox=None,
        hold=Neuron(20 * 10**18),
        create_fee=FEE,
        rate=RATE,
        prices=Prices(create_fee=FEE),
        signer_version=1,
        auto_stop_minutes=None,
        created_at=T0,
    )
    return evolve(made, **changes)


def session(sandbox: str = SB, **changes: Any) -> Session:
    """A session that has not begun."""
    made = Session(
        sandbox=SandboxId(sandbox),
        owner=OWNER,
        provider=PROVIDER,
        reference=Reference("ref-1"),
        resources=Resources(cpu=1, memory_gib=1, disk_gib=1, gpu=0),
        rate=RATE,
        signer_version=1,
        opened_at=T0,
        started_at=None,
        charged_until=T0,
        changed_at=T0,
        hold=Neuron(20 * 10**18),
    )
    return evolve(made, **changes)


def create_charge(of: Session) -> Charge:
    """The create fee of a session's sandbox."""
    return Charge(
        id=create_charge_id(of.sandbox),
        sandbox=of.sandbox,
        owner=of.owner,
        provider=of.provider,
        kind=ChargeKind.CREATE,
        period_start=of.opened_at,
        period_end=of.opened_at,
        units=0,
        amount=FEE,
        rate=0,
        created_at=of.opened_at,
    )


def block(number: int = 10) -> BlockRef:
    """A block."""
    return BlockRef(number=number, hash=f"0x{number:064x}", timestamp=UnixSeconds(T0 + number))


def account(wallet: Address = OWNER, **changes: Any) -> Account:
    """An account with plenty."""
    made = Account(
        wallet=wallet,
        balance=Neuron(10**21),
        pending_refund=Neuron(0),
        refund_unlock_at=UnixSeconds(0),
        acknowledged=True,
        last_nonce=Nonce(0),
        block=10,
    )
    return evolve(made, **changes)


def service(provider: Address = PROVIDER, **changes: Any) -> ServiceRecord:
    """A registration."""
    made = ServiceRecord(
        provider=provider,
        url="https://provider.test",
        signer=STRANGER,
        prices=Prices(create_fee=FEE),
        signer_version=1,
    )
    return evolve(made, **changes)


def mirror(number: int = 10, updated_at: int = T0) -> Mirror:
    """A head of the mirror."""
    return Mirror(
        block=block(number),
        service=service(),
        leaving_at=None,
        version_changed_at=None,
        updated_at=UnixSeconds(updated_at),
    )


def settlement(nonce: int = 1, at: int = 0, **changes: Any) -> Settlement:
    """A settled voucher, C{at} blocks after the first."""
    made = Settlement(
        user=OWNER,
        provider=PROVIDER,
        fee=FEE,
        usage_hash="ab" * 32,
        nonce=Nonce(nonce),
        status=0,
        paid=FEE,
        transaction="0x" + "cd" * 32,
        block=10 + at,
        log_index=0,
        timestamp=UnixSeconds(T0 + at),
    )
    return evolve(made, **changes)


def seal(record: ChargeRecord, nonce: int) -> Seal:
    """What would be signed."""
    return Seal(
        nonce=Nonce(nonce),
        fee=record.charge.amount,
        usage_hash="ef" * 32,
        signature="01" * 65,
    )


def attempt(number: int = 1) -> Attempt:
    """One signed transaction."""
    return Attempt(
        sender=STRANGER,
        account_nonce=7,
        gas_limit=10**6,
        fee_cap=Neuron(10**9 + number),
        raw=f"02f8{number:02x}",
        hash=f"0x{number:064x}",
        recorded_at=T0,
    )


# --- lives --------------------------------------------------------------------------


async def mirrored(world: World, *wallets: Account) -> Stored[Mirror]:
    """The watcher has made its first step."""
    await world.journal.mirror.step(None, mirror(), wallets or (account(),), (), ())
    head = await world.journal.mirror.mirror()
    assert head is not None
    return head


async def pending(world: World, sandbox: str = SB, **changes: Any) -> Stored[Session]:
    """A sandbox was created and is not seen running yet; its create fee waits."""
    doors = world.journal.doors
    opened = session(sandbox, reference=Reference(f"ref-{sandbox}"), **changes)
    wanted = intent(f"ref-{sandbox}", owner=opened.owner)
    await doors.reserve(wanted, await doors.funds(opened.owner))
    await doors.open_session(wanted, opened, create_charge(opened))
    found = await doors.session(opened.sandbox)
    assert found is not None
    return found


async def running(world: World, sandbox: str = SB, **changes: Any) -> Stored[Session]:
    """A sandbox that has just been seen running."""
    opened = await pending(world, sandbox, **changes)
    at = opened.value.opened_at
    await world.journal.meter.begin(opened, begin(opened.value, at))
    await world.journal.meter.seen({opened.value.sandbox: at})
    found = await world.journal.doors.session(opened.value.sandbox)
    assert found is not None
    return found


async def ticked(world: World, before: Stored[Session]) -> Stored[Session]:
    """One more interval has passed, was observed and is charged."""
    until = UnixSeconds(before.value.charged_until + INTERVAL)
    world.wall.moment = until
    await world.journal.meter.seen({before.value.sandbox: until})
    step = tick(before.value, seen_at=until, now=until, interval_seconds=INTERVAL)
    assert step is not None
    return await world.journal.meter.charge(before, step)


async def closed(world: World, before: Stored[Session], until: int, *, destroyed: bool) -> None:
    """The owner stopped it."""
    closing = close(before.value, until=until, now=UnixSeconds(until))
    await world.journal.doors.close_session(
        before, closing, destroyed=destroyed, forgive_create=False
    )


async def promised(world: World, wallet: Address = OWNER, limit: int = 50) -> list[Promise]:
    """A wallet's ripe charges with the seals they would go out under."""
    queue = await world.journal.queue.queue(wallet, world.wall.now(), limit)
    nonce, promises = queue.last_nonce, []
    for record in queue.records:
        if record.value.seal is None:
            nonce = Nonce(nonce + 1)
            promises.append(Promise(record, seal(record.value, nonce)))
        else:
            promises.append(Promise(record, record.value.seal))
    return promises


def batch_of(promises: list[Promise], id: str = "batch-1") -> Batch:
    """The batch that holds them."""
    wallets = dict.fromkeys(promise.record.value.charge.owner for promise in promises)
    return Batch(
        id=BatchId(id),
        wallets=tuple(wallets),
        charges=tuple(promise.record.value.charge.id for promise in promises),
        created_at=T0,
    )


async def signed(world: World, wallet: Address = OWNER, id: str = "batch-1") -> Stored[Batch]:
    """All ripe charges of a wallet are signed."""
    promises = await promised(world, wallet)
    return await world.journal.queue.sign(batch_of(promises, id), promises)


async def looked_at(world: World) -> None:
    """The second look at all that was resolved: debts are ripe from then."""
    for resolution in await world.journal.resolved.due(10**9, 99):
        await world.journal.resolved.checked(resolution, {}, ())


async def rulings(
    world: World, batch: Stored[Batch], after: Callable[[ChargeRecord], Any], retry_in: int = 30
) -> list[Ruling]:
    """
    One ruling for each voucher.

    @param after: The next state, and the debt if there is one.
    """
    made = []
    for record in await world.journal.queue.batch_records(batch.value):
        state, debt = after(record.value)
        retry_at = UnixSeconds(world.wall.moment + retry_in)
        made.append(
            Ruling(record=record, after=record.value.become(state), debt=debt, retry_at=retry_at)
        )
    return made
