"""B14: settings that are wrong are silently something else."""

from __future__ import annotations

from typing import Any

from sandbox_billing.configuration import SETTINGS
from sandbox_billing.errors import BadInput, WrongEnvFile
from sandbox_billing.ledger.rating import Prices, RateCard
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


COMMAND_LINE = "tests.test_configuration.CommandLineTests."
ADMISSION = "sandbox_billing.services.admission."


class DaemonTests(TrapCase):
    """What the daemon is told."""

    @noticed_by(COMMAND_LINE + "test_all_at_once")
    def test_unknown_name(self) -> Patches:
        """A setting of a name that nobody reads is passed over, and the default applies."""

        def lenient(original: Any) -> Any:
            def read_env_file(text: str) -> dict[str, str]:
                try:
                    return dict(original(text))
                except WrongEnvFile as why:
                    return dict(why.settings)

            return read_env_file

        return Patch("sandbox_billing.tap.read_env_file", lenient)

    @noticed_by(COMMAND_LINE + "test_interval_and_prices")
    def test_invalid(self) -> Patches:
        """An interval of 0 or a price below it is silently the default."""

        def lenient(original: Any) -> Any:
            def read(environment: Any, **how: Any) -> Any:
                good = dict(environment)
                for setting in SETTINGS:
                    try:
                        setting.parse(good.get(setting.name, ""))
                    except BadInput:
                        good.pop(setting.name, None)
                return original(good, **how)

            return read

        return Patch("sandbox_billing.tap.read_configuration", lenient)

    @noticed_by(
        "tests.services.test_unpriced.UnpricedTests.test_price_0",
        "tests.services.test_unpriced.UnpricedTests.test_only_a_fee",
    )
    def test_price_0(self) -> Patches:
        """A price of 0 is a price."""
        return Patch(ADMISSION + "rate_of", lambda _: lambda card, resources: 0)

    @noticed_by("tests.services.test_generator.GeneratorTests.test_interval")
    def test_not_the_chain_s(self) -> Patches:
        """What the environment says is charged, whatever stands on chain."""

        def ours(original: Any) -> Any:
            def card(chain: Prices, environment: Prices, version: int) -> RateCard:
                return RateCard(prices=environment, signer_version=version)

            return card

        return Patch(ADMISSION + "card_in_force", ours)
