"""P8: what belongs to nobody in particular is forwarded with the admin's key."""

from __future__ import annotations

from typing import Any

from sandbox_billing.web._routes import Policy, Route, Who
from sandbox_billing.web.answers import Answer
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class WebTests(TrapCase):
    """Volumes."""

    @noticed_by("tests.web.test_every_route.Crossed.test_outcomes")
    def test_listed(self) -> Patches:
        """Any wallet sees the volumes of all."""

        async def forwarded(asked: Any) -> Answer:
            return Answer(document=[])

        volumes = Route(
            method="GET",
            pattern="/api/volumes",
            who=Who.WALLET,
            policy=Policy.OWN,
            handler=forwarded,
        )
        return Patch(
            "sandbox_billing.web._table.denied_routes",
            lambda original: lambda: (volumes, *original()),
        )

    @noticed_by("tests.web.test_payloads.CreateTests.test_strangers_are_refused")
    def test_mounted(self) -> Patches:
        """A create names the volumes that it mounts, whosever they are."""

        def lenient(original: Any) -> Any:
            return lambda body, allowed, **how: original(body, {*allowed, "volumes"}, **how)

        return Patch("sandbox_billing.web.payloads._drop_empty", lenient)

    @noticed_by("tests.adapters.test_daytona_relay.TargetTests.test_ourselves")
    def test_home(self) -> Patches:
        """The key is sent to our own front door, when that is spelt in another way."""
        return Patch("sandbox_billing.adapters.daytona.relay.host_of", lambda _: lambda url: url)
