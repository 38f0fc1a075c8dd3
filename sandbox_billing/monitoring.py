"""
What a process tells about itself: figures, and whether it is alive and ready.

The electrician's work once more: knows the registry, the listener, and what is only known
when somebody looks.

Tests: C{tests.test_monitoring}.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, ClassVar, Protocol

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from sandbox_billing import __version__
from sandbox_billing import measures as vocabulary
from sandbox_billing.adapters.prometheus.listener import metrics_site
from sandbox_billing.adapters.prometheus.registry import PrometheusMeasures
from sandbox_billing.applied import spelt
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.interfaces import UNMEASURED, IMeasures
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services.dependencies import LOOK_SECONDS, DependencyWatch
from sandbox_billing.services.figures import OF_THE_WORKER, Figures
from sandbox_billing.services.lease_keeper import LeaseKeeper
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.web.answers import Answer, dump
from sandbox_billing.web.health import alive, standing
from sandbox_billing.wiring import Parts


BEAT_SECONDS = 1.0

_NO_ADDRESS = (CannotListenError, OSError, OverflowError, ValueError)
"""A port that is taken, or an address that is not this machine's."""


class Counted(Protocol):
    """What stays open for clients."""

    @property
    def count(self) -> int:
        """How many there are."""


@define(eq=False, kw_only=True)
class Monitor:
    """
    Measures nothing and listens nowhere unless it was told an address.

    @ivar listen_on: C{METRICS_ADDR}; None to be silent.
    @ivar measures: For everybody who measures.
    @ivar looks: Called before each scrape; each sets what it knows.
    @ivar address: Where it listens; None before.
    """

    _log: ClassVar[Logger] = Logger()

    reactor: Any
    listen_on: tuple[str, int] | None
    role: str
    readiness: Readiness
    looks: list[Callable[[IMeasures], None]] = field(factory=list, init=False)
    address: Any = field(default=None, init=False)
    _kept: PrometheusMeasures | None = field(init=False)
    _parts: set[str] = field(factory=set, init=False)
    _port: Any = field(default=None, init=False)
    _beats: Any = field(default=None, init=False)

    @_kept.default
    def _make(self) -> PrometheusMeasures | None:
        return None if self.listen_on is None else PrometheusMeasures()

    @property
    def measures(self) -> IMeasures:
        """For everybody who measures."""
        return UNMEASURED if self._kept is None else self._kept

    def listen(self) -> None:
        """
        Begin to show what is measured.

        @raise ConfigurationError: The address cannot be listened on.
        """
        if self.listen_on is None or self._kept is None:
            return
        host, port = self.listen_on
        pages = {
            b"healthz": lambda: _page(alive()),
            b"readyz": lambda: _page(standing(self.readiness)),
        }
        site = metrics_site(self._kept.registry, self.look, pages)
        try:
            self._port = self.reactor.listenTCP(port, site, interface=host)
        except _NO_ADDRESS as why:
            raise ConfigurationError(
                f"cannot listen on METRICS_ADDR {host}:{port}: {str(why).rstrip('.')}. Name an"
                " address of this machine and a port that nobody has, or leave it out"
            ) from why
        self.address = self._port.getHost()
        self._log.info("metrics at {endpoint}", endpoint=spelt(self.address))
        self.measures.set(vocabulary.BUILD_INFO, 1, version=__version__, role=self.role)

        self._wait()

    def _wait(self) -> None:
        # Each from the last: what is always as late would seem to be on time on a fixed beat.
        due_at = self.reactor.seconds() + BEAT_SECONDS
        self._beats = self.reactor.callLater(BEAT_SECONDS, self._beat, due_at)

    def _beat(self, due_at: float) -> None:
        """Late by what was in the way: something that did not give way."""
        late = self.reactor.seconds() - due_at
        self.measures.observe(vocabulary.REACTOR_LAG_SECONDS, max(0.0, late))
        self._wait()

    async def close(self) -> None:
        """Show no more."""
        if self._beats is not None and self._beats.active():
            self._beats.cancel()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)

    def keeps_lease(self, keeper: LeaseKeeper) -> None:
        """Tell whether this process is the worker, and what only a worker knows."""

        def look(measures: IMeasures) -> None:
            measures.set(vocabulary.LEASE_HELD, keeper.work is not None)
            if keeper.work is None:
                # A turn that was in flight when the figures were taken back sets some again.
                measures.forget(*OF_THE_WORKER)
            for service in keeper.work or ():
                if isinstance(service, Figures):
                    service.show()

        self.looks.append(look)

    def serves(self, channels: Sized, *streams: Counted) -> None:
        """
        Tell how many clients there are.

        @param channels: Their connections.
        @param streams: What stays open for them.
        """

        def look(measures: IMeasures) -> None:
            measures.set(vocabulary.CONNECTIONS, len(channels))
            measures.set(vocabulary.STREAMS, sum(one.count for one in streams))

        self.looks.append(look)

    def look(self) -> None:
        """Set what is only known when somebody looks."""
        reasons = self.readiness.reasons()
        # A part that had trouble is shown without, not left as it was.
        self._parts |= reasons.keys()
        for part in self._parts:
            self.measures.set(vocabulary.NOT_READY, part in reasons, part=part)
        self.measures.set(vocabulary.READY, not reasons)
        # Of what was stopped nobody waits for a turn.
        self.measures.forget(vocabulary.LAST_GOOD_TURN)
        for service, state in self.readiness.services().items():
            if state.last_good_turn is not None:
                self.measures.set(vocabulary.LAST_GOOD_TURN, state.last_good_turn, service=service)
        for look in self.looks:
            look(self.measures)


def make_dependency_watch(parts: Parts, readiness: Readiness) -> Periodic:
    """How Redis, the chain and Daytona answer, for every process to tell."""
    keyspace = parts.journal.store.keyspace

    async def clock_offset() -> float:
        # Ours is in whole seconds, rounded down.
        return (await keyspace.facts()).time_offset_seconds - 0.5

    watch = DependencyWatch(
        asks={"chain": parts.chain.head, "daytona": parts.runtime.ping},
        clock_offset=clock_offset,
        wall=parts.wall,
        readiness=readiness,
        measures=parts.measures,
    )
    watch.reached("key service", "redis", "chain", "daytona")
    readiness.noticed["redis clock"] = watch.notice
    readiness.spare.add("dependencies")
    return Periodic("dependencies", watch.turn, LOOK_SECONDS, parts.clock, measures=parts.measures)


def _page(answer: Answer) -> tuple[int, bytes]:
    return answer.status, dump(answer.document)
