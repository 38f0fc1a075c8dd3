"""
The web room, wired: collaborators in, one resource out.

Tests: C{tests.web}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from sandbox_billing.interfaces import (
    UNMEASURED,
    IControls,
    IDoors,
    IHistory,
    IIdempotency,
    IIds,
    IIntake,
    ILifecycleCount,
    IMeasures,
    IOrders,
    IOverview,
    IReadiness,
    IReceipts,
    IRelay,
    IReplayGuard,
    IResumer,
    IRuntime,
    ITokens,
    IWallClock,
    IWebhooks,
    IWebhookSender,
)
from sandbox_billing.ledger.backlog import Left
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._kept import SNAPSHOTS_KEPT_SECONDS, Kept
from sandbox_billing.web._router import Router, Threshold
from sandbox_billing.web._routes import Table
from sandbox_billing.web._table import build_table
from sandbox_billing.web.access import Access
from sandbox_billing.web.account import Account
from sandbox_billing.web.body_room import BodyRoom
from sandbox_billing.web.caller import Callers, OtherProof, keys_only
from sandbox_billing.web.catalogue import Catalogue
from sandbox_billing.web.controls import MoneyControls
from sandbox_billing.web.cors import Cors
from sandbox_billing.web.health import Health
from sandbox_billing.web.idempotency import Detached, Idempotency
from sandbox_billing.web.info import Info
from sandbox_billing.web.lifecycle import Lifecycle
from sandbox_billing.web.limits import Buckets, RequestLimits
from sandbox_billing.web.listing import Lists
from sandbox_billing.web.notices import Listeners
from sandbox_billing.web.open_streams import OpenStreams
from sandbox_billing.web.operator import SUMMARY_KEPT_SECONDS, OperatorDesk
from sandbox_billing.web.operator_orders import OperatorOrders, kept_drain
from sandbox_billing.web.page import Page
from sandbox_billing.web.peers import Peers
from sandbox_billing.web.receipts import Receipts
from sandbox_billing.web.sandboxes import Sandboxes
from sandbox_billing.web.sessions import Sessions
from sandbox_billing.web.terms import Terms
from sandbox_billing.web.time_left import TimeLeft
from sandbox_billing.web.toolbox import Toolbox
from sandbox_billing.web.usage import Usage
from sandbox_billing.web.webhooks import TRIES, Webhooks


DIALECT_KEPT_SECONDS = 60.0


@frozen(kw_only=True)
class FrontDesk:
    """
    Everything the web room needs, and nothing more.

    @ivar streams: Those that are open in this process; somebody takes its turns.
    @ivar listeners: Likewise.
    @ivar left: What must still be settled of the time before a moment.
    @ivar detached: Keeps work that its client may leave.
    @ivar clock: For durations and what is kept for a while.
    @ivar wall: For expiries and stamps.
    @ivar otherwise: Asked when a signature is not by the wallet's own key.
    @ivar random_bytes: So many bytes that nobody can guess: the secrets of tokens.
    @ivar new_request_id: Makes what C{X-Request-Id} says; printable ASCII.
    @ivar measures: Told of every request.
    """

    terms: Terms
    intake: IIntake = field(validator=provides(IIntake))
    runtime: IRuntime = field(validator=provides(IRuntime))
    doors: IDoors = field(validator=provides(IDoors))
    history: IHistory = field(validator=provides(IHistory))
    receipts: IReceipts = field(validator=provides(IReceipts))
    relay: IRelay = field(validator=provides(IRelay))
    replay: IReplayGuard = field(validator=provides(IReplayGuard))
    tokens: ITokens = field(validator=provides(ITokens))
    webhooks: IWebhooks = field(validator=provides(IWebhooks))
    sender: IWebhookSender = field(validator=provides(IWebhookSender))
    readiness: IReadiness = field(validator=provides(IReadiness))
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    idempotency: IIdempotency = field(validator=provides(IIdempotency))
    lifecycle: ILifecycleCount = field(validator=provides(ILifecycleCount))
    controls: IControls = field(validator=provides(IControls))
    resumer: IResumer = field(validator=provides(IResumer))
    overview: IOverview = field(validator=provides(IOverview))
    orders: IOrders = field(validator=provides(IOrders))
    ids: IIds = field(validator=provides(IIds))
    streams: OpenStreams
    listeners: Listeners
    left: Callable[[UnixSeconds], Awaitable[Left]]
    detached: Detached
    new_request_id: Callable[[], str]
    random_bytes: Callable[[int], bytes]
    otherwise: OtherProof = keys_only
    room: BodyRoom = field(factory=BodyRoom)
    measures: IMeasures = UNMEASURED


def make_root(front: FrontDesk) -> IResource:
    """
    The resource that answers every path; give it to L{BillingSite
    <sandbox_billing.web.site.BillingSite>}, which bounds what reaches it.
    """
    terms = front.terms
    limits = RequestLimits.of(terms.rates, front.clock)
    callers = Callers(
        replay=front.replay,
        tokens=front.tokens,
        wall=front.wall,
        terms=terms,
        limits=limits,
        otherwise=front.otherwise,
    )
    table = make_table(front, callers)
    peers = Peers(terms.trusted_proxies)
    time_left = TimeLeft(history=front.history, wall=front.wall, clock=front.clock, terms=terms)
    router = Router(
        table=table,
        callers=callers,
        limits=limits,
        peers=peers,
        cors=Cors(terms.cors_origins),
        time_left=time_left,
        operators=terms.operators or frozenset({terms.provider}),
        streamer=Toolbox(
            callers=callers,
            peers=peers,
            streams=front.streams,
            intake=front.intake,
            relay=front.relay,
            clock=front.clock,
            room=front.room,
            time_left=time_left,
        ),
        wall=front.wall,
        clock=front.clock,
        new_request_id=front.new_request_id,
        measures=front.measures,
    )
    return Threshold(router.app.resource(), table)


def make_table(front: FrontDesk, callers: Callers) -> Table:
    """Every route there is, with what answers it."""
    terms = front.terms
    sandboxes = Sandboxes(intake=front.intake, terms=terms)
    controls = MoneyControls(
        controls=front.controls,
        doors=front.doors,
        intake=front.intake,
        resumer=front.resumer,
    )
    return build_table(
        sandboxes=sandboxes,
        lifecycle=Lifecycle(
            sandboxes=sandboxes,
            idempotency=Idempotency(
                records=front.idempotency,
                ids=front.ids,
                wall=front.wall,
                detached=front.detached,
            ),
            count=front.lifecycle,
            ids=front.ids,
            most=terms.lifecycle_per_hour,
        ),
        lists=Lists(
            runtime=front.runtime,
            pages_kept=Kept(front.runtime.lists_pages, front.clock, DIALECT_KEPT_SECONDS),
            terms=terms,
        ),
        access=Access(
            intake=front.intake, runtime=front.runtime, streams=front.streams, terms=terms
        ),
        account=Account(
            history=front.history,
            doors=front.doors,
            intake=front.intake,
            wall=front.wall,
            terms=terms,
            extras=(controls.of_account,),
        ),
        controls=controls,
        usage=Usage(
            history=front.history,
            doors=front.doors,
            intake=front.intake,
            runtime=front.runtime,
            wall=front.wall,
            clock=front.clock,
        ),
        receipts=Receipts(receipts=front.receipts, terms=terms),
        info=Info(
            doors=front.doors,
            history=front.history,
            terms=terms,
        ),
        catalogue=Catalogue(
            snapshots_kept=Kept(front.runtime.snapshots, front.clock, SNAPSHOTS_KEPT_SECONDS),
            regions_kept=Kept(front.runtime.regions, front.clock, DIALECT_KEPT_SECONDS),
            config_kept=Kept(front.runtime.config, front.clock, DIALECT_KEPT_SECONDS),
            terms=terms,
        ),
        health=Health(readiness=front.readiness),
        sessions=Sessions(
            callers=callers,
            tokens=front.tokens,
            doors=front.doors,
            intake=front.intake,
            wall=front.wall,
            terms=terms,
            random_bytes=front.random_bytes,
        ),
        page=Page(terms=terms),
        operator=OperatorDesk(
            overview=front.overview,
            doors=front.doors,
            readiness=front.readiness,
            wall=front.wall,
            kept=Kept(front.overview.overview, front.clock, SUMMARY_KEPT_SECONDS),
            terms=terms,
        ),
        orders=OperatorOrders(
            orders=front.orders,
            runtime=front.runtime,
            wall=front.wall,
            clock=front.clock,
            random_bytes=front.random_bytes,
            drained=kept_drain(front.doors, front.left, front.wall, front.clock),
        ),
        listeners=front.listeners,
        webhooks=Webhooks(
            webhooks=front.webhooks,
            sender=front.sender,
            intake=front.intake,
            doors=front.doors,
            wall=front.wall,
            terms=terms,
            random_bytes=front.random_bytes,
            tries=Buckets(TRIES, front.clock),
        ),
        public_url=terms.public_url,
    )
