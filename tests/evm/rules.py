"""The rules of the state machine: everything that users, providers, owners and strangers do."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.evm.actors import (
    ACME,
    ALICE,
    GREEDY,
    HEIR,
    MISER,
    OWNER,
    PAIRS,
    PROVIDERS,
    ROGUE,
    SIGNERS,
    SINK,
    STRANGER,
    USERS,
)
from tests.evm.claims import OTHER_CHAIN, choose, picks
from tests.evm.model import LOCK, MAX_BALANCE
from tests.evm.model_state import ZERO, Call
from tests.evm.rules_base import Taken, does, steps_of
from tests.evm.rules_settling import Settling
from tests.evm.world import CHAIN_ID


ITSELF = b"the contract itself!"
"""Stands for the address of the contract under test."""

users = st.sampled_from(USERS)
providers = st.sampled_from(PROVIDERS)
receivers = st.sampled_from((SINK, ALICE, GREEDY, GREEDY, MISER, MISER, ZERO, ITSELF))
amounts = st.sampled_from((*(1, 5, 10, 20, 50, 100) * 2, 0, 2**128, "brim", "beyond"))
patience = st.sampled_from(("on time", "on time", "too early", "now"))
"""Whether something with a lock is asked for when it opens, a second before, or right now."""


class Solvency(Settling):
    """Everything that can happen."""

    @rule(step=st.deferred(lambda: steps_of(Solvency)))
    def step(self, step: Taken) -> None:
        """One of the below."""
        step.function(self, **step.drawn)

    # --------------------------------------------------------------------- users

    @does(weight=3, user=users, provider=providers, amount=amounts)
    def deposit(self, user: bytes, provider: bytes, amount: int | str) -> None:
        """A user's own deposit, also of nothing, as much as there is room for, or too much."""
        room = MAX_BALANCE - self.state.account(user, provider).balance
        named = {"brim": room, "beyond": room + 1}
        value = named[amount] if isinstance(amount, str) else amount
        self.do("deposit", user, provider, by=user, value=value)

    @does(pick=picks)
    def overfill(self, pick: int) -> None:
        """One neuron more than there is room for, to an account that has something."""
        rich = [pair for pair in PAIRS if self.state.account(*pair).balance]
        if rich:
            user, provider = rich[pick % len(rich)]
            room = MAX_BALANCE - self.state.account(user, provider).balance
            self.do("deposit", user, provider, by=user, value=room + 1)

    @does(
        user=st.sampled_from((*USERS, ZERO)),
        provider=st.sampled_from((*PROVIDERS, ZERO)),
        amount=st.integers(1, 60),
    )
    def deposit_for_another(self, user: bytes, provider: bytes, amount: int) -> None:
        """Anyone may pay for anyone, but not for nobody."""
        self.do("deposit", user, provider, by=STRANGER, value=amount)

    @does(
        weight=3,
        pick=picks,
        amount=st.sampled_from((0, 1, 5, 20, 60, "all", "all", "all", "too much", "huge")),
    )
    def request_refund(self, pick: int, amount: int | str) -> None:
        """A request, replaced, cancelled or too large."""
        rich = [pair for pair in PAIRS if self.state.account(*pair).balance]
        user, provider = choose(pick, rich, PAIRS)
        account = self.state.account(user, provider)
        everything = account.balance + account.pending
        named = {"all": everything, "too much": everything + 1, "huge": 2**256 - 1}
        wanted = named[amount] if isinstance(amount, str) else min(amount, everything)
        self.do("requestRefund", provider, wanted, by=user)

    @does(weight=2, pick=picks, patience=patience)
    def withdraw_refund(self, pick: int, patience: str) -> None:
        """To oneself, also one who takes no money or calls back."""
        user, provider = self.refund(pick, patience)
        self.do("withdrawRefund", provider, by=user)

    @does(weight=2, pick=picks, receiver=receivers, patience=patience)
    def withdraw_refund_to(self, pick: int, receiver: bytes, patience: str) -> None:
        """To somebody else."""
        user, provider = self.refund(pick, patience)
        self.do("withdrawRefundTo", provider, self.whom(receiver), by=user)

    def refund(self, pick: int, patience: str) -> tuple[bytes, bytes]:
        """A wallet, preferably with a refund to take, now or as soon as it may be."""
        pending = [pair for pair in PAIRS if self.state.account(*pair).pending]
        whose = choose(pick, pending, PAIRS)
        if patience != "now" and not pending:
            whose = choose(
                pick, [pair for pair in PAIRS if self.state.account(*pair).balance], PAIRS
            )
            user, provider = whose
            self.do("requestRefund", provider, self.state.account(*whose).balance, by=user)
        self.travel_to(self.state.account(*whose).unlock_at, patience)
        return whose

    def travel_to(self, lock: int, patience: str) -> None:
        """Wait for a lock, unless it is open."""
        moment = lock - (patience == "too early")
        if moment > self.now and patience != "now":
            self.travel(moment - self.now)

    def whom(self, receiver: bytes) -> bytes:
        """A receiver's address."""
        return self.state.serving if receiver == ITSELF else receiver

    @does(
        weight=2,
        user=users,
        provider=providers,
        acknowledged=st.sampled_from((True, True, True, False)),
    )
    def acknowledge(self, user: bytes, provider: bytes, acknowledged: bool) -> None:
        """A yes or a no."""
        self.do("acknowledgeTEESigner", provider, acknowledged, by=user)

    @does(
        weight=2,
        user=users,
        provider=st.sampled_from((*PROVIDERS, STRANGER)),
        off=st.sampled_from((0, 0, 0, -1, 1, 2**64)),
    )
    def acknowledge_version(self, user: bytes, provider: bytes, off: int) -> None:
        """A yes to a version, which may not be the current one."""
        version = max(0, self.state.provider(provider).version + off)
        self.do("acknowledgeTEESignerVersion", provider, version, by=user)

    @does(weight=3, provider=providers, signer=st.sampled_from(SIGNERS))
    def back_to_business(self, provider: bytes, signer: bytes) -> None:
        """A provider returns, and everybody takes its word."""
        if not self.state.provider(provider).registered:
            stake = self.state.required_stake
            self.do("addOrUpdateService", "again", signer, 1, 1, 1, by=provider, value=stake)
        version = self.state.provider(provider).version
        for user in USERS:
            if self.state.account(user, provider).acknowledged != version:
                self.do("acknowledgeTEESigner", provider, True, by=user)

    # ----------------------------------------------------------------- providers

    @does(
        weight=2,
        provider=providers,
        signer=st.sampled_from((*SIGNERS, *SIGNERS, ROGUE, ZERO)),
        prices=st.tuples(*[st.integers(0, 1)] * 3),
        url=st.sampled_from(("", "https://x.example", "https://long.example/" + "x" * 40)),
        wrong=st.sampled_from((0, 0, 0, 1, -1)),
    )
    def register(
        self, provider: bytes, signer: bytes, prices: tuple[int, ...], url: str, wrong: int
    ) -> None:
        """A registration, a return or a change, with the right value or another."""
        registered = self.state.provider(provider).registered
        value = max(0, (0 if registered else self.state.required_stake) + wrong)
        self.do("addOrUpdateService", url, signer, *prices, by=provider, value=value)

    @does(provider=providers, wrong=st.sampled_from((0, 0, 1)))
    def move(self, provider: bytes, wrong: int) -> None:
        """Another address at the same prices, which voids nothing."""
        now = self.state.provider(provider)
        offer = (now.signer, now.offer.cpu, now.offer.create_fee, now.offer.memory)
        url = f"https://{len(self.said)}.example"
        self.do("addOrUpdateService", url, *offer, by=provider, value=777 * wrong)

    @does(pick=picks)
    def withdraw_earnings(self, pick: int) -> None:
        """To the provider itself."""
        self.do("withdrawEarnings", by=self.earner(pick))

    @does(weight=2, pick=picks, receiver=receivers)
    def withdraw_earnings_to(self, pick: int, receiver: bytes) -> None:
        """To somebody else, who may refuse or call back."""
        self.do("withdrawEarningsTo", self.whom(receiver), by=self.earner(pick))

    def earner(self, pick: int) -> bytes:
        """A provider, preferably with earnings."""
        rich = [each for each in PROVIDERS if self.state.provider(each).earnings]
        return choose(pick, rich, PROVIDERS)

    @does(weight=2, provider=providers)
    def say_goodbye(self, provider: bytes) -> None:
        """The first of two steps out."""
        self.do("announceLeave", by=provider)

    @does(weight=2, pick=picks, receiver=receivers, patience=patience)
    def leave(self, pick: int, receiver: bytes, patience: str) -> None:
        """The second."""
        leaving = [each for each in PROVIDERS if self.state.provider(each).leaving_at]
        provider = choose(pick, leaving, PROVIDERS)
        if patience != "now" and not leaving:
            self.do("announceLeave", by=provider)
        self.travel_to(self.state.provider(provider).leaving_at, patience)
        self.do("leave", self.whom(receiver), by=provider)

    # -------------------------------------------------------------------- others

    @does(stake=st.sampled_from((0, 1, 1_000, 10**18)), stranger=st.booleans())
    def set_stake(self, stake: int, stranger: bool) -> None:
        """The owner's, or nobody's."""
        owner = self.state.owners[self.state.serving].owner
        self.do("setProviderStake", stake, by=STRANGER if stranger else owner)

    @does(
        weight=3,
        beacon=st.booleans(),
        what=st.sampled_from(
            ("transfer", "transfer", "accept", "accept", "renounce", "initialize")
        ),
        pick=picks,
        to=st.sampled_from((OWNER, HEIR, HEIR, ZERO)),
    )
    def owners(self, beacon: bool, what: str, pick: int, to: bytes) -> None:
        """Contract and beacon are handed over in two steps, and nobody takes them."""
        contract = self.state.beacon if beacon else self.state.serving
        now = self.state.owners[contract]
        by = choose(pick, [now.offered if what == "accept" else now.owner], (OWNER, HEIR, STRANGER))
        if what == "initialize":
            to = self.state.implementation if beacon else self.state.serving
            self.send(Call(to, "initialize", (0,)), by or STRANGER)
        else:
            arguments = (to,) if what == "transfer" else ()
            self.send(Call(contract, f"{what}Ownership", arguments), by or STRANGER)

    @does(pick=picks, odd=st.booleans())
    def upgrade(self, pick: int, odd: bool) -> None:
        """To the other deployment of the implementation and back; never to a plain address."""
        owner = self.state.owners[self.state.beacon].owner
        by = choose(pick, [owner], (OWNER, HEIR, STRANGER))
        others = sorted(self.state.implementations - {self.state.implementation})
        self.send(Call(self.state.beacon, "upgradeTo", (SINK if odd else others[0],)), by)

    @does(amount=st.integers(1, 1_000))
    def force(self, amount: int) -> None:
        """Money nobody can refuse: it belongs to nobody and pays nothing."""
        self.said.append(f"{amount} forced upon the contract")
        self.book.force(amount)

    @does(pick=picks)
    def pay_for_nothing(self, pick: int) -> None:
        """Money with a function that takes none, or with no data at all."""
        calls = (
            ("", ()),
            ("requestRefund", (ACME, 0)),
            ("withdrawEarnings", ()),
            ("acknowledgeTEESigner", (ACME, False)),
            ("settleFeesWithTEE", ((),)),
            ("announceLeave", ()),
        )
        name, arguments = calls[pick % len(calls)]
        self.do(name, *arguments, by=ACME, value=1)

    @does(chain=st.sampled_from((CHAIN_ID, CHAIN_ID, OTHER_CHAIN)))
    def split(self, chain: int) -> None:
        """K17: the chain splits; what was signed on one side is nothing on the other."""
        self.said.append(f"this is chain {chain}")
        self.book.split(chain)

    @does(seconds=st.sampled_from((1, 60, LOCK - 1, LOCK)))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.travel(seconds)

    @does(early=st.sampled_from((0, 0, 1)))
    def wait_for_a_lock(self, early: int) -> None:
        """Until the next lock opens, or a second less."""
        locks = [each.unlock_at for each in self.state.accounts.values()]
        locks += [each.leaving_at for each in self.state.providers.values()]
        later = [each for each in locks if each > self.now + early]
        if later:
            self.travel(min(later) - early - self.now)
