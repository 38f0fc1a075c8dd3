"""B8: a forced stop removes the meter without a last voucher."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.metering import Session, Tick
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


def without_a_last(original: Any) -> Any:
    """The session ends where it was charged last."""

    def close(session: Session, *, until: int, now: int) -> Tick:
        return Tick(evolve(session, revision=session.revision + 1), None)

    return close


class DaemonTests(TrapCase):
    """The end of a run."""

    @noticed_by(
        "tests.services.test_stopper.StopperTests.test_carried_out",
    )
    def test_forced(self) -> Patches:
        """What the stopper ends is not charged beyond its last tick."""
        return Patch("sandbox_billing.services.closing.close", without_a_last)

    @noticed_by(
        "tests.services.test_intake.EndTests.test_charged_up_to_the_acceptance",
        Death("create-tick-stop"),
    )
    def test_by_its_owner(self) -> Patches:
        """What its owner ends is not, either."""
        return Patch("sandbox_billing.services.lifecycle.close", without_a_last)
