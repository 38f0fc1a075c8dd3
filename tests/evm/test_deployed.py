"""
The double of the contract as it is deployed today: it has the flaws, with failures.md's figures.

L{tests.evm.test_settlement} has the same stories with the ending that ours gives them.
"""

from __future__ import annotations

from typing import Any

from eth_keys.constants import SECPK1_N
from eth_tester.exceptions import TransactionFailed

from tests.evm.flaws import deployed
from tests.evm.flaws.standing import deploy
from tests.evm.harness import (
    CHAIN_ID,
    INSUFFICIENT_BALANCE,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    NOT_ACKNOWLEDGED,
    PROVIDER_MISMATCH,
    STAKE,
    SUCCESS,
    TOKEN,
    ZERO,
    EvmCase,
)
from tests.evm.vouchers import settled
from tests.evm.wallets import cannot_receive, through


LOCK = 7200


class DeployedCase(EvmCase):
    """The double behind our proxy; a registered provider, and a user who acknowledged it."""

    def prepare(self) -> None:
        """Put it there."""
        evm = self.evm
        ours = evm.deployment, evm.serving, evm.beacon
        self.addCleanup(self.back, *ours)
        deploy(evm, {"SandboxServing": deployed().bytecode})
        evm.serving = evm.w3.eth.contract(address=evm.deployment.proxy, abi=deployed().abi)
        evm.register(value=STAKE)
        evm.acknowledge()

    def back(self, deployment: Any, serving: Any, beacon: Any) -> None:
        """The chain is shared with other tests, and speaks of ours again."""
        self.evm.deployment, self.evm.serving, self.evm.beacon = deployment, serving, beacon

    def settle_receipt(self, *vouchers: Any) -> Any:
        """Settle and return the receipt."""
        call = self.evm.serving.functions.settleFeesWithTEE(list(vouchers))
        return self.evm.send(call, self.evm.provider)

    def reverts(self, why: str, call: Any, sender: Any, value: int = 0) -> None:
        """It speaks in strings, which eth-tester reads; nothing is mined."""
        with self.assertRaises(TransactionFailed) as caught:
            call.call({"from": sender.address, "value": value})
        self.assertIn(why, str(caught.exception))


class MoneyTests(DeployedCase):
    """K1 to K4."""

    def test_k1_trimmed(self) -> None:
        """Deposit 100, request 80, fee 5: balance 15, pending 15, earnings 5, 65 are nobody's."""
        evm = self.evm
        evm.deposit(100)
        evm.request_refund(80)
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 5)))
        self.assertEqual(((15, 15), 5), (evm.books(), evm.earnings()))
        self.assertEqual(65, evm.holdings() - evm.owed_to_anybody())

    def test_k1_small_refund(self) -> None:
        """A refund that is not above the balance that stays is left alone."""
        evm = self.evm
        evm.deposit(100)
        evm.request_refund(40)
        evm.settle(evm.voucher(1, 20))
        self.assertEqual(((40, 40), 20), (evm.books(), evm.earnings()))
        self.assertEqual(evm.holdings(), evm.owed_to_anybody())

    def test_k2_everything(self) -> None:
        """K2, K3: balance 1, pending 99, fee 2: 100 are taken, and the event says 2."""
        evm = self.evm
        evm.deposit(100)
        evm.request_refund(99)
        receipt = self.settle_receipt(evm.voucher(1, 2))
        self.assert_events(receipt, settled(evm, 1, 2, INSUFFICIENT_BALANCE))
        self.assertEqual(((0, 0), 100), (evm.books(), evm.earnings()))

    def test_k3_nothing(self) -> None:
        """With an empty wallet the event says 2 as well."""
        evm = self.evm
        receipt = self.settle_receipt(evm.voucher(1, 2))
        self.assert_events(receipt, settled(evm, 1, 2, INSUFFICIENT_BALANCE))
        self.assertEqual(0, evm.earnings())

    def test_k4_forgotten(self) -> None:
        """Fee 10, balance 4: the nonce is used up, and of the 6 there is no word."""
        evm = self.evm
        evm.deposit(4)
        receipt = self.settle_receipt(evm.voucher(1, 10))
        self.assert_events(receipt, settled(evm, 1, 10, INSUFFICIENT_BALANCE))
        self.assertEqual((4, 1), (evm.earnings(), evm.last_nonce()))

    def test_in_full(self) -> None:
        """What the balance covers is paid as it should be."""
        evm = self.evm
        evm.deposit(100)
        self.assert_events(self.settle_receipt(evm.voucher(7, 30)), settled(evm, 7, 30))
        self.assertEqual(((70, 0), 30, 7), (evm.books(), evm.earnings(), evm.last_nonce()))


