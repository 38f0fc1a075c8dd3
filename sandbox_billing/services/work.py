"""The turns of a worker, and how often each is taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import random
from typing import TypeAlias

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime

from sandbox_billing.interfaces import UNMEASURED, IEvents, IMeasures
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services.backlog import TURN_SECONDS as BACKLOG_SECONDS
from sandbox_billing.services.backlog import BacklogKeeper
from sandbox_billing.services.clerk import Clerk
from sandbox_billing.services.courier import Courier
from sandbox_billing.services.credits import CreditWatch
from sandbox_billing.services.errands import Errands
from sandbox_billing.services.figures import READ_SECONDS as FIGURES_SECONDS
from sandbox_billing.services.figures import Figures
from sandbox_billing.services.forgiver import Forgiver
from sandbox_billing.services.generator import Generator
from sandbox_billing.services.limits import LimitWatch
from sandbox_billing.services.listener import Listener
from sandbox_billing.services.merger import Merger
from sandbox_billing.services.purse import WATCH_SECONDS as PURSE_SECONDS
from sandbox_billing.services.purse import PurseWatch
from sandbox_billing.services.readiness import LetterWatch, Readiness
from sandbox_billing.services.reconciler import Reconciler
from sandbox_billing.services.resumer import TURN_SECONDS as RESUMER_SECONDS
from sandbox_billing.services.resumer import AutoResume
from sandbox_billing.services.second_look import SecondLook
from sandbox_billing.services.settler import Settler
from sandbox_billing.services.spending import SpendWatch
from sandbox_billing.services.stopper import Stopper
from sandbox_billing.services.treasurer import Treasurer
from sandbox_billing.services.warner import TURN_SECONDS as WARNER_SECONDS
from sandbox_billing.services.warner import Warner
from sandbox_billing.services.watcher import Watcher


TURN_SECONDS = 1.0
"""Between the turns of services whose delay a user would notice."""

LETTERS_SECONDS = 5.0
"""Between two looks at what a human has to look at."""

CREDITS_SECONDS = 60.0
"""Between two looks at what a flawed contract has cost users."""


Turn: TypeAlias = Callable[[], Awaitable[None]]


@frozen(kw_only=True)
class Work:
    """
    The turns of a worker, fresh for each time the lease is won.

    @ivar events: Daytona's news; None where it is not listened to.
    @ivar courier: None where nobody sends webhooks.
    @ivar figures: None where nobody measures.
    @ivar chance: Between 0 and 1.
    """

    watcher: Watcher
    reconciler: Reconciler
    generator: Generator
    backlog: BacklogKeeper
    forgiver: Forgiver
    merger: Merger
    settler: Settler
    purse: PurseWatch
    treasurer: Treasurer
    spending: SpendWatch
    limits: LimitWatch
    resumer: AutoResume
    stopper: Stopper
    warner: Warner
    second_look: SecondLook
    letters: LetterWatch
    credits: CreditWatch
    clerk: Clerk
    errands: Errands
    events: IEvents | None = None
    courier: Courier | None = None
    figures: Figures | None = None
    chance: Callable[[], float] = random

    def services(
        self,
        clock: IReactorTime,
        readiness: Readiness,
        *,
        sweep_seconds: float,
        on_lease_lost: Callable[[], None],
        measures: IMeasures = UNMEASURED,
    ) -> MultiService:
        """Each turn as a periodic service, its trouble told to readiness."""
        work = MultiService()

        def add(name: str, turn: Turn, seconds: float, *, spare: bool = False) -> None:
            periodic = Periodic(name, turn, seconds, clock, on_lease_lost, measures=measures)
            periodic.setServiceParent(work)  # type: ignore[no-untyped-call]
            told = readiness.noticed if spare else readiness.asked
            told[name] = lambda: periodic.trouble
            readiness.watch(periodic, spare=spare)

        # Told to stop at the same time as the turns, and waits for what is under way then: a turn
        # that is not over yet sees that it is stopping, and begins nothing.
        self.resumer.resumer.supervisor.setServiceParent(work)  # type: ignore[no-untyped-call]
        self.errands.supervisor.setServiceParent(work)  # type: ignore[no-untyped-call]
        readiness.noticed["gas account"] = self.purse.notice
        readiness.noticed["credits"] = self.credits.notice
        add("watcher", self.watcher.turn, TURN_SECONDS)
        add("reconciler", self.reconciler.turn, sweep_seconds)
        # One of ten thousand rows may take minutes: the door closes after so long, too.
        readiness.turns["reconciler"].patience = self.reconciler.policy.sweep_max_age
        add("generator", self.generator.turn, TURN_SECONDS)
        add("backlog", self.backlog.turn, BACKLOG_SECONDS)
        # Before the settler: what it takes goes out as it is.
        add("forgiver", self.forgiver.turn, TURN_SECONDS)
        add("merger", self.merger.turn, TURN_SECONDS)
        add("settler", self.settler.turn, TURN_SECONDS)
        add("gas account", self.purse.turn, PURSE_SECONDS)
        add("treasurer", self.treasurer.turn, TURN_SECONDS)
        add("spending", self.spending.turn, TURN_SECONDS)
        add("limits", self.limits.turn, TURN_SECONDS)
        add("resumer", self.resumer.turn, RESUMER_SECONDS)
        add("stopper", self.stopper.turn, TURN_SECONDS)
        add("second look", self.second_look.turn, TURN_SECONDS)
        add("letters", self.letters.turn, LETTERS_SECONDS)
        add("credits", self.credits.turn, CREDITS_SECONDS)
        add("orders", self.clerk.turn, TURN_SECONDS, spare=True)
        add("errands", self.errands.turn, TURN_SECONDS, spare=True)
        add("warner", self.warner.turn, WARNER_SECONDS, spare=True)
        if self.courier is not None:
            # As the resumer's.
            self.courier.supervisor.setServiceParent(work)  # type: ignore[no-untyped-call]
            add("webhooks", self.courier.turn, TURN_SECONDS, spare=True)
        if self.figures is not None:
            self.figures.setServiceParent(work)  # type: ignore[no-untyped-call]
            seconds = min(FIGURES_SECONDS, sweep_seconds)
            add("figures", self.figures.turn, seconds, spare=True)
        if self.events is not None:
            listener = Listener(
                events=self.events,
                look=self.reconciler.look,
                clock=clock,
                chance=self.chance,
                on_lease_lost=on_lease_lost,
            )
            listener.setServiceParent(work)  # type: ignore[no-untyped-call]
            readiness.noticed["daytona events"] = listener.notice
        readiness.asked["dead letters"] = self.letters.trouble
        readiness.asked["transactions"] = self.settler.sender.trouble
        readiness.asked["proofs"] = self.watcher.resolver.waiting.trouble
        return work
