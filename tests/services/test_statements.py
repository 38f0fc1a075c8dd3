"""
What a wallet is told that it pays, after the whole way to the chain and back.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.run import BY_OWNER
from sandbox_billing.ledger.statement import Group, Statement
from tests.fixtures import ALICE, BOB, FEE, HOLD, PER_SECOND, WorldCase


class WholeWayTests(WorldCase):
    """A worker, a chain and a Daytona, in memory."""

    def statement(self, group: Group = Group.SANDBOX, **only: Any) -> Statement:
        """Over all time."""
        history, made = self.world.eyes.history, Statement(since=0, until=10**10, group=group)

        async def add() -> None:
            async for some in history.entries(ALICE, since=0, until=10**10, **only):
                for entry in some:
                    made.add(entry)

        self.world.now(add())
        return made

    def paid(self) -> int:
        """What the events of settled vouchers say."""
        found = self.world.eyes.history.settlements(
            ALICE, since=UnixSeconds(0), page=0, page_size=9_999
        )
        _, settled = self.world.now(found)
        self.assertTrue(all(one.paid is not None for one in settled))
        return sum(one.paid for one in settled)

    def test_settled_vouchers(self) -> None:
        """Two sandboxes, restarts and all: settled is what the events add up to."""
        world = self.world
        world.fund(10**9)
        one, two = world.create(), world.create()
        world.advance(300)
        world.run(world.process.intake.stop(ALICE, one))
        world.restart()
        world.advance(400)
        world.run(world.process.intake.delete(ALICE, two))
        world.advance(600)
        totals = self.statement().totals
        self.assertGreater(self.paid(), 2 * FEE)
        self.assertEqual(totals.settled, self.paid())
        self.assertEqual((totals.charged, totals.pending), (self.paid(), 0))
        self.assertEqual(totals.compute, totals.seconds * PER_SECOND)
        self.assertEqual(self.statement(Group.DAY).totals, totals)
        for sandbox in (one, two):
            ran = world.now(world.eyes.history.ran(sandbox, since=0, most=99))
            assert ran is not None
            mine = self.statement(sandbox=sandbox).totals
            self.assertEqual(sum(run.cost for run in ran.runs), mine.compute)
            self.assertEqual([run.why for run in ran.runs], [BY_OWNER])

    def test_run_dry(self) -> None:
        """Paid in part, the rest a debt; after a top-up it counts for the time it was used."""
        world = self.world
        world.fund(FEE + HOLD)
        sandbox = world.create()
        world.advance(400)
        ran = world.now(world.eyes.history.ran(sandbox, since=0, most=99))
        assert ran is not None
        self.assertEqual(ran.runs[-1].why, "insufficient_balance")
        before = self.statement().totals
        self.assertEqual(before.settled, self.paid())
        world.fund(10**9)
        world.advance(300)
        after = self.statement().totals
        self.assertEqual(after.settled, self.paid())
        self.assertEqual((after.charged, after.owed), (before.charged, 0))

    def test_labels(self) -> None:
        """Kept at a create, with every change, and after the end; ours are not among them."""
        world = self.world
        world.fund(10**9)
        sandbox = world.create(labels={"team": "red"})
        self.assertEqual(self.labels(sandbox), {"team": "red"})
        world.run(world.process.intake.replace_labels(ALICE, sandbox, {"team": "blue"}))
        self.assertEqual(self.labels(sandbox), {"team": "blue"})
        world.run(world.process.intake.delete(ALICE, sandbox))
        world.advance(60)
        self.assertEqual(self.labels(sandbox), {"team": "blue"})

    def labels(self, sandbox: SandboxId) -> Any:
        """What is kept of a sandbox."""
        return self.world.now(self.world.eyes.history.labels([sandbox])).get(sandbox)

    def test_labels_of_before(self) -> None:
        """A sandbox whose labels nobody kept has them from its next start."""
        world = self.world
        world.fund(10**9)
        sandbox = world.create(labels={"team": "red"})
        world.now(world.eyes.doors.label(sandbox, {}))
        world.run(world.process.intake.stop(ALICE, sandbox))
        world.advance(30)
        world.run(world.process.intake.start(ALICE, sandbox))
        self.assertEqual(self.labels(sandbox), {"team": "red"})

    def test_meet(self) -> None:
        """A wallet that only looks is mirrored once it has something; keys cost nothing."""
        world, meet = self.world, self.world.process.intake.meet
        world.fund(100)
        self.assertEqual(world.run(meet(BOB)).collectable, 0)
        self.assertIsNone(world.funds(BOB).account)
        world.deposit(7, BOB)
        world.advance(4)
        self.assertEqual(world.run(meet(BOB)).balance, 7)
        self.assertEqual(world.funds(BOB).account.value.balance, 7)
        world.withdraw(7, BOB)
        world.advance(4)
        self.assertEqual(world.run(meet(BOB)).collectable, 0)

    def test_meet_again(self) -> None:
        """However often a wallet without anything is looked at, the chain is read once a block."""
        world, read = self.world, []
        lookup = world.process.intake.admission.lookup
        chain = lookup.chain

        class Counting:
            """Counts what it is asked for."""

            async def accounts(self, wallets: Any, at: Any) -> Any:
                """The chain's own answer."""
                read.append((*wallets, at.number))
                return await chain.accounts(wallets, at)

        lookup.chain = Counting()  # type: ignore[assignment]
        world.fund(100)
        for _ in range(3):
            world.run(world.process.intake.meet(BOB))
        self.assertEqual(len(read), 1)
        world.advance(4)
        world.run(world.process.intake.meet(BOB))
        self.assertEqual(len(read), len(set(read)))
        self.assertEqual(len(read), 2)
