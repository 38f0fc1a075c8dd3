"""S4: "invalid nonce" is taken for an outcome."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


WITNESS = "sandbox_billing.services.witness.Witness."


class DaemonTests(TrapCase):
    """A nonce that is used."""

    @noticed_by(
        "tests.services.test_watcher.OutcomeTests.test_somebody_else_submitted",
        "tests.services.test_flawed.FrontRunTests.test_insufficient",
        "tests.services.test_void.VoidTests.test_gap_closes",
    )
    def test_dropped(self) -> Patches:
        """The event of a used nonce is looked for nowhere, and its voucher is given up."""

        async def _old(witness: Any, wallet: Any) -> Any:
            return {}

        async def _proven(witness: Any, evidence: Any, *about: Any) -> Any:
            return list(evidence), {}

        return [
            Patch(WITNESS + "_old", lambda _: _old),
            Patch(WITNESS + "_proven", lambda _: _proven),
        ]
