"""
How a process stands, for whoever watches over it: started, troubled, still moving.

Tests: C{tests.services.test_standing}, C{tests.test_notify}, C{tests.systemd.test_units}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import define

from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._progress import Progress
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.readiness import Readiness


NOT_REACHED = "not reached yet"


@define(eq=False)
class Standing:
    """
    @ivar turns: What is taken, as it comes to be.
    @ivar starting: Whether start-up still moves.
    @ivar through: Whether it is over.
    """

    readiness: Readiness
    turns: Sequence[LeaseKeeper | Periodic]
    starting: Progress
    through: bool = False

    @property
    def started(self) -> bool:
        """Whether start-up is through; for a worker, whether it has asked to be the one."""
        keepers = [one for one in self.turns if isinstance(one, LeaseKeeper)]
        return self.through and all(keeper.tried for keeper in keepers)

    def troubles(self) -> Mapping[str, str]:
        """What is wrong or waited for right now, by part; not what start-up comes to later."""
        reasons = self.readiness.reasons()
        return {part: why for part, why in reasons.items() if self.through or why != NOT_REACHED}

    def moving(self) -> Iterator[tuple[str, Progress]]:
        """All that is ever under way, by name."""
        yield "start-up", self.starting
        for one in self.turns:
            if isinstance(one, LeaseKeeper):
                yield from one.moving()
            else:
                yield one.name, one.progress
