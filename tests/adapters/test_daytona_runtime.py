"""
The real client to Daytona against the simulator, in memory and over a socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from math import ceil
from typing import Any, TypeVar

from attrs import define, evolve, field, frozen
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sandbox_billing.adapters.daytona import DaytonaRuntime, daytona_client, daytona_pool
from sandbox_billing.devnet.daytona import (
    DaytonaSimulator,
    DaytonaSimulatorService,
    Dialect,
    Timings,
    simulator_resource,
)
from sandbox_billing.interfaces import IWallClock
from sandbox_billing.ledger.money import UnixSeconds
from tests.ports.runtime import runtime_port_suite


T = TypeVar("T")

ADMIN_KEY = "admin-key"
BASE = 1_750_000_000

# In real time a busy machine must still find a stop under way that has just been accepted.
TIMINGS = evolve(Timings.scaled(0.01), stop_seconds=0.3)


@implementer(IWallClock)
@frozen
class FlooredWall:
    """Whole seconds of somebody's wall."""

    wall: Callable[[], float]

    def now(self) -> UnixSeconds:
        return UnixSeconds(int(self.wall()))

    def after(self) -> UnixSeconds:
        return UnixSeconds(ceil(self.wall()))


@define
class MemoryWorld:
    """No sockets and no waiting: one clock for everything."""

    simulator: DaytonaSimulator
    runtime: DaytonaRuntime
    clock: Clock
    flush: Callable[[], None]

    @classmethod
    def make(cls, test: TestCase, dialect: Dialect) -> MemoryWorld:
        """A world with nothing in it."""
        clock = Clock()
        simulator = DaytonaSimulator(
            clock=clock, wall=lambda: BASE + clock.seconds(), dialect=dialect
        )
        test.addCleanup(simulator.close)
        treq = StubTreq(simulator_resource(simulator, ADMIN_KEY))
        runtime = DaytonaRuntime.over(
            treq,
            url="http://daytona.test",
            admin_key=ADMIN_KEY,
            clock=clock,
            wall=FlooredWall(simulator.wall),
        )
        return cls(simulator, runtime, clock, treq.flush)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Advance until it is done."""
        done = Deferred.fromCoroutine(work)
        for _ in range(2000):
            self.flush()
            if done.called:
                break
            self.clock.advance(0.25)
        return await done

    async def pause(self) -> None:
        """A quarter of a second, which costs nothing."""
        self.clock.advance(0.25)


@define
class SocketWorld:
    """Real connections, a hundred times faster; the client's deadlines on their own clock."""

    simulator: DaytonaSimulator
    runtime: DaytonaRuntime
    deadlines: Clock
    service: DaytonaSimulatorService = field(repr=False)

    @classmethod
    def make(cls, test: TestCase, dialect: Dialect) -> SocketWorld:
        """A world on a free port of this machine."""
        simulator = DaytonaSimulator(
            clock=reactor, wall=time.time, dialect=dialect, timings=TIMINGS
        )
        service = DaytonaSimulatorService(reactor, simulator, ADMIN_KEY)
        service.startService()
        test.addCleanup(service.stopService)
        pool = daytona_pool(reactor)
        test.addCleanup(pool.closeCachedConnections)
        deadlines = Clock()
        runtime = DaytonaRuntime.over(
            daytona_client(reactor, pool),
            url=service.url,
            admin_key=ADMIN_KEY,
            clock=deadlines,
            wall=FlooredWall(time.time),
        )
        return cls(simulator, runtime, deadlines, service)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Wait for it; once the simulator holds a request back, its deadline passes.

        On a busy machine the simulator may see late that an earlier request was given up:
        while it still holds that one it holds none of this work.
        """
        while self.simulator.hanging:
            await self.pause()
        done = Deferred.fromCoroutine(work)
        while not done.called:
            if self.simulator.hanging:
                self.deadlines.advance(3600)
            await self.pause()
        return await done

    async def pause(self) -> None:
        """A turn of the reactor, and a millisecond."""
        await deferLater(reactor, 0.001)


class MemoryNewTests(runtime_port_suite(MemoryWorld.make, Dialect.NEW)):  # type: ignore[misc]
    """In memory, v0.190."""


class MemoryMiddleTests(runtime_port_suite(MemoryWorld.make, Dialect.MIDDLE)):  # type: ignore[misc]
    """In memory, v0.170."""


class MemoryOldTests(runtime_port_suite(MemoryWorld.make, Dialect.OLD)):  # type: ignore[misc]
    """In memory, v0.149."""


class SocketNewTests(runtime_port_suite(SocketWorld.make, Dialect.NEW)):  # type: ignore[misc]
    """Over a socket, v0.190."""


class SocketOldTests(runtime_port_suite(SocketWorld.make, Dialect.OLD)):  # type: ignore[misc]
    """Over a socket, v0.149."""


class HeldBackTests(TestCase):
    """Whose deadline passes."""

    async def test_given_up_earlier(self) -> None:
        """A request given up before, and still held, ends the deadline of no later one."""
        world = SocketWorld.make(self, Dialect.NEW)
        world.simulator.hanging = 1
        deferLater(reactor, 0.05, setattr, world.simulator, "hanging", 0)
        self.assertIsNone(await world.run(world.runtime.get("nobody")))
