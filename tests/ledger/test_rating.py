"""Prices: metamorphic laws for the amounts, examples for the price list."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import (
    Prices,
    RateCard,
    amount_at,
    card_in_force,
    cost_of,
    period_amount,
    rate_of,
    used_up_at,
)
from sandbox_billing.ledger.resources import Resources
from tests.strategies import durations, moments, prices, rate_cards, rates, resources, versions


class AmountTests(SynchronousTestCase):
    """What a run costs by a moment."""

    @given(rates(), moments(), durations(), st.lists(durations(), max_size=8))
    def test_additive(
        self, rate: NeuronPerMinute, start: int, length: int, cuts: list[int]
    ) -> None:
        """Any split of a run costs the same to the neuron."""
        points = sorted({start, start + length, *(start + cut for cut in cuts if cut < length)})
        parts = [period_amount(rate, start, a, b) for a, b in pairwise(points)]
        self.assertEqual(rate * length // 60, sum(parts))

    @given(rates(), rates(), moments(), durations(), durations())
    def test_monotone(
        self, rate: NeuronPerMinute, more: int, start: int, length: int, longer: int
    ) -> None:
        """Longer never costs less, and neither does a higher price."""
        amount = amount_at(rate, start, start + length)
        self.assertLessEqual(amount, amount_at(rate, start, start + length + longer))
        higher = NeuronPerMinute(rate + more)
        self.assertLessEqual(amount, amount_at(higher, start, start + length))

    @given(rates(), moments(), durations())
    def test_zero_at_zero(self, rate: NeuronPerMinute, start: int, length: int) -> None:
        """No time costs nothing, and neither does any time without a price."""
        self.assertEqual(0, amount_at(rate, start, start))
        self.assertEqual(0, period_amount(rate, start, start + length, start + length))
        self.assertEqual(0, amount_at(NeuronPerMinute(0), start, start + length))

    @given(rates(), moments(), st.integers(0, 10**5))
    def test_whole_minutes(self, rate: NeuronPerMinute, start: int, minutes: int) -> None:
        """B19: whole minutes cost exactly rate x minutes, however small the rate."""
        self.assertEqual(rate * minutes, amount_at(rate, start, start + 60 * minutes))

    def test_before_the_start(self) -> None:
        """Nothing is rated before the start, not even as zero."""
        self.assertRaises(BadInput, amount_at, NeuronPerMinute(60), 100, 99)
        self.assertRaises(BadInput, period_amount, NeuronPerMinute(60), 100, 99, 101)

    @given(rates(), moments(), durations())
    def test_cost_of(self, rate: NeuronPerMinute, start: int, length: int) -> None:
        """A hold covers what is charged later and is less than one neuron above it."""
        over = cost_of(rate, length) - amount_at(rate, start, start + length)
        self.assertEqual(0 if rate * length % 60 == 0 else 1, over)


class UsedUpAtTests(SynchronousTestCase):
    """How long what is left lasts for all that runs."""

    @given(
        st.lists(st.tuples(rates(), durations(), durations()), min_size=1, max_size=5),
        st.integers(0, 10**20) | st.integers(0, 10**5),
    )
    def test_charges_fit(self, runs: list[tuple[NeuronPerMinute, int, int]], spare: int) -> None:
        """Whatever the seconds were rounded to: all that is charged until then is covered."""
        now = UnixSeconds(10**9)
        running = [(rate, now - since) for rate, since, _ in runs]
        left = spare - sum(rate * since // 60 for rate, since, _ in runs)
        at = used_up_at(left, running, now)
        if at <= now:
            return
        charged = sum(
            period_amount(rate, now - since - before, now - since, at)
            for rate, since, before in runs
        )
        self.assertLessEqual(charged, spare)

    def test_to_the_second(self) -> None:
        """One run: until the last neuron is gone."""
        now = UnixSeconds(100)
        self.assertEqual(110, used_up_at(10, [(NeuronPerMinute(60), 0)], now))
        self.assertEqual(119, used_up_at(10, [(NeuronPerMinute(30), 99)], now))
        self.assertEqual(90, used_up_at(-10, [(NeuronPerMinute(60), 0)], now))

    def test_each_rounds_by_itself(self) -> None:
        """Three runs of two thirds of a neuron a second had one more between them than was left."""
        now = UnixSeconds(100)
        running = [(NeuronPerMinute(40), 99)] * 3
        self.assertEqual(100, used_up_at(2, running, now))

    @given(st.lists(st.tuples(rates(), durations()), min_size=1), st.integers(0, 10**5))
    def test_nothing_is_gone_yet(self, runs: list[tuple[NeuronPerMinute, int]], left: int) -> None:
        """While a neuron or none is left, it is not used up before now."""
        now = UnixSeconds(10**9)
        running = [(rate, now - since) for rate, since in runs]
        self.assertGreaterEqual(used_up_at(left, running, now), now)


class CardInForceTests(SynchronousTestCase):
    """wire.md §8: the chain's prices win, the environment's stand in."""

    environment = Prices(flat_per_second=Neuron(16_667), create_fee=Neuron(5_000_000))

    def test_chain(self) -> None:
        """A chain record with either price wins as a whole: without a fee, creating is free."""
        for chain in (
            Prices(per_cpu_per_minute=Neuron(7)),
            Prices(per_memory_gib_per_minute=Neuron(7)),
            Prices(per_cpu_per_minute=Neuron(7), create_fee=Neuron(3)),
        ):
            with self.subTest(chain=chain):
                card = card_in_force(chain, self.environment, 4)
                self.assertEqual(RateCard(prices=chain, signer_version=4), card)

    def test_environment(self) -> None:
        """While the chain carries no price the environment's stand in."""
        card = card_in_force(Prices(), self.environment, 1)
        self.assertEqual(RateCard(prices=self.environment, signer_version=1), card)

    def test_only_a_fee_on_chain(self) -> None:
        """A fee on chain wins even where the price is the environment's."""
        card = card_in_force(Prices(create_fee=Neuron(3)), self.environment, 1)
        self.assertEqual((16_667, 3), (card.prices.flat_per_second, card.prices.create_fee))

    @given(prices(), prices(), versions())
    def test_one_source(self, chain: Prices, environment: Prices, version: int) -> None:
        """By size and flat never mix, and the version is the chain's."""
        card = card_in_force(chain, environment, version)
        self.assertEqual(chain.by_size, card.prices.by_size)
        if not chain.by_size:
            self.assertEqual(environment.flat_per_second, card.prices.flat_per_second)
        self.assertEqual(version, card.signer_version)


