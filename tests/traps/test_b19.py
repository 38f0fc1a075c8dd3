"""B19: prices are read once, a blip falls back to local ones, and rounding eats the rest."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.account import ServiceRecord
from sandbox_billing.ledger.rating import Prices, RateCard
from tests.fixtures import SIGNER
from tests.services.lives import PROVIDER
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


ADMISSION = "sandbox_billing.services.admission."


class DaemonTests(TrapCase):
    """What is charged for a second."""

    @noticed_by("tests.services.test_watcher.ReactionTests.test_acknowledged_in_time")
    def test_read_once(self) -> Patches:
        """The first price that was read stays, whatever the chain says later."""

        def once(original: Any) -> Any:
            read: list[RateCard] = []

            def card(chain: Prices, environment: Prices, version: int) -> RateCard:
                read.append(original(chain, environment, version))
                return evolve(read[0], signer_version=version)

            return card

        return Patch(ADMISSION + "card_in_force", once)

    @noticed_by("tests.services.test_admission.ReadyTests.test_unregistered")
    def test_local_prices(self) -> Patches:
        """Where the chain's price cannot be had, the local one is taken."""

        def local(original: Any) -> Any:
            async def _known(admission: Any) -> Any:
                mirror = await admission.doors.mirror()
                if mirror.value.service is not None:
                    return mirror
                service = ServiceRecord(
                    provider=PROVIDER,
                    signer=SIGNER.address,
                    prices=Prices(),
                    signer_version=1,
                    url="",
                )
                return evolve(mirror, value=evolve(mirror.value, service=service))

            return _known

        return Patch(ADMISSION + "Admission._known", local)

    @noticed_by(
        "tests.services.test_generator.GeneratorTests.test_odd_rate",
    )
    def test_truncated(self) -> Patches:
        """A rate a minute is divided by 60 before it is multiplied: 59 becomes 0."""
        return Patch(
            "sandbox_billing.ledger.metering.period_amount",
            lambda _: lambda rate, began, start, until: rate // 60 * (until - start),
        )
