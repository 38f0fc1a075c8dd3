"""P13: many creates at once are each let in on the same money."""

from __future__ import annotations

from typing import Any

from sandbox_billing.errors import Refused
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


CREATES = "tests.services.test_intake_create.CreateTests."
ADMISSION = "sandbox_billing.services.admission.Admission."


class DaemonTests(TrapCase):
    """Check and reservation."""

    @noticed_by(CREATES + "test_parallel_on_a_slow_store")
    def test_two_steps(self) -> Patches:
        """The balance is read, and what is reserved on it is not looked at again."""

        def apart(original: Any) -> Any:
            async def reserve(
                admission: Any, intent: Any, quote: Any, *, growing: bool = False
            ) -> None:
                why = await admission.why_not(intent.owner, quote)
                if why is not None:
                    raise why
                funds = await admission.funds(intent.owner)
                await admission.doors.reserve(intent, funds, while_paused=growing)

            return reserve

        return Patch(ADMISSION + "reserve", apart)

    @noticed_by("tests.services.test_spending.AdmissionTests.test_side_by_side_on_a_slow_store")
    def test_of_a_token(self) -> Patches:
        """So it is with what a token may still spend."""

        def early(original: Any) -> Any:
            async def reserve(admission: Any, intent: Any, quote: Any, **how: Any) -> None:
                await check(admission, intent, quote.hold)
                await original(admission, intent, quote, **how)

            return reserve

        async def check(admission: Any, intent: Any, hold: Any) -> None:
            now, delay = admission.wall.now(), admission.policy.stop_delay
            spending = await admission.doors.spending(intent.allowance.token)
            if spending.committed(now, stop_delay=delay) + hold > intent.allowance.limit:
                raise Refused("it may not spend so much")

        async def unchecked(admission: Any, *about: Any) -> None:
            """It was, before."""

        return [
            Patch(ADMISSION + "reserve", early),
            Patch("sandbox_billing.services.allowed.Allowed._check_token", lambda _: unchecked),
        ]

    @noticed_by(CREATES + "test_too_many", CREATES + "test_too_many_side_by_side")
    def test_any_number(self) -> Patches:
        """Whoever pays may have as many sandboxes as he likes."""
        return Patch(ADMISSION + "_check_count", lambda _: lambda admission, exposure: None)
