"""B9: a stop that failed is taken for one that happened."""

from __future__ import annotations

from typing import Any

from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


STOPPER = "tests.services.test_stopper.StopperTests."


class DaemonTests(TrapCase):
    """Stop orders."""

    @noticed_by(
        STOPPER + "test_charged_until_it_stopped",
        STOPPER + "test_creating",
    )
    def test_error_ignored(self) -> Patches:
        """A stop's error is only logged, then meter and order are ended."""

        def ignoring(original: Any) -> Any:
            async def _stop(stopper: Any, order: Any) -> None:
                try:
                    await original(stopper, order)
                except (Refused, Transient, UnknownOutcome):
                    await stopper.closer.not_running(order.sandbox, destroyed=False)
                    await stopper.stops.done(order)

            return _stop

        return Patch("sandbox_billing.services.stopper.Stopper._stop", ignoring)
