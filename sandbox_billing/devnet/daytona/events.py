"""
What Daytona tells its subscribers: no replay, no acknowledgement, and on demand worse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime


Listener = Callable[[str, dict[str, Any]], None]


@define(eq=False)
class Events:
    """
    The stream of one organization's events.

    @ivar clock: For delays.
    @ivar enabled: C{NOTIFICATION_GATEWAY_DISABLED} is not set; off, the gateway is a 404.
    @ivar delay_seconds: How late they come.
    @ivar cut: Ends every connection; the gateway sets it.
    @ivar to_drop: How many of the next ones are lost.
    @ivar to_double: How many of the next ones come twice.
    """

    clock: IReactorTime
    enabled: bool = True
    delay_seconds: float = 0.0
    to_drop: int = 0
    to_double: int = 0
    cut: Callable[[], None] = lambda: None
    _listeners: list[Listener] = field(factory=list)
    _late: set[IDelayedCall] = field(factory=set)

    @property
    def heard(self) -> int:
        """How many subscribers there are."""
        return len(self._listeners)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """
        @param listener: Gets the name of each event and its payload.
        @return: Ends the subscription; harmless when repeated.
        """
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def publish(self, name: str, build: Callable[[], dict[str, Any]]) -> None:
        """
        @param build: Makes the payload as of now; not called when nobody listens.
        """
        if not self.enabled or not self._listeners:
            return
        if self.to_drop:
            self.to_drop -= 1
            return
        payload = build()
        times = 2 if self.to_double else 1
        self.to_double -= times - 1
        for _ in range(times):
            self._send(name, payload)

    def _send(self, name: str, payload: dict[str, Any]) -> None:
        if not self.delay_seconds:
            self._deliver(name, payload)
            return

        def late() -> None:
            self._late.discard(call)
            self._deliver(name, payload)

        call = self.clock.callLater(self.delay_seconds, late)
        self._late.add(call)

    def _deliver(self, name: str, payload: dict[str, Any]) -> None:
        for listener in list(self._listeners):
            listener(name, payload)

    def close(self) -> None:
        """What is late is lost."""
        for call in self._late:
            call.cancel()
        self._late.clear()
