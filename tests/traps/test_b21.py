"""B21: a meter of no size is opened beside the doors, and a start leaves it."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """Compute that nobody pays for."""

    @noticed_by(
        "tests.services.test_unpriced.UnpricedTests.test_price_0",
        "tests.services.test_traps.TrapTests.test_unpriced_sandbox_of_ours",
    )
    def test_price_0(self) -> Patches:
        """A size without a price is metered at 0."""
        return Patch(
            "sandbox_billing.services.admission.rate_of", lambda _: lambda card, resources: 0
        )

    @noticed_by("tests.services.test_intake.StartTests.test_after_a_self_stop")
    def test_start_leaves_the_meter(self) -> Patches:
        """A start that finds a meter leaves it as it is, and asks no admission."""

        def leaving(original: Any) -> Any:
            async def start(starting: Any, owner: Any, id_or_name: str, reference: Any) -> Any:
                shown = await starting.at.owned(owner, id_or_name)
                if await starting.at.doors.session(shown.id) is None:
                    return await original(starting, owner, id_or_name, reference)
                return await starting.at.runtime.start(shown.id)

            return start

        return Patch("sandbox_billing.services.starting.Starting.start", leaving)

    @noticed_by(
        "tests.services.test_intake.StartTests.test_cannot_pay",
        "tests.services.test_intake_create.CreateTests.test_exactly_enough",
    )
    def test_without_admission(self) -> Patches:
        """A meter opens for whoever asks, with or without money."""
        return Patch(
            "sandbox_billing.services.admission.Admission._check_money",
            lambda _: lambda admission, *about, included: None,
        )
