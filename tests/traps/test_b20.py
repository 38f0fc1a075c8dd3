"""B20: a whole interval is charged in advance."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.metering import Session
from tests.fixtures import INTERVAL
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


def whole(original: Any) -> Any:
    """What was begun is paid in full."""

    def close(session: Session, *, until: int, now: int) -> Any:
        return original(session, until=session.charged_until + INTERVAL, now=now)

    return close


class DaemonTests(TrapCase):
    """What a second of use costs."""

    @noticed_by(
        "tests.services.test_generator.GeneratorTests.test_stop_and_start_inside_an_interval",
        "tests.services.test_intake.EndTests.test_charged_up_to_the_acceptance",
    )
    def test_by_the_interval(self) -> Patches:
        """Who stops within an interval pays all of it, and again after the next start."""
        return Patch("sandbox_billing.services.lifecycle.close", whole)

    @noticed_by("tests.services.test_stopper.StopperTests.test_carried_out")
    def test_stopped_by_us(self) -> Patches:
        """So does who is stopped."""
        return Patch("sandbox_billing.services.closing.close", whole)
