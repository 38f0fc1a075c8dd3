"""P6: verbs that start, grow or copy a sandbox pass without a price."""

from __future__ import annotations

from typing import Any

from sandbox_billing.web._routes import Route, Who
from sandbox_billing.web.answers import Answer
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


RECOVER = "tests.services.test_lifecycle.RecoverTests."
RESIZE = "tests.services.test_refitting."


class WebTests(TrapCase):
    """Which verbs there are."""

    @noticed_by("tests.web.test_every_route.Crossed.test_outcomes")
    def test_opened(self) -> Patches:
        """Pause and fork are their owner's, and nothing is set aside for them."""

        async def forwarded(asked: Any) -> Answer:
            return Answer(document={})

        opened = tuple(
            Route(
                method="POST",
                pattern=f"/api/sandbox/{{id}}/{verb}",
                who=Who.OWNER,
                handler=forwarded,
            )
            for verb in ("pause", "fork")
        )
        return Patch(
            "sandbox_billing.web._table.denied_routes",
            lambda original: lambda: (*opened, *original()),
        )


class DaemonTests(TrapCase):
    """What those that there are cost."""

    @noticed_by(RECOVER + "test_metered", RECOVER + "test_cannot_pay")
    def test_recover(self) -> Patches:
        """A recovery runs what failed, and neither money nor a meter is asked for."""

        def free(original: Any) -> Any:
            async def recover(
                starting: Any, owner: Any, id_or_name: str, reference: Any, *, skip_start: bool
            ) -> Any:
                shown = await starting.at.owned(owner, id_or_name)
                return await starting.at.runtime.recover(shown.id, skip_start=skip_start)

            return recover

        return Patch("sandbox_billing.services.starting.Starting.recover", free)

    @noticed_by(RESIZE + "ResizeTests.test_cannot_pay")
    def test_grows(self) -> Patches:
        """A bigger machine is had without the money for it."""

        async def _set_aside(resizing: Any, *about: Any) -> None:
            """Nothing."""

        return Patch("sandbox_billing.services.resizing.Resizing._set_aside", lambda _: _set_aside)

    @noticed_by(RESIZE + "BehindOurBackTests.test_split")
    def test_old_price(self) -> Patches:
        """And runs on at the price of the smaller."""

        async def refit(refitter: Any, change: Any, metered: Any, intents: Any) -> None:
            """Nothing."""

        return Patch("sandbox_billing.services.refitting.Refitter.refit", lambda _: refit)
