"""
The chain's clock: the wall clock, moved forward on demand.

Tests: C{tests/devnet/test_chain.py}.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from .errors import invalid_params


@define
class ChainClock:
    """
    What the next block's timestamp is.

    @ivar now: The wall clock, unix seconds.
    @ivar strict: Whether each block is at least a second after its parent, as
        Ethereum demands.  Without it blocks closer than a second share a timestamp,
        so that a fast chain does not run ahead of the wall clock.
    @ivar offset: How far the chain is ahead of the wall clock, seconds.
    """

    now: Callable[[], float]
    strict: bool = True
    offset: int = 0
    _chosen: int | None = None

    def upcoming(self, parent: int) -> int:
        """
        The timestamp of a block made now on a parent with the timestamp C{parent}.
        """
        if self._chosen is not None:
            return self._chosen
        return max(int(self.now()) + self.offset, self._earliest(parent))

    def take(self, parent: int) -> int:
        """
        As L{upcoming}, using up what L{choose} chose; the clock goes on from there.
        """
        timestamp = self.upcoming(parent)
        if self._chosen is not None:
            self.offset = timestamp - int(self.now())
            self._chosen = None
        return timestamp

    def choose(self, timestamp: int, parent: int) -> None:
        """
        Choose the timestamp of the next block.

        @raise RpcError: It is not after the parent's.
        """
        if timestamp < self._earliest(parent):
            raise invalid_params(f"timestamp {timestamp} is not after the head's {parent}")
        self._chosen = timestamp

    def advance(self, seconds: int) -> None:
        """
        Move forward from the next block on.

        @raise RpcError: C{seconds} is negative.
        """
        if seconds < 0:
            raise invalid_params("time only moves forward")
        self.offset += seconds

    def reset(self, offset: int) -> None:
        """
        Go back to a remembered offset, and forget what was chosen.
        """
        self.offset, self._chosen = offset, None

    def _earliest(self, parent: int) -> int:
        return parent + 1 if self.strict else parent
