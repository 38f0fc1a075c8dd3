"""
The simulated world with a Prometheus in it: hours pass in seconds, and alerts fire when they would.

What is scraped is what the daemon's own registry shows of its own services; chain, Redis and
Daytona are those of L{tests.simulation}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import define, evolve
from prometheus_client import generate_latest
from twisted.application.service import MultiService
from twisted.internet.error import ConnectionRefusedError

from sandbox_billing.adapters.daytona.exchange import Exchange, api_base
from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.cli.queue_desk import Ask, Desk
from sandbox_billing.interfaces import IRuntime, ISigner
from sandbox_billing.monitoring import Monitor
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.wiring import Parts, make_work
from tests.alerts.prometheus import Prometheus
from tests.simulation.faults import Fault, FaultKind, Spot
from tests.simulation.lives import Daemon
from tests.simulation.settings import SWEEP
from tests.simulation.world import World


T = TypeVar("T")

SCRAPE_SECONDS = 60

TURN_SECONDS = 10
"""At least, between two turns of a service: hours of turns each second take too long to compute."""


class WatchedDaemon(Daemon):
    """
    Measures what it does.

    @ivar instance: Its name in the scrape, which who is started in its place has, too.
    @ivar monitor: What it shows.
    @ivar born: When its process began, as simulated time goes.
    """

    def __init__(
        self, world: World, name: str, *, web: bool = False, instance: str | None = None
    ) -> None:
        super().__init__(world, name, web=web)
        self.instance = instance or name
        self.born = world.clock.rightNow
        self.monitor = Monitor(
            reactor=None,
            listen_on=("127.0.0.1", 0),
            role="web" if web else "all",
            readiness=self.readiness,
        )

    async def _start(self) -> None:
        await super()._start()
        if self.keeper is not None:
            self.monitor.keeps_lease(self.keeper)

    def _parts(self, signer: ISigner) -> Parts:
        world, measures = self.world, self.monitor.measures
        assert isinstance(world, WatchedWorld)
        exchange = Exchange(
            world.http, api_base("http://daytona.test"), "admin-key", self.clock, measures
        )
        runtime = DaytonaRuntime(exchange, self.wall)
        return evolve(
            super()._parts(signer), runtime=self._behind(IRuntime, runtime), measures=measures
        )

    def _make_work(self, parts: Parts) -> MultiService:
        assert self.keeper is not None
        self.work = make_work(parts)
        services = self.work.services(
            self.clock,
            self.readiness,
            sweep_seconds=SWEEP,
            on_lease_lost=self.keeper.lost,
            measures=parts.measures,
        )
        for service in services:
            if isinstance(service, Periodic):
                service.seconds = max(service.seconds, TURN_SECONDS)
        return services

    def shown(self) -> str | None:
        """What a scrape gets; None once it is dead."""
        if self.life.dead:
            return None
        self.monitor.look()
        kept: Any = self.monitor._kept
        text = generate_latest(kept.registry).decode()
        return re.sub(r"(?m)^(process_start_time_seconds) .*", rf"\1 {self.born}", text)


@define(eq=False)
class Wire:
    """
    The way to Daytona.

    @ivar down: Whether connections are refused.
    """

    inner: Any
    down: bool = False

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        """As the client that it leads to has it."""
        if self.down:
            raise ConnectionRefusedError
        return await self.inner.request(*args, **kwargs)


class WatchedWorld(World):
    """
    @ivar prometheus: Scrapes every daemon.
    @ivar failing: Ports of which every call fails.
    @ivar http: The way to Daytona.
    """

    def __init__(self, prometheus: Prometheus | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.revive = False
        self.prometheus = prometheus or Prometheus()
        self.failing: set[Any] = set()
        self.board.decide = self._decide
        self.http = Wire(self._http)

    def _decide(self, spot: Spot, _number: int, _life: Any) -> Fault | None:
        return Fault(FaultKind.FAIL_BEFORE) if spot.port in self.failing else None

    def birth(self, *, web: bool = False, instance: str | None = None) -> WatchedDaemon:
        """Another daemon."""
        name = f"daemon-{next(self._births)}"
        daemon = WatchedDaemon(self, name, web=web, instance=instance)
        self.daemons.append(daemon)
        daemon.start()
        return daemon

    def scrape(self) -> None:
        """All daemons, and all rules."""
        now = self.clock.rightNow
        for daemon in self.daemons:
            assert isinstance(daemon, WatchedDaemon)
            self.prometheus.scrape(daemon.instance, daemon.shown(), now)
        self.prometheus.evaluate(now)

    def watched(self, minutes: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, with a scrape every minute."""
        end = self.clock.rightNow + minutes * 60
        while self.clock.rightNow < end and not until():
            self.clock.run_until(self.clock.rightNow + SCRAPE_SECONDS)
            self.scrape()

    def now(self, call: Coroutine[Any, Any, T]) -> T:
        """What somebody does at the operator's journal, which answers at once."""
        return self.run(call, 1)

    def desk(self) -> Desk:
        """Behind C{sandbox-billing queue}."""
        return Desk(
            journal=self.operator,
            now=self.wall.now(),
            by="olga",
            ask=Ask(lambda _question, _hint: None),
        )
