"""B3: the charge is stored, and then the watermark is moved."""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.redis.sessions import Sessions
from sandbox_billing.ledger.metering import Tick
from tests.simulation.faults import FaultKind
from tests.traps.shared import fresh_ids
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


def two_writes(original: Any) -> Any:
    """The first is the charge, and a crash may be between them."""

    async def tick(sessions: Sessions, session: Any, step: Tick, token: bytes) -> Any:
        if step.charge is not None:
            draft = sessions.store.draft("append a charge")
            draft.append_charge(step.charge, step.charge.created_at)
            await sessions.store.carry_out(draft.commit(token=token))
        return await original(sessions, session, Tick(step.session, None), token)

    return tick


class DaemonTests(TrapCase):
    """A tick."""

    @noticed_by(
        "tests.adapters.test_memory_ports.MemoryMeterTests.test_charge_unseen",
        Death("create-tick-stop", FaultKind.CRASH_AFTER, ("IMeter.charge", "IKeyspace.commit")),
    )
    def test_two_writes(self) -> Patches:
        """The charge is appended, then the watermark moved in a second write."""
        return [
            Patch("sandbox_billing.adapters.redis.sessions.Sessions.tick", two_writes),
            fresh_ids(),
        ]
