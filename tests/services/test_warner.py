"""
Tests of C{sandbox_billing.services.warner}: whole lives of wallets, and what they were told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import define, evolve

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.interfaces import LeaseLost
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from tests.fixtures import (
    ALICE,
    BOB,
    FEE,
    INTERVAL,
    PER_SECOND,
    PRICES,
    STOP_DELAY,
    World,
    WorldCase,
)
from tests.services.lives import PROVIDER, Life, Process


T = TypeVar("T")

LEVELS = (240, 60)
DEARER = evolve(PRICES, create_fee=Neuron(FEE + 1))


def told(world: World, who: Address = ALICE) -> list[Notice]:
    """A wallet's log."""
    return [one.notice for one in world.now(world.eyes.notices.after(who, 0, 2_000))]


def kinds(world: World, who: Address = ALICE) -> list[str]:
    """What its notices are about; of running time left the level."""
    return [dict(one.facts).get("level_seconds", one.kind.value) for one in told(world, who)]


class RunningDryTests(WorldCase):
    """A wallet with money for some minutes."""

    seconds = 400

    def setUp(self) -> None:
        self.world = World(warn_before=LEVELS).start()
        self.world.fund(FEE + self.seconds * PER_SECOND)
        self.sandbox = self.world.create()

    def test_to_the_end(self) -> None:
        """Each level, the block, the order, the stop: once each, and in this order."""
        world = self.world
        world.until(lambda: world.quiet and world.state(self.sandbox) == "stopped", 600)
        world.advance(60)
        expected = ["240", "60", "blocked", "stop_ordered", "stopped"]
        self.assertEqual(kinds(world), expected)
        first, second, *_, stopped = told(world)
        for notice, level in ((first, 240), (second, 60)):
            left = int(dict(notice.facts)["runs_dry_at"]) - notice.at
            self.assertIn(left, range(level - 5, level + 1))
        self.assertEqual(stopped.sandbox, self.sandbox)
        self.assertEqual(dict(stopped.facts)["reason"], "insufficient_balance")

    def test_top_up(self) -> None:
        """More money is told, and begins another descent."""
        world = self.world
        world.until(lambda: kinds(world) == ["240"])
        world.deposit(200 * PER_SECOND)
        world.until(lambda: kinds(world) == ["240", "topped_up"], 20)
        world.until(lambda: len(kinds(world)) > 2, 400)
        self.assertEqual(kinds(world), ["240", "topped_up", "240"])

    def test_two_workers(self) -> None:
        """Trap: another worker has the lease, and the first goes on: nothing is told twice."""
        world = self.world
        first = world.process
        world.until(lambda: kinds(world) == ["240"])
        lease = world.eyes.store.keys.lease()
        forgotten = Commit(name="meddle", fence="-", writes=(Write("DEL", lease),))
        world.now(world.keyspace.commit(forgotten))
        world.process = world.birth()
        world.process.start()
        world.advance(2)
        for _ in range(60):
            # Also where the first has not noticed: its turns are refused one by one.
            world.now(_quietly(first))
            world.advance(5)
            if world.state(self.sandbox) == "stopped":
                break
        world.advance(30)
        expected = ["240", "60", "blocked", "stop_ordered", "stopped"]
        self.assertEqual(kinds(world), expected)

    def test_dies_anywhere(self) -> None:
        """Trap: killed at each write of the warner, before it and after, it tells once."""
        world, deaths = self.world, 0
        world.restart(TellersLife(after=False))
        for _ in range(700):
            world.advance()
            if kinds(world)[-1:] == ["stopped"] and deaths > 10:
                break
            if world.process.life.dead:
                deaths += 1
                # Every second one lives until the write is done; each third tells something.
                world.restart(TellersLife(after=deaths % 2 == 1, spared=deaths % 3 == 0))
                # The lease of the dead one has to end.
                world.advance(16)
        self.assertGreater(deaths, 10)
        self.assertEqual(kinds(world), ["240", "60", "blocked", "stop_ordered", "stopped"])

    def test_mirror_too_old(self) -> None:
        """A chain that cannot be read tells nobody that he is poor; and that is no alarm."""
        world = self.world
        world.mining = False
        world.advance(self.seconds)
        self.assertEqual(kinds(world), [])
        self.assertNotIn("warner", world.process.readiness.reasons())
        self.assertIn("too old", world.process.readiness.notices()["warner"])
        world.mining = True
        world.until(lambda: "blocked" in kinds(world), 60)

    def test_unreadable(self) -> None:
        """A wallet whose books are damaged is told nothing, and everybody else is."""
        world = self.world
        world.fund(FEE + 200 * PER_SECOND, BOB)
        world.create(BOB)
        key = world.eyes.store.keys.exposure(ALICE)
        damage = Commit(name="meddle", fence="-", writes=(Write("HSET", key, ("x", "coffee")),))
        world.now(world.keyspace.commit(damage))
        world.until(lambda: kinds(world, BOB)[-1:] == ["60"], 300)
        self.assertNotIn("60", kinds(world))
        self.assertEqual(world.process.turns["warner"].trouble, None)

    def test_unreadable_picture(self) -> None:
        """What cannot be read of what was told is drawn anew; nothing of money waits for it."""
        world = self.world
        world.until(lambda: kinds(world) == ["240"])
        key = world.eyes.store.keys.warned(ALICE)
        damage = Commit(name="meddle", fence="-", writes=(Write("SET", key, ("coffee",)),))
        world.now(world.keyspace.commit(damage))
        world.until(lambda: world.state(self.sandbox) == "stopped", 600)
        world.advance(10)
        self.assertEqual(kinds(world)[2:], ["60", "blocked", "stop_ordered", "stopped"])

    def test_log_fails(self) -> None:
        """Trap: a log that cannot be written keeps no stop from being carried out."""
        world = self.world
        key = world.eyes.store.keys.notices(ALICE)
        damage = Commit(name="meddle", fence="-", writes=(Write("SET", key, ("coffee",)),))
        world.now(world.keyspace.commit(damage))
        world.until(lambda: world.state(self.sandbox) == "stopped", 600)
        world.until(lambda: world.books().settled == world.earned, 60)
        self.assertEqual(world.process.troubles(), {})