class RateOfTests(SynchronousTestCase):
    """What a size costs, or why it is not sold."""

    by_size = RateCard(
        prices=Prices(per_cpu_per_minute=Neuron(100), per_memory_gib_per_minute=Neuron(7)),
        signer_version=1,
    )
    flat = RateCard(prices=Prices(flat_per_second=Neuron(16_667)), signer_version=1)

    def test_by_size(self) -> None:
        """Cores and memory each have their price; disk is included."""
        size = Resources(cpu=2, memory_gib=4, disk_gib=10)
        self.assertEqual(228, rate_of(self.by_size, size))

    def test_flat(self) -> None:
        """A price per second is sixty times that a minute, whatever the size."""
        for size in (Resources(), Resources(cpu=9, memory_gib=9)):
            self.assertEqual(1_000_020, rate_of(self.flat, size))

    def test_gpu(self) -> None:
        """P9: what has no price is refused."""
        why = self.assertRaises(Refused, rate_of, self.flat, Resources(gpu=1))
        self.assertEqual("sandboxes with a gpu are not offered: it has no price yet", why.text)

    def test_free(self) -> None:
        """B21: no price, and no size that costs nothing, is ever a rate of 0."""
        free = RateCard(prices=Prices(create_fee=Neuron(5)), signer_version=1)
        nothing = Resources(cpu=0, memory_gib=0)
        for card, size in ((free, Resources()), (self.by_size, nothing)):
            why = self.assertRaises(Refused, rate_of, card, size)
            self.assertEqual("this provider has no price for such a sandbox", why.text)

    @given(rate_cards(), resources(gpus=1), st.integers(0, 8), st.integers(0, 8))
    def test_bigger(self, card: RateCard, size: Resources, cpu: int, memory: int) -> None:
        """A bigger machine never costs less, and no machine is free."""
        try:
            rate = rate_of(card, size)
        except Refused:
            return
        self.assertGreater(rate, 0)
        bigger = Resources(
            cpu=size.cpu + cpu, memory_gib=size.memory_gib + memory, disk_gib=size.disk_gib
        )
        self.assertGreaterEqual(rate_of(card, bigger), rate)
