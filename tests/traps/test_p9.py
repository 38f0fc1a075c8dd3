"""P9: the biggest machine costs as much as the smallest."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.resources import Resources
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


CREATES = "tests.services.test_intake_create.CreateTests."
ADMISSION = "sandbox_billing.services.admission."


class DaemonTests(TrapCase):
    """What is paid for."""

    @noticed_by(CREATES + "test_snapshot_is_priced", CREATES + "test_allotted_more_and_fits")
    def test_flat(self) -> Patches:
        """One price for every size."""

        def flat(original: Any) -> Any:
            return lambda card, resources: original(card, Resources(cpu=1, memory_gib=1))

        return Patch(ADMISSION + "rate_of", flat)

    @noticed_by(
        CREATES + "test_gpu", "tests.services.test_refitting.BehindOurBackTests.test_unpriced"
    )
    def test_unpriced(self) -> Patches:
        """What has no price is free."""

        def free(original: Any) -> Any:
            return lambda card, resources: original(card, evolve(resources, gpu=0))

        return Patch(ADMISSION + "rate_of", free)

    @noticed_by(CREATES + "test_disk")
    def test_any_disk(self) -> Patches:
        """Disk is included, however much."""
        return Patch(
            "sandbox_billing.services.lifecycle.Lifecycle.check_disk",
            lambda _: lambda lifecycle, resources: None,
        )

    @noticed_by(CREATES + "test_allotted_more_and_fits")
    def test_as_asked_for(self) -> Patches:
        """It is rated by what was asked for, not by what Daytona allotted."""

        def asked(original: Any) -> Any:
            def session_for(admission: Any, intent: Any, sandbox: Any, resources: Any) -> Any:
                session = original(admission, intent, sandbox, resources)
                return evolve(session, rate=intent.rate)

            return session_for

        return Patch(ADMISSION + "Admission.session_for", asked)

    @noticed_by(CREATES + "test_allotted_more_than_fits")
    def test_fits_anyhow(self) -> Patches:
        """That there is money for what was allotted is not asked again."""

        async def grow(admission: Any, intent: Any, resources: Any) -> None:
            """Nothing more is set aside."""

        return Patch(ADMISSION + "Admission.grow", lambda _: grow)
