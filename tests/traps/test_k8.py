"""K8: anybody may submit."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.proof import Lost
from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A stranger's submission that counts turns the tests red."""
        self.assert_noticed(of_row("K8"))


class DaemonTests(TrapCase):
    """Where the outcome of a nonce is looked for."""

    @noticed_by("tests.services.test_watcher.OutcomeTests.test_somebody_else_submitted")
    def test_own_transactions_only(self) -> Patches:
        """The settler sees its own transactions only, and takes the nonce for lost."""

        # Two look there, one behind the other: our history, and the nodes'.
        async def _old(witness: Any, *about: Any) -> Any:
            return {}

        witness = "sandbox_billing.services.witness."
        return [
            Patch(witness + "Witness._old", lambda _: _old),
            Patch(witness + "find", lambda _: lambda *about: Lost()),
        ]
