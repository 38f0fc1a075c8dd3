"""
One POST to where a wallet said, and nowhere else.

The host is looked up here, all of its addresses are judged, and the connection is made to one
of these very addresses: there is no second look-up that could be answered otherwise.  Redirects
are answers like others, there is no proxy and no cookie, and of what comes back no more than a
little is read, and dropped.

Tests: C{tests.adapters.test_webhook_sender}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv6Address
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

# No public module exports it.
from twisted.web._newclient import ParseError, RequestNotSent
from twisted.web.client import (
    Agent,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from sandbox_billing import __version__
from sandbox_billing.adapters.webhooks.names import Busy
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.interfaces import IWebhookSender, Sent
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.target import NOT_A_HOST, Allowed, IPAddress, Target, read_target


CONNECT_SECONDS = 5.0
"""For each address."""

MOST_ADDRESSES = 3
"""That are tried."""

TOTAL_SECONDS = 10.0

MOST_BYTES = 64 * 1024
"""Of an answer, its headers included."""

USER_AGENT = f"sandbox-billing/{__version__}"

_BROKEN = (
    ConnectionClosed,
    ConnectingCancelledError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    OSError,
)

Names = Callable[[str], Awaitable[tuple[IPAddress, ...]]]


class _Bounded(ProtocolWrapper):
    """A connection that hears so much and no more."""

    heard = 0

    def dataReceived(self, data: bytes) -> None:
        """Hand it on, or hang up."""
        self.heard += len(data)
        if self.heard > MOST_BYTES:
            self.abortConnection()
            return
        super().dataReceived(data)  # type: ignore[no-untyped-call]


class _BoundedFactory(WrappingFactory):
    """Makes bounded connections."""

    protocol = _Bounded
    noisy = False


@implementer(IStreamClientEndpoint)
@frozen
class _CheckedEndpoint:
    """
    @ivar addresses: Judged: each may be connected to.
    @ivar creator: Of TLS for the host's name; None for plain HTTP.
    """

    reactor: Any
    target: Target
    addresses: tuple[IPAddress, ...]
    creator: Any

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> Any:
        # Else it tells the log of each connection, and all that it holds.
        factory.noisy = False
        last: Exception = Transient("nothing to connect to")
        for address in self.addresses[:MOST_ADDRESSES]:
            bounded: Any = _BoundedFactory(factory)  # type: ignore[no-untyped-call]
            try:
                wrapper = await self._endpoint(address).connect(bounded)
            except ConnectingCancelledError:
                raise
            except ConnectError as why:
                last = why
            else:
                return wrapper.wrappedProtocol
        raise last

    def _endpoint(self, address: IPAddress) -> Any:
        kind: Any = TCP6ClientEndpoint if isinstance(address, IPv6Address) else TCP4ClientEndpoint
        plain = kind(self.reactor, str(address), self.target.port, timeout=CONNECT_SECONDS)
        return plain if self.creator is None else wrapClientTLS(self.creator, plain)


@implementer(IAgentEndpointFactory)
@frozen
class _Only:
    """The agent's way to one endpoint, whatever it has read in the URL."""

    endpoint: _CheckedEndpoint

    def endpointForURI(self, uri: Any) -> _CheckedEndpoint:
        return self.endpoint


class _Dropped(Protocol):
    """A body that nobody wants."""

    def __init__(self, done: Deferred[None]) -> None:
        self._done = done

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """However it ended."""
        if not self._done.called:
            self._done.callback(None)

    def abort(self) -> None:
        """Nobody waits for the rest either."""
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


