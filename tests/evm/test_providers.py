"""What a provider does with the contract: registers, earns, leaves."""

from __future__ import annotations

from typing import Any

from eth_utils import to_bytes
from web3.contract.contract import ContractFunction

from tests.evm.harness import (
    NOT_ACKNOWLEDGED,
    PROVIDER_MISMATCH,
    STAKE,
    SUCCESS,
    ZERO,
    EvmCase,
    error,
)
from tests.evm.wallets import Named, calls_back, cannot_receive, through


LOCK = 7200


class RegistrationTests(EvmCase):
    """addOrUpdateService and its views."""

    def offer(self) -> list[Any]:
        """The provider's entry."""
        return list(self.evm.serving.functions.services(self.evm.provider.address).call())

    def test_first(self) -> None:
        """The first call stakes, starts at version 1 and fills every field of the view."""
        evm = self.evm
        self.assertFalse(evm.serving.functions.serviceExists(evm.provider.address).call())
        self.assert_events(
            evm.register(value=STAKE, url="https://one.example", cpu=60, create_fee=5, memory=30),
            (
                "ServiceUpdated",
                {
                    "provider": evm.provider.address,
                    "url": "https://one.example",
                    "teeSignerAddress": evm.signer.address,
                    "signerVersion": 1,
                },
            ),
        )
        self.assertEqual(["https://one.example", evm.signer.address, 60, 5, 1, 30], self.offer())
        self.assertTrue(evm.serving.functions.serviceExists(evm.provider.address).call())
        self.assertEqual(STAKE, evm.serving.functions.providerStakes(evm.provider.address).call())

    def test_stake_exactly(self) -> None:
        """A stake too small or too large is refused; the owner's change applies to newcomers."""
        evm = self.evm
        call = evm.serving.functions.addOrUpdateService("", evm.signer.address, 1, 1, 1)
        for sent in (0, STAKE - 1, STAKE + 1):
            self.assert_refused(
                error("WrongStake(uint256,uint256)", STAKE, sent), call, evm.provider, sent
            )
        evm.register(value=STAKE)
        evm.send(evm.serving.functions.setProviderStake(0), evm.owner)
        evm.send(call, evm.other)
        stakes = evm.serving.functions.providerStakes
        self.assertEqual(STAKE, stakes(evm.provider.address).call())
        self.assertEqual(0, stakes(evm.other.address).call())

    def test_versions(self) -> None:
        """Signer, prices and fee raise the version by one; the same again or a URL does not."""
        evm = self.evm
        evm.register(value=STAKE)
        evm.register()
        evm.register(url="https://moved.example")
        self.assertEqual((1, "https://moved.example"), (self.offer()[4], self.offer()[0]))
        evm.register(signer=evm.other)
        evm.register(signer=evm.other, cpu=61)
        evm.register(signer=evm.other, cpu=61, create_fee=6)
        evm.register(signer=evm.other, cpu=61, create_fee=6, memory=31)
        self.assertEqual([evm.other.address, 61, 6, 5, 31], self.offer()[1:])

    def test_update_takes_no_money(self) -> None:
        """K9: value sent with an update would be credited to nobody, so it is refused."""
        evm = self.evm
        evm.register(value=STAKE)
        call = evm.serving.functions.addOrUpdateService("", evm.signer.address, 1, 1, 1)
        self.assert_refused(error("UnexpectedValue(uint256)", 777), call, evm.provider, 777)

    def test_no_signer(self) -> None:
        """A service without a signer could never settle, and is refused."""
        call = self.evm.serving.functions.addOrUpdateService("", ZERO, 1, 1, 1)
        self.assert_refused(error("ZeroAddress()"), call, self.evm.provider, STAKE)


