"""S11: stop orders are dropped, or wait for each other."""

from __future__ import annotations

from typing import Any

from sandbox_billing.services.stopper import PARALLEL
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """Many at once."""

    @noticed_by("tests.services.test_stopper.StopperTests.test_many")
    def test_one_by_one(self) -> Patches:
        """Each waits until the one before it is carried out."""

        async def turn(stopper: Any) -> None:
            for order in await stopper.stops.due(stopper.wall.now(), PARALLEL):
                await stopper._carry_out(order.sandbox)

        return Patch("sandbox_billing.services.stopper.Stopper.turn", lambda _: turn)

    @noticed_by(
        "tests.services.test_treasurer.RunningDryTests.test_all_its_sandboxes",
        "tests.adapters.test_memory_ports.MemoryFundsTests.test_block",
    )
    def test_full(self) -> Patches:
        """Orders go through a channel, and what finds it full is dropped."""

        def narrow(original: Any) -> Any:
            def order_stop(draft: Any, *about: Any) -> None:
                if not any(step.key == draft.keys.stops() for step in draft._writes):
                    original(draft, *about)

            return order_stop

        return Patch("sandbox_billing.adapters.redis.draft.Draft.order_stop", narrow)
