"""
What is wrong right now, gathered from whoever knows.

Tests: C{tests.services.test_readiness}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import define, field
from zope.interface import implementer

from sandbox_billing.interfaces import (
    DeadCharge,
    DoorState,
    IDeadLetters,
    IDesk,
    IDoors,
    IReadiness,
    IWallClock,
    PartState,
    TurnState,
)
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.backlog import overdue
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import DeadLettered
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services.admission import unswept
from sandbox_billing.services.policy import Policy


@implementer(IReadiness)
@define(eq=False)
class Readiness:
    """
    @ivar waiting: Parts that start-up waits for, with the reason.
    @ivar asked: Parts that tell their own trouble; None when they have none.
    @ivar noticed: Parts that tell what is no trouble and worth knowing.
    @ivar turns: What takes turns here; while it runs, not to have taken a good one for long is
        trouble.
    @ivar spare: Those of them without which nobody is less well served: theirs is a notice.
    @ivar found: How each part that we depend on answered last.
    """

    waiting: dict[str, str] = field(factory=dict)
    asked: dict[str, Callable[[], str | None]] = field(factory=dict)
    noticed: dict[str, Callable[[], str | None]] = field(factory=dict)
    turns: dict[str, Periodic] = field(factory=dict)
    spare: set[str] = field(factory=set)
    found: dict[str, PartState] = field(factory=dict)

    def watch(self, periodic: Periodic, *, spare: bool = False) -> None:
        """
        Tell of a periodic service, under its name, from now on.

        @param spare: That nobody is less well served without it.
        """
        self.turns[periodic.name] = periodic
        if spare:
            self.spare.add(periodic.name)

    def reasons(self) -> Mapping[str, str]:
        found = dict(self.waiting)
        for part, ask in self.asked.items():
            trouble = ask()
            if trouble is not None:
                found[part] = trouble
        for name, why in self._stale():
            if name not in self.spare:
                found.setdefault(name, why)
        return found

    def notices(self) -> Mapping[str, str]:
        asked = ((part, ask()) for part, ask in self.noticed.items())
        told = {part: notice for part, notice in asked if notice is not None}
        for name, why in self._stale():
            if name in self.spare:
                told.setdefault(name, why)
        return told

    def _stale(self) -> Iterator[tuple[str, str]]:
        for name, periodic in self.turns.items():
            why = periodic.stale()
            if why is not None:
                yield name, why

    def services(self) -> Mapping[str, TurnState]:
        return {
            name: TurnState(
                # The reactor's seconds are those since 1970.
                last_good_turn=None if one.good_at is None else UnixSeconds(int(one.good_at)),
                trouble=one.trouble or one.stale(),
                every=one.seconds,
            )
            for name, one in self.turns.items()
            if one.running
        }

    def dependencies(self) -> Mapping[str, PartState]:
        waiting = {
            part: PartState(ok=False, reason=why, checked_at=None)
            for part, why in self.waiting.items()
        }
        return {**self.found, **waiting}


@define(eq=False, kw_only=True)
class DoorWatch:
    """
    Whether anything new is let in: what an admission would say, told before anybody asks.
    """

    doors: IDoors
    wall: IWallClock
    policy: Policy
    _state: DoorState | None = field(default=None, init=False)
    _flawed: bool = field(default=False, init=False)

    async def turn(self) -> None:
        """Look at it; what the store raises is the store's trouble."""
        self._state = await self.doors.door_state()
        mirror = await self.doors.mirror()
        self._flawed = mirror is not None and mirror.value.behaviour is Behaviour.FLAWED

    def contract(self) -> str | None:
        """That the contract is not known to be free of K1 and K2, and what follows."""
        if not self._flawed:
            return None
        return (
            "the contract may have the flaws K1 and K2: what a pending refund or a low balance"
            " would make harmful is not sent"
        )

    def notice(self) -> str | None:
        """Why admissions are paused."""
        if self._state is None or self._state.pause is None:
            return None
        pause = self._state.pause.value
        return f"paused since {pause.since} by {pause.by}: {pause.reason}"

    def trouble(self) -> str | None:
        """That settlement is so far behind (K13), or the sweep, that nothing new may run."""
        if self._state is None or self._state.settled_until is None:
            return "what is settled has not been looked at yet"
        policy, now = self.policy, self.wall.now()
        if unswept(self._state.swept_at, now, policy):
            return "what runs at Daytona has not been seen for a while: nothing new is let in"
        age = now - self._state.settled_until
        if not overdue(
            self._state.settled_until,
            now,
            lock_seconds=policy.lock_time,
            interval_seconds=policy.voucher_interval,
        ):
            return None
        return f"the oldest charge that could be settled is {age} s old: nothing new is let in"


@define(eq=False, kw_only=True)
class LetterWatch:
    """Whether a human has to look at something."""

    letters: IDeadLetters
    desk: IDesk
    _found: tuple[DeadLetter, ...] = field(default=(), init=False)

    async def turn(self) -> None:
        """Look at them; what the store raises is the store's trouble."""
        charges = [_letter_of(dead) for dead in await self.desk.dead()]
        found = [*await self.letters.letters(), *charges]
        self._found = tuple(sorted(found, key=lambda letter: letter.since))

    def trouble(self) -> str | None:
        """The oldest of them, and how many there are."""
        if not self._found:
            return None
        oldest = self._found[0]
        return (
            f"{len(self._found)} need a human, first {oldest.kind} {oldest.name}: {oldest.reason}"
        )


def _letter_of(dead: DeadCharge) -> DeadLetter:
    state = None if dead.record is None else dead.record.value.state
    reason = state.reason if isinstance(state, DeadLettered) else "it cannot be read"
    return DeadLetter(kind="charge", name=dead.id, reason=reason, since=dead.since)


@define(eq=False, kw_only=True)
class MirrorWatch:
    """
    How old the chain mirror is, for a process without a worker's turns to tell.

    @ivar max_age_seconds: Older than this, and creates and starts are refused.
    """

    doors: IDoors
    wall: IWallClock
    max_age_seconds: int
    _updated_at: UnixSeconds | None = field(default=None, init=False)

    async def turn(self) -> None:
        """Look at it; what the store raises is the store's trouble."""
        mirror = await self.doors.mirror()
        self._updated_at = None if mirror is None else mirror.value.updated_at

    def trouble(self) -> str | None:
        """That there is none, or that it is too old by now; None for neither."""
        if self._updated_at is None:
            return "the chain has not been read yet"
        age = self.wall.now() - self._updated_at
        if age <= self.max_age_seconds:
            return None
        return f"was last brought up to date {age} s ago; is there a worker?"
