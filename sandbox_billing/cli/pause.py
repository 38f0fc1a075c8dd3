"""
A change of prices or signer while sandboxes run (K21).

Admissions are paused, everything that ran before is charged and settled or waits for its
own wallet, then the change is made, and then the pause is lifted.  A change voids every
acknowledgement: what is not settled by then waits for its user's next one.

Tests: L{tests.cli.test_pause}, L{tests.cli.test_provider_drain}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import define, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.standing import HOW, Run, is_leftover, is_ours, told_of
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import IBacklog, IDoors, IMeter, IPause
from sandbox_billing.ledger.backlog import Left, Pause
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.backlog import left_before


T = TypeVar("T")

REASON = "the provider changes its prices or its signer"

POLL_SECONDS = 1.0

SEEN_SECONDS = 60
"""How long a daemon may take to see the change before the pause is lifted all the same."""

LOOKS = 2
"""So many looks in a row must find nothing: what moves while it is read may hide from one."""


@frozen(kw_only=True)
class Drain:
    """
    The wait until nothing of before is left.

    @ivar say: Told what is waited for.
    @ivar limit_seconds: From the first look.
    """

    meter: IMeter
    backlog: IBacklog
    clock: IReactorTime
    say: Callable[[str], None]
    limit_seconds: float

    async def wait(self, since: UnixSeconds) -> Left:
        """
        @raise Refused: Something is left when the time is up.
        """
        deadline = self.clock.seconds() + self.limit_seconds
        clear = 0
        while True:
            began = self.clock.seconds()
            left = await left_before(self.meter, self.backlog, since)
            clear = clear + 1 if left.nothing else 0
            if clear == LOOKS:
                return left
            now = self.clock.seconds()
            if clear:
                self.say("nothing is left; looking once more")
            elif now < deadline:
                self.say(f"waiting for {told(left)}")
            else:
                raise Refused(
                    f"after {self.limit_seconds:.0f} s there is still left: {told(left)}. Nothing "
                    "was changed; look at the daemon's /readyz, and run this again, perhaps with "
                    "a longer --drain-timeout"
                )
            # A large journal takes long to read, and the daemon reads it, too.
            await deferLater(self.clock, max(POLL_SECONDS, 5 * (now - began)))


@define
class _Stage:
    """
    How far a change is, for whoever ends it.

    @ivar maybe: Whether our pause may stand.
    @ivar sending: Whether the change may be made.
    @ivar why: What has ended it, in words.
    """

    maybe: bool = False
    sending: bool = False
    why: str = "stopped"


@frozen(kw_only=True)
class PausedChange:
    """
    One change under one pause.

    @ivar wait: The drain; apart, so that a test can leave it out and lose money (K21).
    @ivar run: Names the pause: no other run has the same.
    @ivar take_over: Whether another run's pause is taken over although it may still go on.
    """

    pause: IPause
    wait: Callable[[UnixSeconds], Awaitable[Left]]
    say: Callable[[str], None]
    run: Run
    take_over: bool = False

    async def carry_out(
        self, since: UnixSeconds, change: Callable[[], Awaitable[T]]
    ) -> tuple[Left, T]:
        """
        However it ends, the pause is lifted, unless the change may have been made.

        @param since: Now, by the server's clock.
        @param change: Makes it and waits for its confirmation.  What it raises is raised: with
            L{BadInput}, L{Refused} and L{Transient} it was not made.
        @raise Refused: Another's pause stands, or took the place of ours; or something is left
            when time is up.
        @raise UnknownOutcome: The pause may stand on.
        """
        mine = Pause(since=since, reason=REASON, by=str(self.run))
        stage = _Stage()
        try:
            await self._set(mine, stage)
            left = await self.wait(since)
            await self._require(mine)
            self.say("everything before is settled: making the change")
            stage.sending = True
            made = await change()
            stage.sending, stage.why = False, "the change is made and confirmed"
        except (BadInput, Refused, Transient) as why:
            stage.sending, stage.why = False, str(why)
            raise
        except UnknownOutcome as why:
            stage.why = str(why)
            if stage.sending:
                raise UnknownOutcome(f"{why}. Until then admissions stay paused; {HOW}") from why
            raise
        except CancelledError:
            raise
        except Exception as why:
            stage.why = f"a defect of this program: {why!r}"
            raise
        finally:
            if stage.sending:
                self.say("whether the change is made is not known: admissions stay paused")
            elif stage.maybe:
                await self._end(mine, stage.why)
        return left, made

    async def _set(self, mine: Pause, stage: _Stage) -> None:
        stands = await self.pause.paused()
        if stands is not None:
            self._require_free(stands.value, mine.since)
        # From here on a lost reply, or Ctrl-C, leaves open whether it stands.
        stage.maybe = True
        try:
            if stands is None:
                await self.pause.pause(mine)
                self.say("admissions are paused; what runs goes on")
            else:
                # The daemon charges up to the pause that stands: also what ran since the old one.
                await self.pause.renew(stands, mine)
                self.say(f"going on under the pause of {stands.value.since}")
        except Transient:
            stage.maybe = False
            raise

    def _require_free(self, stands: Pause, now: UnixSeconds) -> None:
        if not is_ours(stands):
            raise Refused(f"admissions are paused by {told_of(stands)}: nothing was changed")
        if not self.take_over and not is_leftover(stands, now):
            raise Refused(_busy(stands))

    async def _require(self, mine: Pause) -> None:
        """What was drained stays drained only while the door was shut all the time."""
        stands = await self.pause.paused()
        if stands is None or stands.value != mine:
            whose = "somebody ended" if stands is None else f"{told_of(stands.value)} took over"
            raise Refused(f"{whose} the pause of this run: nothing was changed")

    async def _end(self, mine: Pause, why: str) -> None:
        try:
            stands = await self.pause.paused()
            if stands is None:
                self.say("no pause stands")
            elif stands.value != mine:
                self.say(f"admissions stay paused by {told_of(stands.value)}")
            else:
                await self.pause.lift(stands)
                self.say("the pause is lifted")
        except (BadInput, Transient, UnknownOutcome, CancelledError) as problem:
            raise UnknownOutcome(
                f"{why}; but the pause may stand, and could not be lifted "
                f"({str(problem) or 'stopped'}): see the daemon's /readyz; {HOW}"
            ) from problem


def _busy(stands: Pause) -> str:
    return (
        f"admissions are paused by another run of this command, {told_of(stands)}: nothing was "
        "changed. If that run was killed or did not see its end, say --take-over"
    )


async def lift_leftover(pause: IPause, now: UnixSeconds, *, take_over: bool) -> bool:
    """
    End a pause that an earlier run has left behind.

    @param now: By the server's clock.
    @param take_over: Also one whose run may still go on.
    @return: Whether there was one.
    @raise Refused: Another run's stands, which may still go on.
    """
    stands = await pause.paused()
    if stands is None or not is_ours(stands.value):
        return False
    if not take_over and not is_leftover(stands.value, now):
        raise Refused(_busy(stands.value))
    await pause.lift(stands)
    return True


async def until_seen(
    doors: IDoors, clock: IReactorTime, version: int, limit_seconds: float = SEEN_SECONDS
) -> bool:
    """
    Wait until the daemon's mirror has a signer version: what is let in then is on new terms.

    @return: Whether it has.
    """
    deadline = clock.seconds() + limit_seconds
    while True:
        mirror = await doors.mirror()
        service = None if mirror is None else mirror.value.service
        if service is not None and service.signer_version >= version:
            return True
        if clock.seconds() >= deadline:
            return False
        await deferLater(clock, POLL_SECONDS)


def told(left: Left) -> str:
    """What is left, in words."""
    parts = []
    if left.intents:
        parts.append(f"{left.intents} calls that were let in before")
    if left.sessions:
        parts.append(f"{left.sessions} sandboxes that are not charged up to the pause yet")
    if left.charges:
        parts.append(f"{left.charges} charges of {both(left.amount)} that are not settled")
    parts += excepted(left)
    return "; ".join(parts) or "nothing"


def excepted(left: Left) -> list[str]:
    """What waits for its own wallet, or for a human, and for no drain."""
    found = [
        f"{count} charges of {both(amount)} {standing.value} (not waited for)"
        for standing, count, amount in left.excepted
    ]
    if left.damaged:
        found.append(f"{left.damaged} damaged charges (not waited for; look at the log)")
    return found
