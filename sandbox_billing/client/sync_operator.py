"""
The blocking client of operators.

Tests: C{tests.client.test_operator}, C{tests.client.test_routes}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox_billing.client.operator_calls import OperatorCalls
from sandbox_billing.client.orders import AuditRow, DrainStanding, OpenSession, Order
from sandbox_billing.client.sync import Client
from sandbox_billing.client.values import Raw


class OperatorClient(Client):
    """
    A provider, as one of its operators uses it: C{operator_calls} beside all that users have.

    Each order waits for its end up to ten seconds at the provider; L{wait_order} waits longer.
    An order that comes to nothing is returned as C{failed}, and not raised.
    """

    @property
    def _operator(self) -> OperatorCalls:
        return OperatorCalls(self._calls)

    # -- orders

    def pause(self, reason: str, *, idempotency_key: str | None = None) -> Order:
        """Let nothing new in; users are told the reason."""
        return self._do(self._operator.admissions("pause", reason, idempotency_key))

    def lift_pause(self, reason: str | None = None, *, idempotency_key: str | None = None) -> Order:
        """Let in again: C{POST /api/operator/resume}."""
        return self._do(self._operator.admissions("resume", reason, idempotency_key))

    def drain(self, reason: str, *, idempotency_key: str | None = None) -> Order:
        """Pause, and end when what ran before is settled."""
        return self._do(self._operator.admissions("drain", reason, idempotency_key))

    def order_stop(self, sandbox: str, reason: str, *, idempotency_key: str | None = None) -> Order:
        """Stop anybody's sandbox, by id or name."""
        return self._do(self._operator.stop(sandbox, reason, idempotency_key))

    def force_delete(
        self, sandbox: str, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Order:
        """Delete anybody's, in any state, with all that is in it."""
        return self._do(self._operator.force_delete(sandbox, reason, idempotency_key))

    def archive_all(
        self, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Order:
        """Stop and archive everything that is metered."""
        return self._do(self._operator.archive_all(reason, idempotency_key))

    def make_snapshot(
        self,
        name: str,
        *,
        general: bool = True,
        reason: str | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Order:
        """
        @param general: Whether users may start from it.
        @param more: As Daytona names it: C{imageName}, C{cpu}, C{memory}, C{disk} and so on.
        """
        body = {"name": name, "general": general, **more}
        return self._do(self._operator.snapshot(body, reason, idempotency_key))

    def delete_snapshot(
        self, snapshot: str, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Order:
        """By id or name; a name with a slash cannot be told: use the id."""
        return self._do(self._operator.delete_snapshot(snapshot, reason, idempotency_key))

    # -- looking

    def orders(self) -> Iterator[Order]:
        """All there ever were, the newest first, page by page."""
        return self._all(self._operator.orders)

    def order(self, order: str) -> Order:
        """By its id."""
        return self._do(self._operator.look(order))

    def wait_order(self, order: str, *, timeout: float = 900.0) -> Order:
        """Look every second until it has ended, done or failed."""
        return self._do(self._operator.wait(order, timeout))

    def drain_standing(self) -> DrainStanding:
        """How far a drain is, or would be."""
        return self._do(self._operator.drain_standing())

    def open_sessions(self) -> Iterator[OpenSession]:
        """What is metered, whoever's, page by page."""
        return self._all(self._operator.open_sessions)

    def audit(self) -> Iterator[AuditRow]:
        """What operators decided, the newest first, page by page."""
        return self._all(self._operator.audit)

    def summary(self, *, hours: int = 24) -> Raw:
        """
        How everything stands.

        @param hours: 24 or 168.
        """
        return self._do(self._operator.summary(hours))
