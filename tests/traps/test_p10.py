"""P10: a create lives and dies with the connection that asked for it."""

from __future__ import annotations

from typing import Any

from tests.traps.shared import reserved_too_late
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


CREATES = "tests.services.test_intake_create.CreateTests."


class DaemonTests(TrapCase):
    """Work that nobody waits for."""

    @noticed_by(CREATES + "test_client_hangs_up")
    def test_attached(self) -> Patches:
        """Whoever hangs up ends it, and Daytona goes on."""

        async def attached(intake: Any, name: str, owner: Any, work: Any) -> Any:
            return await work

        return [
            # With an intent the reconciler would find what Daytona made.
            reserved_too_late()[0],
            Patch("sandbox_billing.services.intake.Intake._kept", lambda _: attached),
        ]

    @noticed_by(CREATES + "test_allotted_more_than_fits", CREATES + "test_refused_with_a_row")
    def test_neither(self) -> Patches:
        """What cannot be metered is not deleted either."""

        async def undo(creating: Any, intent: Any, sandbox: Any) -> None:
            """Nothing."""

        return Patch("sandbox_billing.services.creating.Creating._undo", lambda _: undo)
