"""
L1 and L12 on the real contract: whatever is done in whatever order, the books add up.

A model of three numbers per wallet walks beside the contract and foretells
every status; K3: events alone tell every payment.
"""

from __future__ import annotations

from typing import Any

from attrs import Factory, define, field, frozen
from eth_account.signers.local import LocalAccount
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.evm.harness import (
    INSUFFICIENT_BALANCE,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    NOT_ACKNOWLEDGED,
    STAKE,
    SUCCESS,
    Evm,
    EvmCase,
    error,
)


LOCK = 7200
USERS = 2


@frozen(kw_only=True)
class Deposit:
    """A wallet's deposit."""

    user: int
    amount: int


@frozen(kw_only=True)
class Request:
    """A refund request, also one beyond what there is."""

    user: int
    amount: int


@frozen
class Withdraw:
    """An attempt to take the refund."""

    user: int


@frozen(kw_only=True)
class Word:
    """An acknowledgement or a revoke."""

    user: int
    acknowledged: bool


@frozen(kw_only=True)
class Claim:
    """
    A voucher to be.

    @ivar step: Added to the wallet's last nonce: 0 repeats it.
    @ivar genuine: Whether the right key signs it.
    """

    user: int
    step: int
    fee: int
    genuine: bool


@frozen(kw_only=True)
class Settle:
    """
    Vouchers in one transaction.

    @ivar batch: By settleBatch, where the first claim says who signs them all.
    """

    claims: tuple[Claim, ...] = field(converter=tuple)
    batch: bool


@frozen
class Reprice:
    """A change of price, which voids acknowledgements."""


@frozen
class Cash:
    """The provider takes its earnings."""


@frozen
class Wait:
    """Time passes."""

    seconds: int


Step = Deposit | Request | Withdraw | Word | Settle | Reprice | Cash | Wait


def steps() -> SearchStrategy[Step]:
    """
    What can happen.

    Amounts are small, so that sums meet exactly and fall short by one often; one fee in a few is
    beyond what a balance could ever be.
    """
    users = st.integers(0, USERS - 1)
    claims = st.builds(
        Claim,
        user=users,
        step=st.sampled_from([1, 1, 1, 2, 0]),
        fee=st.one_of(st.integers(0, 60), st.sampled_from([2**128, 2**256 - 1])),
        genuine=st.sampled_from([True, True, True, True, False]),
    )
    # Settling is what this is about, so half of all steps settle.
    settling = st.builds(
        Settle, claims=st.lists(claims, min_size=1, max_size=4), batch=st.booleans()
    )
    others = st.one_of(
        st.builds(Deposit, user=users, amount=st.integers(1, 100)),
        st.builds(Request, user=users, amount=st.integers(0, 120)),
        st.builds(Withdraw, users),
        st.builds(Word, user=users, acknowledged=st.sampled_from([True, True, False])),
        st.just(Reprice()),
        st.just(Cash()),
        st.builds(Wait, st.sampled_from([60, LOCK])),
    )
    return st.one_of(settling, others)


@define
class Wallet:
    """What the model knows of a wallet."""

    balance: int = 0
    pending: int = 0
    unlock_at: int = 0
    nonce: int = 0
    acknowledged: bool = True

    def claim(self, nonce: int, fee: int, genuine: bool) -> tuple[int, int]:
        """(status, paid) of a voucher, and its effect."""
        if not self.acknowledged:
            return NOT_ACKNOWLEDGED, 0
        if nonce <= self.nonce:
            return INVALID_NONCE, 0
        if not genuine:
            return INVALID_SIGNATURE, 0
        paid = min(fee, self.balance + self.pending)
        from_balance = min(paid, self.balance)
        self.balance -= from_balance
        self.pending -= paid - from_balance
        self.nonce = nonce
        return (SUCCESS if paid == fee else INSUFFICIENT_BALANCE), paid


