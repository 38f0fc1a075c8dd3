"""
Room for bodies that are read before it is known who sends them.

A signed body proves its sender only once it is whole; until then it is some stranger's
megabyte, and a stranger's keys and signatures cost nothing.

Tests: C{tests.web.test_streams}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from sandbox_billing.interfaces import NotReady


MOST_BYTES = 32 * 2**20
MOST_BYTES_OF_PEER = MOST_BYTES // 4

RETRY_SECONDS = 5

NO_ROOM = "too many signed bodies are being read; try again, or ask with a token"


@define(eq=False, kw_only=True)
class BodyRoom:
    """
    @ivar most: Bytes, in this process.
    @ivar most_of_peer: Bytes, of one address.
    """

    most: int = MOST_BYTES
    most_of_peer: int = MOST_BYTES_OF_PEER
    _taken: Counter[str] = field(factory=Counter, init=False)

    @property
    def taken(self) -> int:
        """Bytes, of all."""
        return self._taken.total()

    @contextmanager
    def held(self, peer: str, length: int) -> Iterator[None]:
        """
        Have so much until the end of the block.

        @param length: Bytes; as announced, for what is announced may come.
        @raise NotReady: There is not so much.
        """
        if self.taken + length > self.most or self._taken[peer] + length > self.most_of_peer:
            raise NotReady(NO_ROOM, RETRY_SECONDS)
        self._taken[peer] += length
        try:
            yield
        finally:
            self._taken[peer] -= length
            if not self._taken[peer]:
                del self._taken[peer]
