"""
The laws of money, by what the contract says and does alone; the model is not asked.

L{Sums} adds up the contract's events and the values of the calls.  After every step:

  - L1, of each (user, provider): paid + balance + pending refund
    = deposits - withdrawn refunds.
  - L1, of the contract: native balance = all balances + pending refunds + earnings
    + stakes + what was forced upon it; so it is never less than what it owes.
  - Of each provider: all that was paid to it = earnings + withdrawn earnings;
    its stakes paid in = its stake + its stakes paid out.
  - L12, of each settlement: a wallet loses what its vouchers' events say was paid (K3),
    which is at most their fees (K2), and its pending refund only once its balance is
    empty (K1); nobody else loses anything, and nothing but the providers' earnings grows.
  - Nonces only rise.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any

from attrs import define, field

from tests.evm.actors import PAIRS, PROVIDERS, say
from tests.evm.reading import Facts
from tests.evm.subject import ABI, Broken, Step


SETTLING = ("settleFeesWithTEE", "settleBatch")

Pair = tuple[bytes, bytes]


def held(facts: Facts, pair: Pair) -> int:
    """Balance and pending refund of a (user, provider), neuron."""
    balance, pending, _ = facts["getBalance", *pair]
    return int(balance + pending)


def owed(facts: Facts) -> int:
    """Everything that belongs to anybody, neuron."""
    total = sum(held(facts, pair) for pair in PAIRS)
    for provider in PROVIDERS:
        total += facts["providerEarnings", provider] + facts["providerStakes", provider]
    return total


@define
class Sums:
    """
    Running sums since deployment, neuron.

    @ivar deposited: By (user, provider), as are the next two.
    @ivar withdrawn: Refunds.
    @ivar paid: By vouchers.
    @ivar cashed: Earnings withdrawn, by provider, as are the next two.
    @ivar staked: Paid in.
    @ivar unstaked: Paid out.
    @ivar forced: What no function took.
    """

    deposited: Counter[Pair] = field(factory=Counter)
    withdrawn: Counter[Pair] = field(factory=Counter)
    paid: Counter[Pair] = field(factory=Counter)
    cashed: Counter[bytes] = field(factory=Counter)
    staked: Counter[bytes] = field(factory=Counter)
    unstaked: Counter[bytes] = field(factory=Counter)
    forced: int = 0

    def copy(self) -> Sums:
        """The same sums, to be gone on with."""
        return deepcopy(self)

    def add(self, step: Step) -> Counter[Pair]:
        """
        Add up what a step did.

        @return: What vouchers were paid in it, by (user, provider).
        @raise Broken: An event is unknown, or does not add up in itself.
        """
        paid: Counter[Pair] = Counter()
        short: dict[tuple[Any, ...], int] = {}
        for log in step.result.logs:
            try:
                name, values = ABI.read_event(log)
            except KeyError as unknown:
                raise Broken("events are known", str(unknown)) from unknown
            if name == "Deposited":
                self.deposited[values[0], values[1]] += values[3]
            elif name == "RefundWithdrawn":
                self.withdrawn[values[0], values[1]] += values[2]
            elif name == "EarningsWithdrawn":
                self.cashed[values[0]] += values[1]
            elif name == "ProviderLeft":
                self.unstaked[values[0]] += values[1]
            elif name == "VoucherShortfall":
                user, provider, nonce, some, rest = values
                short[user, provider, nonce, some + rest] = some
            elif name == "VoucherSettled":
                user, provider, fee, _, nonce, status = values
                some = fee if status == 0 else short.get((user, provider, nonce, fee))
                if some is None:
                    raise Broken("K3: a shortfall says what was paid", say(values))
                paid[user, provider] += some
        if step.result.succeeded and step.message.call.name == "addOrUpdateService":
            self.staked[step.message.sender] += step.message.value
        self.paid.update(paid)
        return paid

    def check(self, facts: Facts, holdings: int) -> None:
        """
        L1 on all that there is.

        @param holdings: The contract's native balance.
        @raise Broken: A sum is wrong.
        """
        total = owed(facts) + self.forced
        if holdings < total:
            raise Broken("L1: the native balance covers what is owed", f"{total - holdings} short")
        if holdings > total:
            raise Broken("L1: all money belongs to somebody", f"{holdings - total} to nobody")
        for pair in PAIRS:
            there = self.deposited[pair] - self.withdrawn[pair] - self.paid[pair]
            if held(facts, pair) != there:
                raise Broken(
                    "L1: deposits are paid out, earned or still there",
                    f"{say(pair)}: {held(facts, pair)} instead of {there}",
                )
        for who in PROVIDERS:
            earned = sum(paid for (_, provider), paid in self.paid.items() if provider == who)
            if facts["providerEarnings", who] + self.cashed[who] != earned:
                raise Broken("L1: a provider earns what was paid", f"{say(who)}: {earned}")
            if facts["providerStakes", who] + self.unstaked[who] != self.staked[who]:
                raise Broken("L1: a stake is there or paid back", say(who))


def check_step(step: Step, paid: Counter[Pair], before: Facts, after: Facts) -> None:
    """
    L12 and the nonces.

    @param paid: What vouchers were paid in the step.
    @raise Broken: One does not hold.
    """
    settling = step.message.call.name in SETTLING and step.result.succeeded
    fees = _fees(step) if settling else Counter()
    for pair in PAIRS:
        nonce, last = after["getLastNonce", *pair], before["getLastNonce", *pair]
        if nonce < last or (nonce != last and not settling):
            raise Broken("nonces only rise, by settling", f"{say(pair)}: {last} to {nonce}")
        if not settling:
            continue
        lost = held(before, pair) - held(after, pair)
        if lost != paid[pair]:
            raise Broken("K3: events say what was paid", f"{say(pair)}: {lost}, not {paid[pair]}")
        if lost > fees[pair]:
            raise Broken("K2: nobody pays more than the fee", f"{say(pair)}: {lost}")
        (_, pending, _), (balance, rest, _) = (
            before["getBalance", *pair],
            after["getBalance", *pair],
        )
        if rest > pending or (rest < pending and balance):
            raise Broken("K1: the balance pays first", f"{say(pair)}: {pending} to {rest}")
        if paid[pair] < fees[pair] and held(after, pair):
            raise Broken("K2: who can pay does", f"{say(pair)} kept {held(after, pair)}")


def _fees(step: Step) -> Counter[Pair]:
    """What was asked by vouchers that were not refused, by their statuses."""
    (statuses,) = ABI.returned(step.message.call.name, step.result.output)
    arguments = step.message.call.arguments
    batch = step.message.call.name == "settleBatch"
    fees: Counter[Pair] = Counter()
    for claim, status in zip(arguments[1] if batch else arguments[0], statuses, strict=False):
        if status in (0, 1):
            fees[claim.user, arguments[0] if batch else claim.provider] += claim.fee
    return fees