class SettlementTests(DeployedCase):
    """Who, in which order, and what counts as signed."""

    def prepare(self) -> None:
        """There is money."""
        super().prepare()
        self.evm.deposit(100)

    def test_order_of_checks(self) -> None:
        """The statuses and their order are ours; a mismatch means that nobody is registered."""
        evm = self.evm
        evm.settle(evm.voucher(5, 1))
        evm.acknowledge(False)
        worst = evm.voucher(5, 10**6, signer=evm.stranger)
        unregistered = evm.voucher(1, 1, provider=evm.other)
        self.assertEqual([PROVIDER_MISMATCH, NOT_ACKNOWLEDGED], evm.settle(unregistered, worst))
        evm.acknowledge()
        self.assertEqual([INVALID_NONCE], evm.settle(worst))
        self.assertEqual([INVALID_SIGNATURE], evm.settle(evm.voucher(6, 1, signer=evm.stranger)))

    def test_k8_anybody(self) -> None:
        """A user settles the last of three vouchers: the provider gets 10 of 30."""
        evm = self.evm
        vouchers = [evm.voucher(nonce, 10) for nonce in (1, 2, 3)]
        self.assertEqual([SUCCESS], evm.settle(vouchers[2], sender=evm.user))
        self.assertEqual([INVALID_NONCE] * 3, evm.settle(*vouchers))
        self.assertEqual(10, evm.earnings())

    def test_k17_twin(self) -> None:
        """Either half of s passes, and v counted from 0; another length or v does not."""
        evm = self.evm
        fields = evm.voucher(1, 10)
        r, s, v = fields[5][:32], int.from_bytes(fields[5][32:64]), fields[5][64]
        twin = r + (SECPK1_N - s).to_bytes(32) + bytes([27 + 28 - v])
        from_zero = fields[5][:64] + bytes([v - 27])
        preview = evm.serving.functions.previewSettlementResults
        forms = (twin, from_zero, fields[5][:64], fields[5] + b"\0", fields[5][:64] + b"\x1d")
        self.assertEqual(
            [SUCCESS, SUCCESS, *[INVALID_SIGNATURE] * 3],
            preview([(*fields[:5], form) for form in forms]).call(),
        )

    def test_k17_after_a_split(self) -> None:
        """Where the chain id changes, old vouchers stay good."""
        evm = self.evm
        chain = type(evm.tester.backend.chain)
        old = evm.voucher(1, 10)
        self.addCleanup(setattr, chain, "chain_id", CHAIN_ID)
        chain.chain_id = CHAIN_ID + 1
        new = evm.voucher(1, 10, chain_id=CHAIN_ID + 1)
        preview = evm.serving.functions.previewSettlementResults([old, new])
        self.assertEqual([SUCCESS, INVALID_SIGNATURE], preview.call())

    def test_k19_each_alone(self) -> None:
        """Balance 100, two vouchers of 100: the preview says yes to both."""
        evm = self.evm
        asked = [evm.voucher(1, 100), evm.voucher(2, 100)]
        preview = evm.serving.functions.previewSettlementResults(asked)
        self.assertEqual([SUCCESS, SUCCESS], preview.call())
        self.assertEqual([SUCCESS, INSUFFICIENT_BALANCE], evm.settle(*asked))

    def test_wide_numbers(self) -> None:
        """A nonce of 256 bits is a nonce."""
        evm = self.evm
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(2**256 - 1, 1)))
        self.assertEqual(2**256 - 1, evm.last_nonce())


