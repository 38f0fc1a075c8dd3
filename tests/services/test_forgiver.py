"""
Tests of C{sandbox_billing.services.forgiver}, and of what a debt's end does to its wallet.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.devnet.daytona.faults import Fault, FaultKind
from sandbox_billing.ledger.voucher import Forgiven
from tests.fixtures import ALICE, FEE, HOLD, World, WorldCase


class DebtCase(WorldCase):
    """A wallet whose voucher was not paid in full."""

    policy: dict[str, Any]

    def setUp(self) -> None:
        self.world = World(**self.policy).start()
        world = self.world
        world.fund(FEE + HOLD)
        self.sandbox = world.create()
        # Daytona will not stop it for a while: it runs on unpaid.
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None)
        )
        world.until(lambda: any(":debt:" in name for name in world.amounts()), 400)
        world.simulator.faults.clear()
        self.owed = next(a for name, a in world.amounts().items() if ":debt:" in name)

    def audit(self) -> list[tuple[str, int, str]]:
        """What was decided of which charge."""
        entries = self.world.now(self.world.eyes.forgiving.audit(0, 99))
        return [(entry.subject, entry.amount, entry.by) for entry in entries]


class ByHandTests(DebtCase):
    """An operator's word on one debt."""

    policy = {}  # noqa: RUF012

    def forgive(self) -> None:
        """From another process, without the lease."""
        world = self.world
        forgiving = world.eyes.forgiving
        (name,) = [name for name in world.amounts() if ":debt:" in name]
        debt = world.now(forgiving.forgivable(name))  # type: ignore[arg-type]
        assert debt is not None
        word = Forgiven(seal=None, reason="goodwill", by="olga", at=world.wall.now())
        world.now(forgiving.forgive(debt, word, fenced=False))

    def test_unblocked_when_covered(self) -> None:
        """The wallet stays blocked for want of money, and may run again once it has some."""
        world = self.world
        world.until(lambda: world.quiet, 120)
        self.forgive()
        world.advance(5)
        funds = world.funds()
        self.assertFalse(funds.exposure.in_debt)
        self.assertEqual(funds.blocked, "insufficient_balance")
        waiting = world.books().pending
        world.deposit(waiting + FEE + 2 * HOLD)
        world.until(lambda: world.funds().blocked is None, 60)
        world.until(lambda: world.books().pending == 0, 90)
        books = world.books()
        self.assertEqual((books.debt, books.forgiven), (0, self.owed))
        # What was forgiven was never taken.
        self.assertEqual(world.earned, books.charged - self.owed)
        world.create()
        self.assertEqual(self.audit(), [(self.audit()[0][0], self.owed, "olga")])

    def test_outlives_a_restart(self) -> None:
        """Forgiven is forgiven, whoever works after it (L13)."""
        world = self.world
        self.forgive()
        world.restart()
        world.deposit(10**6)
        world.until(lambda: world.books().pending == 0 and world.quiet, 200)
        self.assertEqual(world.books().forgiven, self.owed)
        self.assertEqual(world.earned, world.books().charged - self.owed)


class SwitchedOnTests(DebtCase):
    """FORGIVE_DEBTS."""

    policy = {"forgive_debts": True}  # noqa: RUF012

    def test_written_off(self) -> None:
        """What a voucher left owed is written off by itself; what comes after is charged."""
        world = self.world
        world.until(lambda: not world.funds().exposure.in_debt, 20)
        books = world.books()
        self.assertEqual((books.debt, books.forgiven), (0, self.owed))
        self.assertEqual(
            [(amount, by) for _, amount, by in self.audit()], [(self.owed, "operator")]
        )
        world.until(lambda: world.order(self.sandbox) is None and world.quiet, 120)
        world.deposit(10**6)
        world.until(lambda: world.books(ALICE).pending == 0, 120)
        self.assertEqual(world.earned, world.books().charged - world.books().forgiven)


class SwitchedOffTests(DebtCase):
    """The default."""

    policy = {}  # noqa: RUF012

    def test_collected(self) -> None:
        """Nothing is forgiven by itself."""
        self.world.advance(30)
        self.assertEqual(self.world.books().forgiven, 0)
        self.assertEqual(self.audit(), [])
