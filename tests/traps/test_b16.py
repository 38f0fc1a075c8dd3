"""B16: the nonce counter starts at 0 while the chain is at 40."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


RECOVERY = "tests.services.test_recovery.RecoveryTests."


class DaemonTests(TrapCase):
    """Where nonces are counted from."""

    @noticed_by("tests.services.test_nonces.NumberedTests.test_above_the_chain_s")
    def test_counts_from_0(self) -> Patches:
        """The store's counter alone says which nonce is next, and a new one starts at 0."""

        def unseeded(original: Any) -> Any:
            async def add_account(doors: Any, mirror: Any, account: Any) -> None:
                await original(doors, mirror, evolve(account, last_nonce=0))

            return add_account

        def unread(original: Any) -> Any:
            def _plannable(outlook: Any, queue: Any, nonce: Any, *rest: Any) -> Any:
                planned = original(outlook, queue, nonce, *rest)
                return evolve(planned, last_nonce=queue.last_nonce)

            return _plannable

        return [
            Patch("sandbox_billing.adapters.redis.doors.RedisDoors.add_account", unseeded),
            Patch("sandbox_billing.services.planning.Outlook._plannable", unread),
        ]

    @noticed_by(RECOVERY + "test_behind_the_chain")
    def test_restored(self) -> Patches:
        """A store that was restored from before is not compared with the chain."""

        async def _compare(recovery: Any, head: Any) -> None:
            """Nothing."""

        return Patch("sandbox_billing.services.recovery.Recovery._compare", lambda _: _compare)
