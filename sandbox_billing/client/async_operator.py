"""
The same for operators' programs that await.

Tests: C{tests.client.test_operator}.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any

from sandbox_billing.client.asynchronous import AsyncClient
from sandbox_billing.client.operator_calls import OperatorCalls
from sandbox_billing.client.orders import AuditRow, DrainStanding, OpenSession, Order
from sandbox_billing.client.values import Raw


class AsyncOperatorClient(AsyncClient):
    """
    L{OperatorClient<sandbox_billing.client.sync_operator.OperatorClient>}, awaited: what its
    methods take and mean stands there.
    """

    @property
    def _operator(self) -> OperatorCalls:
        return OperatorCalls(self._calls)

    # -- orders

    async def pause(self, reason: str, *, idempotency_key: str | None = None) -> Order:
        """Let nothing new in."""
        return await self._do(self._operator.admissions("pause", reason, idempotency_key))

    async def lift_pause(
        self, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Order:
        """Let in again."""
        return await self._do(self._operator.admissions("resume", reason, idempotency_key))

    async def drain(self, reason: str, *, idempotency_key: str | None = None) -> Order:
        """Pause, and settle what ran before."""
        return await self._do(self._operator.admissions("drain", reason, idempotency_key))

    async def order_stop(
        self, sandbox: str, reason: str, *, idempotency_key: str | None = None
    ) -> Order:
        """Anybody's."""
        return await self._do(self._operator.stop(sandbox, reason, idempotency_key))

    async def force_delete(
        self, sandbox: str, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Order:
        """Anybody's, in any state."""
        return await self._do(self._operator.force_delete(sandbox, reason, idempotency_key))

    async def archive_all(
        self, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Order:
        """Everything that is metered."""
        return await self._do(self._operator.archive_all(reason, idempotency_key))

    async def make_snapshot(
        self,
        name: str,
        *,
        general: bool = True,
        reason: str | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Order:
        """For users, or not."""
        body = {"name": name, "general": general, **more}
        return await self._do(self._operator.snapshot(body, reason, idempotency_key))

    async def delete_snapshot(
        self, snapshot: str, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Order:
        """By id or name."""
        return await self._do(self._operator.delete_snapshot(snapshot, reason, idempotency_key))

    # -- looking

    def orders(self) -> AsyncIterator[Order]:
        """The newest first."""
        return self._all(self._operator.orders)

    async def order(self, order: str) -> Order:
        """By its id."""
        return await self._do(self._operator.look(order))

    def wait_order(self, order: str, *, timeout: float = 900.0) -> Coroutine[Any, Any, Order]:
        """Until it has ended."""
        return self._do(self._operator.wait(order, timeout))

    async def drain_standing(self) -> DrainStanding:
        """How far a drain is."""
        return await self._do(self._operator.drain_standing())

    def open_sessions(self) -> AsyncIterator[OpenSession]:
        """Of all wallets."""
        return self._all(self._operator.open_sessions)

    def audit(self) -> AsyncIterator[AuditRow]:
        """The newest first."""
        return self._all(self._operator.audit)

    async def summary(self, *, hours: int = 24) -> Raw:
        """How everything stands."""
        return await self._do(self._operator.summary(hours))
