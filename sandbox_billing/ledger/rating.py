"""
The price list and its application.

A period costs the difference of two points on one line, C{amount_at}, so that
any split of a run costs the same to the neuron (design.md, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron
from sandbox_billing.ledger.resources import Resources


@frozen(kw_only=True)
class Prices:
    """
    The prices that one source names: the chain's service record, or the environment.

    @ivar per_cpu_per_minute: neuron; 0 where the source has none.
    @ivar per_memory_gib_per_minute: neuron; 0 where the source has none.
    @ivar flat_per_second: neuron for any size; only the environment has it.
    @ivar create_fee: neuron, once per sandbox.
    """

    per_cpu_per_minute: Neuron = Neuron(0)
    per_memory_gib_per_minute: Neuron = Neuron(0)
    flat_per_second: Neuron = Neuron(0)
    create_fee: Neuron = Neuron(0)

    @property
    def by_size(self) -> bool:
        """Whether the size of a sandbox is priced."""
        return self.per_cpu_per_minute > 0 or self.per_memory_gib_per_minute > 0


@frozen(kw_only=True)
class RateCard:
    """
    The price list in force.

    @ivar prices: What is applied.
    @ivar signer_version: The version of the on-chain record that a wallet
        acknowledges together with these prices.
    """

    prices: Prices
    signer_version: int


def card_in_force(chain: Prices, environment: Prices, signer_version: int) -> RateCard:
    """
    The chain's prices win; the environment's stand in while the chain carries none (wire.md §8).

    A chain record with prices by size and no create fee means that creating is free.
    """
    if chain.by_size:
        return RateCard(prices=chain, signer_version=signer_version)
    fee = chain.create_fee or environment.create_fee
    prices = Prices(flat_per_second=environment.flat_per_second, create_fee=fee)
    return RateCard(prices=prices, signer_version=signer_version)


def rate_of(card: RateCard, resources: Resources) -> NeuronPerMinute:
    """
    What a sandbox of this size costs while it runs.

    @raise Refused: It has a part without a price, or would run free (P9, B21).
    """
    if resources.gpu > 0:
        raise Refused("sandboxes with a gpu are not offered: it has no price yet")
    prices = card.prices
    if prices.by_size:
        rate = (
            resources.cpu * prices.per_cpu_per_minute
            + resources.memory_gib * prices.per_memory_gib_per_minute
        )
    else:
        rate = 60 * prices.flat_per_second
    if rate <= 0:
        raise Refused("this provider has no price for such a sandbox")
    return NeuronPerMinute(rate)


def amount_at(rate: NeuronPerMinute, started_at: int, moment: int) -> Neuron:
    """
    What a run has cost by a moment, rounded down once.

    @param rate: neuron per minute.
    @param started_at: When the run began, unix seconds.
    @param moment: unix seconds, not before the start.
    @raise BadInput: The moment lies before the start.
    """
    if moment < started_at:
        raise BadInput(f"nothing is rated before the start: {moment} < {started_at}")
    return neuron(rate * (moment - started_at) // 60)


def period_amount(rate: NeuronPerMinute, started_at: int, start: int, until: int) -> Neuron:
    """What C{[start, until)} of a run costs; additive over any split."""
    return neuron(amount_at(rate, started_at, until) - amount_at(rate, started_at, start))


def cost_of(rate: NeuronPerMinute, seconds: int) -> Neuron:
    """What so many seconds cost at most: rounded up, for holds and limits, never for charges."""
    return neuron(-(-rate * seconds // 60))


def used_up_at(
    left: int, running: Sequence[tuple[NeuronPerMinute, int]], now: UnixSeconds
) -> UnixSeconds:
    """
    The last second at which what has accrued since C{now} surely fits into what is left.

    Each run is rounded by itself, when it is charged: all of them together may come to a neuron
    more for each but one than the sum of their rates tells.

    @param left: neuron, less what accrued until C{now}, each run rounded down; negative when
        more than there was is gone.
    @param running: The rate of each run and until when it was charged, unix seconds; the rates
        do not sum to 0.
    @return: unix seconds; before C{now} only when nothing was left by then.
    """
    rate = sum(each for each, _ in running)
    if left < 0:
        return UnixSeconds(now + left * 60 // rate)
    begun = sum(each * max(0, now - charged_until) % 60 for each, charged_until in running)
    spare = max(0, (left - len(running) + 1) * 60 - begun)
    return UnixSeconds(now + spare // rate)
