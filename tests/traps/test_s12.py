"""S12: an empty wallet is noticed when a voucher fails, and its other sandboxes run on."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.grace import Ending
from sandbox_billing.ledger.hold import Exposure
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


DRY = "tests.services.test_treasurer.RunningDryTests."


class DaemonTests(TrapCase):
    """A wallet that runs dry."""

    @noticed_by(DRY + "test_in_time", DRY + "test_two_sessions_share")
    def test_too_late(self) -> Patches:
        """Nobody computes when the money ends."""
        return Patch(
            "sandbox_billing.services.treasurer.Treasurer._ending",
            lambda _: (
                lambda treasurer, funds, behaviour, now: Ending(own_ends_at=None, stops_at=None)
            ),
        )

    @noticed_by(
        DRY + "test_all_its_sandboxes",
        "tests.adapters.test_memory_ports.MemoryFundsTests.test_block",
    )
    def test_others_run_on(self) -> Patches:
        """Of a wallet that cannot pay one sandbox is stopped."""

        def one(original: Any) -> Any:
            def block(draft: Any, funds: Any, reason: str, now: Any) -> None:
                fields = funds.exposure.fields
                first = [name for name in fields if name.startswith("session:")][:1]
                left = Exposure({name: fields[name] for name in first})
                original(draft, evolve(funds, exposure=left), reason, now)

            return block

        return Patch("sandbox_billing.adapters.redis.draft.Draft.block", one)
