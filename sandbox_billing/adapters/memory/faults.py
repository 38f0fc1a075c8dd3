"""The ways a keyspace fails, in front of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Commit, Committed, Expectation, Read, Reply
from sandbox_billing.adapters.redis.seam import IKeyspace, ServerFacts
from sandbox_billing.errors import Transient, UnknownOutcome


class Fault(Enum):
    """What happens to a commit on its way; its caller cannot tell the first two apart."""

    REQUEST_LOST = "it is never carried out, and nobody knows"
    REPLY_LOST = "it is carried out, and nobody knows"
    REFUSED = "it is not carried out, and that is known"


@implementer(IKeyspace)
@define(eq=False)
class FaultyKeyspace:
    """
    Another keyspace, on a bad day that can be chosen.

    @ivar clock: For C{delay_seconds}.
    @ivar connected: False: nothing arrives and that is known.
    @ivar disk: False: nothing is proven to be on disk.
    @ivar delay_seconds: Before everything.
    @ivar faults: Of the next commits, in order.
    """

    inner: IKeyspace
    clock: IReactorTime
    connected: bool = True
    disk: bool = True
    delay_seconds: float = 0.0
    faults: list[Fault] = field(factory=list)

    async def read(self, reads: Sequence[Read]) -> tuple[Reply, ...]:
        await self._arrive()
        return await self.inner.read(reads)

    async def commit(self, commit: Commit) -> Committed:
        await self._arrive()
        fault = self.faults.pop(0) if self.faults else None
        match fault:
            case None:
                return await self.inner.commit(commit)
            case Fault.REFUSED:
                raise Transient(f"{commit.name}: the server refused")
            case Fault.REPLY_LOST:
                await self.inner.commit(commit)
            case Fault.REQUEST_LOST:
                pass
        raise UnknownOutcome(f"{commit.name}: the connection was lost")

    async def wait_for_disk(self, mark: str, expectations: Sequence[Expectation]) -> None:
        await self._arrive()
        if not self.disk:
            raise Transient("not proven to be on disk")
        await self.inner.wait_for_disk(mark, expectations)

    async def facts(self) -> ServerFacts:
        await self._arrive()
        return await self.inner.facts()

    async def _arrive(self) -> None:
        if self.delay_seconds:
            await deferLater(self.clock, self.delay_seconds)
        if not self.connected:
            raise Transient("not connected")
