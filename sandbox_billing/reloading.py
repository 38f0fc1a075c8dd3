"""
SIGHUP: the settings are read again, and what can change while we run does.

Only the prices can: they count while the chain has none, and what runs is brought to them
from that moment on (L{sandbox_billing.services.repricer}).  Anything else that has changed
is named and waits for a restart.  Settings that are wrong change nothing.

Tests: C{tests.test_reloading}, C{tests.systemd.test_units}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from attrs import define
from twisted.logger import Logger

from sandbox_billing.adapters.system import SystemClock
from sandbox_billing.applied import prices_of
from sandbox_billing.configuration import SETTINGS, Configuration
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.interfaces import IWallClock
from sandbox_billing.ledger.tariff import Tariff
from sandbox_billing.notify import ALL_RELOADED, Pulse


RELOADED = frozenset({"COMPUTE_PRICE_PER_SEC", "CREATE_FEE"})
"""What a reload applies."""


@define(eq=False, kw_only=True)
class Reloader:
    """
    @ivar read: Reads the settings from where they came.
    @ivar applied: Those in force; of what waits for a restart, those before.
    @ivar tariff: Where everybody who rates finds the prices.
    @ivar pulse: Where systemd is told; None where nobody listens.
    """

    _log: ClassVar[Logger] = Logger()

    read: Callable[[], Configuration]
    applied: Configuration
    tariff: Tariff
    wall: IWallClock
    pulse: Pulse | None = None

    def reload(self) -> None:
        """Take over what can be taken over; never fails."""
        if self.pulse is not None:
            self.pulse.reloading()
        told = self._reload()
        if self.pulse is not None:
            self.pulse.reloaded(told)

    def _reload(self) -> str:
        try:
            fresh = self.read()
        except ConfigurationError as why:
            self._log.error(
                "the settings were not reloaded, and nothing changed: {why}", why=str(why)
            )
            return "the settings were not reloaded: they are wrong"
        # The chain's prices come with its events; one that was missed is found by looking.
        self.tariff.read_again = True
        waiting = changed(self.applied, fresh) - RELOADED
        if waiting:
            self._log.warn(
                "what has changed and waits for a restart: {settings}",
                settings=", ".join(sorted(waiting)),
            )
        prices = prices_of(fresh)
        if prices == self.tariff.prices:
            self._log.info("the settings were reloaded: the prices are as they were")
        else:
            # Rounded up: no second that has begun is at the new price.
            since = self.wall.after()
            self.tariff.change(prices, since)
            self._log.info(
                "from {at} on, while the chain has no prices: {rate} neuron a minute, {fee} for a"
                " create",
                at=since,
                rate=str(60 * prices.flat_per_second),
                fee=str(prices.create_fee),
            )
        return (
            f"reloaded; waiting for a restart: {len(waiting)} settings" if waiting else ALL_RELOADED
        )


def make_reload(
    *,
    read: Callable[[], Configuration],
    applied: Configuration,
    tariff: Tariff,
    pulse: Pulse | None,
) -> Callable[[], None]:
    """What is called at SIGHUP; for the parameters see L{Reloader}."""
    wall = SystemClock()
    return Reloader(read=read, applied=applied, tariff=tariff, wall=wall, pulse=pulse).reload


def changed(before: Configuration, after: Configuration) -> frozenset[str]:
    """The names of the settings that differ."""
    return frozenset(
        one.name
        for one in SETTINGS
        if one.attribute and getattr(before, one.attribute) != getattr(after, one.attribute)
    )
