"""B10: downtime is never caught up, and the last voucher has no bound."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.metering import Session, Tick
from tests.traps.shared import unseen
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


GENERATOR = "tests.services.test_generator.GeneratorTests."


class DaemonTests(TrapCase):
    """How far a tick goes."""

    @noticed_by(GENERATOR + "test_downtime", GENERATOR + "test_daytona_away")
    def test_one_interval_at_most(self) -> Patches:
        """A tick bills one interval, and what is beyond it is lost."""

        def losing(original: Any) -> Any:
            def tick(session: Session, *, seen_at: Any, now: Any, interval_seconds: int) -> Any:
                step = original(
                    session, seen_at=seen_at, now=now, interval_seconds=interval_seconds
                )
                if step is None:
                    return None
                moved = max(seen_at, step.session.charged_until)
                return Tick(evolve(step.session, charged_until=moved), step.charge)

            return tick

        return Patch("sandbox_billing.services.generator.tick", losing)

    @noticed_by(
        GENERATOR + "test_clock_set_forward",
        GENERATOR + "test_downtime_that_ended_stopped",
        "tests.ledger.test_metering.TickTests.test_clock_steps_forward",
    )
    def test_by_the_clock(self) -> Patches:
        """A tick bills up to our own clock, whatever Daytona has shown: a jump is billed."""
        return [by_the_clock(), *unseen()]


def by_the_clock() -> Patch:
    """Seen just now, whenever it was."""

    def charging(original: Any) -> Any:
        return lambda session, until, now: original(session, now, now)

    return Patch("sandbox_billing.ledger.metering._charge", charging)
