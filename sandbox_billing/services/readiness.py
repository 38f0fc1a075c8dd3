"""What is wrong right now, gathered from whoever knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field
from zope.interface import implementer

from sandbox_billing.interfaces import IReadiness


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
