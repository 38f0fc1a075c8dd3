"""
The logs of builds, as the proxy host streams them.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from sandbox_billing.devnet.daytona.dialect import ApiError
from sandbox_billing.devnet.daytona.records import Record, State
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator
from sandbox_billing.devnet.daytona.toolbox_call import Call
from sandbox_billing.devnet.daytona.toolbox_errors import missing


_BUILDING = (State.PENDING_BUILD, State.BUILDING_SNAPSHOT)
_TEXT = "text/plain; charset=utf-8"


async def build_logs(call: Call, simulator: DaytonaSimulator, steps: tuple[str, ...]) -> None:
    """
    C{/sandboxes/{id}/build-logs} or C{/snapshots/{id}/build-logs}.

    @raise ToolboxError: 404.
    """
    if len(steps) != 3 or steps[2] != "build-logs":
        raise missing("page")
    if steps[0] == "snapshots":
        try:
            simulator.find_snapshot(steps[1])
        except ApiError:
            raise missing("snapshot") from None
        call.begin(_TEXT)
        call.write(b"Snapshot built\n")
        call.finish()
        return
    record = simulator.records.get(steps[1])
    if record is None or not record.visible:
        raise missing("sandbox")
    await _follow(call, record)


async def _follow(call: Call, record: Record) -> None:
    call.begin(_TEXT)
    line = 0
    while True:
        line += 1
        call.write(f"Step {line} : {record.raw}\n".encode())
        if call.gone or record.raw not in _BUILDING or not call.flag("follow"):
            break
        changed: Deferred[None] = Deferred()
        record.waiters.append(changed)
        try:
            await changed
        except CancelledError:
            break
    call.finish()