class EarningsTests(EvmCase):
    """What was settled is paid out."""

    def prepare(self) -> None:
        """A provider that earned 40."""
        self.evm.register(value=STAKE)
        self.evm.deposit(100)
        self.evm.acknowledge()
        self.evm.settle(self.evm.voucher(1, 40))

    def test_to_itself(self) -> None:
        """Everything earned is paid to the provider, once; both views agree."""
        evm = self.evm
        functions = evm.serving.functions
        self.assertEqual(40, functions.getProviderEarnings(evm.provider.address).call())
        self.assertEqual(40, functions.providerEarnings(evm.provider.address).call())
        had = evm.holdings(evm.provider.address)
        receipt = evm.send(functions.withdrawEarnings(), evm.provider)
        self.assert_events(
            receipt, ("EarningsWithdrawn", {"provider": evm.provider.address, "amount": 40})
        )
        gas = receipt["gasUsed"] * receipt["effectiveGasPrice"]
        self.assertEqual(had + 40 - gas, evm.holdings(evm.provider.address))
        self.assertEqual(0, evm.earnings())
        self.assert_refused(
            error("NothingToWithdraw()"), functions.withdrawEarnings(), evm.provider
        )

    def test_to_a_receiver(self) -> None:
        """Earnings may name a receiver; one that is nobody or takes no money changes nothing."""
        evm = self.evm
        to = evm.serving.functions.withdrawEarningsTo
        deaf = evm.create(cannot_receive()).address
        self.assert_refused(error("ZeroAddress()"), to(ZERO), evm.provider)
        self.assert_refused(error("PaymentFailed(address)", deaf), to(deaf), evm.provider)
        had = evm.holdings(evm.other.address)
        evm.send(to(evm.other.address), evm.provider)
        self.assertEqual((had + 40, 0), (evm.holdings(evm.other.address), evm.earnings()))

    def test_signer_earns_nothing(self) -> None:
        """The enclave's key may submit, and has no way to the earnings."""
        call = self.evm.serving.functions.withdrawEarningsTo(self.evm.signer.address)
        self.assert_refused(error("NothingToWithdraw()"), call, self.evm.signer)


class WalletTests(EvmCase):
    """A provider that is a contract wallet."""

    def registered(self, creation: str) -> str:
        """Its address; it has earned 40."""
        evm, functions = self.evm, self.evm.serving.functions
        wallet: str = evm.create(creation).address
        register = functions.addOrUpdateService("", evm.signer.address, 1, 1, 1)
        self.assertEqual(1, through(evm, wallet, register, evm.stranger, STAKE)["status"])
        evm.send(functions.deposit(evm.user.address, wallet), evm.user, 100)
        evm.send(functions.acknowledgeTEESigner(wallet, True), evm.user)
        voucher = evm.voucher(1, 40, provider=Named(wallet))
        self.assertEqual([SUCCESS], evm.settle(voucher, sender=evm.signer))
        return wallet

    def test_cannot_receive(self) -> None:
        """K9: one that takes no money sends its earnings and its stake elsewhere."""
        evm, functions = self.evm, self.evm.serving.functions
        wallet = self.registered(cannot_receive())
        self.assertEqual(1, self.status(wallet, functions.announceLeave()))
        evm.travel(LOCK)
        for stuck in (functions.withdrawEarnings(), functions.leave(wallet)):
            self.assertEqual(0, self.status(wallet, stuck))
        had = evm.holdings(evm.other.address)
        for paid in (
            functions.withdrawEarningsTo(evm.other.address),
            functions.leave(evm.other.address),
        ):
            self.assertEqual(1, self.status(wallet, paid))
        self.assertEqual(had + 40 + STAKE, evm.holdings(evm.other.address))
        self.assertEqual(60, evm.holdings())

    def status(self, wallet: str, call: ContractFunction) -> int:
        """1 for a call of the wallet's that succeeds, 0 for one that reverts."""
        return through(self.evm, wallet, call, self.evm.stranger)["status"]

    def test_calling_back(self) -> None:
        """One that answers a payment by asking again is paid once: earnings and stake."""
        evm, functions = self.evm, self.evm.serving.functions
        clean = evm.snapshot()
        for again in (functions.withdrawEarnings(), functions.leave(evm.other.address)):
            evm.restore(clean)
            data = to_bytes(hexstr=again._encode_transaction_data())
            wallet = self.registered(calls_back(data))
            had = evm.holdings(evm.other.address)
            self.assertEqual(1, self.status(wallet, functions.announceLeave()))
            evm.travel(LOCK)
            self.assertEqual(1, self.status(wallet, functions.withdrawEarnings()))
            self.assertEqual(0, functions.providerEarnings(wallet).call())
            # Asked to leave in between, it has left: in order, and with one stake.
            left = not functions.serviceExists(wallet).call()
            self.assertEqual(again.fn_name == "leave", left)
            self.assertEqual(int(not left), self.status(wallet, functions.leave(wallet)))
            paid = evm.holdings(wallet) + evm.holdings(evm.other.address) - had
            self.assertEqual((40 + STAKE, 60), (paid, evm.holdings()))


