"""
Between a daemon and its ports: every call is numbered, and may be met by a fault.

The proxies are made from the interfaces, so that a new port method cannot be forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer
from zope.interface.interface import InterfaceClass, Method

from sandbox_billing.adapters.memory.chain_faults import GoodDay, NodeLags, Swallowed
from sandbox_billing.adapters.redis.seam import IKeyspace
from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.interfaces import DaytonaRefused
from tests.simulation.clock import Life
from tests.simulation.faults import Fault, FaultKind, Spot, spot_of


if TYPE_CHECKING:
    from tests.simulation.world import World


@frozen
class Moment:
    """
    What a death there would leave behind: two deaths at equal moments are one.

    @ivar version: How many changes the world had seen.
    """

    life: str
    version: int
    at: float


@frozen
class Passed:
    """A call as a recording has it."""

    spot: Spot
    before: Moment
    after: Moment | None = None


@define(eq=False)
class Switchboard:
    """
    Numbers the calls of a world, and decides what befalls them.

    @ivar number: Of the next call.
    @ivar decide: What befalls a call; None: nothing does, to any.
    @ivar fired: Which faults befell which calls, how often.
    @ivar recording: All calls by number, where somebody wants them.
    """

    world: World
    number: int = 0
    decide: Callable[[Spot, int, Life], Fault | None] | None = None
    fired: Counter[tuple[Spot, FaultKind]] = field(factory=Counter)
    met: Counter[Spot] = field(factory=Counter)
    recording: dict[int, Passed] | None = None

    def moment(self, life: Life) -> Moment:
        """Now."""
        return Moment(life.name, self.world.version, self.world.clock.rightNow)

    async def through(self, life: Life, spot: Spot, call: Callable[[], Any], target: Any) -> Any:
        """Make a call as its fault has it."""
        clock = self.world.clock
        if life.dead:
            await self._never(life)
        if clock.rightNow < life.resumes_at:
            await self._resumed(life)
        number = self.number
        self.number += 1
        self.met[spot] += 1
        recording, before = self.recording, None
        if recording is not None:
            before = self.moment(life)
            recording[number] = Passed(spot, before)
        fault = None if self.decide is None else self.decide(spot, number, life)
        if fault is None:
            result = await call()
        else:
            self.fired[spot, fault.kind] += 1
            result = await self._befall(fault, spot, number, life, call, target)
        if recording is not None and before is not None:
            recording[number] = Passed(spot, before, self.moment(life))
        if life.dead:
            await self._never(life)
        if clock.rightNow < life.resumes_at:
            await self._resumed(life)
        return result

    async def _befall(
        self,
        fault: Fault,
        spot: Spot,
        number: int,
        life: Life,
        call: Callable[[], Any],
        target: Any,
    ) -> Any:
        world, amount = self.world, fault.amount
        world.disturbed(fault, spot, number, life)
        match fault.kind:
            case FaultKind.CRASH_BEFORE:
                world.crash(life)
                await self._never(life)
            case FaultKind.CRASH_AFTER | FaultKind.ROLLBACK:
                # Whatever it answers, nobody hears it.
                await _ended(call)
                if fault.kind is FaultKind.ROLLBACK and not life.dead:
                    world.lose_power(amount)
                world.crash(life)
                await self._never(life)
            case FaultKind.FAIL_BEFORE:
                raise Transient("a simulated failure")
            case FaultKind.LOST_BEFORE:
                raise UnknownOutcome("a simulated loss of a request")
            case FaultKind.LOST_AFTER:
                await call()
                raise UnknownOutcome("a simulated loss of a reply")
            case FaultKind.DELAY_BEFORE:
                await deferLater(world.clock, amount)
                # What was sent arrives, whatever became of its sender.
            case FaultKind.DELAY_AFTER:
                result = await call()
                await deferLater(world.clock, amount)
                return result
            case FaultKind.PAUSE:
                world.pause(life, amount)
                await self._resumed(life)
                if life.dead:
                    await self._never(life)
            case FaultKind.STALE:
                return await _on_a(NodeLags(int(amount)), target, call)
            case FaultKind.SWALLOWED:
                return await _on_a(Swallowed(), target, call)
            case FaultKind.REFUSED:
                raise DaytonaRefused("Sandbox state change in progress", 409)
        return await call()

    async def _never(self, life: Life) -> None:
        await life.hold(Deferred())

    async def _resumed(self, life: Life) -> None:
        while life.paused:
            await deferLater(self.world.clock, life.resumes_at - self.world.clock.rightNow)


async def _ended(call: Callable[[], Any]) -> None:
    done: Deferred[None] = Deferred()
    Deferred.fromCoroutine(call()).addBoth(lambda _: done.callback(None))
    await done


async def _on_a(day: GoodDay, chain: Any, call: Callable[[], Any]) -> Any:
    """The memory chain answers at once, so nobody else has this day."""
    before, chain.fault = chain.fault, day
    try:
        return await call()
    finally:
        chain.fault = before


class _Proxy:
    """A port as one life sees it."""

    def __init__(self, inner: Any, life: Life, board: Switchboard) -> None:
        self.inner, self._life, self._board = inner, life, board

    def __getattr__(self, name: str) -> Any:
        # What is no part of the port: tokens, counters, fetched keys.
        return getattr(self.inner, name)


def _asynchronous(port: InterfaceClass, name: str) -> Callable[..., Any]:
    spot = spot_of(port, name)

    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = self.inner
        call = partial(getattr(inner, name), *args, **kwargs)
        return await self._board.through(self._life, spot, call, inner)

    method.__name__ = name
    return method


_INSIDE = {IKeyspace: frozenset({"read", "facts"})}
"""What a port's own call stands for: it reads before it writes, and fails with its reads."""

_classes: dict[tuple[InterfaceClass, type[Any]], type[_Proxy]] = {}


def proxy(port: InterfaceClass, inner: Any, life: Life, board: Switchboard) -> Any:
    """
    A port through the switchboard.

    Methods that answer at once are let through: a daemon that dies between two of its
    waits has died at the next of them.
    """
    key = (port, type(inner))
    made = _classes.get(key)
    if made is None:
        methods = {
            name: _asynchronous(port, name)
            for name, described in port.namesAndDescriptions(all=True)
            if isinstance(described, Method)
            and iscoroutinefunction(getattr(type(inner), name))
            and name not in _INSIDE.get(port, ())
        }
        made = implementer(port)(type(f"Proxied{port.__name__}", (_Proxy,), methods))
        _classes[key] = made
    return made(inner, life, board)
