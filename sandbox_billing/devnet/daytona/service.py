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
from sandbox_billing.devnet.daytona.toolbox import Toolbox, toolbox_site


class DaytonaSimulatorService(Service):
    """
    Listens while it runs, the API on one port and the proxy host on another; what it
    simulates ends with it.

    @ivar simulator: For accidents and for the truth.
    @ivar toolbox: The insides of the sandboxes.
    """

    name = "daytona-simulator"

    def __init__(
        self,
        reactor: Any,
        simulator: DaytonaSimulator,
        admin_key: str,
        port: int = 0,
        *,
        toolbox_port: int = 0,
        allow_exec: bool = False,
    ) -> None:
        """
        @param reactor: Listens and keeps time.
        @param port: 0 for a free one; always on 127.0.0.1.
        @param toolbox_port: Likewise, for the proxy host.
        @param allow_exec: Commands that users send really run, as the user who runs this
            process: B{no isolation}.  Otherwise answers are canned.
        """
        self._reactor = reactor
        self.simulator = simulator
        # It knows its connections, so that those kept alive or hanging can be ended.
        wrap: Any = WrappingFactory  # untyped
        self.toolbox = Toolbox(
            reactor=reactor, simulator=simulator, admin_key=admin_key, allow_exec=allow_exec
        )
        self._factory = wrap(simulator_site(simulator, admin_key, self.toolbox))
        self._toolbox_factory = wrap(toolbox_site(self.toolbox))
        self._wanted = (port, toolbox_port)
        self._port: IListeningPort | None = None
        self._toolbox_port: IListeningPort | None = None

    @property
    def url(self) -> str:
        """
        Where it listens, without C{/api}, as C{DAYTONA_API_URL} is written.

        @raise RuntimeError: It does not listen.
        """
        return _url(self._port)

    @property
    def proxy_url(self) -> str:
        """
        Where its proxy host listens, C{/toolbox} below it.

        @raise RuntimeError: It does not listen.
        """
        return _url(self._toolbox_port)

    def startService(self) -> None:
        """Listen, at once."""
        super().startService()  # type: ignore[no-untyped-call]
        port, toolbox_port = self._wanted
        listen = self._reactor.listenTCP
        self._port = listen(port, self._factory, interface="127.0.0.1")
        self._toolbox_port = listen(toolbox_port, self._toolbox_factory, interface="127.0.0.1")
        self.simulator.proxy_base = self.proxy_url
        self.simulator.toolbox_base = f"{self.proxy_url}/toolbox"

    def stopService(self) -> Deferred[None]:
        """Fires when nothing listens and every connection has been ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.simulator.close()
        await self.toolbox.close()
        ports = [port for port in (self._port, self._toolbox_port) if port is not None]
        self._port = self._toolbox_port = None
        stopped = [port.stopListening() for port in ports]
        for factory in (self._factory, self._toolbox_factory):
            for connection in list(factory.protocols):
                connection.transport.abortConnection()
        for one in stopped:
            if one is not None:
                await one
        # An aborted connection is lost in the reactor's next turn.
        await deferLater(self._reactor, 0)


def _url(port: IListeningPort | None) -> str:
    if port is None:
        raise RuntimeError("the simulator does not listen yet")
    address: Any = port.getHost()
    return f"http://127.0.0.1:{address.port}"
