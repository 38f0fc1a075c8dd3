"""
The electrician's work where operators' orders are carried out.

Tests: C{tests.services.test_clerk}, C{tests.services.test_errands}.
"""

from __future__ import annotations

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.interfaces import IRuntime, IWallClock
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.archiving import Archiving
from sandbox_billing.services.clerk import Clerk, Registry
from sandbox_billing.services.closing import Closer
from sandbox_billing.services.errands import Errands
from sandbox_billing.services.lifecycle import Lifecycle


def make_clerk(journal: Journal, wall: IWallClock) -> Clerk:
    """Who carries out what concerns admissions alone."""
    return Clerk(
        registry=Registry(orders=journal.orders, wall=wall),
        doors=journal.doors,
        meter=journal.meter,
        backlog=journal.backlog,
        wall=wall,
    )


def make_errands(
    journal: Journal, runtime: IRuntime, lifecycle: Lifecycle, closer: Closer, wall: IWallClock
) -> Errands:
    """
    Who carries out what Daytona is asked for.

    @param lifecycle: How users' calls meet what Daytona shows.
    """
    registry = Registry(orders=journal.orders, wall=wall)
    return Errands(
        registry=registry,
        runtime=runtime,
        stops=journal.stops,
        doors=journal.doors,
        meter=journal.meter,
        lifecycle=lifecycle,
        closer=closer,
        archiving=Archiving(
            registry=registry,
            runtime=runtime,
            stops=journal.stops,
            doors=journal.doors,
            meter=journal.meter,
            wall=wall,
        ),
        wall=wall,
        supervisor=Supervisor(),
    )
