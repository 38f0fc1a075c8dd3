"""SIGHUP: what is taken over, what waits, and what changes nothing."""

from __future__ import annotations

from attrs import evolve
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.applied import prices_of
from sandbox_billing.configuration import Configuration
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.tariff import Tariff
from sandbox_billing.reloading import Reloader
from tests.test_startup import CONFIGURATION
from tests.web.world import FixedWall


class ReloaderTests(SynchronousTestCase):
    """L{Reloader}."""

    def setUp(self) -> None:
        self.tariff = Tariff(prices_of(CONFIGURATION), since=UnixSeconds(5))
        self.fresh: Configuration | ConfigurationError = CONFIGURATION
        self.wall = FixedWall()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def reload(self, fresh: Configuration | ConfigurationError) -> list[tuple[str, str]]:
        """
        @return: Level and form of what it logs.
        """

        def read() -> Configuration:
            if isinstance(fresh, ConfigurationError):
                raise fresh
            return fresh

        self.events.clear()
        Reloader(read=read, applied=CONFIGURATION, tariff=self.tariff, wall=self.wall).reload()
        ours = [one for one in self.events if "reloading" in str(one.get("log_namespace"))]
        return [(one["log_level"].name, one["log_format"].partition(":")[0]) for one in ours]

    def test_prices(self) -> None:
        """New prices count from the next second on, for everybody who holds the tariff."""
        fresh = evolve(CONFIGURATION, compute_price=Neuron(5), create_fee=Neuron(6))
        ((level, form),) = self.reload(fresh)
        self.assertEqual((level, form), ("info", "from {at} on, while the chain has no prices"))
        self.assertEqual(self.tariff.prices, prices_of(fresh))
        self.assertEqual(self.tariff.since, self.wall.after())
        self.assertTrue(self.tariff.read_again)

    def test_fee_alone(self) -> None:
        """A new fee leaves what runs alone: what is still to be split is split where it was due."""
        fresh = evolve(CONFIGURATION, create_fee=Neuron(6))
        self.reload(fresh)
        self.assertEqual(self.events[0]["at"], self.wall.after())
        self.assertEqual((self.tariff.prices, self.tariff.since), (prices_of(fresh), 5))

    def test_same(self) -> None:
        """Nothing new is no change of prices; the chain is read again all the same."""
        self.assertEqual(
            self.reload(CONFIGURATION),
            [("info", "the settings were reloaded")],
        )
        self.assertEqual(self.tariff.since, 5)
        self.assertTrue(self.tariff.read_again)

    def test_restart_needed(self) -> None:
        """Whatever else has changed is named, by its variable and without its value."""
        fresh = evolve(CONFIGURATION, batch_max=7, daytona_admin_key="another secret")
        told = self.reload(fresh)
        self.assertEqual(told[0], ("warn", "what has changed and waits for a restart"))
        event = self.events[0]
        self.assertEqual(event["settings"], "BATCH_MAX, DAYTONA_ADMIN_KEY")
        self.assertNotIn("another secret", repr(event))

    def test_wrong(self) -> None:
        """Settings that are wrong change nothing and say what is wrong."""
        wrong = ConfigurationError.of("the settings are wrong", ["PORT must be a number"])
        ((level, form),) = self.reload(wrong)
        self.assertEqual(
            (level, form), ("error", "the settings were not reloaded, and nothing changed")
        )
        self.assertIn("PORT must be a number", self.events[0]["why"])
        self.assertEqual(self.tariff.since, 5)
        self.assertFalse(self.tariff.read_again)