@implementer(IBodyProducer)
class _Body:
    """A few bytes, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """They are written already."""

    def resumeProducing(self) -> None:
        """Likewise."""

    def stopProducing(self) -> None:
        """Likewise."""


@implementer(IWebhookSender)
@frozen(kw_only=True)
class WebhookSender:
    """
    @ivar names: Every address that a host has now.
    @ivar asked_names: The same, for who only wants to know.
    @ivar tested_names: The same, for a wallet that tests, named by its second argument.
    @ivar allowed: What the operator lets be reached although it is not public.
    @ivar trust: Whose certificates are believed.
    """

    reactor: Any = field(repr=False)
    names: Names = field(repr=False)
    asked_names: Names = field(repr=False)
    tested_names: Callable[[str, str], Awaitable[tuple[IPAddress, ...]]] = field(repr=False)
    allowed: Allowed
    trust: IPolicyForHTTPS = field(repr=False)

    async def check(self, url: str) -> None:
        target = read_target(url)
        self._creator(target)
        await self._addresses(target, self.asked_names)

    async def test(
        self, wallet: Address, url: str, headers: Mapping[str, str], body: bytes
    ) -> Sent:
        def names(host: str) -> Awaitable[tuple[IPAddress, ...]]:
            return self.tested_names(host, wallet.hex)

        return await self._sent(url, headers, body, names)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        return await self._sent(url, headers, body, self.names)

    async def _sent(self, url: str, headers: Mapping[str, str], body: bytes, names: Names) -> Sent:
        try:
            work = self._send(read_target(url), headers, body, names)
            sending = Deferred.fromCoroutine(work)
            status = await sending.addTimeout(TOTAL_SECONDS, self.reactor, _late)
        except Busy as why:
            return Sent(None, why.text, busy=True)
        except (BadInput, Transient) as why:
            return Sent(None, why.text)
        except TimeoutError:
            return Sent(None, f"no answer within {TOTAL_SECONDS:.0f} s")
        except (ConnectError, RequestNotSent):
            return Sent(None, "cannot be connected to")
        except _BROKEN as why:
            return Sent(None, _described(why))
        return Sent(status, f"answered {status}")

    def _creator(self, target: Target) -> Any:
        """@raise BadInput: No certificate can be for such a name."""
        if not target.is_tls:
            return None
        try:
            return self.trust.creatorForNetloc(target.host.encode("ascii"), target.port)
        except UnicodeError as why:
            # Of IDNA: underscores, and what claims to be encoded and is not.
            raise BadInput(NOT_A_HOST) from why

    async def _addresses(self, target: Target, names: Names) -> tuple[IPAddress, ...]:
        if target.address is not None:
            found: tuple[IPAddress, ...] = (target.address,)
        else:
            found = await names(target.host)
        return target.check(found, self.allowed)

    async def _send(
        self, target: Target, headers: Mapping[str, str], body: bytes, names: Names
    ) -> int:
        creator = self._creator(target)
        addresses = await self._addresses(target, names)
        endpoint = _CheckedEndpoint(self.reactor, target, addresses, creator)
        agent: Any = Agent.usingEndpointFactory(self.reactor, _Only(endpoint))
        told = Headers({"User-Agent": [USER_AGENT], "Accept": ["*/*"]})
        for name, value in headers.items():
            told.setRawHeaders(name, [value])
        response: IResponse = await agent.request(
            b"POST", target.url.encode("ascii"), told, _Body(body)
        )
        await self._drop(response)
        return int(response.code)

    async def _drop(self, response: IResponse) -> None:
        """What was answered is known; the rest is heard out for politeness, and for a moment."""
        done: Deferred[None] = Deferred(lambda _: dropped.abort())
        dropped = _Dropped(done)
        deliver: Any = response.deliverBody  # untyped
        deliver(dropped)
        done.addTimeout(1.0, self.reactor)
        try:
            await done
        except (TimeoutError, CancelledError):
            return


def _late(result: Any, seconds: float) -> Any:
    """Whatever was under way when the time was up says it in words of its own."""
    return Failure(TimeoutError(seconds)) if isinstance(result, Failure) else result


def _described(why: BaseException) -> str:
    """In few words, and none of the other side's."""
    reasons = [failure.value for failure in getattr(why, "reasons", ())]
    if any(type(one).__module__.startswith(("OpenSSL", "service_identity")) for one in reasons):
        return "TLS failed: is the certificate valid, and for this host?"
    if isinstance(why, ResponseFailed) and any(isinstance(r, ParseError) for r in reasons):
        return "the answer is no HTTP"
    return "the connection broke"


@implementer(IWebhookSender)
@frozen
class NoWebhooks:
    """Where nobody sends any."""

    async def check(self, url: str) -> None:
        raise Refused("this provider sends no webhooks")

    async def test(
        self, wallet: Address, url: str, headers: Mapping[str, str], body: bytes
    ) -> Sent:
        return Sent(None, "this provider sends no webhooks")

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        return Sent(None, "this provider sends no webhooks")
