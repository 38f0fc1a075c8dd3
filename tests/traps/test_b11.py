"""B11: what Daytona shows is never read."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.metering import begin
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


GENERATOR = "tests.services.test_generator.GeneratorTests."


class DaemonTests(TrapCase):
    """From when to when a run is billed."""

    @noticed_by(
        GENERATOR + "test_self_stop",
        GENERATOR + "test_broken",
        "tests.ledger.test_reconciliation.MeteredTests.test_ends",
        Death("by-itself"),
    )
    def test_any_state_runs(self) -> Patches:
        """Whatever state a sandbox is shown in, it counts as running."""
        return Patch(
            "sandbox_billing.ledger.reconciliation.is_running",
            lambda _: lambda state, desired: True,
        )

    @noticed_by(
        "tests.services.test_intake_create.CreateTests.test_create_fee_waits_for_the_start",
    )
    def test_from_the_answer_on(self) -> Patches:
        """The meter begins when the API answers, and not when it is shown started."""

        def begun(original: Any) -> Any:
            def session_for(admission: Any, *about: Any) -> Any:
                return begin(original(admission, *about), admission.wall.now())

            return session_for

        return Patch("sandbox_billing.services.admission.Admission.session_for", begun)
