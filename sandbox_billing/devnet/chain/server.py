"""
The HTTP side of the devnet's node: one resource that takes POSTs of JSON.

Tests: C{tests/devnet/test_chain_server.py}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from .errors import HungUp


#: A longer body is answered with 413; nothing of it beyond this is kept.
MAX_BODY_BYTES: Final = 5 * 1024 * 1024
#: After so many bytes of a refused body the connection is cut.
_MAX_WASTE_BYTES: Final = 4 * MAX_BODY_BYTES
#: What geth takes.  A web page can make a browser POST text or a form to
#: 127.0.0.1 without asking, but not these.
_CONTENT_TYPES: Final = (b"application/json", b"application/json-rpc", b"application/jsonrequest")

Answer = Callable[[bytes], Awaitable[bytes]]


class BoundedRequest(Request):
    """
    A request that stops collecting its body when it is too long.
    """

    received_bytes = 0

    @property
    def too_long(self) -> bool:
        return self.received_bytes > MAX_BODY_BYTES

    def handleContentChunk(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self.received_bytes > _MAX_WASTE_BYTES and self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()
        elif not self.too_long:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]


class RpcResource(Resource):
    """
    C{POST /}: a JSON-RPC body in, a JSON-RPC body out, HTTP 200 whatever became of it.

    @ivar _answer: From body to body; runs wherever it likes.
    @ivar _origins: Of the pages that may ask; no other page is let.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, answer: Answer, origins: Collection[str] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._answer = answer
        self._origins = origins

    def _is_page_of_ours(self, request: BoundedRequest) -> bool:
        origin = request.getHeader(b"origin")
        if origin is None or origin.decode("latin-1") not in self._origins:
            return False
        request.setHeader(b"access-control-allow-origin", origin)  # type: ignore[no-untyped-call]
        request.setHeader(b"vary", b"Origin")  # type: ignore[no-untyped-call]
        return True

    def render_OPTIONS(self, request: BoundedRequest) -> bytes:
        """What a browser asks before it lets a page of another origin POST here."""
        if not self._is_page_of_ours(request):
            return _refuse(request, http.FORBIDDEN, b"no page may ask\n")
        request.setHeader(b"access-control-allow-methods", b"POST")  # type: ignore[no-untyped-call]
        request.setHeader(b"access-control-allow-headers", b"content-type")  # type: ignore[no-untyped-call]
        request.setResponseCode(http.NO_CONTENT)
        return b""

    def render_POST(self, request: BoundedRequest) -> bytes | int:
        self._is_page_of_ours(request)
        given = request.getHeader(b"content-type") or b""
        if given.split(b";")[0].strip().lower() not in _CONTENT_TYPES:
            return _refuse(request, http.UNSUPPORTED_MEDIA_TYPE, b"send application/json\n")
        if request.too_long:
            return _refuse(request, http.REQUEST_ENTITY_TOO_LARGE, b"the body is too long\n")
        body = request.content.read() if request.content is not None else b""
        gone = request.notifyFinish()
        work = Deferred.fromCoroutine(self._finish(request, body, gone))
        work.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _finish(self, request: BoundedRequest, body: bytes, gone: Deferred[None]) -> None:
        # The client may hang up meanwhile; what it asked for is done all the same.
        gone.addErrback(lambda failure: None)
        reply = await self._answer(body)
        if request.finished or request._disconnected:
            return
        request.setHeader(b"content-type", b"application/json")  # type: ignore[no-untyped-call]
        request.setHeader(b"content-length", str(len(reply)).encode())  # type: ignore[no-untyped-call]
        request.write(reply)  # type: ignore[no-untyped-call]
        request.finish()  # type: ignore[no-untyped-call]

    def _failed(self, failure: Failure, request: BoundedRequest) -> None:
        if failure.check(HungUp) is None:
            self._log.failure("devnet chain: a request failed", failure)
        request.loseConnection()  # type: ignore[no-untyped-call]


def _refuse(request: Request, code: int, text: bytes) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return text


class _QuietSite(Site):
    """
    Without an access log: a daemon that polls would fill it.
    """

    noisy = False

    def log(self, request: http.Request) -> None:
        """
        Do nothing.
        """


class TrackingFactory(WrappingFactory):
    """
    A factory that can end its connections and say when the last one is gone.
    """

    noisy = False

    def __init__(
        self, reactor: IReactorTime, answer: Answer, origins: Collection[str] = ()
    ) -> None:
        site = _QuietSite(  # type: ignore[no-untyped-call]
            RpcResource(answer, origins),
            requestFactory=BoundedRequest,
            parsePOSTFormSubmission=False,
            reactor=reactor,
        )
        super().__init__(site)  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._empty: list[Deferred[None]] = []

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        if not self.protocols:
            waiting, self._empty = self._empty, []
            for done in waiting:
                done.callback(None)

    async def end_connections(self, patience_seconds: float) -> None:
        """
        Close every connection after what was written has left, those whose peers do
        not read after C{patience_seconds}; return when all are gone.
        """
        if not self.protocols:
            return
        done: Deferred[None] = Deferred()
        self._empty.append(done)
        abort = self._reactor.callLater(patience_seconds, self._abort)
        for connection in list(self.protocols):
            connection.loseConnection()
        await done
        if abort.active():
            abort.cancel()

    def _abort(self) -> None:
        for connection in list(self.protocols):
            connection.abortConnection()
