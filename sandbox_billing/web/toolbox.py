"""
What flows: toolbox, terminals and build logs of one's own sandboxes.

Daytona's own check is none for us: the admin key opens every sandbox of the organization
(daytona.md §3), so that the owner check made here is the only one.

Tests: C{tests.web.test_streams}, C{tests.web.test_tunnels}.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Coroutine
from contextlib import ExitStack
from hashlib import sha1, sha256
from typing import Any, ClassVar
from urllib.parse import unquote

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IIntake,
    IRelay,
    ITunnel,
    Place,
    RelayCall,
    Sandbox,
)
from sandbox_billing.signing.request import (
    Body,
    JSONValue,
    Query,
    RequestFacts,
    SignedMessage,
    parse_strict_json,
)
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import MAX_BODY_BYTES, allowed_query
from sandbox_billing.web._routes import REST, Found
from sandbox_billing.web.answers import SERVER_NAME, Answer
from sandbox_billing.web.body_room import BodyRoom
from sandbox_billing.web.caller import Caller, Callers
from sandbox_billing.web.forwarding import forwarded_query, request_headers, response_headers
from sandbox_billing.web.open_streams import OpenStream, OpenStreams
from sandbox_billing.web.peers import Peers
from sandbox_billing.web.pipe import Pipe, take_over
from sandbox_billing.web.policy import checked_name
from sandbox_billing.web.replies import StreamedReply
from sandbox_billing.web.streaming import ReadBody, StreamedBody
from sandbox_billing.web.time_left import HEADER, TimeLeft


HALF_OPEN_SECONDS = 10.0
"""How long one direction of a tunnel may outlive the other."""

ODD_UPGRADE = "this is no WebSocket handshake"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_PLACES = {
    "toolbox": Place.TOOLBOX,
    "api/toolbox": Place.LEGACY_TOOLBOX,
    "sandboxes": Place.BUILD_LOGS,
    "api/sandbox": Place.LEGACY_BUILD_LOGS,
}
"""What stands before C{{id}} in the pattern of a route."""

_HANDSHAKE = ("sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions")


def place_of(found: Found) -> Place:
    """@raise KeyError: The table has a stream that nobody here knows."""
    return _PLACES[found.route.pattern.partition("/{id}")[0].strip("/")]


def _tokens(headers: Headers, name: str) -> list[str]:
    lines = headers.getRawHeaders(name.encode("ascii"), [])
    return [token.strip().lower() for line in lines for token in line.decode("latin-1").split(",")]


def _streamed(request: Any) -> StreamedBody | None:
    """None also where a server of another kind has collected the body."""
    found: StreamedBody | None = getattr(request, "streamed", None)
    return found


def _is_small(body: StreamedBody) -> bool:
    return body.length is not UNKNOWN_LENGTH and body.length <= MAX_BODY_BYTES


def is_upgrade(request: Any) -> bool:
    """
    Whether a WebSocket is asked for.

    @raise BadInput: It is, but in a way that another reader may take for something else.
    """
    headers = request.requestHeaders
    if "websocket" not in _tokens(headers, "Upgrade"):
        return False
    keys = headers.getRawHeaders(b"Sec-WebSocket-Key", [])
    try:
        whole_key = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except (binascii.Error, ValueError):
        whole_key = False
    if not (
        whole_key
        and request.method == b"GET"
        and request.clientproto == b"HTTP/1.1"
        and _streamed(request) is None
        and _tokens(headers, "Upgrade") == ["websocket"]
        and "upgrade" in _tokens(headers, "Connection")
        and headers.getRawHeaders(b"Sec-WebSocket-Version", []) == [b"13"]
    ):
        raise BadInput(ODD_UPGRADE)
    return True


def _accepts(request: Any, answered: Headers) -> bool:
    key = request.requestHeaders.getRawHeaders(b"Sec-WebSocket-Key")[0]
    expected = base64.b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    return bool(answered.getRawHeaders(b"Sec-WebSocket-Accept", []) == [expected])


def _read_json(raw: bytes, headers: Headers) -> JSONValue | Body:
    """What a signature may name as its payload; nothing of ours depends on it."""
    if not raw:
        return Body.EMPTY
    types = headers.getRawHeaders(b"Content-Type", [])
    if len(types) != 1 or types[0].split(b";")[0].strip().lower() != b"application/json":
        return Body.OPAQUE
    try:
        return parse_strict_json(raw, max_bytes=MAX_BODY_BYTES)
    except BadInput:
        return Body.OPAQUE


# The source of each log event, which therefore tells nothing.
@frozen(kw_only=True, repr=False)
class Toolbox:
    """
    The streamer of the router.

    @ivar clock: For the time that half a tunnel may stand.
    @ivar room: For bodies of whom we do not know yet.
    """

    _log: ClassVar[Logger] = Logger()

    callers: Callers
    peers: Peers
    streams: OpenStreams
    intake: IIntake = field(validator=provides(IIntake))
    relay: IRelay = field(validator=provides(IRelay))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    room: BodyRoom
    time_left: TimeLeft

    async def __call__(self, request: Any, found: Found, path: str, query: Query) -> Answer | None:
        """
        @raise AuthenticationError: Nothing proves who asks.
        @raise Refused: It may not.
        @raise BadInput: What is asked for can be read in two ways.
        @raise NotReady: Too many bodies are read of whom nobody knows.
        """
        upgrading = is_upgrade(request)
        headers = request_headers(request.requestHeaders, upgrading=upgrading)
        if found.route.segments[-1] != REST:
            allowed_query(query, found.route.query)
        with ExitStack() as unproven:
            caller, body = await self._admitted(request, found, path, query, unproven)
            sandbox = await self._reached(caller, found)
        door = f"/{found.route.pattern.partition('/{id}')[0].strip('/')}/{found.spelt_id}"
        place = place_of(found)
        call = RelayCall(
            method=request.method.decode("ascii"),
            place=place,
            sandbox=sandbox,
            tail=found.tail,
            query=forwarded_query(query),
            headers=headers,
            door=f"{door}/toolbox" if place is Place.LEGACY_TOOLBOX else door,
        )
        stream = OpenStream(
            wallet=caller.wallet,
            sandbox=sandbox.id,
            token=caller.token,
            metered=await self.streams.is_metered(sandbox.id),
        )
        self.streams.enter(stream)
        try:
            work = (
                self._upgraded(request, call) if upgrading else self._relayed(request, call, body)
            )
            await self._watched(request, stream, work)
        finally:
            self.streams.leave(stream)
        return None

    # --- who, and to what ---

    async def _admitted(
        self, request: Any, found: Found, path: str, query: Query, unproven: ExitStack
    ) -> tuple[Caller, Any]:
        peer = self.peers.of_request(request)
        claim = await self.callers.recognise(request.requestHeaders, peer)
        streamed = _streamed(request)
        signed: JSONValue | Body
        body: Any
        digest: str | None
        if streamed is None or (_is_small(streamed) and isinstance(claim, SignedMessage)):
            if streamed is None:
                raw = request.content.read()
            else:
                unproven.enter_context(self.room.held(peer, streamed.length))
                raw = await streamed.whole()
            signed, digest = _read_json(raw, request.requestHeaders), sha256(raw).hexdigest()
            body = ReadBody(raw) if raw else None
        else:
            signed, digest, body = Body.OPAQUE, None, streamed
        facts = RequestFacts(
            method="GET" if request.method == b"HEAD" else request.method.decode("ascii"),
            path=path,
            query=query,
            verb=found.route.verb,
            resource_id=found.spelt_id,
            body=signed,
            body_sha256=digest,
        )
        caller = await self.callers.admit(claim, facts, found.route.scope)
        await self.time_left.tell(request, caller.wallet)
        if caller.body_sha256 is not None and isinstance(body, StreamedBody):
            body.expect(caller.body_sha256)
        return caller, body

    async def _reached(self, caller: Caller, found: Found) -> Sandbox:
        spelt = unquote(found.spelt_id)
        caller.check_reach(spelt)
        why = await self.streams.refused_wallet(caller.wallet)
        if why is not None:
            raise why
        sandbox = await self.intake.owned(caller.wallet, checked_name(spelt))
        order = await self.streams.refused_sandbox(sandbox.id)
        if order is None:
            order = await self.streams.refused_unknown(sandbox.id)
        if order is not None:
            raise order
        return sandbox

    async def _watched(
        self, request: Any, stream: OpenStream, work: Coroutine[Any, Any, None]
    ) -> None:
        """
        Wait for the end, or for the one who cuts.

        @param stream: Entered already.
        @raise Refused: It was cut before anything was answered.
        """
        cut_for: list[Refused] = []
        relaying = Deferred.fromCoroutine(work)

        def cut(why: Refused) -> None:
            cut_for.append(why)
            if request.startedWriting and request.transport is not None:
                request.transport.abortConnection()
            relaying.cancel()

        stream.cut = cut
        try:
            await relaying
        # A connection that is just being made has an error of its own for it.
        except (CancelledError, Transient, UnknownOutcome):
            if not cut_for:
                raise
            if request.startedWriting:
                # The connection is as good as lost; that cancels us.
                await Deferred()
            raise cut_for[0] from None

    # --- bytes ---

    async def _relayed(self, request: Any, call: RelayCall, body: Any) -> None:
        response = await self.relay.send(call, body)
        await self._passed_on(request, response)

    async def _passed_on(self, request: Any, response: Any) -> None:
        request.setResponseCode(response.code)
        for name, value in (
            *response_headers(response.headers),
            ("server", SERVER_NAME),
            ("x-content-type-options", "nosniff"),
            # What a sandbox says is nothing that we say.
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("cache-control", "no-store"),
        ):
            request.responseHeaders.setRawHeaders(name, [value])
        await StreamedReply.of(request, response).sent()

    async def _upgraded(self, request: Any, call: RelayCall) -> None:
        tunnel = await self.relay.upgrade(call)
        if not ITunnel.providedBy(tunnel):
            await self._passed_on(request, tunnel)
            return
        if not _accepts(request, tunnel.headers):
            tunnel.abort()
            raise UnknownOutcome("Daytona changed protocols, but not to this WebSocket")
        request.setResponseCode(101)
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        for name in _HANDSHAKE:
            for value in tunnel.headers.getRawHeaders(name.encode("ascii"), []):
                lines.append(f"{name}: {value.decode('latin-1')}")
        for value in request.responseHeaders.getRawHeaders(HEADER, []):
            lines.append(f"{HEADER}: {value}")
        head = "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")
        pipe = Pipe(self.clock, HALF_OPEN_SECONDS)
        early = take_over(request, head, pipe)
        tunnel.join(pipe.upstream)
        pipe.connect(early)
        try:
            await pipe.over()
        except CancelledError:
            # The client is gone, and what he sent last is still on its way; or it is cut.
            pipe.fade()
            raise
