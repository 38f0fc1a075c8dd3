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
            async def seed(store: Any, draft: Any, accounts: Any) -> None:
                await original(store, draft, [evolve(each, last_nonce=0) for each in accounts])

            return seed

        def unread(original: Any) -> Any:
            def _plannable(outlook: Any, queue: Any, nonce: Any, *rest: Any) -> Any:
                planned = original(outlook, queue, nonce, *rest)
                return evolve(planned, last_nonce=queue.last_nonce)

            return _plannable

        return [
            Patch("sandbox_billing.adapters.redis.chain.seed_nonces", unseeded),
            Patch("sandbox_billing.services.planning.Outlook._plannable", unread),
        ]

    @noticed_by("tests.services.test_nonces.NumberedTests.test_nothing_is_lost")
    def test_never_begun(self) -> Patches:
        """A counter that never began is taken for one that was lost."""

        async def unseeded(store: Any, draft: Any, accounts: Any) -> None:
            """None is written."""

        return Patch("sandbox_billing.adapters.redis.chain.seed_nonces", lambda _: unseeded)

    @noticed_by(RECOVERY + "test_behind_the_chain")
    def test_restored(self) -> Patches:
        """A store that was restored from before is not compared with the chain."""

        async def _compare(recovery: Any, head: Any) -> None:
            """Nothing."""

        return Patch("sandbox_billing.services.recovery.Recovery._compare", lambda _: _compare)
