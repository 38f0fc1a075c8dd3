"""P2: a sandbox goes by whatever the client called it."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.identity import SandboxId
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """Ids and names."""

    @noticed_by("tests.services.test_intake.StartTests.test_by_name")
    def test_not_resolved(self) -> Patches:
        """What is stopped by its name closes no meter; what is started so opens another."""

        def raw(original: Any) -> Any:
            async def owned(lifecycle: Any, owner: Any, id_or_name: str) -> Any:
                return evolve(
                    await original(lifecycle, owner, id_or_name), id=SandboxId(id_or_name)
                )

            return owned

        return Patch("sandbox_billing.services.lifecycle.Lifecycle.owned", raw)
