"""V3: settlement cannot keep up, and nobody hears of it."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


SETTLER = "tests.services.test_settler."
BEHIND = "tests.services.test_backlog.BehindTests."


class DaemonTests(TrapCase):
    """How much goes into a transaction, and when."""

    @noticed_by(SETTLER + "SettlerTests.test_small_blocks")
    def test_no_cap(self) -> Patches:
        """A batch holds whatever is there, and is sent so again and again."""

        async def stubborn(sender: Any, batch: Any, account_nonce: Any) -> Any:
            return await sender._attempt(batch, None, account_nonce=account_nonce)

        return Patch("sandbox_billing.services.sending.Sender._first_attempt", lambda _: stubborn)

    @noticed_by(SETTLER + "SettlerTests.test_size_is_remembered")
    def test_forgotten(self) -> Patches:
        """Each batch is found to be too large anew."""
        return Patch(
            "sandbox_billing.services.sending.Room.learn", lambda _: lambda room, fitted, now: None
        )

    @noticed_by(SETTLER + "SettlerTests.test_small_sums_wait")
    def test_at_once(self) -> Patches:
        """Every neuron has a transaction of its own."""
        return Patch(
            "sandbox_billing.services.settler.settle_at", lambda _: lambda queue, policy: 0
        )

    @noticed_by(
        SETTLER + "SettlerTests.test_refund_request_is_urgent",
        SETTLER + "SettlerTests.test_the_end_is_urgent",
    )
    def test_never_urgent(self) -> Patches:
        """And what is about to be lost waits for company like all else."""

        def patient(original: Any) -> Any:
            def settle_at(queue: Any, policy: Any) -> Any:
                oldest = min(record.value.charge.created_at for record in queue.records)
                return oldest + policy.settle_max_age

            return settle_at

        return Patch("sandbox_billing.services.settler.settle_at", patient)

    @noticed_by(BEHIND + "test_told", BEHIND + "test_closes_and_opens")
    def test_nobody_told(self) -> Patches:
        """However old the backlog is, the door stays open, and readiness green."""
        return [
            Patch(f"sandbox_billing.services.{room}.overdue", lambda _: lambda *about, **how: False)
            for room in ("admission", "readiness")
        ]
