"""
The simulator on a real socket of this machine.
"""

from __future__ import annotations

from typing import Any, cast
from weakref import WeakSet

from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
)
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer

from sandbox_billing.devnet.daytona.resource import simulator_site
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


@implementer(IProtocolFactory)
class _Counting:
    """Knows the site's connections, so that those kept alive or hanging can be ended."""

    def __init__(self, site: Any) -> None:
        self._site = site
        self.connections: WeakSet[Any] = WeakSet()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """Remember what was built."""
        protocol: IProtocol | None = self._site.buildProtocol(addr)
        self.connections.add(protocol)
        return protocol

    def doStart(self) -> None:
        """The port listens."""
        self._site.doStart()

    def doStop(self) -> None:
        """The port is closed."""
        self._site.doStop()

    def abort(self) -> None:
        """End every connection, mid-answer or not."""
        for protocol in list(self.connections):
            if protocol.transport is not None:
                protocol.transport.abortConnection()


class DaytonaSimulatorService(Service):
    """
    Listens while it runs; what it simulates ends with it.

    @ivar url: Where, without C{/api}, as C{DAYTONA_API_URL} is written.
    """

    name = "daytona-simulator"

    def __init__(
        self, reactor: IReactorTCP, simulator: DaytonaSimulator, admin_key: str, port: int = 0
    ) -> None:
        """@param port: 0 for a free one; always on 127.0.0.1."""
        self._reactor = reactor
        self.simulator = simulator
        self._site = _Counting(simulator_site(simulator, admin_key))
        self._wanted = port
        self._port: IListeningPort | None = None

    @property
    def url(self) -> str:
        """@raise RuntimeError: It does not listen."""
        if self._port is None:
            raise RuntimeError("the simulator does not listen yet")
        address = self._port.getHost()
        assert isinstance(address, IPv4Address)
        return f"http://127.0.0.1:{address.port}"

    def startService(self) -> None:
        """Listen, at once."""
        super().startService()  # type: ignore[no-untyped-call]
        factory = cast("ServerFactory[Any]", self._site)
        self._port = self._reactor.listenTCP(self._wanted, factory, interface="127.0.0.1")
        self.simulator.toolbox_base = f"{self.url}/toolbox"

    def stopService(self) -> Deferred[None]:
        """Fires when nothing listens and every connection has been ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.simulator.close()
        port, self._port = self._port, None
        if port is not None:
            stopped = port.stopListening()
            self._site.abort()
            if stopped is not None:
                await stopped
