"""
How the parts outside answer, asked by every process for itself (T6).

That one does not answer makes nobody unready by itself: whoever needs it says so.  This is
what an operator reads to see at which end it lies.

Tests: C{tests.services.test_dependencies}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from attrs import define, field

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import UNMEASURED, IMeasures, IWallClock, PartState
from sandbox_billing.measures import CLOCK_OFFSET_SECONDS
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.readiness import Readiness


LOOK_SECONDS = 30.0

CLOCK_SECONDS = 2.0
"""As start-up has it: further apart, what one process saw running is another's future."""


@define(eq=False, kw_only=True)
class DependencyWatch:
    """
    @ivar asks: By the part's name, what raises when it is not well.
    @ivar clock_offset: Redis's clock less ours, seconds; raises when Redis is not well.
    @ivar readiness: Told how each answered.
    """

    asks: Mapping[str, Callable[[], Awaitable[object]]]
    clock_offset: Callable[[], Awaitable[float]]
    wall: IWallClock
    readiness: Readiness
    measures: IMeasures = UNMEASURED
    _offset: float = field(default=0.0, init=False)

    def reached(self, *parts: str) -> None:
        """Start-up has reached these; nobody asks them again unless C{asks} has them."""
        for part in parts:
            self._note(part, None)

    async def turn(self) -> None:
        """Ask each, at the same time."""
        await gather(
            self._ask("redis", self._look_at_clock),
            *(self._ask(part, ask) for part, ask in self.asks.items()),
        )

    def notice(self) -> str | None:
        """That Redis's clock and ours have drifted apart; None while they have not."""
        if abs(self._offset) <= CLOCK_SECONDS:
            return None
        return (
            f"Redis's clock is {self._offset:+.1f} s from this machine's: every second is charged"
            " by the clock, so set the wrong one right (NTP)"
        )

    async def _look_at_clock(self) -> None:
        self._offset = await self.clock_offset()
        self.measures.set(CLOCK_OFFSET_SECONDS, self._offset)

    async def _ask(self, part: str, ask: Callable[[], Awaitable[object]]) -> None:
        try:
            await ask()
        except (BadInput, Refused, Transient, UnknownOutcome) as why:
            self._note(part, str(why) or type(why).__name__)
        else:
            self._note(part, None)

    def _note(self, part: str, why: str | None) -> None:
        self.readiness.found[part] = PartState(
            ok=why is None, reason=why, checked_at=self.wall.now()
        )
