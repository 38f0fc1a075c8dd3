"""
What costs something, or must not happen twice: counted, and remembered by its key.

Tests: C{tests.web.test_idempotency}, C{tests.web.test_lifecycle}.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import IIds, ILifecycleCount, TooMany, TooSlow
from sandbox_billing.ledger.identity import Address, Reference
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web._routes import Handler
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.idempotency import Idempotency
from sandbox_billing.web.sandboxes import Sandboxes


TOO_MANY_CALLS = "too many creates, starts and recovers of this wallet within an hour"


@frozen(kw_only=True)
class Lifecycle:
    """
    Create, start, recover, stop, archive and delete, as the table serves them.

    @ivar most: LIFECYCLE_PER_HOUR: accepted creates, starts and recovers of a wallet;
        stop and delete are never limited.
    """

    _log: ClassVar[Logger] = Logger()

    sandboxes: Sandboxes
    idempotency: Idempotency
    count: ILifecycleCount = field(validator=provides(ILifecycleCount))
    ids: IIds = field(validator=provides(IIds))
    most: int

    async def create(self, asked: Asked) -> Answer:
        """Counted; with a key, once."""
        return await self._once("create", self.counted(self.sandboxes.create), asked)

    async def start(self, asked: Asked) -> Answer:
        """Counted; with a key, once."""
        return await self._once("start", self.counted(self.sandboxes.start), asked)

    async def recover(self, asked: Asked) -> Answer:
        """Counted."""
        return await self.counted(self.sandboxes.recover)(asked)

    async def stop(self, asked: Asked) -> Answer:
        """With a key, once."""
        return await self._once("stop", self.sandboxes.stop, asked)

    async def archive(self, asked: Asked) -> Answer:
        """With a key, once."""
        return await self._once("archive", self.sandboxes.archive, asked)

    async def delete(self, asked: Asked) -> Answer:
        """With a key, once."""
        return await self._once("delete", self.sandboxes.delete, asked)

    async def _once(self, route: str, handler: Handler, asked: Asked) -> Answer:
        return await self.idempotency.once(route, handler, self.sandboxes.show)(asked)

    def counted(self, handler: Handler) -> Handler:
        """
        What is refused, known not to have happened, or was so already, does not count.

        @raise TooMany: There were so many within the hour.
        """

        async def taken(asked: Asked) -> Answer:
            mark = asked.reference or self.ids.reference()
            waits = await self.count.take(asked.wallet, mark, self.most)
            if waits:
                raise TooMany(TOO_MANY_CALLS, retry_after=waits)
            try:
                answer = await handler(asked)
            except TooSlow:
                # It may well have been accepted.
                raise
            except (BadInput, Refused, Transient):
                await self._give_back(asked.wallet, mark)
                raise
            if answer.as_found:
                await self._give_back(asked.wallet, mark)
            return answer

        return taken

    async def _give_back(self, wallet: Address, mark: Reference) -> None:
        try:
            await self.count.give_back(wallet, mark)
        except (Transient, UnknownOutcome) as why:
            # One too many is counted; what is told is why the request was refused.
            self._log.info("a refused call counts all the same: {why}", why=str(why))
