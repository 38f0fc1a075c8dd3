"""The store: dictionaries that remember what was written, and what is on disk yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field, frozen

from sandbox_billing.adapters.memory.keyspace import MemoryKeyspace
from sandbox_billing.adapters.memory.values import Value
from sandbox_billing.adapters.redis.commit import Commit, Committed, Expectation, Outcome


@frozen
class Written:
    """
    A fact that was stored.

    @ivar undo: What stood under its keys before, and when that would expire.
    """

    at: float
    commit: Commit
    undo: dict[str, tuple[Value | None, float | None]]


@frozen
class Saved:
    """
    A copy of a store.

    @ivar facts: How many made it.
    """

    values: dict[str, Value]
    expires: dict[str, float]
    facts: int


@define(eq=False)
class SimulatedKeyspace(MemoryKeyspace):
    """
    @ivar on_write: Called after every fact that was stored.
    @ivar history: Facts in order, but for those that were forgotten.
    @ivar everything: The forgotten ones, too.
    @ivar durable: How many of them are on disk for certain.
    """

    on_write: Callable[[Written], None]
    history: list[Written] = field(factory=list, init=False)
    everything: list[Written] = field(factory=list, init=False)
    durable: int = field(default=0, init=False)

    async def commit(self, commit: Commit) -> Committed:
        undo = {
            step.key: (self._find(step.key), self._expires.get(step.key)) for step in commit.writes
        }
        committed = await MemoryKeyspace.commit(self, commit)
        if committed.outcome is Outcome.DONE and commit.writes:
            written = Written(self.clock.seconds(), commit, undo)
            self.history.append(written)
            self.everything.append(written)
            self.on_write(written)
        return committed

    async def wait_for_disk(self, mark: str, expectations: Sequence[Expectation]) -> None:
        await MemoryKeyspace.wait_for_disk(self, mark, expectations)
        self.durable = len(self.history)

    def forget(self, milliseconds: float) -> list[Written]:
        """
        What a server forgets that lost power: the newest writes that nobody waited for.

        @return: What is forgotten, the newest first.
        """
        since, forgotten = self.clock.seconds() - milliseconds / 1000, []
        while len(self.history) > self.durable and self.history[-1].at >= since:
            written = self.history.pop()
            forgotten.append(written)
            for key, (value, expiry) in written.undo.items():
                self._delete(key)
                if value is not None:
                    self._values[key] = value
                    if expiry is not None:
                        self._expires[key] = expiry
        return forgotten

    def saved(self) -> Saved:
        """As a copy of its files would have it."""
        return Saved(dict(self._values), dict(self._expires), len(self.history))

    def restore(self, saved: Saved) -> None:
        """Start anew from a copy; nothing is left of what was written since."""
        # No change is made in place: a value in the copy is as it was.
        self._values, self._expires = dict(saved.values), dict(saved.expires)
        del self.history[saved.facts :]
        self.durable = min(self.durable, saved.facts)
        self.starts += 1