@define
class World:
    """The model and the contract, side by side."""

    evm: Evm
    check: EvmCase
    wallets: list[Wallet] = Factory(lambda: [Wallet() for _ in range(USERS)])
    earnings: int = 0
    price: int = 60

    def who(self, user: int) -> LocalAccount:
        """A user's key."""
        return (self.evm.user, self.evm.other)[user]

    def do(self, step: Step) -> None:
        """Take a step in both."""
        evm = self.evm
        match step:
            case Deposit(user=user, amount=amount):
                evm.deposit(amount, self.who(user))
                self.wallets[user].balance += amount
            case Request(user=user, amount=amount):
                self._request(user, amount)
            case Withdraw(user=user):
                self._withdraw(user)
            case Word(user=user, acknowledged=acknowledged):
                evm.acknowledge(acknowledged, self.who(user))
                self.wallets[user].acknowledged = acknowledged
            case Settle():
                self._settle(step)
            case Reprice():
                self.price += 1
                evm.register(cpu=self.price)
                for wallet in self.wallets:
                    wallet.acknowledged = False
            case Cash():
                if self.earnings:
                    evm.send(evm.serving.functions.withdrawEarnings(), evm.provider)
                    self.earnings = 0
            case Wait(seconds=seconds):
                evm.travel(seconds)

    def _request(self, user: int, amount: int) -> None:
        wallet = self.wallets[user]
        call = self.evm.serving.functions.requestRefund(self.evm.provider.address, amount)
        if amount > wallet.balance + wallet.pending:
            self.evm.refusal(call, self.who(user))
            return
        self.evm.send(call, self.who(user))
        wallet.balance += wallet.pending - amount
        wallet.pending = amount
        wallet.unlock_at = self.evm.now() + LOCK

    def _withdraw(self, user: int) -> None:
        wallet = self.wallets[user]
        call = self.evm.serving.functions.withdrawRefund(self.evm.provider.address)
        if wallet.pending == 0 or self.evm.now() < wallet.unlock_at:
            self.evm.refusal(call, self.who(user))
            return
        self.evm.send(call, self.who(user))
        wallet.pending = 0

    def _settle(self, step: Settle) -> None:
        evm = self.evm
        # Nonces are given before it is known which of them will be used up.
        given = [wallet.nonce for wallet in self.wallets]
        claims: list[tuple[Claim, int]] = []
        for claim in step.claims:
            given[claim.user] += claim.step
            claims.append((claim, given[claim.user]))
        genuine = step.claims[0].genuine
        if step.batch:
            lines = ((self.who(claim.user), nonce, claim.fee) for claim, nonce in claims)
            call: Any = evm.batch(*lines, signer=evm.signer if genuine else evm.stranger)
            if not genuine:
                refused = error("BadBatchSignature(address)", evm.provider.address)
                self.check.assert_refused(refused, call, evm.signer)
                return
        else:
            vouchers = [
                evm.voucher(
                    nonce,
                    claim.fee,
                    user=self.who(claim.user),
                    signer=evm.signer if claim.genuine else evm.stranger,
                )
                for claim, nonce in claims
            ]
            call = evm.serving.functions.settleFeesWithTEE(vouchers)
            preview = evm.serving.functions.previewSettlementResults(vouchers).call()

        outcomes = [
            self.wallets[claim.user].claim(nonce, claim.fee, step.batch or claim.genuine)
            for claim, nonce in claims
        ]
        statuses = [status for status, _ in outcomes]
        self.check.assertEqual(statuses, call.call({"from": evm.signer.address}))
        if not step.batch:
            self.check.assertEqual(statuses, preview)
        receipt = evm.send(call, evm.signer)
        self.check.assertEqual(
            [(claim.fee, paid, nonce) for (claim, nonce), (_, paid) in _moved(claims, outcomes)],
            told(evm.events(receipt)),
        )
        self.earnings += sum(paid for _, paid in outcomes)

    def compare(self) -> None:
        """The contract says what the model says, and its money is all of somebody's."""
        evm, check = self.evm, self.check
        for user, wallet in enumerate(self.wallets):
            check.assertEqual((wallet.balance, wallet.pending), evm.books(self.who(user)))
        check.assertEqual(self.earnings, evm.earnings())
        ours = sum(wallet.balance + wallet.pending for wallet in self.wallets)
        check.assertEqual(evm.holdings(), ours + self.earnings + STAKE)


def _moved(claims: Any, outcomes: Any) -> list[Any]:
    """Claims that used up their nonce."""
    return [
        (claim, outcome)
        for claim, outcome in zip(claims, outcomes, strict=True)
        if outcome[0] in (SUCCESS, INSUFFICIENT_BALANCE)
    ]


def told(events: list[Any]) -> list[tuple[int, int, int]]:
    """(fee, paid, nonce) of each settled voucher, from events and nothing else."""
    found: list[tuple[int, int, int]] = []
    short: dict[str, Any] | None = None
    for each in events:
        arguments = each["args"]
        if each["event"] == "VoucherShortfall":
            short = arguments
            continue
        fee, paid = arguments["totalFee"], arguments["totalFee"]
        if short is not None:
            assert (short["user"], short["nonce"]) == (arguments["user"], arguments["nonce"])
            assert short["paid"] + short["owed"] == fee
            paid, short = short["paid"], None
        found.append((fee, paid, arguments["nonce"]))
    return found


class BooksTests(EvmCase):
    """Twenty small lives of a contract."""

    def prepare(self) -> None:
        """A provider and two wallets that acknowledged it and hold 50 each."""
        self.evm.register(value=STAKE)
        for user in (self.evm.user, self.evm.other):
            self.evm.acknowledge(user=user)
            self.evm.deposit(50, user)
        self.prepared = self.evm.snapshot()

    @settings(max_examples=20, deadline=None)  # a hundred transactions a second is all there is
    @given(st.lists(steps(), min_size=3, max_size=10))
    def test_books_add_up(self, life: list[Step]) -> None:
        """After every step the contract holds what it owes, and owes what the model says."""
        # setUp runs once for all examples.
        self.evm.restore(self.prepared)
        world = World(self.evm, self)
        for wallet in world.wallets:
            wallet.balance = 50
        for step in life:
            world.do(step)
            world.compare()
        self.assertEqual(self.evm.holdings(), self.evm.owed_to_anybody())
        for user, wallet in enumerate(world.wallets):
            self.assertEqual(wallet.nonce, self.evm.last_nonce(world.who(user)))
