"""How the parts outside answer."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.errors import StoreDown, Transient
from sandbox_billing.interfaces import DaytonaRefused, PartState
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.dependencies import DependencyWatch
from sandbox_billing.services.readiness import Readiness


class Wall:
    """A clock that stands."""

    def now(self) -> UnixSeconds:
        """The same each time."""
        return UnixSeconds(1_000)


class DependencyTests(SynchronousTestCase):
    """L{DependencyWatch}."""

    def setUp(self) -> None:
        """All well, Redis half a second ahead."""
        self.failing: dict[str, Exception] = {}
        self.offset = 0.5
        self.readiness, self.measures = Readiness(), MemoryMeasures()
        self.watch = DependencyWatch(
            asks={"chain": lambda: self.ask("chain"), "daytona": lambda: self.ask("daytona")},
            clock_offset=self.clock_offset,
            wall=Wall(),
            readiness=self.readiness,
            measures=self.measures,
        )

    async def ask(self, part: str) -> None:
        """Fails as told."""
        if part in self.failing:
            raise self.failing[part]

    async def clock_offset(self) -> float:
        """Redis's clock less ours."""
        await self.ask("redis")
        return self.offset

    def turn(self) -> dict[str, tuple[bool, str | None]]:
        """One look, and what it found."""
        self.successResultOf(Deferred.fromCoroutine(self.watch.turn()))
        found = self.readiness.dependencies()
        return {part: (one.ok, one.reason) for part, one in found.items()}

    def test_well(self) -> None:
        """Each was asked, and says when."""
        self.watch.reached("key service")
        well = (True, None)
        self.assertEqual(
            {"key service": well, "redis": well, "chain": well, "daytona": well}, self.turn()
        )
        self.assertEqual(
            PartState(ok=True, reason=None, checked_at=UnixSeconds(1_000)),
            self.readiness.dependencies()["chain"],
        )
        self.assertEqual({("clock_offset_seconds",): 0.5}, self.measures.shown)

    def test_failing(self) -> None:
        """One that fails is told with its reason, hides no other, and nobody is unready for it."""
        self.failing = {
            "redis": StoreDown("not connected"),
            "daytona": DaytonaRefused("no such key", 401),
        }
        found = self.turn()
        self.assertEqual((False, "not connected"), found["redis"])
        self.assertEqual((False, "no such key"), found["daytona"])
        self.assertEqual((True, None), found["chain"])
        self.assertEqual({}, self.readiness.reasons())
        self.failing = {"chain": Transient("no node answers")}
        found = self.turn()
        self.assertEqual((True, None), found["daytona"])
        self.assertEqual((False, "no node answers"), found["chain"])

    def test_waited_for(self) -> None:
        """What start-up has not reached yet was never asked."""
        self.readiness.waiting["chain"] = "not reached yet"
        self.assertEqual(
            {"chain": PartState(ok=False, reason="not reached yet", checked_at=None)},
            self.readiness.dependencies(),
        )

    def test_drift(self) -> None:
        """Clocks that part while we run are a notice; start-up would have refused them."""
        self.turn()
        self.assertIsNone(self.watch.notice())
        self.offset = -2.5
        self.turn()
        self.assertIn("-2.5 s from this machine's", str(self.watch.notice()))
