"""What a user does with the contract: deposits, refunds, acknowledgements."""

from __future__ import annotations

from ast import literal_eval
from typing import Any

from eth_account import Account
from eth_tester.exceptions import TransactionFailed
from eth_utils import to_bytes
from hexbytes import HexBytes
from twisted.trial.unittest import SynchronousTestCase

from tests.evm.genesis import contract_in_genesis
from tests.evm.harness import (
    DEVELOPMENT_KEY,
    INSUFFICIENT_BALANCE,
    STAKE,
    SUCCESS,
    ZERO,
    EvmCase,
    error,
)
from tests.evm.wallets import calls_back, cannot_receive, through


LOCK = 7200


class DepositTests(EvmCase):
    """Money comes in."""

    def test_for_somebody(self) -> None:
        """Anybody may pay for anybody; the event names all three."""
        evm = self.evm
        call = evm.serving.functions.deposit(evm.user.address, evm.provider.address)
        self.assert_events(
            evm.send(call, evm.stranger, 70),
            (
                "Deposited",
                {
                    "recipient": evm.user.address,
                    "provider": evm.provider.address,
                    "sender": evm.stranger.address,
                    "amount": 70,
                },
            ),
        )
        self.assertEqual((70, 0), evm.books())
        self.assertEqual((0, 0), evm.books(evm.stranger))
        self.assertEqual(70, evm.holdings())

    def test_per_provider(self) -> None:
        """K14: money deposited with one provider is not there for another."""
        evm = self.evm
        evm.deposit(70)
        views = evm.serving.functions
        self.assertEqual([0, 0, 0], views.getBalance(evm.user.address, evm.other.address).call())

    def test_batch_view(self) -> None:
        """balanceOfBatch answers in the order asked, without pending refunds."""
        evm = self.evm
        evm.deposit(70)
        evm.deposit(9, evm.stranger)
        evm.request_refund(20)
        asked = [evm.stranger.address, evm.other.address, evm.user.address]
        call = evm.serving.functions.balanceOfBatch(asked, evm.provider.address)
        self.assertEqual([9, 0, 50], call.call())

    def test_nobody(self) -> None:
        """K9: a deposit to nobody, with nobody, or of nothing is refused."""
        evm = self.evm
        deposit = evm.serving.functions.deposit
        for recipient, provider in ((ZERO, evm.provider.address), (evm.user.address, ZERO)):
            self.assert_refused(
                error("ZeroAddress()"), deposit(recipient, provider), evm.user, value=5
            )
        self.assert_refused(
            error("ZeroAmount()"), deposit(evm.user.address, evm.provider.address), evm.user
        )


class WideDepositTests(SynchronousTestCase):
    """Deposits that no chain has the money for: the packed slot must not cut them."""

    def setUp(self) -> None:
        """A user with 2^200 neuron."""
        self.user = Account.from_key(DEVELOPMENT_KEY).address
        self.contract = contract_in_genesis(self.user, {})
        self.tester.add_account("0x" + DEVELOPMENT_KEY.hex())

    @property
    def tester(self) -> Any:
        """The chain."""
        provider: Any = self.contract.w3.provider
        return provider.ethereum_tester

    def deposit(self, amount: int) -> Any:
        """A call."""
        call = self.contract.functions.deposit(self.user, self.user)
        request = {"from": self.user, "value": amount, "gas": 200_000}
        return call.build_transaction(request)

    def assert_reverts(self, expected: HexBytes, request: Any) -> None:
        """With exactly this data."""
        wanted = {name: request[name] for name in ("from", "to", "data", "value", "gas")}
        with self.assertRaises(TransactionFailed) as caught:
            self.tester.call(wanted)
        self.assertEqual(expected, HexBytes(literal_eval(caught.exception.args[0])))

    def test_one_deposit(self) -> None:
        """2^128 - 1 is the most a balance holds; 2^128 would be nothing, and is refused."""
        for amount in (2**128, 2**128 + 5, 2**199):
            refused = error("SafeCastOverflowedUintDowncast(uint8,uint256)", 128, amount)
            self.assert_reverts(refused, self.deposit(amount))
        self.contract.w3.eth.send_transaction(self.deposit(2**128 - 1))
        views, sender = self.contract.functions, {"from": self.user}
        asked = (
            views.getBalance(self.user, self.user),
            views.getLastNonce(self.user, self.user),
        )
        self.assertEqual([[2**128 - 1, 0, 0], 0], [each.call(sender) for each in asked])

    def test_sum(self) -> None:
        """Two deposits whose sum does not fit: the second is refused, not added modulo 2^128."""
        self.contract.w3.eth.send_transaction(self.deposit(2**128 - 5))
        self.assert_reverts(error("Panic(uint256)", 0x11), self.deposit(5))
        self.contract.w3.eth.send_transaction(self.deposit(4))
        self.assert_reverts(error("Panic(uint256)", 0x11), self.deposit(1))


