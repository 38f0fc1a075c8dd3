"""
Replies that are made while they are sent, no faster than they are taken.

Tests: C{tests.web.test_listing}.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer


STALL_SECONDS = 60.0
"""How long a client may take nothing at all; then he is one less."""


@implementer(IPushProducer)
class _Valve:
    """
    Shut while the client does not take what was written.

    @ivar is_gone: Nobody will take anything any more.
    """

    def __init__(self) -> None:
        self.is_gone = False
        self._is_shut = False
        self._waiting: Deferred[None] | None = None

    async def passed(self, clock: IReactorTime) -> None:
        """
        Wait until it is open, or nobody is left.

        @raise TimeoutError: Neither came.
        """
        while self._is_shut:
            self._waiting = Deferred()
            await self._waiting.addTimeout(STALL_SECONDS, clock)

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._is_shut = True

    def resumeProducing(self) -> None:
        """It has room again."""
        self._is_shut = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """The client has hung up."""
        self.is_gone = True
        self.resumeProducing()


async def pour(
    request: Request,
    status: int,
    headers: Mapping[str, str],
    chunks: AsyncGenerator[bytes, None],
    clock: IReactorTime,
) -> None:
    """
    Write a reply piece by piece; whoever called finishes the request.

    @param chunks: Asked for the next one only when the last one was taken, and for none
        where there is to be no body.
    """
    request.setResponseCode(status)
    for name, value in headers.items():
        request.responseHeaders.setRawHeaders(name, [value])
    if request.method == b"HEAD":
        await chunks.aclose()
        return
    valve = _Valve()
    register: Any = request.registerProducer  # untyped
    register(valve, True)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                request.write(chunk)
                await valve.passed(clock)
                if valve.is_gone:
                    return
    except TimeoutError:
        transport: Any = request.transport
        transport.abortConnection()
    finally:
        channel: Any = request.channel
        if channel is not None:
            # Else the client hung up while the next chunk was waited for.
            request.unregisterProducer()
