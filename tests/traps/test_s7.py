"""S7: a transaction is waited for without a deadline and without a higher fee."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


SETTLER = "sandbox_billing.services.settler.Settler."
TESTS = "tests.services.test_settler.SettlerTests."


class DaemonTests(TrapCase):
    """A transaction that is not mined."""

    @noticed_by(TESTS + "test_never_mined")
    def test_never_bumped(self) -> Patches:
        """Nobody ever offers more for it."""

        async def _bumped(settler: Any, batch: Any, newest: Any) -> Any:
            return batch

        return Patch(SETTLER + "_bumped", lambda _: _bumped)

    @noticed_by(TESTS + "test_forgotten_by_the_node", TESTS + "test_request_lost")
    def test_sent_once(self) -> Patches:
        """What was sent is never sent again."""

        def once(original: Any) -> Any:
            async def _send(settler: Any, batch: Any, mirror: Any, nonce: Any) -> None:
                if not any(a.hash in settler._sent_at for a in batch.value.attempts):
                    await original(settler, batch, mirror, nonce)

            return _send

        return Patch(SETTLER + "_send", once)
