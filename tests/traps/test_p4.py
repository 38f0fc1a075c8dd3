"""P4: timers slip through, and what they end is billed on."""

from __future__ import annotations

from typing import Any

from sandbox_billing.web._routes import REST
from sandbox_billing.web.payloads import CreateWish
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


SANDBOXES = "tests.web.test_sandboxes.LifecycleTests."


class WebTests(TrapCase):
    """Whose timers are."""

    @noticed_by(SANDBOXES + "test_create_rebuilds_the_body")
    def test_all_of_the_body(self) -> Patches:
        """A create goes on as it came, but for one field in the wrong spelling."""

        def passed(original: Any) -> Any:
            def read(body: Any, **how: Any) -> CreateWish:
                kept = {name: value for name, value in body.items() if name != "autostopInterval"}
                return CreateWish(body=kept, auto_stop_minutes=None, ignored=())

            return read

        return Patch("sandbox_billing.web.sandboxes.read_create", passed)

    @noticed_by("tests.web.test_payloads.CreateTests.test_strangers_are_refused")
    def test_odd_spelling(self) -> Patches:
        """What is written almost like a timer of Daytona's is passed over in silence."""
        return Patch(
            "sandbox_billing.web.payloads._drop_empty", lambda _: lambda body, allowed, **how: None
        )

    @noticed_by(SANDBOXES + "test_intervals_are_not_the_users")
    def test_without_a_number(self) -> Patches:
        """C{/autostop} is closed, and C{/autostop/5} is another route."""

        def exact(original: Any) -> Any:
            def fits(route: Any, path: Any) -> bool:
                longer = route.segments[-1] == REST and len(path) >= len(route.segments)
                return original(route, path) and not longer

            return fits

        return Patch("sandbox_billing.web._routes.Route.fits", exact)


class DaemonTests(TrapCase):
    """What a timer ended."""

    @noticed_by("tests.services.test_generator.GeneratorTests.test_self_stop")
    def test_billed_on(self) -> Patches:
        """That Daytona shows it stopped is not taken for its end."""
        return Patch(
            "sandbox_billing.ledger.reconciliation.has_ended",
            lambda _: lambda state, desired: False,
        )
