"""
What addresses a host has, asked in threads of nobody else's.

A user chooses the host, and so how long its name servers take to answer: the reactor's own
threads look up Daytona and the chain.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from sandbox_billing.errors import Transient
from sandbox_billing.ledger.target import IPAddress


LOOKUP_SECONDS = 5.0

THREADS = 16
"""A look-up that is given up keeps its thread until the system's resolver gives up, too."""


@frozen
class SystemNames:
    """
    The system's resolver.

    @ivar pool: Somebody starts and stops it.
    """

    reactor: Any = field(repr=False)
    pool: ThreadPool = field(repr=False)

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """
        Every address of a host, as the system prefers them; none where the name is not known.

        @raise Transient: No answer in time.
        """
        asked: Deferred[Any] = deferToThreadPool(self.reactor, self.pool, _look_up, host)
        asked.addTimeout(LOOKUP_SECONDS, self.reactor)
        try:
            found = await asked
        except TimeoutError as why:
            raise Transient("the host's name servers do not answer") from why
        except socket.gaierror as why:
            if why.errno == socket.EAI_AGAIN:
                raise Transient("the host's name servers do not answer") from why
            return ()
        except (OSError, UnicodeError):
            return ()
        # In their order, and each once.
        return tuple(dict.fromkeys(map(ip_address, found)))


def _look_up(host: str) -> list[str]:
    """Runs in a thread."""
    return [str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