@define(eq=False, kw_only=True)
class TellersLife(Life):
    """
    Ends at what a wallet is told.

    @ivar spared: Whether the first time is let pass.
    """

    spared: bool = False

    async def through(self, name: str, call: Callable[[], Awaitable[T]], *, counted: bool) -> T:
        """Make a call, or never return from it."""
        if name.startswith("tell 0x") and not self.dead:
            if not self.spared:
                self.dies_at, counted = len(self.calls), True
            self.spared = False
        return await super().through(name, call, counted=counted)


async def _quietly(process: Process) -> None:
    """A turn of a worker that does not know that it is one no longer."""
    with contextlib.suppress(LeaseLost):
        await process.work.warner.turn()


class GraceTests(WorldCase):
    """A provider that lends for a while before it stops anything."""

    def setUp(self) -> None:
        self.world = World(
            warn_before=LEVELS, stop_grace=60, loss_cap=Neuron(1_000 * PER_SECOND)
        ).start()

    def test_own_money(self) -> None:
        """Told is how long its own lasts, not what is lent; then the grace, then the stop."""
        world = self.world
        world.fund(FEE + 400 * PER_SECOND)
        sandbox = world.create()
        world.until(lambda: world.state(sandbox) == "stopped", 600)
        world.advance(5)
        # A voucher may fall short meanwhile: then there is a debt, too, and the stop is at once.
        self.assertEqual(kinds(world)[:3], ["240", "60", "blocked"])
        self.assertEqual(kinds(world)[-3:], ["blocked", "stop_ordered", "stopped"])
        first, _, grace, *_ = told(world)
        dry_at = int(dict(first.facts)["runs_dry_at"])
        self.assertIn(int(dict(grace.facts)["stops_at"]) - dry_at, range(55, 70))
        self.assertEqual(int(dict(first.facts)["level_seconds"]), 240)
        self.assertIn(dry_at - first.at, range(235, 241))


class ChainTests(WorldCase):
    """What the chain has changed."""

    def setUp(self) -> None:
        self.world = World(warn_before=LEVELS).start()
        self.world.fund(1_000_000)
        self.sandbox = self.world.create()
        self.world.advance(5)

    def test_nothing_to_tell(self) -> None:
        """Whoever has enough is told nothing for an hour."""
        self.world.advance(5 * INTERVAL)
        self.assertEqual(kinds(self.world), [])

    def test_refund(self) -> None:
        """What is asked back, with its day."""
        world = self.world
        world.request_refund(1_000)
        world.until(lambda: kinds(world) == ["refund_requested"], 20)
        (notice,) = told(world)
        self.assertEqual(dict(notice.facts)["amount"], "1000")

    def test_version_raised(self) -> None:
        """Whoever had acknowledged is told until when he has to again, and that he was stopped."""
        world = self.world
        world.register(prices=DEARER)
        world.until(lambda: kinds(world) == ["acknowledge_needed"], 20)
        facts = dict(told(world)[0].facts)
        self.assertEqual(facts["signer_version"], "2")
        until = int(facts["until"])
        world.until(lambda: world.state(self.sandbox) == "stopped", 100)
        self.assertGreaterEqual(world.wall.now(), until)
        world.advance(5)
        self.assertEqual(kinds(world)[1:], ["stop_ordered", "stopped"])
        self.assertEqual(dict(told(world)[1].facts)["reason"], "not_acknowledged")

    def test_revoked(self) -> None:
        """A revoke is the wallet's own: it is told of the stop alone."""
        world = self.world
        world.acknowledge(acknowledged=False)
        world.until(lambda: "stopped" in kinds(world), 60)
        self.assertEqual(kinds(world), ["stop_ordered", "stopped"])

    def test_leaving(self) -> None:
        """Everybody with something here is told of the announcement, and once."""
        world = self.world
        world.know(BOB)
        world.net.act(lambda c: c.announce_leave(PROVIDER))
        world.until(lambda: kinds(world) == ["provider_leaving"], 30)
        world.restart()
        world.advance(30)
        self.assertEqual(kinds(world), ["provider_leaving"])
        self.assertEqual(kinds(world, BOB), [])
        self.assertEqual(
            world.now(world.eyes.warnings.announced()),
            UnixSeconds(int(dict(told(world)[0].facts)["leave_at"])),
        )


class DebtTests(WorldCase):
    """A voucher that was not paid in full."""

    def test_debt(self) -> None:
        """Told with the charge and what is owed; and paid, with nothing more."""
        world = self.world
        world.fund(FEE + 150 * PER_SECOND)
        sandbox = world.create()
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        world.until(lambda: "debt" in kinds(world), 400)
        world.simulator.faults.clear()
        world.until(lambda: world.state(sandbox) == "stopped", 100)
        (debt,) = [one for one in told(world) if one.kind is Kind.DEBT][:1]
        self.assertTrue(dict(debt.facts)["charge"].startswith(sandbox))
        self.assertGreater(int(dict(debt.facts)["owed"]), 0)
        self.assertEqual(STOP_DELAY, world.policy.stop_delay)
