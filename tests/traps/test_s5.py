"""S5: what became of a voucher without an event is asked of a later state."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.settlement import SUCCESS, Resolved
from sandbox_billing.ledger.voucher import Paid
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """Between a revoke and a yes."""

    @noticed_by("tests.services.test_watcher.OutcomeTests.test_switched_between")
    def test_preview_at_the_latest(self) -> Patches:
        """A preview at the newest block that says "success" is booked as paid."""

        def latest(original: Any) -> Any:
            async def _reasons(witness: Any, records: Any, at: Any) -> Any:
                return await original(witness, records, await witness.chain.head())

            return _reasons

        def believing(original: Any) -> Any:
            def resolve(evidence: Any, now: Any) -> Any:
                if evidence.settled is None and evidence.refusal == SUCCESS:
                    seal = evidence.record.seal
                    paid = Paid(seal=seal, transaction="0x" + "00" * 32, block=1)
                    return Resolved(evidence.record.become(paid))
                return original(evidence, now)

            return resolve

        return [
            Patch("sandbox_billing.services.witness.Witness._reasons", latest),
            Patch("sandbox_billing.services.resolver.resolve", believing),
        ]
