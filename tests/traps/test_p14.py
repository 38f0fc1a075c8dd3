"""P14: nobody asks for an acknowledgement, and a start asks for nothing at all."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


CREATES = "tests.services.test_intake_create.CreateTests."
ADMISSION = "sandbox_billing.services.admission."


class DaemonTests(TrapCase):
    """Who may run something."""

    @noticed_by(
        CREATES + "test_not_acknowledged",
        "tests.services.test_intake.StartTests.test_not_acknowledged",
        "tests.services.test_treasurer.DebtTests.test_refused_while_in_debt",
    )
    def test_standing(self) -> Patches:
        """Whoever never acknowledged, or owes, may."""
        return Patch(
            ADMISSION + "Admission._check_standing",
            lambda _: lambda admission, funds, account, quote: None,
        )

    @noticed_by(
        "tests.services.test_intake.StartTests.test_cannot_pay",
        "tests.services.test_intake.StartTests.test_not_acknowledged",
    )
    def test_starts(self) -> Patches:
        """So may whoever had it created once."""

        def creates_only(original: Any) -> Any:
            async def reserve(admission: Any, intent: Any, quote: Any, **how: Any) -> None:
                if intent.action == "create":
                    await original(admission, intent, quote, **how)
                else:
                    await admission.doors.reserve(intent, await admission.funds(intent.owner))

            return reserve

        return Patch(ADMISSION + "Admission.reserve", creates_only)

    @noticed_by(CREATES + "test_exactly_enough")
    def test_fee_only(self) -> Patches:
        """Money for the fee is enough."""
        return Patch(ADMISSION + "hold_for", lambda _: lambda rate, fee, **how: fee)

    @noticed_by(CREATES + "test_pending_refund_is_no_money")
    def test_refund(self) -> Patches:
        """So is money that is on its way back to the user."""

        def whole(original: Any) -> Any:
            return lambda account, behaviour: account.balance + account.pending_refund

        return Patch("sandbox_billing.ledger.account.Account.spendable", whole)

    @noticed_by(
        "tests.web.test_streams.DoorTests.test_nobody_pays",
        "tests.web.test_access.UnmeteredTests.test_nobody_pays",
    )
    def test_labelled(self) -> Patches:
        """Who is named by a label is let into what nobody meters."""

        async def nothing(streams: Any, sandbox: Any) -> None:
            return None

        return Patch(
            "sandbox_billing.web.open_streams.OpenStreams.refused_unknown", lambda _: nothing
        )
