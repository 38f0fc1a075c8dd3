"""
Crash everywhere: every call that changes something, before and after its effect.

A story is lived once to number its calls; then once more for each call, dying
there.  Another process is born on what was left, the user goes on with what he
wanted, and when everything is quiet the books must be right (failures.md, "How
to test it").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.ledger.identity import SandboxId
from tests.fixtures import ALICE, FEE, HOLD, INTERVAL, PER_SECOND, SWEEP, World
from tests.services.lives import Life


LEASE = 15


class Tale:
    """A world whose daemon may die at one call, and a user who does not give up."""

    def __init__(self, life: Life, funds: int) -> None:
        self.world = World()
        self.world.process = self.world.birth(life)
        self.life = life
        self.world.start()
        self.world.fund(funds)
        self.deaths = 0

    def heal(self) -> None:
        """If the daemon died, another is started and becomes the worker."""
        world = self.world
        if world.process.life.dead:
            self.deaths += 1
            world.restart()
            world.advance(LEASE + SWEEP + 1)

    def advance(self, seconds: int) -> None:
        """Time passes; a death is noticed."""
        for _ in range(seconds):
            self.world.advance()
            self.heal()

    def create(self) -> None:
        """Ask for a sandbox until there is one, as a client with one wish would."""
        for _ in range(3):
            if self.running():
                return
            self.ask(self.world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
            self.advance(SWEEP + 4)

    def ask(self, work) -> None:  # type: ignore[no-untyped-def]
        """A request whose answer may never come."""
        self.world.begin(work).addErrback(lambda _: None)

    def running(self) -> list[SandboxId]:
        """What Daytona runs."""
        records = self.world.simulator.records
        return [SandboxId(i) for i in records if self.world.state(SandboxId(i)) == "started"]

    def stop(self) -> None:
        """Ask for a stop of everything until nothing runs."""
        for _ in range(10):
            for sandbox in self.running():
                self.ask(self.world.process.intake.stop(ALICE, sandbox))
            self.advance(6)
            if not self.running():
                return
        raise AssertionError("it cannot be stopped")

    def settle(self) -> None:
        """Until nothing is on its way and nothing is owed that could be paid."""
        world = self.world

        def done() -> bool:
            self.heal()
            books = world.books()
            poor = world.slot().balance == 0
            return world.quiet and (books.pending == 0 or poor) and not world.process.troubles()

        world.until(done, 500)

    def check(self) -> None:
        """The laws that hold whatever died (L1, L2, L3, L6), and the chain's sums."""
        world = self.world
        world.check_laws(ALICE)
        books = world.books()
        assert books.settled == world.earned, (books, world.earned)
        assert world.slot().balance == world.deposits[ALICE] - world.earned
        creates = [i for i in world.amounts() if i.endswith(":create")]
        assert len(creates) == len(set(creates))
        held = {f.split(":")[0] for f in world.funds().exposure.fields}
        assert not held & {"hold", "session"}, held
        nonces = [r.seal.nonce for r in world.charges() if r.seal is not None]
        assert len(nonces) == len(set(nonces)), nonces
        assert not world.net.pool


def whole(tale: Tale) -> None:
    """Create, run for more than an interval, stop, settle."""
    tale.create()
    tale.advance(INTERVAL + SWEEP)
    tale.stop()
    tale.settle()
    world = tale.world
    books = world.books()
    assert books.settled == books.charged, books
    for sandbox, record in world.simulator.records.items():
        seconds = sum(r.charge.units for r in world.charges() if r.charge.sandbox == sandbox)
        lost = record.shown.seconds(0) - seconds
        # At each end of a run, and while nobody lived, what was not seen is not charged.
        grace = 2 * SWEEP + (LEASE + 2 * SWEEP + 4 if tale.deaths else 0)
        assert 0 <= lost <= grace, f"{sandbox}: {lost} s of {record.shown} were not charged"
        assert f"{sandbox}:create" in world.amounts()
        paid = sum(r.charge.amount for r in world.charges() if r.charge.sandbox == sandbox)
        assert paid == FEE + PER_SECOND * seconds


def broke(tale: Tale) -> None:
    """Create, run dry while Daytona will not stop it, a debt; then a deposit clears it."""
    world = tale.world
    tale.create()
    world.simulator.faults.add(Fault(kind=FaultKind.STATUS, status=409, route="stop", count=None))
    tale.advance(2 * INTERVAL + 10)
    world.simulator.faults.clear()
    for _ in range(100):
        tale.advance(1)
        if not tale.running():
            break
    tale.settle()
    assert not tale.running()
    world.deposit(10 * HOLD)
    tale.settle()
    tale.advance(5)
    books = world.books()
    assert books.debt == 0 and books.settled == books.charged, books


IDLE = ("step to block", "store observations", "check ", "let ")
"""Calls that every quiet second makes: dying at each of them teaches nothing new."""

EVERY = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 5
"""Of the longer story, one death in so many (odd: before and after alternate); all at night."""


def places(calls: Sequence[str], begun: int) -> list[int]:
    """The calls to die at: all that do something, and the first idle ones after each."""
    return [
        n
        for n in range(begun, len(calls))
        if not calls[n].startswith(IDLE) or not calls[n - 1].startswith(IDLE)
    ]


def crashes(story: Callable[[Tale], None], funds: int, every: int) -> Iterator[tuple[str, Tale]]:
    """
    Live a story, dying at its calls.

    @param every: One death in so many.
    @return: For each death, its place and the world after it.
    """
    first = Tale(Life(), funds)
    begun = len(first.life.calls)
    story(first)
    first.check()
    calls = list(first.life.calls)
    first.world.simulator.close()
    deaths = [(n, after) for n in places(calls, begun) for after in (False, True)]
    for number, after in deaths[::every]:
        tale = Tale(Life(dies_at=number, after=after), funds)
        place = f"{'after' if after else 'before'} call {number}, {calls[number]!r}"
        try:
            story(tale)
            tale.check()
        except AssertionError as why:
            raise AssertionError(f"{story.__name__}: died {place}: {why}") from why
        finally:
            tale.world.simulator.close()
        yield place, tale


class CrashTests(SynchronousTestCase):
    """Whatever dies whenever."""

    def live(self, story: Callable[[Tale], None], funds: int, every: int) -> None:
        """Every death of a story happened, and its books are right."""
        deaths = 0
        for place, tale in crashes(story, funds, every):
            self.assertEqual(tale.deaths, 1, place)
            deaths += 1
        self.assertGreater(deaths, 25)

    def test_create_tick_stop(self) -> None:
        """A sandbox that is created, charged, stopped and settled."""
        self.live(whole, 10**6, 1)

    def test_create_broke_stop(self) -> None:
        """A sandbox that runs dry, is stopped late, and whose debt is collected."""
        self.live(broke, FEE + HOLD, EVERY)
