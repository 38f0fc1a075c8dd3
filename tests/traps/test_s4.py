"""S4: "invalid nonce" is taken for an outcome."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.proof import Contradiction
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


WITNESS = "sandbox_billing.services.witness."


class DaemonTests(TrapCase):
    """A nonce that is used."""

    @noticed_by(
        "tests.services.test_watcher.OutcomeTests.test_somebody_else_submitted",
        "tests.services.test_flawed.FrontRunTests.test_insufficient",
    )
    def test_dropped(self) -> Patches:
        """The event of a used nonce is looked for nowhere, and its voucher is given up."""

        async def _old(witness: Any, *about: Any) -> Any:
            return {}

        return [
            Patch(WITNESS + "Witness._old", lambda _: _old),
            Patch(WITNESS + "find", lambda _: lambda *about: Contradiction("invalid nonce")),
        ]
