"""Tests of the grace before a stop: C{STOP_GRACE_SEC}, with the loss cap."""

from __future__ import annotations

from sandbox_billing.interfaces import CannotPay
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.notice import Kind
from tests.fixtures import ALICE, FEE, HOLD, INTERVAL, PER_SECOND, STOP_DELAY, World
from tests.services.test_limits import LimitCase


GRACE = 100
OWN = FEE + 200 * PER_SECOND
LATE = 10_000
"""SETTLE_MAX_AGE_SEC: no voucher ends the grace with a debt."""


class GraceCase(LimitCase):
    """A provider that lends."""

    def setUp(self) -> None:
        self.lend(GRACE, 10**7)

    def lend(self, grace: int, cap: int, **policy: int) -> None:
        """So long, and so much."""
        self.world = World(
            stop_grace=grace, loss_cap=cap, settle_max_age=LATE, settle_min=10**12, **policy
        ).start()
        self.world.fund(OWN)

    def dry(self) -> SandboxId:
        """A sandbox that runs on what is lent."""
        sandbox = self.world.create()
        self.world.until(lambda: self.world.funds().dry_since is not None)
        return sandbox


class GraceTests(GraceCase):
    """Time to top up."""

    def test_runs_on_and_stops(self) -> None:
        """Nothing new is let in; what runs goes on for the grace, is told of it, and stops."""
        world = self.world
        sandbox = self.dry()
        self.assertLessEqual(self.charged(sandbox), OWN)
        self.assertIsNone(world.order(sandbox))
        self.assertEqual(self.fails(CannotPay, self.make()).code, "blocked")
        began = world.funds().dry_since
        (told,) = self.told(Kind.BLOCKED)
        self.assertEqual(dict(told.facts)["stops_at"], str(began + GRACE))
        world.until(lambda: world.order(sandbox) is not None, GRACE + 5)
        self.assertIn(world.wall.now() - began, range(GRACE, GRACE + 3))
        self.assertEqual(world.funds().blocked, "insufficient_balance")
        self.assertIsNone(world.funds().dry_since)

    def test_topped_up_in_time(self) -> None:
        """With money of its own again it runs on, and is let create."""
        world = self.world
        sandbox = self.dry()
        world.deposit(10**6)
        world.until(lambda: world.funds().dry_since is None, 10)
        world.advance(2 * GRACE)
        self.assertEqual((world.state(sandbox), world.funds().blocked), ("started", None))
        world.create()

    def test_small_top_ups(self) -> None:
        """Paying for some seconds again and again lends nothing for longer."""
        # Nothing is charged meanwhile, which would be a reason to look.
        self.lend(GRACE, 10**7, voucher_interval=1800)
        world = self.world
        sandbox = self.dry()
        began = world.funds().dry_since
        while world.order(sandbox) is None:
            funds, since = world.funds(), world.wall.now() - began
            if since % 40 == 35:
                owed = funds.exposure.owed(world.wall.now())
                world.deposit(owed + 30 * PER_SECOND - funds.account.value.balance)
            world.advance()
            self.assertLess(since, GRACE + 40)

    def test_cap_comes_first(self) -> None:
        """The loss cap is never passed, however long the grace is."""
        cap = 50 * PER_SECOND
        self.lend(10_000, cap)
        sandbox = self.dry()
        self.stopped(sandbox, 200)
        self.assertLessEqual(self.charged(sandbox), OWN + cap)
        self.assertGreater(self.charged(sandbox), OWN + cap - 3 * STOP_DELAY * PER_SECOND)

    def test_lent_once(self) -> None:
        """After the grace it takes money of its own, not the rest of the cap."""
        world = self.world
        sandbox = self.dry()
        self.stopped(sandbox, 2 * GRACE)
        world.advance(100)
        why = self.fails(CannotPay, world.process.intake.start(ALICE, sandbox))
        self.assertIn(why.code, ("blocked", "debt"))
        owed = world.funds().exposure.owed(world.wall.now())
        world.deposit(owed + HOLD + PER_SECOND * INTERVAL)
        world.until(lambda: world.funds().blocked is None, 60)
        world.run(world.process.intake.start(ALICE, sandbox))

    def test_restart(self) -> None:
        """A grace goes on in the next life, and is no longer for it."""
        world = self.world
        sandbox = self.dry()
        began = world.funds().dry_since
        world.advance(GRACE // 2)
        world.restart()
        world.until(lambda: world.order(sandbox) is not None, GRACE)
        self.assertIn(world.wall.now() - began, range(GRACE, GRACE + 20))

    def test_none(self) -> None:
        """Without a grace all of the cap is lent, as ever, and nothing is refused meanwhile."""
        self.lend(0, 10**7)
        world = self.world
        sandbox = world.create()
        world.advance(400)
        self.assertEqual((world.state(sandbox), world.funds().dry_since), ("started", None))
        world.create()
