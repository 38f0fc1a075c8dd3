"""
The simulator on a real socket of this machine.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory

from sandbox_billing.devnet.daytona.resource import simulator_site
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


class DaytonaSimulatorService(Service):
    """
    Listens while it runs; what it simulates ends with it.

    @ivar simulator: For accidents and for the truth.
    """

    name = "daytona-simulator"

    def __init__(
        self, reactor: Any, simulator: DaytonaSimulator, admin_key: str, port: int = 0
    ) -> None:
        """
        @param reactor: Listens and keeps time.
        @param port: 0 for a free one; always on 127.0.0.1.
        """
        self._reactor = reactor
        self.simulator = simulator
        # It knows its connections, so that those kept alive or hanging can be ended.
        wrap: Any = WrappingFactory  # untyped
        self._factory = wrap(simulator_site(simulator, admin_key))
        self._wanted = port
        self._port: IListeningPort | None = None

    @property
    def url(self) -> str:
        """
        Where it listens, without C{/api}, as C{DAYTONA_API_URL} is written.

        @raise RuntimeError: It does not listen.
        """
        if self._port is None:
            raise RuntimeError("the simulator does not listen yet")
        address: Any = self._port.getHost()
        return f"http://127.0.0.1:{address.port}"

    def startService(self) -> None:
        """Listen, at once."""
        super().startService()  # type: ignore[no-untyped-call]
        self._port = self._reactor.listenTCP(self._wanted, self._factory, interface="127.0.0.1")
        self.simulator.toolbox_base = f"{self.url}/toolbox"

    def stopService(self) -> Deferred[None]:
        """Fires when nothing listens and every connection has been ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.simulator.close()
        port, self._port = self._port, None
        if port is None:
            return
        stopped = port.stopListening()
        for connection in list(self._factory.protocols):
            connection.transport.abortConnection()
        if stopped is not None:
            await stopped
        # An aborted connection is lost in the reactor's next turn.
        await deferLater(self._reactor, 0)
