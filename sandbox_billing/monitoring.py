"""
What a process tells about itself: figures, and whether it is alive and ready.

The electrician's work once more: knows the registry, the listener, and what is only known
when somebody looks.

Tests: C{tests.test_monitoring}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

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
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.web.answers import Answer, dump
from sandbox_billing.web.health import alive, standing


_NO_ADDRESS = (CannotListenError, OSError, OverflowError, ValueError)
"""A port that is taken, or an address that is not this machine's."""


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
                f"cannot listen on METRICS_ADDR {host}:{port}: {why}: name an address of this"
                " machine and a port that nobody has, or leave it out"
            ) from why
        self.address = self._port.getHost()
        self._log.info("metrics at {endpoint}", endpoint=spelt(self.address))
        self.measures.set(vocabulary.BUILD_INFO, 1, version=__version__, role=self.role)

    async def close(self) -> None:
        """Show no more."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)

    def look(self) -> None:
        """Set what is only known when somebody looks."""
        reasons = self.readiness.reasons()
        # A part that had trouble is shown without, not left as it was.
        self._parts |= reasons.keys()
        for part in self._parts:
            self.measures.set(vocabulary.NOT_READY, part in reasons, part=part)
        self.measures.set(vocabulary.READY, not reasons)
        for look in self.looks:
            look(self.measures)


def _page(answer: Answer) -> tuple[int, bytes]:
    return answer.status, dump(answer.document)
