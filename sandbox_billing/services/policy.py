"""The operator's settings that money decisions rest on."""

from __future__ import annotations

from attrs import field, frozen

from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.tariff import Tariff, as_tariff


NO_LOSS = Neuron(0)


_NOTHING = Neuron(0)

WARN_BEFORE = (86_400, 3_600, 600)
"""WARN_BEFORE_SEC where nobody says otherwise."""


@frozen(kw_only=True)
class Policy:
    """
    Durations are seconds unless named otherwise, amounts neuron; wire.md §8 has the
    variable of each.

    @ivar provider: Ours.
    @ivar tariff: The environment's prices, used while the chain carries none; given as
        C{prices}.
    @ivar sweep_max_age: While the last complete sweep is older, nothing new is let in.
    @ivar warn_before: At so much running time left a wallet is told, the longest first.
    @ivar lock_time: LOCK_TIME() of the contract: how long a refund is held.
    """

    provider: Address
    tariff: Tariff = field(alias="prices", converter=as_tariff)
    lock_time: int
    voucher_interval: int
    stop_delay: int
    loss_cap: Neuron
    max_sandboxes: int
    max_disk_gib: int
    deadman_minutes: int
    mirror_max_age: int
    ack_grace: int
    confirmations: int
    start_block: int | None
    log_range: int
    batch_max: int
    batch_wait: int
    max_in_flight: int
    settle_min: Neuron
    settle_max_age: int
    gas_floor: Neuron = _NOTHING
    forgive_debts: bool = False
    allow_resize: bool = False
    refund_loss: Neuron = NO_LOSS
    sweep_max_age: int = 120
    warn_before: tuple[int, ...] = WARN_BEFORE

    lifecycle_per_hour: int = 60
    stop_grace: int = 0

    @property
    def prices(self) -> Prices:
        """The environment's, as they are now."""
        return self.tariff.prices

    @property
    def max_rows(self) -> int:
        """Sandboxes of a wallet, running or not: those that do not run cost it nothing."""
        return 10 * self.max_sandboxes
