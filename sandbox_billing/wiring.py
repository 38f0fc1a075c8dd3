"""
The electrician: Configuration and reactor in, services out.  Knows every adapter.

Each function joins the parts of one thing; what is started, waited for and
stopped, and when, is C{daemon}'s.
"""

from __future__ import annotations

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.interfaces import (
    UNMEASURED,
    IChain,
    IEvents,
    IIds,
    IMeasures,
    IRuntime,
    ISigner,
    IWallClock,
    IWebhookSender,
)
from sandbox_billing.ledger.identity import Address
from sandbox_billing.services._lookup import Lookup
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.admission import Admission
from sandbox_billing.services.backlog import BacklogKeeper
from sandbox_billing.services.closing import Closer
from sandbox_billing.services.credits import CreditWatch
from sandbox_billing.services.deadman import DeadmansSwitch
from sandbox_billing.services.evidence import Archive
from sandbox_billing.services.figures import Figures
from sandbox_billing.services.forgiver import Forgiver
from sandbox_billing.services.gas_account import GasAccount
from sandbox_billing.services.generator import Generator
from sandbox_billing.services.intake import Intake
from sandbox_billing.services.merger import Merger
from sandbox_billing.services.missing import Missing
from sandbox_billing.services.planning import Outlook
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.purse import PurseWatch
from sandbox_billing.services.readiness import DoorWatch, LetterWatch, MirrorWatch, Readiness
from sandbox_billing.services.reconciler import Reconciler
from sandbox_billing.services.recovery import Recovery
from sandbox_billing.services.refitting import Refitter
from sandbox_billing.services.repricer import Repricer
from sandbox_billing.services.resolver import Resolver
from sandbox_billing.services.second_look import SecondLook
from sandbox_billing.services.sending import Sender
from sandbox_billing.services.setbacks import Setbacks
from sandbox_billing.services.settler import Settler
from sandbox_billing.services.spending import SpendWatch
from sandbox_billing.services.stopper import Stopper
from sandbox_billing.services.tracing import Tracer
from sandbox_billing.services.treasurer import Treasurer
from sandbox_billing.services.waiting import Waiting
from sandbox_billing.services.warner import Warner
from sandbox_billing.services.watcher import Watcher
from sandbox_billing.services.witness import Witness
from sandbox_billing.services.work import TURN_SECONDS, Work
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.web._kept import SNAPSHOTS_KEPT_SECONDS, Kept
from sandbox_billing.wiring_money import make_auto_resume, make_limit_watch, swept_or_late
from sandbox_billing.wiring_orders import make_clerk, make_errands
from sandbox_billing.wiring_webhooks import make_courier


@frozen(kw_only=True)
class Parts:
    """
    What everything is made of.

    @ivar clock: The reactor, or a test's clock.
    @ivar domain: Where our vouchers are valid.
    @ivar events: Daytona's news; None where it is not listened to.
    @ivar sender: Of webhooks; None where nobody sends any.
    @ivar measures: Silent where nobody measures.
    """

    signer: ISigner
    journal: Journal
    chain: IChain
    runtime: IRuntime
    domain: EIP712Domain
    ids: IIds
    clock: IReactorTime
    wall: IWallClock
    policy: Policy
    events: IEvents | None = None
    sender: IWebhookSender | None = None
    measures: IMeasures = UNMEASURED

    @property
    def admission(self) -> Admission:
        """Whether a wallet may run something."""
        lookup = Lookup(chain=self.chain)
        return Admission(
            doors=self.journal.doors, lookup=lookup, wall=self.wall, policy=self.policy
        )


