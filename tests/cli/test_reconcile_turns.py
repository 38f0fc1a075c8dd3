"""
Tests of C{sandbox_billing.cli.reconcile_turns}, on books in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from copy import copy
from types import SimpleNamespace
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.chain_faults import LogGap
from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.redis.audit import append
from sandbox_billing.adapters.redis.commit import Commit, Committed
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.inventory import Found
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.rebuilding import Rebuilder, baselines
from sandbox_billing.adapters.redis.store import Timing
from sandbox_billing.cli.reconcile_turns import Renewal, Turns
from sandbox_billing.cli.reconcile_world import Scales
from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.balancing import compare
from sandbox_billing.ledger.comparison import Advance, Baseline, Difference
from sandbox_billing.ledger.identity import Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from tests import fixtures
from tests.ledger.books import ALICE, PROVIDER, SANDBOX, Story, hashed
from tests.test_startup import CONFIGURATION


@define
class Wall:
    """The time of a clock, as unix seconds."""

    clock: Clock
    start: int

    def now(self) -> UnixSeconds:
        """Of an L{IWallClock}."""
        return UnixSeconds(self.start + int(self.clock.seconds()))


@define(eq=False)
class Busy(MemoryKeyspace):
    """
    A server that others use, too.

    @ivar beside: What one of them does just before a fact of some name, once.
    """

    beside: dict[str, Callable[[], Awaitable[None]]] = field(factory=dict, init=False)

    async def commit(self, commit: Commit) -> Committed:
        """Of an L{IKeyspace}."""
        doing = self.beside.pop(commit.name, None)
        if doing is not None:
            await doing()
        return await MemoryKeyspace.commit(self, commit)


class TurnsCase(SynchronousTestCase):
    """A wallet that was set back by two vouchers, which nobody recognises."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.story = story = Story(rate=60, steps=(60, 60, 60), settled=(1, 1, 1))
        self.keyspace = Busy(self.clock)
        self.journal = Journal.over(
            self.keyspace,
            PROVIDER,
            Wall(self.clock, story.now),
            interval_seconds=60,
            lease_seconds=30,
        )
        strange = (
            evolve(e, usage_hash=e.usage_hash if e.nonce == 1 else f"0x{e.nonce:064x}")
            for e in story.events()
        )
        outside = evolve(story.outside(), settlements=tuple(strange))
        store = story.store(1, 1)
        self.store = evolve(store, nonces={})
        self.differences = compare(self.store, outside, hashed, story.now)
        self.said: list[str] = []
        self.now(self.journal.lease.acquire())
        self.write_books()

    def now(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What it returns at once."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def write_books(self) -> None:
        """The session and its record, as they were read."""
        draft = self.journal.store.draft("books")
        keys, session = draft.keys, self.store.shelf.sessions[SANDBOX]
        draft.write("SET", keys.session(SANDBOX), stored_form(session))
        draft.write("HSET", keys.sandbox(SANDBOX), "charged_until", session.charged_until)
        self.now(self.journal.store.carry_out(draft.commit()))

    def turns(self, shown: tuple[Difference, ...]) -> Turns:
        """Of the books as they were read."""
        session = self.store.shelf.sessions[SANDBOX]
        raw = {self.journal.store.keys.session(SANDBOX): stored_form(session)}
        rebuilder = Rebuilder(
            journal=self.journal,
            found=Found(store=self.store, mirror=None, raw=raw),
            timing=Timing(interval_seconds=60, ripen_seconds=60),
            accounts={},
            now=self.story.now,
        )
        return Turns(
            store=self.store,
            shown=frozenset(d.same for d in shown),
            lease=self.journal.lease,
            apply=rebuilder.apply,
            say=self.said.append,
        )

    def nonce(self) -> Any:
        """The stored one."""
        return self.keyspace.values().get(self.journal.store.keys.nonce(ALICE))


class TurnsTests(TurnsCase):
    """What is made, and what waits."""

    def test_made(self) -> None:
        """Everything that was shown is made, and what was accepted stays known."""
        turns = self.turns(self.differences)
        self.now(turns.carry_out(self.differences))
        self.assertEqual(turns.made, sum(d.repair is not None for d in self.differences))
        self.assertEqual(self.nonce(), b"3")
        self.assertEqual(
            self.now(baselines(self.journal)),
            ({ALICE: Baseline(Nonce(3), self.story.now)}, ()),
        )

    def test_changed(self) -> None:
        """Where a session has moved, the wallet's nonce stays: its seconds may be paid."""
        draft = self.journal.store.draft("another")
        draft.write("HSET", draft.keys.sandbox(SANDBOX), "charged_until", 7)
        self.now(self.journal.store.carry_out(draft.commit()))
        self.assert_waits(self.turns(self.differences))

    def test_audit_moved(self) -> None:
        """So it is when another operator writes to the audit in the same moment."""
        self.keyspace.beside[f"rebuild sandbox {SANDBOX}"] = self.drop
        self.assert_waits(self.turns(self.differences))
        self.assertEqual(self.keyspace.beside, {})

    async def drop(self) -> None:
        """What C{queue drop} leaves in the audit."""
        store = self.journal.store
        entry = AuditEntry(
            at=self.story.now, by="bob", what="drop", subject="x", amount=Neuron(0), reason="y"
        )
        draft = store.draft("drop")
        await append(store, draft, entry)
        await store.carry_out(draft.commit())

    def test_not_shown(self) -> None:
        """So it is when nobody was shown what is to become of its session."""
        shown = tuple(d for d in self.differences if not isinstance(d.repair, Advance))
        self.assert_waits(self.turns(shown))

    def test_stopped(self) -> None:
        """Ctrl-C after a repair does not say that nothing was done, and leaves no lease."""
        kept: Any = None
        books: Any = SimpleNamespace(
            differences=self.differences, found=SimpleNamespace(store=self.store)
        )
        asked: list[Difference] = []

        class Halfway(Scales):
            async def look(self) -> Any:
                return books

            async def _require_known(self, _look: Any) -> None:
                pass

            async def _rebuilder(self, *_of: Any) -> Any:
                return SimpleNamespace(apply=apply)

        async def apply(one: Difference) -> None:
            asked.append(one)
            if len(asked) == 2:
                await Deferred()

        scales = Halfway(
            reactor=self.clock,
            pool=kept,
            settings=CONFIGURATION,
            provider=PROVIDER,
            service=kept,
            journal=self.journal,
            inventory=kept,
            chain=kept,
            runtime=kept,
            say=self.said.append,
        )
        self.now(self.journal.lease.give_up())
        work = Deferred.fromCoroutine(scales.rebuild(books))
        self.assertEqual(2, len(asked))
        work.cancel()
        why = self.failureResultOf(work, UnknownOutcome).value
        self.assertIn("1 repairs were made, or one more; run it again", str(why))
        self.assertTrue(self.now(self.taken_by_another()))

    def taken_by_another(self) -> Any:
        """Whether another command gets the lease."""
        return Journal.over(
            self.keyspace,
            PROVIDER,
            Wall(self.clock, self.story.now),
            interval_seconds=60,
            lease_seconds=30,
        ).lease.acquire()

    def assert_waits(self, turns: Turns) -> None:
        """Nothing that lets the daemon sign for the wallet is made."""
        self.now(turns.carry_out(self.differences))
        self.assertIsNone(self.nonce())
        self.assertEqual(self.now(baselines(self.journal)), ({}, ()))
        self.assertTrue([line for line in self.said if line.startswith("not made")])

    def test_lease(self) -> None:
        """Nothing is made without the lease."""
        self.now(self.journal.lease.give_up())
        turns = self.turns(self.differences)
        failure = self.failureResultOf(
            Deferred.fromCoroutine(turns.carry_out(self.differences)), Transient
        )
        self.assertIn("lease", str(failure.value))
        self.assertIsNone(self.nonce())


class RenewalTests(TurnsCase):
    """A lease that is kept."""

    def test_kept(self) -> None:
        """It is there after any time, and no longer than its life once nobody renews it."""
        key = self.journal.store.keys.lease()
        renewal = Renewal(self.journal.lease, 10, self.clock)
        renewal.start()
        self.clock.pump([5] * 30)
        self.assertIn(key, self.keyspace.values())
        self.now(renewal.stop())
        self.clock.pump([5] * 7)
        self.assertNotIn(key, self.keyspace.values())

    def test_lost(self) -> None:
        """One that another process has is not taken back."""
        renewal = Renewal(self.journal.lease, 10, self.clock)
        renewal.start()
        self.clock.pump([31])
        other = Journal.over(
            self.keyspace, PROVIDER, self.journal.store.wall, interval_seconds=60, lease_seconds=30
        )
        self.now(self.journal.lease.give_up())
        self.assertTrue(self.now(other.lease.acquire()))
        self.clock.pump([5] * 4)
        self.assertFalse(self.now(self.journal.lease.renew()))
        self.now(renewal.stop())
        self.assertTrue(self.now(other.lease.renew()))


class GapTests(fixtures.WorldCase):
    """A node that leaves out what another one knows."""

    def test_asked_again(self) -> None:
        """A voucher that the first node withholds is had from another one, once."""
        world = self.world
        world.fund(10**6)
        world.create()
        world.until(lambda: world.books().settled >= fixtures.FEE, 60)
        whole, gap = world.process.chain, copy(world.process.node)
        gap.fault = LogGap("VoucherSettled")

        class Nodes:
            """The first one has the gap."""

            def __getattr__(self, name: str) -> Any:
                return getattr(whole, name)

            async def happenings(self, first: int, last: int) -> Any:
                return await gap.happenings(first, last)

        kept: Any = None
        settings = evolve(CONFIGURATION, start_block=0, log_range=3)
        nodes: Any = Nodes()
        scales = Scales(
            reactor=kept,
            pool=kept,
            settings=settings,
            provider=fixtures.PROVIDER,
            service=kept,
            journal=kept,
            inventory=kept,
            chain=nodes,
            runtime=kept,
            say=lambda text: None,
        )
        head = world.now(whole.head())
        self.assertEqual(world.now(scales._settlements(head)), ())
        for _ in range(2):
            (event,) = world.now(scales._asked_again([fixtures.ALICE], head))
            self.assertEqual(event.fee, fixtures.FEE)
        self.assertEqual(world.now(scales._settlements(head)), (event,))
