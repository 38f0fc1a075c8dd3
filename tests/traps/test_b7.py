"""B7: what happens to a sandbox is applied in any order, and deleted is not final."""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.redis.sessions import Sessions
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """The order of events, and their end."""

    @noticed_by(
        "tests.ledger.test_reconciliation.SeenTests.test_not_counted",
        "tests.ledger.test_reconciliation.MeteredTests.test_stale",
    )
    def test_any_order(self) -> Patches:
        """What was seen before the session's last change is applied after it."""
        return Patch(
            "sandbox_billing.ledger.reconciliation.counts", lambda _: lambda *about, by_id: True
        )

    @noticed_by(
        "tests.services.test_generator.GeneratorTests.test_removed_behind_us",
        Death("by-itself"),
    )
    def test_dead_and_billed(self) -> Patches:
        """Nobody looks what became of a sandbox whose end was not told: it is metered on."""

        def blind(original: Any) -> Any:
            async def ask(missing: Any, sandbox: Any, now: Any) -> None:
                await missing.meter.seen({sandbox: now})

            return ask

        return Patch("sandbox_billing.services.missing.Missing.ask", blind)

    @noticed_by("tests.adapters.test_memory_ports.MemoryDoorsTests.test_open_after_release")
    def test_created_after_its_end(self) -> Patches:
        """A create that is told of late opens a meter though its request is over."""

        def always(original: Any) -> Any:
            async def open_(sessions: Sessions, session: Any, **how: Any) -> Any:
                return await original(sessions, session, **{**how, "intent": None})

            return open_

        return Patch("sandbox_billing.adapters.redis.sessions.Sessions.open", always)
