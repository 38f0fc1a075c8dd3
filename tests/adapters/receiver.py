"""A receiver of webhooks that does what it is told to, on a real socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure


def answer(status: int, more: bytes = b"", body: bytes = b"") -> bytes:
    """A whole one."""
    return b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(body), body)


@define(eq=False)
class Receiver:
    """
    @ivar answers: One for each request, and the last for all that follow: bytes, None for
        silence, or what is called with the connection.
    @ivar heard: Head and body of each request.
    @ivar open: Connections.
    """

    answers: list[bytes | Callable[[Any], None] | None] = field(factory=lambda: [answer(200)])
    heard: list[tuple[bytes, bytes]] = field(factory=list, init=False)
    open: list[Any] = field(factory=list, init=False)
    port: Any = field(default=None, init=False)

    async def listen(self, endpoint: IStreamServerEndpoint | None = None) -> int:
        """@return: The port."""
        if endpoint is None:
            endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        factory = Factory.forProtocol(lambda: _Connection(self))
        factory.noisy = False
        self.port = await endpoint.listen(factory)
        return int(self.port.getHost().port)

    async def close(self) -> None:
        """Nothing stays open."""
        for one in list(self.open):
            one.transport.abortConnection()
        stopped: Any = self.port.stopListening()
        await stopped
        await until(lambda: not self.open)

    def headers(self, which: int = -1) -> dict[str, str]:
        """Of a request, by lower-case name."""
        lines = self.heard[which][0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}


class _Connection(Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._got = receiver, b""

    def connectionMade(self) -> None:
        self._receiver.open.append(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._receiver.open.remove(self)

    def dataReceived(self, data: bytes) -> None:
        self._got += data
        head, blank, body = self._got.partition(b"\r\n\r\n")
        lengths = [x for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")]
        if not blank or len(body) < int(lengths[0].partition(b":")[2]):
            return
        self._got = b""
        receiver, transport = self._receiver, self.transport
        assert transport is not None
        receiver.heard.append((head, body))
        say = receiver.answers[0]
        if len(receiver.answers) > 1:
            receiver.answers.pop(0)
        if callable(say):
            say(transport)
        elif say is not None:
            transport.write(say)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what can be seen."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        pause: Deferred[None] = deferLater(reactor, 0.01)
        await pause
    raise AssertionError("it did not come")
