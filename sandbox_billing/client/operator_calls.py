"""
What operators do and look at: one operation each.

Tests: C{tests.client.test_operator}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from sandbox_billing.client.calls import Flow, Pause, path_of
from sandbox_billing.client.core import Core
from sandbox_billing.client.errors import Unclear
from sandbox_billing.client.orders import AuditRow, DrainStanding, OpenSession, Order, orders_of
from sandbox_billing.client.sandbox_calls import dumped
from sandbox_billing.client.values import Page, Raw, rows, text


POLL_SECONDS = 1.0

_OPERATOR = "/api/operator"
_PAGE = 200


@frozen
class OperatorCalls:
    """
    @ivar core: Who asks; takes a wallet of C{ADMIN_ADDRESSES}, or a session of one.
    """

    core: Core

    def order(
        self, method: str, path: str, body: Mapping[str, Any], key: str | None
    ) -> Flow[Order]:
        """
        Ask for something, once.

        @param key: None for one of its own: it is one order however often it is sent.
        """
        answer = yield from self.core.ask(
            method, path, body=dumped(dict(body)), key=key or self.core.fresh()
        )
        return Order(answer.document())

    def admissions(self, verb: str, reason: str | None, key: str | None) -> Flow[Order]:
        """@param verb: C{pause}, C{resume} or C{drain}."""
        return self.order("POST", f"{_OPERATOR}/{verb}", _why(reason), key)

    def stop(self, sandbox: str, reason: str, key: str | None) -> Flow[Order]:
        """Anybody's, by id or name."""
        path = _OPERATOR + path_of("sandbox", sandbox, "stop")
        return self.order("POST", path, _why(reason), key)

    def force_delete(self, sandbox: str, reason: str | None, key: str | None) -> Flow[Order]:
        """Anybody's, in any state."""
        path = path_of("api", "sandbox", sandbox, "force")
        return self.order("DELETE", path, _why(reason), key)

    def archive_all(self, reason: str | None, key: str | None) -> Flow[Order]:
        """Everything that is metered."""
        return self.order("POST", "/api/archive-all", _why(reason), key)

    def snapshot(self, body: Mapping[str, Any], reason: str | None, key: str | None) -> Flow[Order]:
        """@param body: Daytona's, and C{general}."""
        return self.order("POST", "/api/snapshots", {**body, **_why(reason)}, key)

    def delete_snapshot(self, snapshot: str, reason: str | None, key: str | None) -> Flow[Order]:
        """By id or name."""
        return self.order("DELETE", path_of("api", "snapshots", snapshot), _why(reason), key)

    # -- looking

    def orders(self, cursor: str | None, limit: int = _PAGE) -> Flow[Page[Order]]:
        """All there ever were, the newest first."""
        raw = yield from self._read(f"{_OPERATOR}/orders", cursor, limit)
        return Page(items=orders_of(raw), next=text(raw, "next"))

    def look(self, order: str) -> Flow[Order]:
        """One, by its id."""
        answer = yield from self.core.ask("GET", _OPERATOR + path_of("orders", order))
        return Order(answer.document())

    def wait(self, order: str, seconds: float) -> Flow[Order]:
        """
        Until it has ended, done or failed.

        @raise Unclear: It has not; it goes on.
        """
        waited = 0.0
        while True:
            found = yield from self.look(order)
            if found.has_ended:
                return found
            if waited >= seconds:
                raise Unclear(text=f"the order {order} is {found.state} still, and goes on")
            yield Pause(POLL_SECONDS)
            waited += POLL_SECONDS

    def drain_standing(self) -> Flow[DrainStanding]:
        """How far a drain is, or would be."""
        answer = yield from self.core.ask("GET", f"{_OPERATOR}/drain")
        return DrainStanding(answer.document())

    def open_sessions(self, cursor: str | None) -> Flow[Page[OpenSession]]:
        """Of all wallets, by sandbox."""
        raw = yield from self._read("/api/sessions", cursor, _PAGE)
        found = tuple(map(OpenSession, rows(raw, "sessions")))
        return Page(items=found, next=text(raw, "next"))

    def audit(self, cursor: str | None) -> Flow[Page[AuditRow]]:
        """What was decided, the newest first."""
        raw = yield from self._read("/api/audit-log", cursor, _PAGE)
        return Page(items=tuple(map(AuditRow, rows(raw, "entries"))), next=text(raw, "next"))

    def summary(self, hours: int) -> Flow[Raw]:
        """@param hours: 24 or 168."""
        answer = yield from self.core.ask("GET", f"{_OPERATOR}/summary", query=[("hours", hours)])
        return answer.document()

    def _read(self, path: str, cursor: str | None, limit: int) -> Flow[Raw]:
        query = [("limit", limit), ("cursor", cursor)]
        answer = yield from self.core.ask("GET", path, query=query)
        return answer.document()


def _why(reason: str | None) -> dict[str, str]:
    return {} if reason is None else {"reason": reason}
