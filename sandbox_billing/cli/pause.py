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

from attrs import frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sandbox_billing.cli.amounts import both
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import IBacklog, IDoors, IMeter, IPause, Stored
from sandbox_billing.ledger.backlog import Left, Pause
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.backlog import left_before


T = TypeVar("T")

REASON = "the provider changes its prices or its signer"

BY = "provider register"
"""A pause of this name is ours: whoever runs the command again goes on under it."""

POLL_SECONDS = 1.0

SEEN_SECONDS = 60
"""How long a daemon may take to see the change before the pause is lifted all the same."""


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
        while True:
            began = self.clock.seconds()
            left = await left_before(self.meter, self.backlog, since)
            if left.nothing:
                return left
            self.say(f"waiting for {told(left)}")
            now = self.clock.seconds()
            if now >= deadline:
                raise Refused(
                    f"after {self.limit_seconds:.0f} s there is still left: {told(left)}. Nothing "
                    "was changed; look at the daemon's /readyz, and run this again, perhaps with "
                    "a longer --drain-timeout"
                )
            # A large journal takes long to read, and the daemon reads it, too.
            await deferLater(self.clock, max(POLL_SECONDS, 5 * (now - began)))


@frozen(kw_only=True)
class PausedChange:
    """
    One change under one pause.

    @ivar wait: The drain; apart, so that a test can leave it out and lose money (K21).
    """

    pause: IPause
    wait: Callable[[UnixSeconds], Awaitable[Left]]
    say: Callable[[str], None]

    async def carry_out(
        self, since: UnixSeconds, change: Callable[[], Awaitable[T]]
    ) -> tuple[Left, T]:
        """
        @param since: Now, by the server's clock.
        @param change: Makes it and waits for its confirmation.  What it raises is raised; the
            pause stands on when it is unknown whether it was made.
        @raise Refused: Somebody else's pause stands, or something is left when time is up.
        @raise UnknownOutcome: The pause may stand on; the next run goes on under it.
        """
        stands = await self._pause(since)
        try:
            left = await self.wait(stands.value.since)
            self.say("everything before is settled: making the change")
            made = await change()
        except UnknownOutcome as why:
            raise UnknownOutcome(f"{why}. Until then admissions stay paused") from why
        except (BadInput, Refused, Transient, CancelledError) as why:
            await self._lift(stands, str(why) or "stopped")
            raise
        await self._lift(stands, "the change is made and confirmed")
        return left, made

    async def _pause(self, since: UnixSeconds) -> Stored[Pause]:
        stands = await self.pause.paused()
        if stands is None:
            stands = await self.pause.pause(Pause(since=since, reason=REASON, by=BY))
            self.say("admissions are paused; what runs goes on")
        elif stands.value.by != BY:
            raise Refused(
                f"admissions are paused by {stands.value.by} since {stands.value.since} "
                f"({stands.value.reason}): nothing was changed"
            )
        else:
            self.say(f"going on under the pause of {stands.value.since}")
        return stands

    async def _lift(self, stands: Stored[Pause], what: str) -> None:
        try:
            await self.pause.lift(stands)
        except (Transient, UnknownOutcome) as why:
            raise UnknownOutcome(
                f"{what}; but the pause could not be lifted ({why}): run the same command again"
            ) from why
        self.say("the pause is lifted")


async def lift_ours(pause: IPause) -> bool:
    """
    End a pause that an earlier run has left behind.

    @return: Whether there was one.
    """
    stands = await pause.paused()
    if stands is None or stands.value.by != BY:
        return False
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