class ServiceTests(DeployedCase):
    """Registration, acknowledgement, ownership."""

    def version(self) -> int:
        """Of the provider's signer."""
        return int(self.evm.serving.functions.services(self.evm.provider.address).call()[4])

    def acknowledged(self) -> bool:
        """The contract's view of it."""
        views = self.evm.serving.functions
        asked = views.isTEEAcknowledged(self.evm.user.address, self.evm.provider.address)
        return bool(asked.call())

    def test_versions(self) -> None:
        """They start at 0, where yes is yes; each change of signer, price or fee voids it (K21)."""
        evm = self.evm
        self.assertEqual((0, True), (self.version(), self.acknowledged()))
        changes = ({"signer": evm.other}, {"cpu": 61}, {"create_fee": 6}, {"memory": 31})
        for before, change in enumerate(changes):
            # Each is a change from the last and, but for the first, back from it.
            evm.register(**change)
            self.assertGreater(self.version(), before)
            self.assertFalse(self.acknowledged())
            evm.acknowledge()
            self.assertTrue(self.acknowledged())
        version = self.version()
        evm.register(memory=31, url="https://elsewhere.example")
        self.assertEqual((version, True), (self.version(), self.acknowledged()))
        evm.acknowledge(False)
        self.assertFalse(self.acknowledged())

    def test_k6_bound_to_anything(self) -> None:
        """A user who meant the old signer is bound to the one that came just before him."""
        evm = self.evm
        evm.deposit(100)
        evm.register(signer=evm.stranger, cpu=10**18)
        evm.acknowledge()
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 100, signer=evm.stranger)))

    def test_k9_money_that_stays(self) -> None:
        """Value with an update and money for nobody come in and are nobody's."""
        evm = self.evm
        evm.register(value=777)
        self.assertEqual(777, evm.holdings() - evm.owed_to_anybody())
        functions = evm.serving.functions
        evm.send(functions.deposit(ZERO, evm.provider.address), evm.user, 5)
        self.assertEqual(782, evm.holdings() - evm.owed_to_anybody())
        self.assertEqual(STAKE, functions.providerStakes(evm.provider.address).call())
        for ours in ("leave", "withdrawRefundTo", "settleBatch", "acknowledgeTEESignerVersion"):
            self.assertNotIn(ours, {each.get("name") for each in evm.serving.abi})

    def test_k9_wallet_that_cannot_receive(self) -> None:
        """Its refund is stuck."""
        evm = self.evm
        wallet = evm.create(cannot_receive()).address
        functions = evm.serving.functions
        provider = evm.provider.address
        evm.send(functions.deposit(wallet, provider), evm.user, 50)
        through(evm, wallet, functions.requestRefund(provider, 50), evm.user)
        evm.travel(LOCK)
        stuck = through(evm, wallet, functions.withdrawRefund(provider), evm.user)
        self.assertEqual(0, stuck["status"])
        self.assertEqual(50, functions.getBalance(wallet, provider).call()[1])

    def test_k16_one_step(self) -> None:
        """The owner's word is enough, and a stranger's is not."""
        evm = self.evm
        functions = evm.serving.functions
        to_other = functions.transferOwnership(evm.other.address)
        self.reverts("not owner", to_other, evm.stranger)
        evm.send(to_other, evm.owner)
        self.assertEqual(evm.other.address, functions.owner().call())
        evm.send(functions.setProviderStake(7), evm.other)
        self.assertEqual(7, functions.providerStake().call())

    def test_once(self) -> None:
        """Neither proxy nor implementation is initialised again."""
        bare = self.evm.w3.eth.contract(
            address=self.evm.deployment.implementation, abi=deployed().abi
        )
        for contract in (self.evm.serving, bare):
            self.reverts("already initialized", contract.functions.initialize(0), self.evm.owner)


class RefundTests(DeployedCase):
    """As ours, but for the cancelling."""

    def test_round(self) -> None:
        """Requested, replaced, waited for, paid once."""
        evm = self.evm
        functions = evm.serving.functions
        withdraw = functions.withdrawRefund(evm.provider.address)
        evm.deposit(100)
        evm.request_refund(80)
        evm.request_refund(90)
        self.assertEqual((10, 90), evm.books())
        self.reverts("refund locked", withdraw, evm.user)
        evm.travel(LOCK)
        evm.send(withdraw, evm.user)
        self.reverts("no pending refund", withdraw, evm.user)
        self.assertEqual((10, 0), evm.books())
        for amount, why in ((0, "zero amount"), (11, "insufficient balance")):
            self.reverts(why, functions.requestRefund(evm.provider.address, amount), evm.user)
        asked = functions.balanceOfBatch(
            [evm.user.address, evm.other.address], evm.provider.address
        )
        self.assertEqual([10, 0], asked.call())

    def test_earnings(self) -> None:
        """Paid once, to the provider."""
        evm = self.evm
        evm.deposit(TOKEN)
        evm.settle(evm.voucher(1, TOKEN))
        had = evm.holdings(evm.provider.address)
        evm.send(evm.serving.functions.withdrawEarnings(), evm.provider)
        self.assertGreater(evm.holdings(evm.provider.address), had)
        self.assertEqual(0, evm.earnings())
        self.reverts("no earnings", evm.serving.functions.withdrawEarnings(), evm.provider)