class LeavingTests(EvmCase):
    """The way out for a stake."""

    def prepare(self) -> None:
        """A provider with one user."""
        self.evm.register(value=STAKE)
        self.evm.deposit(100)
        self.evm.acknowledge()
        self.leave = self.evm.serving.functions.leave(self.evm.other.address)

    def leaving_at(self) -> int:
        """The contract's view of it."""
        return int(self.evm.serving.functions.leavingAt(self.evm.provider.address).call())

    def announce(self) -> None:
        """The provider's announcement."""
        self.evm.send(self.evm.serving.functions.announceLeave(), self.evm.provider)

    def test_announcement(self) -> None:
        """It is dated two hours ahead, made once, and only by one who is there."""
        evm = self.evm
        announce = evm.serving.functions.announceLeave()
        self.assert_refused(
            error("NotRegistered(address)", evm.stranger.address), announce, evm.stranger
        )
        self.assert_refused(error("NotLeaving()"), self.leave, evm.provider)
        receipt = evm.send(announce, evm.provider)
        at = evm.now() + LOCK
        self.assert_events(
            receipt, ("ProviderLeaving", {"provider": evm.provider.address, "leaveAt": at})
        )
        self.assertEqual(at, self.leaving_at())
        self.assert_refused(error("AlreadyLeaving(uint256)", at), announce, evm.provider)

    def test_lock(self) -> None:
        """Vouchers settle until it leaves; a second early is refused, at the second it is paid."""
        evm = self.evm
        self.announce()
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 10)))
        evm.travel(self.leaving_at() - 1 - evm.now())
        self.assert_refused(
            error("LeaveLocked(uint256)", self.leaving_at()), self.leave, evm.provider
        )
        had = evm.holdings(evm.other.address)
        self.assert_events(
            evm.send(self.leave, evm.provider),
            ("ProviderLeft", {"provider": evm.provider.address, "stake": STAKE}),
        )
        self.assertEqual(had + STAKE, evm.holdings(evm.other.address))
        self.assert_refused(error("NotLeaving()"), self.leave, evm.provider)

    def test_receiver(self) -> None:
        """A receiver that is nobody or takes no money leaves everything as it was."""
        evm = self.evm
        self.announce()
        evm.travel(LOCK)
        deaf = evm.create(cannot_receive()).address
        leave = evm.serving.functions.leave
        self.assert_refused(error("ZeroAddress()"), leave(ZERO), evm.provider)
        self.assert_refused(error("PaymentFailed(address)", deaf), leave(deaf), evm.provider)

    def test_what_stays(self) -> None:
        """After leaving nothing settles; earnings and users' money can be taken out."""
        evm = self.evm
        functions = evm.serving.functions
        evm.settle(evm.voucher(1, 10))
        self.announce()
        evm.travel(LOCK)
        evm.send(self.leave, evm.provider)

        empty = ["", ZERO, 0, 0, 1, 0]
        self.assertEqual(empty, functions.services(evm.provider.address).call())
        self.assertFalse(functions.serviceExists(evm.provider.address).call())
        self.assertFalse(functions.isTEEAcknowledged(evm.user.address, evm.provider.address).call())
        self.assertEqual([PROVIDER_MISMATCH], evm.settle(evm.voucher(2, 10)))
        evm.request_refund(90)
        evm.travel(LOCK)
        evm.send(functions.withdrawRefund(evm.provider.address), evm.user)
        evm.send(functions.withdrawEarnings(), evm.provider)
        self.assertEqual(0, evm.holdings(), "K9: the contract can be emptied")

    def test_coming_back(self) -> None:
        """A registration after leaving raises the version, also with unchanged data."""
        evm = self.evm
        self.announce()
        evm.travel(LOCK)
        evm.send(self.leave, evm.provider)
        evm.register(value=STAKE)
        self.assertEqual(2, evm.serving.functions.services(evm.provider.address).call()[4])
        self.assertEqual(0, self.leaving_at())
        self.assertEqual([NOT_ACKNOWLEDGED], evm.settle(evm.voucher(1, 10)))
        evm.acknowledge()
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 10)))
