"""K21: a change of price voids every acknowledgement, and what is queued is never paid."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


DRAIN = "tests.services.test_pause.DrainTests."
LEFT = "sandbox_billing.services.backlog.what_is_left"


class DaemonTests(TrapCase):
    """The drain before a change."""

    @noticed_by(DRAIN + "test_price_change")
    def test_running_is_not_charged(self) -> Patches:
        """Sandboxes that run are not charged up to the pause."""

        def blind(original: Any) -> Any:
            async def turn(generator: Any) -> None:
                class Doors:
                    """Of no pause."""

                    def __getattr__(self, name: str) -> Any:
                        return getattr(generator.doors, name)

                    async def door_state(self) -> Any:
                        return evolve(await generator.doors.door_state(), pause=None)

                await original(evolve(generator, doors=Doors()))

            return turn

        return Patch("sandbox_billing.services.generator.Generator.turn", blind)

    @noticed_by(DRAIN + "test_let_in_before")
    def test_running_is_not_waited_for(self) -> Patches:
        """A drain is over while sessions are uncharged."""

        def hasty(original: Any) -> Any:
            def left(*about: Any, **how: Any) -> Any:
                return evolve(original(*about, **how), intents=0, sessions=0)

            return left

        return Patch(LEFT, hasty)

    @noticed_by("tests.services.test_pause.DoorsTests.test_kept_out")
    def test_doors_stay_open(self) -> Patches:
        """A pause lets new sandboxes in."""

        async def check_open(admission: Any) -> Any:
            """What is read, and nothing of it minded."""
            return await admission.doors.door_state()

        def reserving(original: Any) -> Any:
            async def reserve(doors: Any, intent: Any, funds: Any, **how: Any) -> Any:
                return await original(doors, intent, funds, while_paused=True)

            return reserve

        return [
            Patch("sandbox_billing.services.admission.Admission.check_open", lambda _: check_open),
            Patch("sandbox_billing.adapters.redis.doors.RedisDoors.reserve", reserving),
        ]
