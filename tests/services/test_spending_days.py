"""
Random days of tokens with a spend limit: whatever fails or dies, none causes more than it may.

Tests of C{sandbox_billing.services.spending} in company.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, field

from sandbox_billing.devnet.daytona.records import State
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import SpendLimitReached
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.token import Allowance, TokenId
from tests.fixtures import ALICE, FEE, HOLD, PER_SECOND, STOP_DELAY, World, WorldCase
from tests.services.lives import SWEEP


STEPS = 50
SEEDS = range(4)
LEASE_SECONDS = 15
TOKENS = tuple(TokenId(two * 16) for two in ("ab", "cd"))


@define(eq=False)
class Day:
    """
    One day of a wallet that has plenty, and of two tokens of it that have little.

    @ivar holders: Who made which sandbox: nobody else starts it.
    @ivar deaths: How often the daemon was killed.
    """

    world: World
    chance: Random
    allowances: tuple[Allowance | None, ...]
    holders: dict[SandboxId, Allowance | None] = field(factory=dict)
    deaths: int = 0
    refused: int = 0
    story: list[str] = field(factory=list)

    @classmethod
    def of(cls, seed: int) -> Day:
        """A new one."""
        chance = Random(seed)
        world = World().start()
        world.fund(10**9)
        limits = (FEE + HOLD + chance.randrange(600) * PER_SECOND for _ in TOKENS)
        pairs = zip(TOKENS, limits, strict=True)
        allowances = tuple(Allowance(token, Neuron(limit)) for token, limit in pairs)
        return cls(world, chance, (*allowances, allowances[0], None))

    def create(self) -> None:
        """Somebody's; also when nobody is told."""
        whose = self.chance.choice(self.allowances)
        before = set(self.world.simulator.records)
        create = self.world.process.intake.create
        try:
            self.world.run(create(ALICE, {}, auto_stop_minutes=None, allowance=whose))
        finally:
            for sandbox in set(self.world.simulator.records) - before:
                self.holders[SandboxId(sandbox)] = whose

    def asks(self, name: str) -> Callable[[], None]:
        """One of them is asked for by who made it."""

        def act() -> None:
            sandbox, whose = self.chance.choice([*self.holders.items()])
            more = {"allowance": whose} if name in ("start", "recover") else {}
            self.world.run(getattr(self.world.process.intake, name)(ALICE, sandbox, **more))

        return act

    def lose(self, route: str, act: Callable[[], None]) -> Callable[[], None]:
        """It is done, and nobody is told."""

        def lost() -> None:
            self.world.simulator.lose_reply_next(route=route)
            act()

        return lost

    def behind(self, name: str, *states: State) -> Callable[[], None]:
        """Somebody does something past us."""

        def act() -> None:
            sandbox = self.chance.choice([*self.holders])
            record = self.world.simulator.records[sandbox]
            if record.raw in states and not record.pending:
                getattr(self.world.simulator, name)(sandbox)

        return act

    def die(self) -> None:
        """Another daemon, which must wait for the lease."""
        self.world.restart()
        self.deaths += 1

    def live(self) -> None:
        """All steps, and then rest."""
        asks, behind = self.asks, self.behind
        steps: dict[str, Callable[[], None]] = {
            "create": self.create,
            "lost create": self.lose("create", self.create),
            **{name: asks(name) for name in ("start", "stop", "recover", "delete")},
            **{f"lost {name}": self.lose(name, asks(name)) for name in ("start", "stop")},
            "failed start": self.world.simulator.fail_start_next,
            "stop behind": behind("stop_behind", State.STARTED),
            "break": behind("break_sandbox", State.STARTED),
            "die": self.die,
        }
        self.step("create", self.create)
        for _ in range(STEPS):
            name = self.chance.choice((*steps, "create", "start", "start", "wait", "wait"))
            self.step(name, steps.get(name, lambda: None))
        self.world.simulator.faults.clear()
        # The grace of any intent whose reply was lost.
        self.world.advance(330)

    def step(self, name: str, act: Callable[[], None]) -> None:
        """One of them, refused or not."""
        self.story.append(f"{self.world.clock.seconds():.0f}: {name}")
        try:
            act()
        except SpendLimitReached:
            self.refused += 1
        except (Refused, BadInput, UnknownOutcome, Transient, IndexError) as why:
            self.story[-1] += f" ({why})"
        self.world.advance(self.chance.choice((0, 1, 3, 7, 14, 30)))

    def charged(self, allowance: Allowance) -> int:
        """Everything charged for what it made."""
        return sum(
            record.charge.amount
            for record in self.world.charges()
            if self.holders.get(record.charge.sandbox) == allowance
        )


class AnyDayTests(WorldCase):
    """Creates, starts, failures, lost replies and deaths, in any order."""

    def setUp(self) -> None:
        """Each day makes a world of its own."""

    def tearDown(self) -> None:
        """And has looked at its laws."""

    def test_law(self) -> None:
        """
        A token has spent what was charged for what it made, and at most its limit and what
        runs until a stop is through: STOP_DELAY_SEC, a sweep, and while nobody lives.
        """
        refused = 0
        for seed in SEEDS:
            day = Day.of(seed)
            self.addCleanup(day.world.simulator.close)
            day.live()
            world = day.world
            refused += day.refused
            for allowance in day.allowances[:2]:
                assert allowance is not None
                told: Any = (seed, allowance, day.story)
                spending = world.now(world.eyes.doors.spending(allowance.token))
                spent = spending.spent(world.wall.now())
                self.assertEqual(spending.ongoing, False, told)
                self.assertEqual(spent, day.charged(allowance), told)
                late = STOP_DELAY + SWEEP + day.deaths * (LEASE_SECONDS + SWEEP)
                self.assertLessEqual(spent, allowance.limit + PER_SECOND * late, told)
            world.check_laws(ALICE, observed=False)
        self.assertGreater(refused, 0)