class RefundTests(EvmCase):
    """Money goes back."""

    def prepare(self) -> None:
        """A user with 100."""
        self.evm.deposit(100)
        self.withdraw = self.evm.serving.functions.withdrawRefund(self.evm.provider.address)

    def requested(self, amount: int, unlock_at: int) -> tuple[str, dict[str, object]]:
        """The event of a request."""
        return (
            "RefundRequested",
            {
                "user": self.evm.user.address,
                "provider": self.evm.provider.address,
                "amount": amount,
                "unlockAt": unlock_at,
            },
        )

    def unlock_at(self) -> int:
        """When the pending refund unlocks."""
        views = self.evm.serving.functions
        asked = views.getBalance(self.evm.user.address, self.evm.provider.address)
        return int(asked.call()[2])

    def test_request(self) -> None:
        """A request moves the amount out of the balance and locks it for two hours."""
        receipt = self.evm.request_refund(80)
        self.assert_events(receipt, self.requested(80, self.evm.now() + LOCK))
        self.assertEqual((20, 80), self.evm.books())
        self.assertEqual(self.evm.now() + LOCK, self.unlock_at())

    def test_lock(self) -> None:
        """A second early is too early; at the second it is paid, once."""
        evm = self.evm
        evm.request_refund(80)
        evm.travel(LOCK - 1)
        self.assert_refused(
            error("RefundLocked(uint256)", self.unlock_at()), self.withdraw, evm.user
        )
        had = evm.holdings(evm.user.address)
        receipt = evm.send(self.withdraw, evm.user)
        self.assert_events(
            receipt,
            (
                "RefundWithdrawn",
                {"user": evm.user.address, "provider": evm.provider.address, "amount": 80},
            ),
        )
        gas = receipt["gasUsed"] * receipt["effectiveGasPrice"]
        self.assertEqual(had + 80 - gas, evm.holdings(evm.user.address))
        self.assertEqual((20, 0), evm.books())
        self.assertEqual(0, self.unlock_at())
        self.assert_refused(error("NothingToWithdraw()"), self.withdraw, evm.user)

    def test_replace(self) -> None:
        """A new request returns the old one to the balance first and starts the lock anew."""
        evm = self.evm
        evm.request_refund(80)
        evm.travel(LOCK + 10)
        evm.request_refund(90)
        self.assertEqual((10, 90), evm.books())
        self.assert_refused(
            error("RefundLocked(uint256)", self.unlock_at()), self.withdraw, evm.user
        )
        evm.request_refund(5)
        self.assertEqual((95, 5), evm.books())

    def test_cancel(self) -> None:
        """A request for nothing cancels, with nothing pending too."""
        evm = self.evm
        evm.request_refund(80)
        for _ in range(2):
            self.assert_events(evm.request_refund(0), self.requested(0, 0))
            self.assertEqual((100, 0), evm.books())
            self.assertEqual(0, self.unlock_at())
        evm.travel(LOCK)
        self.assert_refused(error("NothingToWithdraw()"), self.withdraw, evm.user)

    def test_too_much(self) -> None:
        """More than balance and pending refund together is refused, up to the largest number."""
        evm = self.evm
        evm.request_refund(80)
        for amount in (101, 2**128, 2**128 + 50, 2**256 - 1):
            self.assert_refused(
                error("InsufficientFunds(uint256,uint256)", 100, amount),
                evm.serving.functions.requestRefund(evm.provider.address, amount),
                evm.user,
            )

    def test_strangers(self) -> None:
        """A stranger has nothing to withdraw where a user has."""
        self.evm.request_refund(80)
        self.evm.travel(LOCK)
        self.assert_refused(error("NothingToWithdraw()"), self.withdraw, self.evm.stranger)

    def test_to_a_receiver(self) -> None:
        """K9: a refund may name a receiver, but not nobody."""
        evm = self.evm
        evm.request_refund(80)
        evm.travel(LOCK)
        to = evm.serving.functions.withdrawRefundTo
        self.assert_refused(error("ZeroAddress()"), to(evm.provider.address, ZERO), evm.user)
        had = evm.holdings(evm.other.address)
        receipt = evm.send(to(evm.provider.address, evm.other.address), evm.user)
        self.assertEqual(had + 80, evm.holdings(evm.other.address))
        self.assertEqual(evm.user.address, evm.events(receipt)[0]["args"]["user"])

    def test_wallet_that_cannot_receive(self) -> None:
        """K9: a contract wallet that refuses money keeps its claim and can send it elsewhere."""
        evm = self.evm
        wallet = evm.create(cannot_receive()).address
        functions = evm.serving.functions
        provider = evm.provider.address
        evm.send(functions.deposit(wallet, provider), evm.user, 50)
        asked = through(evm, wallet, functions.requestRefund(provider, 50), evm.user)
        self.assertEqual(1, asked["status"])
        evm.travel(LOCK)

        stuck = through(evm, wallet, functions.withdrawRefund(provider), evm.user)
        self.assertEqual(0, stuck["status"])
        self.assertEqual(50, functions.getBalance(wallet, provider).call()[1])

        had = evm.holdings(evm.other.address)
        call = functions.withdrawRefundTo(provider, evm.other.address)
        self.assertEqual(1, through(evm, wallet, call, evm.user)["status"])
        self.assertEqual(had + 50, evm.holdings(evm.other.address))

    def test_calling_back(self) -> None:
        """A wallet that answers its refund by withdrawing again gets it once."""
        evm = self.evm
        functions = evm.serving.functions
        provider = evm.provider.address
        again = to_bytes(hexstr=functions.withdrawRefund(provider)._encode_transaction_data())
        wallet = evm.create(calls_back(again)).address
        evm.send(functions.deposit(wallet, provider), evm.user, 50)
        through(evm, wallet, functions.requestRefund(provider, 50), evm.user)
        evm.travel(LOCK)

        receipt = through(evm, wallet, functions.withdrawRefund(provider), evm.user)

        self.assertEqual(["RefundWithdrawn"], [each["event"] for each in evm.events(receipt)])
        self.assertEqual(50, evm.holdings(wallet))
        self.assertEqual(100, evm.holdings())

    def test_fee_against_refund(self) -> None:
        """An emptied refund is gone with its lock; a part of one keeps its lock."""
        evm = self.evm
        evm.register(value=STAKE)
        evm.acknowledge()
        evm.request_refund(80)
        lock = self.unlock_at()
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 50)))
        self.assertEqual(((0, 50), lock), (evm.books(), self.unlock_at()))
        self.assertEqual([INSUFFICIENT_BALANCE], evm.settle(evm.voucher(2, 51)))
        self.assertEqual(((0, 0), 0), (evm.books(), self.unlock_at()))


