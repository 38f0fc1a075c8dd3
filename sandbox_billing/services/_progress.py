"""
Whether work under way still moves: what tells a turn that hangs from one that waits.

Every call to the outside ends in its own time, with an answer or without.  So work that a
dependency keeps waiting is resumed again and again, however long all of it takes; work that
was not resumed for minutes waits for something that never comes, and only a new process helps.
One read of the chain is thousands of calls in a thread, such as of all accounts: those tell by
themselves (L{moved}).

Tests: C{tests.services.test_progress}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import ContextVar
from types import CoroutineType
from typing import Any, TypeVar

from attrs import define, field, frozen


T = TypeVar("T")

STUCK_SECONDS = 600.0
"""
Longer than any one wait: Redis answers in five seconds or not at all, Daytona in a minute, a node
of the chain in less; whatever needs a thread may wait for others to be done with theirs.
"""


@define(eq=False)
class Progress:
    """
    @ivar seconds: A clock.
    @ivar moved_at: When the work under way was last resumed; None while there is none.
    """

    seconds: Callable[[], float]
    moved_at: float | None = field(default=None, init=False)

    def moved(self) -> None:
        """Some of it goes on; when it has ended, what it left running is none of it."""
        if self.moved_at is not None:
            self.moved_at = self.seconds()

    def moved_with(self, others: Iterable[Progress]) -> None:
        """It waits for others, and so moves as they do."""
        if self.moved_at is not None:
            moments = (one.moved_at for one in others)
            self.moved_at = max(self.moved_at, *(at for at in moments if at is not None), 0.0)

    async def follow(self, work: Awaitable[T]) -> T:
        """The result of some work; what it gathers counts, too."""
        _FOLLOWED.set(self)
        self.moved_at = self.seconds()
        try:
            result: T = await _Steps(_steps_of(work), self)
            return result
        finally:
            self.moved_at = None

    def stuck(self) -> str | None:
        """That it has not moved for too long."""
        if self.moved_at is None:
            return None
        idle = self.seconds() - self.moved_at
        return f"has not moved for {idle:.0f} s" if idle > STUCK_SECONDS else None


async def along(work: Awaitable[T]) -> T:
    """Work beside other work: whoever follows the latter sees this one move, too."""
    progress = _FOLLOWED.get()
    result: T = await (work if progress is None else _Steps(_steps_of(work), progress))
    return result


def moved() -> None:
    """What is done here and now goes on; may be said in a thread."""
    progress = _FOLLOWED.get()
    if progress is not None:
        progress.moved()


_FOLLOWED: ContextVar[Progress | None] = ContextVar("followed", default=None)


def _steps_of(work: Awaitable[T]) -> Coroutine[Any, Any, T]:
    return work if isinstance(work, CoroutineType) else _plain(work)


async def _plain(work: Awaitable[T]) -> T:
    return await work


@frozen(eq=False)
class _Steps:
    """A coroutine, which tells of each time that it is resumed."""

    work: Any
    progress: Progress

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        self.progress.moved()
        return self.work.send(value)

    def throw(self, *why: Any) -> Any:
        self.progress.moved()
        return self.work.throw(*why)

    def close(self) -> None:
        self.work.close()
