"""
Replies that are made while they are sent, no faster than they are taken.

Tests: C{tests.web.test_listing}.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer


@implementer(IPushProducer)
class _Valve:
    """Shut while the client does not take what was written."""

    def __init__(self) -> None:
        self._is_shut = False
        self._waiting: Deferred[None] | None = None

    async def passed(self) -> None:
        """Wait until it is open; whoever hangs up is cancelled by Klein."""
        while self._is_shut:
            self._waiting = Deferred()
            await self._waiting

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
        """Nobody takes it any more: what is written from here goes nowhere."""
        self.resumeProducing()


async def pour(
    request: Request, status: int, headers: Mapping[str, str], chunks: AsyncGenerator[bytes, None]
) -> None:
    """
    Write a reply piece by piece; whoever called finishes the request.

    @param chunks: Asked for the next one only when the last one was taken.
    """
    request.setResponseCode(status)
    for name, value in headers.items():
        request.responseHeaders.setRawHeaders(name, [value])
    valve = _Valve()
    register: Any = request.registerProducer  # untyped
    register(valve, True)
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                request.write(chunk)
                await valve.passed()
    finally:
        request.unregisterProducer()