class AcknowledgementTests(EvmCase):
    """A user's word on a signer and its prices."""

    def acknowledged(self) -> bool:
        """The contract's view of it."""
        views = self.evm.serving.functions
        asked = views.isTEEAcknowledged(self.evm.user.address, self.evm.provider.address)
        return bool(asked.call())

    def word(self, acknowledged: bool) -> tuple[str, dict[str, object]]:
        """The event of it."""
        return (
            "TEESignerAcknowledged",
            {
                "user": self.evm.user.address,
                "provider": self.evm.provider.address,
                "acknowledged": acknowledged,
            },
        )

    def test_yes_and_no(self) -> None:
        """An acknowledgement and its revocation take effect at once."""
        self.evm.register(value=STAKE)
        self.assertFalse(self.acknowledged())
        self.assert_events(self.evm.acknowledge(), self.word(True))
        self.assertTrue(self.acknowledged())
        self.assert_events(self.evm.acknowledge(False), self.word(False))
        self.assertFalse(self.acknowledged())

    def test_nobody_there(self) -> None:
        """A provider that is not registered has nothing to acknowledge, but no is always taken."""
        evm = self.evm
        functions = evm.serving.functions
        provider = evm.provider.address
        refused = error("NotRegistered(address)", provider)
        self.assert_refused(refused, functions.acknowledgeTEESigner(provider, True), evm.user)
        self.assert_refused(refused, functions.acknowledgeTEESignerVersion(provider, 0), evm.user)
        evm.acknowledge(False)
        self.assertFalse(self.acknowledged())

    def test_voided_by_change(self) -> None:
        """K5: each change of signer, price or fee asks for a new word; a new address does not."""
        evm = self.evm
        evm.register(value=STAKE)
        changes = ({"signer": evm.other}, {"cpu": 61}, {"create_fee": 6}, {"memory": 31})
        for change in changes:
            evm.register()
            evm.acknowledge()
            evm.register(**change)
            self.assertFalse(self.acknowledged(), change)
        evm.acknowledge()
        evm.register(memory=31, url="https://elsewhere.example")
        self.assertTrue(self.acknowledged())

    def test_expected_version(self) -> None:
        """K6: a user who names the version he saw is not bound to what came after."""
        evm = self.evm
        evm.register(value=STAKE)
        call = evm.serving.functions.acknowledgeTEESignerVersion(evm.provider.address, 1)
        self.assert_events(evm.send(call, evm.user), self.word(True))
        self.assertTrue(self.acknowledged())
        evm.register(cpu=10**18)
        self.assert_refused(error("SignerVersionMismatch(uint256,uint256)", 1, 2), call, evm.user)
        beyond = evm.serving.functions.acknowledgeTEESignerVersion(evm.provider.address, 2**64 + 2)
        self.assert_refused(
            error("SignerVersionMismatch(uint256,uint256)", 2**64 + 2, 2), beyond, evm.user
        )
