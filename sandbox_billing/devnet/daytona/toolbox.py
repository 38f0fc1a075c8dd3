"""
Daytona's proxy host: the way into every sandbox for whoever has the admin key.

It asks for no owner, as Daytona does not: with the key that all tenants share, whoever
reaches it reaches every sandbox.  See also the legacy way on the API's own host.
"""

from __future__ import annotations

import hmac
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from sandbox_billing.devnet.daytona.records import Record, State
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator, Received
from sandbox_billing.devnet.daytona.toolbox_box import Box
from sandbox_billing.devnet.daytona.toolbox_builds import build_logs
from sandbox_billing.devnet.daytona.toolbox_call import Call
from sandbox_billing.devnet.daytona.toolbox_canned import CannedHost
from sandbox_billing.devnet.daytona.toolbox_disk import DiskFiles
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad, missing
from sandbox_billing.devnet.daytona.toolbox_faults import ROUTE as FAULTS
from sandbox_billing.devnet.daytona.toolbox_faults import misbehave
from sandbox_billing.devnet.daytona.toolbox_memory import MemoryFiles
from sandbox_billing.devnet.daytona.toolbox_routes import ROUTES
from sandbox_billing.devnet.daytona.toolbox_spawn import SpawnHost


_UNAUTHORIZED = ToolboxError(401, "authentication failed: Bearer token is invalid")

SKIP_ACTIVITY = "x-daytona-skip-last-activity-update"
PREVIEW_TOKEN = "x-daytona-preview-token"
QUERY_TOKEN = "DAYTONA_SANDBOX_AUTH_KEY"


