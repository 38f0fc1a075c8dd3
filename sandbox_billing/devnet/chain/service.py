"""
The devnet's chain as a service: one thread owns it, a socket serves it, a timer mines.

Tests: C{tests/devnet/test_chain_server.py}, C{tests/devnet/test_chain_mining.py}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorFromThreads,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from . import jsonrpc
from .devchain import DevChain
from .faults import FaultyNode
from .server import TrackingFactory


_T = TypeVar("_T")

#: How long a connection whose peer does not read is waited for at stop.
_PATIENCE_SECONDS: Final = 2.0


class Run(Protocol):
    """
    Carries out a function where the chain may be touched.
    """

    def __call__(self, function: Callable[[], _T], /) -> Deferred[_T]: ...


class IReactor(IReactorTCP, IReactorTime, IReactorFromThreads):
    """
    What L{DevChainService} needs of a reactor.
    """


class OwningThread:
    """
    The one thread that touches the chain; work is done in the order it was given.

    py-evm breaks for good when two threads write, and a block may take a second: so
    neither many threads nor the reactor's own.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool: ThreadPool | None = None

    def start(self) -> None:
        self._pool = ThreadPool(minthreads=1, maxthreads=1, name="devnet-chain")
        self._pool.start()

    def run(self, function: Callable[[], _T], /) -> Deferred[_T]:
        """
        @return: Fires in the reactor's thread with what C{function} returned.
        """
        assert self._pool is not None, "not started"
        return deferToThreadPool(self._reactor, self._pool, function)

    def stop(self) -> None:
        """
        End the thread, after what it was given.
        """
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()


class MiningTimer(Service):
    """
    A block every so often; a failing turn is logged and the next one comes.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, run: Run, chain: DevChain, block_seconds: float
    ) -> None:
        self._run = run
        self._chain = chain
        self._block_seconds = block_seconds
        self._loop = LoopingCall(self._turn)
        self._loop.clock = clock
        self._ended: Deferred[Any] | None = None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._ended = self._loop.start(self._block_seconds, now=False)

    def stopService(self) -> Deferred[Any]:
        """
        @return: Fires when the turn in flight has ended.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        ended, self._ended = self._ended, None
        if ended is None:
            return succeed(None)
        self._loop.stop()
        return ended

    def _turn(self) -> Deferred[Any]:
        return self._run(self._chain.tick).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("devnet chain: a block could not be mined", failure)


class DevChainService(Service):
    """
    Serves a chain by JSON-RPC on a socket and mines it by a timer.

    After C{startService} nothing but L{run} may touch the chain.

    @ivar url: Where it listens; known after C{startService}.
    @ivar origins: Of pages that may ask it, as browsers spell them.
    """

    def __init__(
        self,
        *,
        reactor: IReactor,
        chain: DevChain,
        port: int = 0,
        interface: str = "127.0.0.1",
        block_seconds: float | None = 1.0,
    ) -> None:
        """
        @param port: 0 is any free one.
        @param block_seconds: Between blocks; None mines only on demand.
        """
        self._reactor = reactor
        self._chain = chain
        self._port = port
        self._interface = interface
        self._owner = OwningThread(reactor)
        self._node = FaultyNode(chain)
        self.origins: set[str] = set()
        self._factory = TrackingFactory(reactor, self._answer, self.origins)
        self._timer = (
            None
            if block_seconds is None
            else MiningTimer(reactor, self._owner.run, chain, block_seconds)
        )
        self._listening: IListeningPort | None = None
        self.url = ""

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._listening = self._reactor.listenTCP(
            self._port, cast(Any, self._factory), interface=self._interface
        )
        self.url = f"http://{self._interface}:{cast(IPv4Address, self._listening.getHost()).port}"
        self._owner.start()
        if self._timer is not None:
            self._timer.startService()

    def stopService(self) -> Deferred[None]:
        """
        @return: Fires when port, connections and thread are gone.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    def run(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> Deferred[_T]:
        """
        Call a method of the chain (or any function) in the thread that owns it.
        """
        return self._owner.run(partial(function, *args, **kwargs))

    async def _answer(self, body: bytes) -> bytes:
        return await self._owner.run(partial(jsonrpc.answer, body, self._node.perform))

    async def _stop(self) -> None:
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        await maybeDeferred(listening.stopListening)
        if self._timer is not None:
            await self._timer.stopService()
        # The owner works in order: when this is done, every request before it was
        # answered.
        await self._owner.run(lambda: None)
        await self._factory.end_connections(_PATIENCE_SECONDS)
        self._owner.stop()