def make_work(parts: Parts) -> Work:
    """The worker's half of the daemon."""
    journal, chain, runtime = parts.journal, parts.chain, parts.runtime
    wall, policy, signer, domain = parts.wall, parts.policy, parts.signer, parts.domain
    measures = parts.measures
    closer = Closer(meter=journal.meter, doors=journal.doors, wall=wall)
    reconciler = Reconciler(
        meter=journal.meter,
        doors=journal.doors,
        mirror=journal.mirror,
        runtime=runtime,
        stops=journal.stops,
        admission=parts.admission,
        closer=closer,
        missing=Missing(
            meter=journal.meter,
            doors=journal.doors,
            runtime=runtime,
            closer=closer,
            wall=wall,
        ),
        deadman=DeadmansSwitch(
            runtime=runtime,
            stops=journal.stops,
            admission=parts.admission,
            wall=wall,
            policy=policy,
        ),
        refitter=Refitter(
            meter=journal.meter,
            doors=journal.doors,
            stops=journal.stops,
            admission=parts.admission,
            wall=wall,
        ),
        wall=wall,
        policy=policy,
        overview=journal.overview,
        measures=measures,
    )
    archive = Archive(chain=chain, policy=policy)
    recovery = Recovery(
        loss=journal.loss,
        queue=journal.queue,
        funds=journal.funds,
        chain=chain,
        wall=wall,
        sender=signer.address,
    )
    resolver = Resolver(
        queue=journal.queue,
        funds=journal.funds,
        history=journal.history,
        chain=chain,
        tracer=Tracer(chain=chain, wall=wall),
        witness=Witness(
            history=journal.history,
            chain=chain,
            archive=archive,
            signer=signer,
            domain=domain,
            policy=policy,
        ),
        waiting=Waiting(wall=wall),
        signer=signer,
        wall=wall,
        measures=measures,
    )
    outlook = Outlook(chain=chain, policy=policy)
    settler = Settler(
        queue=journal.queue,
        account=GasAccount(
            queue=journal.queue, chain=chain, ids=parts.ids, wall=wall, sender=signer.address
        ),
        mirror=journal.mirror,
        recovery=recovery,
        outlook=outlook,
        sender=Sender(
            queue=journal.queue,
            funds=journal.funds,
            outlook=outlook,
            chain=chain,
            signer=signer,
            wall=wall,
        ),
        setbacks=Setbacks(
            queue=journal.queue, chain=chain, signer=signer, domain=domain, wall=wall
        ),
        chain=chain,
        signer=signer,
        domain=domain,
        ids=parts.ids,
        wall=wall,
        policy=policy,
        measures=measures,
    )

    def swept() -> bool:
        return reconciler.sweeps > 0

    judged = swept_or_late(swept, wall, policy)
    return Work(
        credits=CreditWatch(history=journal.history),
        clerk=make_clerk(journal, wall),
        errands=make_errands(
            journal, runtime, make_intake(parts, Supervisor()).lifecycle, closer, wall
        ),
        events=parts.events,
        watcher=Watcher(
            mirror=journal.mirror,
            meter=journal.meter,
            stops=journal.stops,
            chain=chain,
            resolver=resolver,
            wall=wall,
            policy=policy,
            measures=measures,
        ),
        reconciler=reconciler,
        generator=Generator(
            meter=journal.meter,
            funds=journal.funds,
            doors=journal.doors,
            wall=wall,
            policy=policy,
            swept=swept,
        ),
        backlog=BacklogKeeper(
            backlog=journal.backlog,
            doors=journal.doors,
            wall=wall,
            policy=policy,
            left_out=lambda: _left_out(settler, resolver.waiting),
        ),
        forgiver=Forgiver(forgiving=journal.forgiving, wall=wall, policy=policy),
        merger=Merger(merging=journal.merging, mirror=journal.mirror, wall=wall, policy=policy),
        settler=settler,
        purse=PurseWatch(
            chain=chain,
            wall=wall,
            policy=policy,
            sender=signer.address,
            overview=journal.overview,
            measures=measures,
        ),
        treasurer=Treasurer(
            funds=journal.funds,
            doors=journal.doors,
            mirror=journal.mirror,
            stops=journal.stops,
            repricer=Repricer(meter=journal.meter, doors=journal.doors, wall=wall, policy=policy),
            notices=journal.notices,
            chain=chain,
            wall=wall,
            policy=policy,
            swept=judged,
        ),
        spending=SpendWatch(
            spending=journal.spending, stops=journal.stops, wall=wall, policy=policy, swept=judged
        ),
        limits=make_limit_watch(journal, wall, policy, judged),
        resumer=make_auto_resume(journal, make_intake(parts, Supervisor())),
        stopper=Stopper(
            stops=journal.stops,
            funds=journal.funds,
            meter=journal.meter,
            runtime=runtime,
            closer=closer,
            doors=journal.doors,
            wall=wall,
            policy=policy,
            measures=measures,
        ),
        figures=make_figures(parts),
        warner=Warner(warnings=journal.warnings, mirror=journal.mirror, wall=wall, policy=policy),
        second_look=SecondLook(
            resolved=journal.resolved,
            funds=journal.funds,
            mirror=journal.mirror,
            chain=chain,
            archive=Archive(chain=chain, policy=policy),
        ),
        letters=LetterWatch(letters=journal.letters, desk=journal.desk),
        courier=make_courier(journal, parts.sender, domain.chain_id, wall),
    )


def make_figures(parts: Parts) -> Figures | None:
    """What only the worker reads for the figures; nothing is read where nobody measures."""
    if parts.measures is UNMEASURED:
        return None
    journal = parts.journal
    return Figures(
        overview=journal.overview,
        doors=journal.doors,
        orders=journal.orders,
        wall=parts.wall,
        measures=parts.measures,
    )


def make_mirror_watch(parts: Parts, readiness: Readiness, seconds: float) -> Periodic:
    """
    A process without a worker's turns finds out by itself what they would tell.

    @param seconds: Between two looks.
    """
    watch = MirrorWatch(
        doors=parts.journal.doors,
        wall=parts.wall,
        max_age_seconds=parts.policy.mirror_max_age,
    )
    periodic = Periodic("redis", watch.turn, seconds, parts.clock, measures=parts.measures)
    readiness.asked["redis"] = lambda: periodic.trouble
    readiness.asked["chain mirror"] = watch.trouble
    return periodic


def make_door_watch(parts: Parts, readiness: Readiness) -> Periodic:
    """Why nobody new is let in, for every process."""
    watch = DoorWatch(doors=parts.journal.doors, wall=parts.wall, policy=parts.policy)
    periodic = Periodic("doors", watch.turn, TURN_SECONDS, parts.clock, measures=parts.measures)
    readiness.asked["settlement"] = lambda: periodic.trouble or watch.trouble()
    readiness.noticed["admissions"] = watch.notice
    readiness.noticed["contract"] = watch.contract
    return periodic


def make_intake(parts: Parts, supervisor: Supervisor) -> Intake:
    """What users' lifecycle calls become."""
    return Intake(
        doors=parts.journal.doors,
        runtime=parts.runtime,
        admission=parts.admission,
        ids=parts.ids,
        supervisor=supervisor,
        clock=parts.clock,
        wall=parts.wall,
        policy=parts.policy,
        snapshots=Kept(parts.runtime.snapshots, parts.clock, SNAPSHOTS_KEPT_SECONDS).get,
    )


def _left_out(settler: Settler, waiting: Waiting) -> frozenset[Address]:
    """
    Wallets that close their own door only: what does not end is theirs alone, as long as
    others' vouchers are paid.
    """
    theirs = waiting.for_long() | settler.setbacks.alone()
    return settler.left_out() | (theirs if waiting.settles() else frozenset())
