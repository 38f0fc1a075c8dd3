"""
What is wrong right now, gathered from whoever knows.

Tests: C{tests.services.test_readiness}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field
from zope.interface import implementer

from sandbox_billing.interfaces import IDoors, IReadiness, IWallClock
from sandbox_billing.ledger.money import UnixSeconds


@implementer(IReadiness)
@define(eq=False)
class Readiness:
    """
    @ivar waiting: Parts that start-up waits for, with the reason.
    @ivar asked: Parts that tell their own trouble; None when they have none.
    """

    waiting: dict[str, str] = field(factory=dict)
    asked: dict[str, Callable[[], str | None]] = field(factory=dict)

    def reasons(self) -> Mapping[str, str]:
        found = dict(self.waiting)
        for part, ask in self.asked.items():
            trouble = ask()
            if trouble is not None:
                found[part] = trouble
        return found


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
