"""
The web room, wired: collaborators in, one resource out.

Tests: C{tests.web}.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from sandbox_billing.interfaces import (
    IDoors,
    IHistory,
    IIntake,
    IReadiness,
    IReplayGuard,
    IRuntime,
    ITokens,
    IWallClock,
)
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._kept import Kept
from sandbox_billing.web._router import Router, Threshold
from sandbox_billing.web._routes import no_streams
from sandbox_billing.web._table import build_table
from sandbox_billing.web.account import Account
from sandbox_billing.web.caller import Callers
from sandbox_billing.web.health import Health
from sandbox_billing.web.info import Info
from sandbox_billing.web.sandboxes import Sandboxes
from sandbox_billing.web.terms import Terms


SNAPSHOTS_KEPT_SECONDS = 30.0


@frozen(kw_only=True)
class FrontDesk:
    """
    Everything the web room needs, and nothing more.

    @ivar clock: For durations and what is kept for a while.
    @ivar wall: For expiries and stamps.
    @ivar new_request_id: Makes what C{X-Request-Id} says; printable ASCII.
    """

    terms: Terms
    intake: IIntake = field(validator=provides(IIntake))
    runtime: IRuntime = field(validator=provides(IRuntime))
    doors: IDoors = field(validator=provides(IDoors))
    history: IHistory = field(validator=provides(IHistory))
    replay: IReplayGuard = field(validator=provides(IReplayGuard))
    tokens: ITokens = field(validator=provides(ITokens))
    readiness: IReadiness = field(validator=provides(IReadiness))
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    new_request_id: Callable[[], str]


def make_root(front: FrontDesk) -> IResource:
    """
    The resource that answers every path; give it to L{BillingSite
    <sandbox_billing.web.site.BillingSite>}, which bounds what reaches it.
    """
    terms = front.terms
    table = build_table(
        sandboxes=Sandboxes(intake=front.intake, runtime=front.runtime, terms=terms),
        account=Account(history=front.history, doors=front.doors),
        info=Info(
            doors=front.doors,
            history=front.history,
            snapshots_kept=Kept(front.runtime.snapshots, front.clock, SNAPSHOTS_KEPT_SECONDS),
            terms=terms,
        ),
        health=Health(readiness=front.readiness),
    )
    router = Router(
        table=table,
        callers=Callers(replay=front.replay, tokens=front.tokens, wall=front.wall, terms=terms),
        streamer=no_streams,
        wall=front.wall,
        clock=front.clock,
        new_request_id=front.new_request_id,
    )
    return Threshold(router.app.resource(), table)
