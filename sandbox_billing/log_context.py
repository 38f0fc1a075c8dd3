"""
Which request the code that runs just now was caused by, and whose that was.

A context variable, and not an argument: what a request causes passes through ports that
know nothing of HTTP.  C{Deferred.fromCoroutine} runs a coroutine, whoever fires what it
awaits, in a copy of the context that it was begun in; so what it says is true after every
C{await}, in what outlives the request, and nowhere else.  What the reactor calls by itself
(a timer, a callback that is no coroutine) has none.  To a thread it has to be taken along:
L{carried}.

Tests: C{tests.test_log_context}.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Final, ParamSpec, TypeVar


P = ParamSpec("P")
T = TypeVar("T")

REQUEST: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Set by the router, in the coroutine that answers a request, and by nobody else."""

ASKER: Final[ContextVar[str | None]] = ContextVar("asker", default=None)
"""The wallet of that request; set where it has proven itself, and not before."""


def carried(work: Callable[P, T]) -> Callable[P, T]:
    """The same work, to be done in a thread as a part of what asks for it now."""
    context = copy_context()

    def done(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(work, *args, **kwargs)

    return done
