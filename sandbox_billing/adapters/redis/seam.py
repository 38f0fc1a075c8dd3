"""The seam inside the journal: what carries out commits, a server or dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from zope.interface import Interface

from sandbox_billing.adapters.redis.commit import Commit, Committed, Expectation, Read, Reply


@frozen(kw_only=True)
class ServerFacts:
    """
    What a start-up check looks at.

    @ivar version: Of the server, as it says.
    @ivar run_id: Changes with every start of the server.
    @ivar maxmemory_policy: Anything but C{noeviction} loses money.
    @ivar appendonly: Whether writes go to a file at all.
    @ivar time_offset_seconds: The server's clock minus ours.
    """

    version: str
    run_id: str
    maxmemory_policy: str
    appendonly: bool
    time_offset_seconds: float


class IKeyspace(Interface):
    """Names with values behind them, and one way to change them."""

    async def read(reads: Sequence[Read]) -> tuple[Reply, ...]:
        """
        Read in one step.

        @raise Transient: No answer.
        """

    async def commit(commit: Commit) -> Committed:
        """
        Carry out a fact: all of it or nothing.

        @raise Transient: It was not carried out.
        @raise UnknownOutcome: It may have been; carry out the same commit to find out.
        """

    async def wait_for_disk(mark: str, expectations: Sequence[Expectation]) -> None:
        """
        Return when everything that makes these expectations hold is on disk.

        @param mark: A key to write for it.
        @raise Transient: They do not hold, or it was not proven.
        """

    async def facts() -> ServerFacts:
        """@raise BadInput: The server refuses our password."""