@define(eq=False, kw_only=True)
class Toolbox:
    """
    The insides of all sandboxes, made when first used.

    @ivar reactor: Keeps time, and spawns.
    @ivar admin_key: Admitted to every sandbox.
    @ivar allow_exec: Commands really run, as the user who started this process.  Without
        it nothing does: answers come from a table, and files live in memory.
    """

    reactor: Any
    simulator: DaytonaSimulator
    admin_key: str
    allow_exec: bool = False
    _boxes: dict[str, Box] = field(factory=dict)
    _ending: list[Deferred[None]] = field(factory=list)
    _closed: bool = False

    log = Logger()

    # -- boxes -----------------------------------------------------------------

    def box(self, record: Record) -> Box:
        """The inside of a sandbox."""
        box = self._boxes.get(record.id)
        if box is None:
            box = self._boxes[record.id] = self._new_box(record)
            self._watch(record, box)
        return box

    def _new_box(self, record: Record) -> Box:
        def touch() -> None:
            self.simulator.touch(record)

        if not self.allow_exec:
            memory = MemoryFiles(self.simulator.wall)
            host = CannedHost(self.reactor, memory)
            return Box(id=record.id, clock=self.reactor, touch=touch, files=memory, host=host)
        root = Path(tempfile.mkdtemp(prefix="sandbox-")).resolve()
        disk = DiskFiles(root)
        disk.prepare()
        spawning = SpawnHost(self.reactor, disk, {k: str(v) for k, v in record.env.items()})
        return Box(id=record.id, clock=self.reactor, touch=touch, files=disk, host=spawning)

    def _watch(self, record: Record, box: Box) -> None:
        """Whatever ends a sandbox ends what runs in it."""
        if self._closed:
            return

        def changed(_: None) -> None:
            if record.raw is State.DESTROYED or not record.visible:
                self._boxes.pop(record.id, None)
                self._end(box)
                return
            if not record.runs:
                box.halt()
            self._watch(record, box)

        change: Deferred[None] = Deferred()
        record.waiters.append(change)
        change.addCallbacks(changed, lambda failure: failure.trap(CancelledError) and None)
        change.addErrback(self._report)

    def _end(self, box: Box) -> None:
        """Its files go when its processes, which might write more, are gone."""
        ending = Deferred.fromCoroutine(box.destroy())
        self._ending.append(ending)
        ending.addErrback(self._report)
        ending.addBoth(lambda _: self._ending.remove(ending))

    async def close(self) -> None:
        """Nothing is left: no process, no file, no connection."""
        self._closed = True
        boxes, self._boxes = self._boxes, {}
        for box in boxes.values():
            self._end(box)
        await gatherResults(list(self._ending))

    # -- requests --------------------------------------------------------------

    def begin(self, request: Any, *, legacy: bool = False) -> int:
        """
        Answer a request, whole, in a stream or as a WebSocket.

        @param legacy: It came to the API's host, as C{/api/toolbox/{id}/toolbox/...}.
        """
        self.simulator.received.append(_received(request, self.simulator.wall()))
        query = parse_qs(request.uri.decode("latin-1").partition("?")[2], keep_blank_values=True)
        call = Call(
            request=request,
            box=self._nowhere(),
            clock=self.reactor,
            wall=self.simulator.wall,
            query=query,
        )
        request.notifyFinish().addBoth(lambda _: call.lost(None))
        answering = Deferred.fromCoroutine(self._answer(call, legacy=legacy))
        answering.addErrback(self._failed, call)
        return NOT_DONE_YET

    def _failed(self, failure: Failure, call: Call) -> None:
        self._report(failure)
        call.refuse(ToolboxError(500, "the simulator failed"))

    def _report(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("The simulator failed", failure)

    async def _answer(self, call: Call, *, legacy: bool) -> None:
        request = call.request
        path = request.uri.decode("latin-1").partition("?")[0]
        try:
            steps = tuple(unquote(step) for step in path.split("/")[1:])
            if not legacy and steps[:1] in (("sandboxes",), ("snapshots",)):
                self._authenticate(call, "")
                await build_logs(call, self.simulator, steps)
                return
            id, rest = _target(steps, legacy=legacy)
            self._authenticate(call, id)
            record = self._started(id, legacy=legacy)
            call.box = self.box(record)
            for route in ROUTES:
                found = route.match(request.method.decode("latin-1"), rest)
                if found is not None:
                    break
            else:
                raise missing("page")
            call.parameters = found
            if not call.gone:
                counts = call.header(SKIP_ACTIVITY).lower() != "true"
                call.box.enter(call.cut, counts=counts)
            fault = self.simulator.faults.take(FAULTS)
            if fault is not None:
                await misbehave(call, self.simulator, fault, route.handler)
                return
            call.answer(await route.handler(call), route.status)
        except ToolboxError as error:
            call.refuse(error)

    def _nowhere(self) -> Box:
        files = MemoryFiles(self.simulator.wall)
        host = CannedHost(self.reactor, files)
        return Box(id="", clock=self.reactor, touch=lambda: None, files=files, host=host)

    def _authenticate(self, call: Call, id: str) -> None:
        """A preview token opens its own sandbox, so that one that leaked is seen."""
        bearer = f"Bearer {self.admin_key}".encode()
        if hmac.compare_digest(call.header("authorization").encode(), bearer):
            return
        record = self.simulator.records.get(id)
        leaked = call.header(PREVIEW_TOKEN) or call.text(QUERY_TOKEN)
        if record is None or leaked != record.preview_token:
            raise _UNAUTHORIZED

    def _started(self, id: str, *, legacy: bool) -> Record:
        """
        Only ids are taken.

        @raise ToolboxError: 401 for no sandbox, since nobody has access to it (404 on the
            API's host); 400 for one that has no address, as its runner says.
        """
        record = self.simulator.records.get(id)
        if record is None or not record.visible:
            raise missing(f"sandbox with ID {id}") if legacy else _UNAUTHORIZED
        if not record.runs:
            raise bad("no IP address found. Is the Sandbox started?")
        return record


def is_legacy(target: bytes) -> bool:
    """Whether a path of the API's host is the toolbox's; case does not matter there."""
    steps = target.partition(b"?")[0].lower().split(b"/")
    return len(steps) > 5 and steps[1:3] == [b"api", b"toolbox"] and steps[4] == b"toolbox"


def _target(steps: tuple[str, ...], *, legacy: bool) -> tuple[str, tuple[str, ...]]:
    """@return: The sandbox's id, and the steps below it."""
    if legacy:
        # api, toolbox, id, toolbox
        return steps[2], steps[4:]
    if len(steps) < 3 or steps[0] != "toolbox" or not steps[1]:
        raise bad("path must be of format /toolbox/<sandboxId>/<path>")
    return steps[1], steps[2:]


def _received(request: Any, now: float) -> Received:
    """Without the body, which may be of any size."""
    headers: Mapping[str, tuple[str, ...]] = {
        name.decode("latin-1").lower(): tuple(value.decode("latin-1") for value in values)
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    return Received(
        method=request.method.decode("latin-1"),
        target=request.uri.decode("latin-1"),
        headers=headers,
        body=b"",
        at=now,
    )


class _ToolboxResource(Resource):
    """Every path of the proxy host."""

    isLeaf = True

    def __init__(self, toolbox: Toolbox) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._toolbox = toolbox

    def render(self, request: Request) -> int:
        """Answered when it is."""
        return self._toolbox.begin(request)


class _QuietSite(Site):
    """Without an access log."""

    noisy = False

    def log(self, request: Any) -> None:
        """Nothing."""


def toolbox_site(toolbox: Toolbox) -> Site:
    """For a port of its own."""
    build: Any = _QuietSite  # untyped
    site: Site = build(_ToolboxResource(toolbox), parsePOSTFormSubmission=False)
    return site
