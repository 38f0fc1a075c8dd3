"""B1: the meter is opened after the reply, and nothing at boot compares with Daytona."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.effects import Adopt, OpenUnderIntent
from tests.simulation.faults import FaultKind
from tests.traps.shared import reserved_too_late
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


RECONCILER = "tests.services.test_reconciler."


class DaemonTests(TrapCase):
    """Both ends of a create."""

    @noticed_by(
        RECONCILER + "IntentTests.test_died_while_daytona_created",
        "tests.services.test_intake_create.CreateTests.test_lost_reply",
        "tests.services.test_intake_create.CreateTests.test_parallel",
        Death("create-tick-stop", FaultKind.CRASH_AFTER, ("IRuntime.create",)),
    )
    def test_stored_after_the_reply(self) -> Patches:
        """Nothing is stored before Daytona has answered."""
        return reserved_too_late()

    @noticed_by(
        RECONCILER + "AdoptTests.test_by_label",
        RECONCILER + "IntentTests.test_died_while_daytona_created",
        Death("create-tick-stop", FaultKind.CRASH_AFTER, ("IRuntime.create",)),
    )
    def test_nothing_compares(self) -> Patches:
        """What runs and is not metered is left alone, at boot and later."""

        def blind(original: Any) -> Any:
            def plan(world: Any) -> Any:
                return tuple(
                    one for one in original(world) if not isinstance(one, Adopt | OpenUnderIntent)
                )

            return plan

        return Patch("sandbox_billing.services.reconciler.plan", blind)
