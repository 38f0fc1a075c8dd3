"""B22: what is reserved is freed before the balance falls, miscounted, or never freed."""

from __future__ import annotations

from typing import Any

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.hold import charge_field
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


HOLD = "sandbox_billing.ledger.hold."


class DaemonTests(TrapCase):
    """Exposure."""

    @noticed_by(
        "tests.services.test_watcher.MirrorTests"
        ".test_settlement_lowers_the_balance_and_the_exposure_together",
        "tests.services.test_intake_create.CreateTests.test_hold_is_the_session_s",
    )
    def test_freed_when_queued(self) -> Patches:
        """A charge is in no exposure from the moment it is queued."""

        def freed(original: Any) -> Any:
            def append_charge(draft: Any, charge: Any, ripe_at: Any, **how: Any) -> Any:
                place = original(draft, charge, ripe_at, **how)
                draft.conceal(charge.owner, charge_field(charge))
                return place

            return append_charge

        return Patch("sandbox_billing.adapters.redis.draft.Draft.append_charge", freed)

    @noticed_by("tests.ledger.test_hold.ExposureTests.test_beyond_64_bits")
    def test_64_bits(self) -> Patches:
        """Sums are those of a counter of 64 bits."""
        return Patch(HOLD + "neuron", lambda original: lambda sum_: original(sum_ & (2**63 - 1)))

    @noticed_by("tests.ledger.test_hold.ExposureTests.test_damaged_value")
    def test_error_ignored(self) -> Patches:
        """What cannot be read counts as nothing."""

        def lenient(original: Any) -> Any:
            def parse_neuron(text: str) -> Any:
                try:
                    return original(text)
                except BadInput:
                    return 0

            return parse_neuron

        return Patch(HOLD + "parse_neuron", lenient)

    @noticed_by("tests.services.test_intake_create.CreateTests.test_refused_without_a_row")
    def test_leaked(self) -> Patches:
        """A create that Daytona refuses keeps what was reserved for it."""

        async def _clean_up(creating: Any, intent: Any, why: Any) -> None:
            """Nothing."""

        return Patch("sandbox_billing.services.creating.Creating._clean_up", lambda _: _clean_up)
