"""
Nodes that fail, in every way a real one does: each stands before the real chain on a
socket of its own and twists what passes through.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from sandbox_billing.devnet.chain import methods
from sandbox_billing.devnet.chain.errors import RpcError
from tests.ports.chain import ChainCase


Forward = Callable[[str, list[Any]], Any]
Twist = Callable[[str, list[Any], Forward], Any]


def honest(method: str, params: list[Any], forward: Forward) -> Any:
    """Passes everything on."""
    return forward(method, params)


class Connections(WrappingFactory):
    """A factory that can end its connections and say when the last one is gone."""

    noisy = False

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._gone: Deferred[None] | None = None

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """Called as a connection is lost."""
        super().unregisterProtocol(p)
        if not self.protocols and self._gone is not None:
            self._gone.callback(None)

    def end(self) -> Deferred[None] | None:
        """Abort all; clients keep theirs open."""
        if not self.protocols:
            return None
        self._gone = Deferred()
        for connection in list(self.protocols):
            connection.abortConnection()
        return self._gone


class StubNode(Resource):
    """
    One node.

    @ivar twist: From a request to its result; may raise L{RpcError}.
    @ivar max_batch: Longer arrays are refused with C{batch_status}.
    @ivar status: Answer everything with this HTTP status and nothing else.
    @ivar body: Answer everything with these bytes.
    @ivar hangs: Methods that get no answer.
    @ivar delay_seconds: Before each answer.
    @ivar heard: The methods that arrived.
    @ivar posts: How many HTTP requests arrived.
    @ivar location: Where C{status} 307 sends the client.
    @ivar look: Called with each request.
    """

    isLeaf = True

    def __init__(self, case: ChainCase, twist: Twist = honest) -> None:
        super().__init__()
        self._case = case
        self.twist = twist
        self.max_batch = 1_000
        self.batch_status = 400
        self.status = 200
        self.body: bytes | None = None
        self.hangs: set[str] = set()
        self.delay_seconds = 0.0
        self.heard: list[str] = []
        self.posts = 0
        self.location = ""
        self.look: Callable[[Request], None] = lambda request: None
        site = Site(self)
        site.noisy = False
        site.log = lambda request: None
        self._factory = Connections(site)
        port = global_reactor.listenTCP(0, self._factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        case.addCleanup(self._factory.end)
        case.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"

    def render_POST(self, request: Request) -> Any:
        """Answer, or not."""
        assert request.content is not None
        self.posts += 1
        self.look(request)
        asked = json.loads(request.content.read())
        each = asked if isinstance(asked, list) else [asked]
        self.heard += [one["method"] for one in each]
        if self.hangs & {one["method"] for one in each} or "*" in self.hangs:
            request.notifyFinish().addErrback(lambda failure: None)
            return NOT_DONE_YET
        request.setHeader(b"content-type", b"application/json")
        if len(each) > self.max_batch and isinstance(asked, list):
            request.setResponseCode(self.batch_status)
            return b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"too many"}}'
        if self.status != 200:
            request.setResponseCode(self.status)
            if self.location:
                request.setHeader(b"location", self.location.encode())
            return b"sorry"
        if self.body is not None:
            return self.body
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        late = deferLater(global_reactor, self.delay_seconds)  # type: ignore[arg-type]
        run = partial(self._case.service.run, partial(self._answer_all, each))
        done: Deferred[Any] = late.addCallback(lambda _: run())
        done.addCallback(self._reply, request, isinstance(asked, list), gone)
        return NOT_DONE_YET

    def _reply(self, answers: list[Any], request: Request, batch: bool, gone: list[object]) -> None:
        if gone:
            return
        request.write(json.dumps(answers if batch else answers[0]).encode())
        request.finish()

    def _answer_all(self, each: list[Any]) -> list[Any]:
        return [self._answer(one) for one in each]

    def _answer(self, one: Any) -> Any:
        forward = partial(methods.perform, self._case.stage.chain)
        reply = {"jsonrpc": "2.0", "id": one["id"]}
        try:
            result = self.twist(one["method"], one["params"], forward)
        except RpcError as problem:
            error = {"code": problem.code, "message": problem.text}
            if problem.data is not None:
                error["data"] = problem.data
            return {**reply, "error": error}
        return {**reply, "result": result}


def behind(blocks: int) -> Twist:
    """A node that does not have the newest blocks yet."""

    def twist(method: str, params: list[Any], forward: Forward) -> Any:
        head = int(forward("eth_blockNumber", []), 16) - blocks
        if method == "eth_blockNumber":
            return hex(head)
        if method == "eth_getBlockByNumber":
            if params[0] == "latest":
                return forward(method, [hex(head), *params[1:]])
            return forward(method, params) if int(params[0], 16) <= head else None
        if method == "eth_getTransactionReceipt":
            found = forward(method, params)
            return found if found is None or int(found["blockNumber"], 16) <= head else None
        if method == "eth_getLogs":
            # What a node lacks, it leaves out.
            found = forward(method, params)
            return [log for log in found if int(log["blockNumber"], 16) <= head]
        if method == "eth_call" and isinstance(params[1], dict):
            block = forward("eth_getBlockByHash", [params[1]["blockHash"], False])
            if block is None or int(block["number"], 16) > head:
                raise RpcError("header not found")
        return forward(method, params)

    return twist


def without_hashes(method: str, params: list[Any], forward: Forward) -> Any:
    """A node from before EIP-1898."""
    if method == "eth_call" and isinstance(params[1], dict):
        raise RpcError("invalid argument 1: cannot unmarshal object", -32602)
    return forward(method, params)


def dead_url(case: ChainCase) -> str:
    """Where nobody listens."""
    port = global_reactor.listenTCP(0, Site(Resource()), interface="127.0.0.1")  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{port.getHost().port}"
    case.addCleanup(lambda: None)
    closed: Deferred[None] = port.stopListening()
    case.addCleanup(lambda: closed)
    return url
