"""
Work that must end well although nobody may be waiting for it.

A coroutine is awaited, or it is given to the supervisor, which names it, logs
its failure, and waits for it when the daemon stops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.interfaces import NotReady
from sandbox_billing.log_context import carried
from sandbox_billing.services._progress import along


T = TypeVar("T")

RETRY_SECONDS = 5


async def gather(*work: Coroutine[Any, Any, T]) -> list[T]:
    """
    Run coroutines at the same time and wait for all of them.

    @raise Exception: The first failure, after all have ended; the others are logged.
    """
    deferreds = [Deferred.fromCoroutine(along(one)) for one in work]
    results: list[T] = []
    first: Failure | None = None
    for _good, result in await DeferredList(deferreds, consumeErrors=True):
        if not isinstance(result, Failure):
            results.append(result)
        elif first is None:
            first = result
        else:
            _log.failure("one of several failed", failure=result)
    if first is not None:
        first.raiseException()
    return results


_log = Logger(__name__)


@define(eq=False)
class Supervisor(Service):
    """
    The keeper of detached work.

    @ivar most: How much may be under way at once: whoever sends requests and hangs up would
        else fill our memory (V1).
    @ivar most_of_one: Of that, for the same wallet.
    @ivar reserve: How much more, of work that is reserved: wallets cost nothing, and whoever
        has many of them could else keep others from stopping what they pay for.
    @ivar reserve_of_one: Of that, for the same wallet.
    @ivar under_way: What is under way, with its name.
    @ivar stopping: That it was told to stop: work of many steps makes no further one, and
        nobody begins anything that is not waited for.
    """

    most: int = 1_000
    most_of_one: int = 100
    reserve: int = 500
    reserve_of_one: int = 20
    under_way: dict[Deferred[Any], str] = field(factory=dict, init=False)
    stopping: bool = field(default=False, init=False)
    _taken: Counter[tuple[bool, str]] = field(factory=Counter, init=False)
    _log = Logger()

    def startService(self) -> None:
        """Take work; it is taken before that, too."""
        self.stopping = False
        Service.startService(self)

    def has_room(self, wallet: str = "", *, reserved: bool = False) -> bool:
        """Whether L{detached} would begin."""
        most, of_one = self.most, self.most_of_one
        if reserved:
            most, of_one = self.reserve, self.reserve_of_one
        fits = self._taken[reserved, ""] < most
        return fits and (not wallet or self._taken[reserved, wallet] < of_one)

    def detached(
        self,
        name: str,
        work: Coroutine[Any, Any, T],
        *,
        wallet: str = "",
        reserved: bool = False,
    ) -> Deferred[T]:
        """
        Start work that outlives its caller.

        @param wallet: Whose it is; empty for nobody's.
        @param reserved: That it may take of the reserve: only what is proven to be needed.
        @return: Fires with the work's result; cancelling it ends the waiting alone.
        @raise NotReady: There is too much under way; this was not begun.
        """
        if not self.has_room(wallet, reserved=reserved):
            work.close()
            raise NotReady("too much is under way here; ask again", RETRY_SECONDS)
        places = {(reserved, ""), (reserved, wallet)}
        self._taken.update(places)
        waiting: Deferred[T] = Deferred()
        running = Deferred.fromCoroutine(work)
        self.under_way[running] = name

        def ended(result: T | Failure) -> None:
            self.under_way.pop(running, None)
            self._taken.subtract(places)
            for place in places:
                if not self._taken[place]:
                    del self._taken[place]
            if waiting.called:
                # Nobody waits any more: what nobody expected must still be seen.
                if isinstance(result, Failure) and not isinstance(result.value, BadInput | Refused):
                    self._log.failure("detached {task} failed", failure=result, task=name)
                return
            if isinstance(result, Failure):
                waiting.errback(result)
            else:
                waiting.callback(result)

        # Whoever wakes the work at its end is often another request.
        running.addBoth(carried(ended))
        return waiting

    def stopService(self) -> Deferred[Any]:
        """Wait for everything under way."""
        self.stopping = True
        Service.stopService(self)
        if not self.under_way:
            return succeed(None)
        waiting = [_ended(running) for running in list(self.under_way)]
        # Whoever waits no longer has cancelled them, and said so.
        return DeferredList(waiting, consumeErrors=True)


def _ended(running: Deferred[Any]) -> Deferred[None]:
    """Fires after C{running}, whatever its result, and leaves that as it is."""
    done: Deferred[None] = Deferred()

    def passed_by(result: Any) -> Any:
        done.callback(None)
        return result

    running.addBoth(passed_by)
    return done
