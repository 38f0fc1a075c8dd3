"""
Driving an operation: its calls through a transport, its pauses as the world waits.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from sandbox_billing.client.calls import Answer, Call, Flow, Pause
from sandbox_billing.client.errors import ApiError


_T = TypeVar("_T")

OnPause: TypeAlias = Callable[[Pause], object]


def unheard(_pause: Pause) -> None:
    """Nobody is told."""


def drive(
    flow: Flow[_T],
    send: Callable[[Call], Answer],
    sleep: Callable[[float], object],
    on_pause: OnPause = unheard,
) -> _T:
    """
    To its end, blocking.

    @param send: May raise an L{ApiError} or an C{OSError}, which the operation judges.
    @param on_pause: Told of each wait before it begins.
    """
    try:
        step = next(flow)
        while True:
            if isinstance(step, Pause):
                on_pause(step)
                sleep(step.seconds)
                step = flow.send(None)
                continue
            try:
                answer = send(step)
            except (ApiError, OSError) as problem:
                step = flow.throw(problem)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        found: _T = end.value
        return found
    finally:
        flow.close()


async def drive_async(
    flow: Flow[_T],
    send: Callable[[Call], Awaitable[Answer]],
    sleep: Callable[[float], Awaitable[object]],
    on_pause: OnPause = unheard,
) -> _T:
    """
    To its end, awaiting whatever the transport and the clock return.
    """
    try:
        step = next(flow)
        while True:
            if isinstance(step, Pause):
                on_pause(step)
                await sleep(step.seconds)
                step = flow.send(None)
                continue
            try:
                answer = await send(step)
            except (ApiError, OSError) as problem:
                step = flow.throw(problem)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        found: _T = end.value
        return found
    finally:
        flow.close()
