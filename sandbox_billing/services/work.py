"""The turns of a worker, and how often each is taken."""

from __future__ import annotations

from collections.abc import Callable
from random import random

from attrs import frozen
from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime

from sandbox_billing.interfaces import IEvents
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services.backlog import TURN_SECONDS as BACKLOG_SECONDS
from sandbox_billing.services.backlog import BacklogKeeper
from sandbox_billing.services.courier import Courier
from sandbox_billing.services.credits import CreditWatch
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


@frozen(kw_only=True)
class Work:
    """
    The turns of a worker, fresh for each time the lease is won.

    @ivar events: Daytona's news; None where it is not listened to.
    @ivar courier: None where nobody sends webhooks.
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
    events: IEvents | None = None
    courier: Courier | None = None
    chance: Callable[[], float] = random

    def services(
        self,
        clock: IReactorTime,
        readiness: Readiness,
        *,
        sweep_seconds: float,
        on_lease_lost: Callable[[], None],
    ) -> MultiService:
        """Each turn as a periodic service, its trouble told to readiness."""
        work = MultiService()
        # Told to stop at the same time as the turns, and waits for what is under way then: a turn
        # that is not over yet sees that it is stopping, and begins nothing.
        self.resumer.resumer.supervisor.setServiceParent(work)  # type: ignore[no-untyped-call]
        readiness.noticed["gas account"] = self.purse.notice
        readiness.noticed["credits"] = self.credits.notice
        for name, turn, seconds in (
            ("watcher", self.watcher.turn, TURN_SECONDS),
            ("reconciler", self.reconciler.turn, sweep_seconds),
            ("generator", self.generator.turn, TURN_SECONDS),
            ("backlog", self.backlog.turn, BACKLOG_SECONDS),
            # Before the settler: what it takes goes out as it is.
            ("forgiver", self.forgiver.turn, TURN_SECONDS),
            ("merger", self.merger.turn, TURN_SECONDS),
            ("settler", self.settler.turn, TURN_SECONDS),
            ("gas account", self.purse.turn, PURSE_SECONDS),
            ("treasurer", self.treasurer.turn, TURN_SECONDS),
            ("spending", self.spending.turn, TURN_SECONDS),
            ("limits", self.limits.turn, TURN_SECONDS),
            ("resumer", self.resumer.turn, RESUMER_SECONDS),
            ("stopper", self.stopper.turn, TURN_SECONDS),
            ("second look", self.second_look.turn, TURN_SECONDS),
            ("letters", self.letters.turn, LETTERS_SECONDS),
            ("credits", self.credits.turn, CREDITS_SECONDS),
        ):
            periodic = Periodic(name, turn, seconds, clock, on_lease_lost)
            periodic.setServiceParent(work)  # type: ignore[no-untyped-call]
            readiness.asked[name] = lambda periodic=periodic: (  # type: ignore[misc]
                periodic.trouble
            )
        warner = Periodic("warner", self.warner.turn, WARNER_SECONDS, clock, on_lease_lost)
        warner.setServiceParent(work)  # type: ignore[no-untyped-call]
        # Nobody is less well served for it.
        readiness.noticed["warner"] = lambda: warner.trouble
        if self.courier is not None:
            # As the resumer's.
            self.courier.supervisor.setServiceParent(work)  # type: ignore[no-untyped-call]
            turns = Periodic("webhooks", self.courier.turn, TURN_SECONDS, clock, on_lease_lost)
            turns.setServiceParent(work)  # type: ignore[no-untyped-call]
            readiness.noticed["webhooks"] = lambda: turns.trouble
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
