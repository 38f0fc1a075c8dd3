"""
What addresses a host has, asked in threads of nobody else's.

A user chooses the host, and so how long its name servers take to answer: the reactor's own
threads look up Daytona and the chain.
"""

from __future__ import annotations

import socket
from collections import Counter
from ipaddress import ip_address
from threading import Thread
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sandbox_billing.errors import Transient
from sandbox_billing.ledger.target import IPAddress


LOOKUP_SECONDS = 5.0

SENDING, ASKING, TESTING = 16, 8, 8
"""
Look-ups at once: of what is sent, of what somebody wants to register, and of what somebody tests,
who must not hold up the others.
"""

TESTING_EACH = 2
"""Of one wallet."""

THREADS = SENDING + ASKING + TESTING

NO_ANSWER = "the host's name servers do not answer"
BUSY = "too many names are being looked up here; ask again"


class Busy(Transient):
    """Too much is asked here; it says nothing of the host."""


class _Thread(Thread):
    """One that the process does not wait for at its end."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, daemon=True, **named)


class NamePool(ThreadPool):
    """
    Threads that nobody waits for: a look-up cannot be given up, and takes as long as name servers
    of somebody's choice.
    """

    threadFactory = _Thread

    def __init__(self) -> None:
        super().__init__(0, THREADS, name="webhook-names")

    def stop(self) -> None:
        """Take no more, and leave those that are being looked up to themselves."""
        # ThreadPool joins these, and has no other way.
        self.threads.clear()
        super().stop()


@define(eq=False)
class SystemNames:
    """
    The system's resolver.

    @ivar pool: Somebody starts and stops it.
    @ivar most: At once; one that was given up counts until the system has given it up, too.
    @ivar most_each: Likewise, for the same one; None for no less than all.
    """

    reactor: Any = field(repr=False)
    pool: ThreadPool = field(repr=False)
    most: int
    most_each: int | None = None
    _under_way: Counter[str] = field(factory=Counter, init=False)

    async def addresses(self, host: str, who: str = "") -> tuple[IPAddress, ...]:
        """
        Every address of a host, as the system prefers them; none where the name is not known.

        @param who: Wants to know it.
        @raise Busy: Too much is asked, by all or by that one.
        @raise Transient: No answer in time.
        """
        if self._under_way.total() >= self.most or (
            self.most_each is not None and self._under_way[who] >= self.most_each
        ):
            raise Busy(BUSY)
        try:
            found = await self._asked(host, who).addTimeout(LOOKUP_SECONDS, self.reactor)
        except TimeoutError as why:
            raise Transient(NO_ANSWER) from why
        except socket.gaierror as why:
            if why.errno == socket.EAI_AGAIN:
                raise Transient(NO_ANSWER) from why
            return ()
        except (OSError, UnicodeError):
            return ()
        # In their order, and each once.
        return tuple(dict.fromkeys(map(ip_address, found)))

    def _asked(self, host: str, who: str) -> Deferred[list[str]]:
        """@return: May be given up; the thread then goes on."""
        answer: Deferred[list[str]] = Deferred()
        self._under_way[who] += 1

        def ended(result: Any) -> None:
            # None may stay behind of those who ask no more.
            self._under_way -= Counter([who])
            if not answer.called:
                answer.callback(result)

        deferToThreadPool(self.reactor, self.pool, _look_up, host).addBoth(ended)
        return answer


def _look_up(host: str) -> list[str]:
    """Runs in a thread."""
    return [str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
