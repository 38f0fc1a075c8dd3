"""
Accidents on demand: what a request to the toolbox meets instead of its answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from sandbox_billing.devnet.daytona.faults import Fault, FaultKind
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator
from sandbox_billing.devnet.daytona.toolbox_call import Answered, Call
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError


ROUTE = "toolbox"
"""What faults call all of the toolbox."""


async def misbehave(
    call: Call, simulator: DaytonaSimulator, fault: Fault, handler: Callable[[Call], Awaitable[Any]]
) -> Answered:
    """
    @param handler: Carried out first, if the fault comes after the effect.
    @raise ToolboxError: When the fault is an answer.
    """
    if fault.effect:
        await handler(call)
    match fault.kind:
        case FaultKind.HANG:
            simulator.hanging += 1
            ended: Deferred[None] = Deferred()
            call.request.notifyFinish().addBoth(lambda _: ended.callback(None))
            await ended
            simulator.hanging -= 1
        case FaultKind.CUT:
            call.begin("application/octet-stream", length=1 << 20)
            call.write(b"the beginning of what will not be whole")
            call.request.loseConnection()
        case FaultKind.LOSE_REPLY:
            call.request.loseConnection()
        case _:
            raise ToolboxError(fault.status, fault.message)
    return Answered()
