"""
What goes wrong on the way, on demand: each fault meets the next matching request.
"""

from __future__ import annotations

from enum import Enum, auto

from attrs import define, field, frozen


class FaultKind(Enum):
    """The ways a reply fails."""

    STATUS = auto()
    """An error status, in Daytona's error body."""
    GATEWAY = auto()
    """An error status from something in front of Daytona: an HTML body."""
    HANG = auto()
    """No answer, ever."""
    LOSE_REPLY = auto()
    """The connection closes instead of an answer."""
    CUT = auto()
    """The connection closes in the middle of the body."""
    HTML = auto()
    """200 and the dashboard's page, as outside of C{/api}."""


@frozen(kw_only=True)
class Fault:
    """
    One fault.

    @ivar kind: What the caller sees.
    @ivar status: For C{STATUS} and C{GATEWAY}.
    @ivar message: For C{STATUS}: the text.
    @ivar route: The route's name (C{"create"}, C{"stop"}); None meets any.
    @ivar effect: The request is carried out before its reply fails.
    @ivar count: How many requests it meets; None for all until cleared.
    @ivar skip: How many it lets pass before.
    """

    kind: FaultKind
    status: int = 500
    message: str = "An unexpected error occurred."
    route: str | None = None
    effect: bool = False
    count: int | None = 1
    skip: int = 0


@define
class _Armed:
    """A fault with what is left of its numbers."""

    fault: Fault
    skip: int
    left: int | None


@define
class Faults:
    """The faults that wait for their requests, oldest first."""

    _armed: list[_Armed] = field(factory=list)

    def add(self, fault: Fault) -> None:
        """Arm it."""
        self._armed.append(_Armed(fault, fault.skip, fault.count))

    def clear(self) -> None:
        """The world is well again."""
        self._armed.clear()

    def take(self, route: str) -> Fault | None:
        """
        @param route: The name of the route a request came in on.
        @return: The oldest fault that meets it, used up by one.
        """
        for armed in [armed for armed in self._armed if armed.fault.route in (None, route)]:
            if armed.skip:
                armed.skip -= 1
                continue
            if armed.left is not None:
                armed.left -= 1
                if armed.left == 0:
                    self._armed.remove(armed)
            return armed.fault
        return None
