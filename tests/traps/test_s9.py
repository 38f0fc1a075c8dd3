"""S9: one block counts as final."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """A block that goes away."""

    @noticed_by(
        "tests.services.test_watcher.OutcomeTests.test_reorganised",
        "tests.services.test_watcher.MirrorTests.test_confirmations",
    )
    def test_one_block(self) -> Patches:
        """What stands in the newest block is final."""

        def hasty(original: Any) -> Any:
            async def turn(watcher: Any) -> None:
                policy = evolve(watcher.policy, confirmations=0)
                await original(evolve(watcher, policy=policy))

            return turn

        return Patch("sandbox_billing.services.watcher.Watcher.turn", hasty)

    @noticed_by(
        "tests.services.test_second_look.SecondLookTests.test_outcome_is_gone",
        "tests.services.test_second_look.SecondLookTests.test_debt_waits",
    )
    def test_never_looked_at_again(self) -> Patches:
        """Nobody asks whether the block of an outcome still stands."""

        async def turn(look: Any) -> None:
            """Nothing."""

        return Patch("sandbox_billing.services.second_look.SecondLook.turn", lambda _: turn)
