"""S7: a transaction is waited for without a deadline and without a higher fee."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


SENDER = "sandbox_billing.services.sending.Sender."
TESTS = "tests.services.test_settler.SettlerTests."


class DaemonTests(TrapCase):
    """A transaction that is not mined."""

    @noticed_by(TESTS + "test_never_mined")
    def test_never_bumped(self) -> Patches:
        """Nobody ever offers more for it."""

        async def _bumped(sender: Any, batch: Any, newest: Any) -> Any:
            return batch

        return Patch(SENDER + "_bumped", lambda _: _bumped)

    @noticed_by(TESTS + "test_forgotten_by_the_node", TESTS + "test_request_lost")
    def test_sent_once(self) -> Patches:
        """What was sent is never sent again."""

        def once(original: Any) -> Any:
            async def send(sender: Any, batch: Any, *about: Any) -> Any:
                if any(attempt.hash in sender._sent_at for attempt in batch.value.attempts):
                    return True
                return await original(sender, batch, *about)

            return send

        return Patch(SENDER + "send", once)

    @noticed_by("tests.services.test_stuck.StuckTests.test_told")
    def test_nobody_is_told(self) -> Patches:
        """However old it is, there is no alarm."""
        return Patch(SENDER + "_tell_if_stuck", lambda _: lambda sender, batch: None)

    @noticed_by("tests.adapters.test_chain_fees.BumpTests.test_multiple")
    def test_without_measure(self) -> Patches:
        """Bumps climb to the operator's cap, however little others pay."""
        return Patch(
            "sandbox_billing.adapters.chain.fees._is_beyond",
            lambda _: lambda offer, today, multiple: False,
        )

    @noticed_by("tests.adapters.test_chain_fees.BumpTests.test_rounded_up")
    def test_too_little_more(self) -> Patches:
        """A bump offers a twentieth more, which no node takes for the same account nonce."""
        return Patch(
            "sandbox_billing.adapters.chain.fees._a_tenth_more",
            lambda _: lambda fee: fee + fee // 20,
        )
