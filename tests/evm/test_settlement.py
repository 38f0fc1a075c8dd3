"""What becomes of a voucher: every status, and the traps K1 to K8 and K17 of the contract."""

from __future__ import annotations

from typing import Any

from eth_account.signers.local import LocalAccount

from tests.evm.harness import (
    CHAIN_ID,
    INSUFFICIENT_BALANCE,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    NOT_ACKNOWLEDGED,
    PROVIDER_MISMATCH,
    STAKE,
    SUCCESS,
    ZERO,
)
from tests.evm.vouchers import ReadyCase, other_forms, settled, shortfall
from tests.evm.wallets import Named


class MoneyTests(ReadyCase):
    """K1 to K4, with the figures of failures.md."""

    def test_paid(self) -> None:
        """A fee moves from the balance to the earnings and leaves one event."""
        evm = self.evm
        evm.deposit(100)
        receipt = self.settle_receipt(evm.voucher(7, 30))
        self.assert_events(receipt, settled(evm, 7, 30))
        self.assertEqual(((70, 0), 30, 7), (evm.books(), evm.earnings(), evm.last_nonce()))

    def test_k1_refund_is_left_alone(self) -> None:
        """Deposit 100, request 80, fee 5: balance 15, pending 80, earnings 5, nothing lost."""
        evm = self.evm
        evm.deposit(100)
        evm.request_refund(80)
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 5)))
        self.assertEqual(((15, 80), 5), (evm.books(), evm.earnings()))
        self.assertEqual(evm.holdings(), evm.owed_to_anybody())

    def test_k2_never_more_than_the_fee(self) -> None:
        """Balance 1, pending 99, fee 2: paid in full, 98 still pending."""
        evm = self.evm
        evm.deposit(100)
        evm.request_refund(99)
        receipt = self.settle_receipt(evm.voucher(1, 2))
        self.assert_events(receipt, settled(evm, 1, 2))
        self.assertEqual(((0, 98), 2), (evm.books(), evm.earnings()))

    def test_exactly_all(self) -> None:
        """A fee of balance plus pending is paid in full; one more is a shortfall of one."""
        evm = self.evm
        evm.deposit(100)
        evm.request_refund(60)
        clean = evm.snapshot()
        self.assert_events(self.settle_receipt(evm.voucher(1, 100)), settled(evm, 1, 100))
        self.assertEqual(((0, 0), 100), (evm.books(), evm.earnings()))
        evm.restore(clean)
        self.assert_events(
            self.settle_receipt(evm.voucher(1, 101)),
            shortfall(evm, 1, 100, 1),
            settled(evm, 1, 101, INSUFFICIENT_BALANCE),
        )
        self.assertEqual(((0, 0), 100), (evm.books(), evm.earnings()))

    def test_k4_the_rest_is_visible(self) -> None:
        """K3, K4: fee 10, balance 4: the chain says that 4 was paid and 6 is owed."""
        evm = self.evm
        evm.deposit(4)
        self.assert_events(
            self.settle_receipt(evm.voucher(1, 10)),
            shortfall(evm, 1, 4, 6),
            settled(evm, 1, 10, INSUFFICIENT_BALANCE),
        )
        self.assertEqual(((0, 0), 4, 1), (evm.books(), evm.earnings(), evm.last_nonce()))

    def test_with_nothing(self) -> None:
        """An empty wallet pays 0, owes all, and its nonce is used up."""
        evm = self.evm
        self.assert_events(
            self.settle_receipt(evm.voucher(1, 10)),
            shortfall(evm, 1, 0, 10),
            settled(evm, 1, 10, INSUFFICIENT_BALANCE),
        )
        self.assertEqual((0, 1), (evm.earnings(), evm.last_nonce()))

    def test_fees_without_bounds(self) -> None:
        """A fee beyond uint128 takes what there is: nothing is cut off."""
        evm = self.evm
        evm.deposit(100)
        evm.request_refund(30)
        clean = evm.snapshot()
        for fee in (2**128, 2**128 + 5, 2**256 - 1):
            self.assert_events(
                self.settle_receipt(evm.voucher(1, fee)),
                shortfall(evm, 1, 100, fee - 100),
                settled(evm, 1, fee, INSUFFICIENT_BALANCE),
            )
            self.assertEqual(((0, 0), 100), (evm.books(), evm.earnings()))
            evm.restore(clean)

    def test_free(self) -> None:
        """A fee of nothing succeeds and uses its nonce, with nothing in the wallet too."""
        evm = self.evm
        self.assert_events(self.settle_receipt(evm.voucher(1, 0)), settled(evm, 1, 0))
        self.assertEqual(1, evm.last_nonce())

    def test_in_order(self) -> None:
        """Vouchers of one wallet in one transaction share one running balance."""
        evm = self.evm
        evm.deposit(15)
        vouchers = [evm.voucher(nonce, 10) for nonce in (1, 2, 3)]
        statuses = evm.settle(*vouchers)
        self.assertEqual([SUCCESS, INSUFFICIENT_BALANCE, INSUFFICIENT_BALANCE], statuses)
        self.assertEqual((15, 3), (evm.earnings(), evm.last_nonce()))

    def test_empty_list(self) -> None:
        """No vouchers, no effect."""
        self.assertEqual([], self.evm.settle())


class RefusalTests(ReadyCase):
    """Checks in their order; a refused voucher changes nothing and leaves no event."""

    def prepare(self) -> None:
        """There is money."""
        super().prepare()
        self.evm.deposit(100)

    def assert_status(
        self, expected: int, *vouchers: Any, sender: LocalAccount | None = None
    ) -> None:
        """Each voucher is refused so, by settling and by preview alike."""
        evm = self.evm
        before = (evm.books(), evm.earnings(), evm.last_nonce())
        call = evm.serving.functions.settleFeesWithTEE(list(vouchers))
        by = sender or evm.provider
        self.assertEqual([expected] * len(vouchers), call.call({"from": by.address}))
        if sender is None:
            self.assertEqual(
                [expected] * len(vouchers),
                evm.serving.functions.previewSettlementResults(list(vouchers)).call(),
            )
        self.assertEqual([], evm.events(evm.send(call, by)))
        self.assertEqual(before, (evm.books(), evm.earnings(), evm.last_nonce()))

    def test_k8_submitters(self) -> None:
        """Only the provider and its signer may submit: the user and strangers may not."""
        evm = self.evm
        for sender in (evm.user, evm.stranger, evm.owner):
            self.assert_status(PROVIDER_MISMATCH, evm.voucher(1, 1), sender=sender)
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 1), sender=evm.signer))
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(2, 1), sender=evm.provider))

    def test_unregistered(self) -> None:
        """A provider that never registered cannot even submit its own."""
        evm = self.evm
        voucher = evm.voucher(1, 1, provider=evm.other, signer=evm.other)
        self.assert_status(PROVIDER_MISMATCH, voucher, sender=evm.other)

    def test_k5_signer_change(self) -> None:
        """A signer the user never acknowledged takes nothing, be it installed in the open."""
        evm = self.evm
        evm.register(signer=evm.stranger)
        self.assert_status(
            NOT_ACKNOWLEDGED, evm.voucher(1, 100, signer=evm.stranger), evm.voucher(1, 100)
        )
        evm.acknowledge()
        self.assert_status(INVALID_SIGNATURE, evm.voucher(1, 100))
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(1, 100, signer=evm.stranger)))

    def test_price_change(self) -> None:
        """K5, K21: a new price asks for a new acknowledgement too."""
        self.evm.register(cpu=61)
        self.assert_status(NOT_ACKNOWLEDGED, self.evm.voucher(1, 1))

    def test_revoke(self) -> None:
        """A revoke stops settlement at once; the same voucher passes after the next yes."""
        evm = self.evm
        voucher = evm.voucher(1, 1)
        evm.acknowledge(False)
        self.assert_status(NOT_ACKNOWLEDGED, voucher)
        evm.acknowledge()
        self.assertEqual([SUCCESS], evm.settle(voucher))

    def test_never_acknowledged(self) -> None:
        """A wallet that holds money and said nothing pays nothing."""
        self.evm.deposit(50, self.evm.other)
        self.assert_status(NOT_ACKNOWLEDGED, self.evm.voucher(1, 1, user=self.evm.other))

    def test_k7_nonces_rise(self) -> None:
        """The same nonce or a lower one is refused; the order of a batch is its owner's care."""
        evm = self.evm
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(5, 1)))
        self.assert_status(INVALID_NONCE, evm.voucher(5, 1), evm.voucher(4, 1), evm.voucher(0, 1))
        self.assertEqual([SUCCESS, INVALID_NONCE], evm.settle(evm.voucher(9, 1), evm.voucher(8, 1)))
        self.assertEqual(9, evm.last_nonce())

    def test_nonces_are_not_narrowed(self) -> None:
        """The last of 64 bits passes; beyond it nothing does, and nothing wraps."""
        evm = self.evm
        self.assert_status(
            INVALID_NONCE,
            evm.voucher(2**64, 1),
            evm.voucher(2**64 + 7, 1),
            evm.voucher(2**256 - 1, 1),
        )
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(2**64 - 1, 1)))
        self.assertEqual(2**64 - 1, evm.last_nonce())

    def test_nonces_are_per_pair(self) -> None:
        """One user's nonces say nothing about another's."""
        evm = self.evm
        evm.deposit(50, evm.other)
        evm.acknowledge(user=evm.other)
        statuses = evm.settle(evm.voucher(9, 1), evm.voucher(1, 1, user=evm.other))
        self.assertEqual([SUCCESS, SUCCESS], statuses)

    def test_signed_fields(self) -> None:
        """Every field is under the signature."""
        evm = self.evm
        user, provider, fee, usage, nonce, signature = evm.voucher(1, 10)
        evm.deposit(50, evm.other)
        evm.acknowledge(user=evm.other)
        self.assert_status(
            INVALID_SIGNATURE,
            (evm.other.address, provider, fee, usage, nonce, signature),
            (user, provider, fee + 1, usage, nonce, signature),
            (user, provider, fee, b"\x5b" * 32, nonce, signature),
            (user, provider, fee, usage, nonce + 1, signature),
        )

    def test_other_provider(self) -> None:
        """A voucher for one provider is worthless at another with the same signer."""
        evm = self.evm
        call = evm.serving.functions.addOrUpdateService("", evm.signer.address, 1, 1, 1)
        evm.send(call, evm.other, STAKE)
        evm.send(evm.serving.functions.deposit(evm.user.address, evm.other.address), evm.user, 50)
        evm.send(evm.serving.functions.acknowledgeTEESigner(evm.other.address, True), evm.user)
        user, _, fee, usage, nonce, signature = evm.voucher(1, 10)
        moved = (user, evm.other.address, fee, usage, nonce, signature)
        self.assert_status(INVALID_SIGNATURE, moved, sender=evm.other)
        genuine = evm.voucher(1, 10, provider=evm.other)
        self.assertEqual([SUCCESS], evm.settle(genuine, sender=evm.other))

    def test_k17_one_form_of_signature(self) -> None:
        """The high-s twin, other lengths, other v and nothing at all are no signatures."""
        evm = self.evm
        fields = evm.voucher(1, 10)
        forms = other_forms(fields[5])
        self.assert_status(INVALID_SIGNATURE, *((*fields[:5], form) for form in forms))
        self.assertEqual([SUCCESS], evm.settle(fields))

    def test_k17_other_chain(self) -> None:
        """A voucher for another chain id is refused."""
        self.assert_status(INVALID_SIGNATURE, self.evm.voucher(1, 10, chain_id=1))

    def test_k17_after_a_split(self) -> None:
        """Where the chain id changes, the separator does, and old vouchers are void there."""
        evm = self.evm
        chain = type(evm.tester.backend.chain)
        old = evm.voucher(1, 10)
        before = evm.serving.functions.domainSeparator().call()
        self.addCleanup(setattr, chain, "chain_id", CHAIN_ID)
        chain.chain_id = CHAIN_ID + 1
        self.assertNotEqual(before, evm.serving.functions.domainSeparator().call())
        preview = evm.serving.functions.previewSettlementResults
        new = evm.voucher(1, 10, chain_id=CHAIN_ID + 1)
        self.assertEqual([INVALID_SIGNATURE, SUCCESS], preview([old, new]).call())

    def test_order_of_checks(self) -> None:
        """A voucher with every fault is told the first; mend it and it is told the next."""
        evm = self.evm
        evm.settle(evm.voucher(5, 1))
        evm.acknowledge(False)
        worst = evm.voucher(5, 10**6, signer=evm.stranger)
        self.assert_status(PROVIDER_MISMATCH, worst, sender=evm.stranger)
        self.assert_status(NOT_ACKNOWLEDGED, worst)
        evm.acknowledge()
        self.assert_status(INVALID_NONCE, worst)
        self.assert_status(INVALID_SIGNATURE, evm.voucher(6, 10**6, signer=evm.stranger))
        self.assertEqual([INSUFFICIENT_BALANCE], evm.settle(evm.voucher(6, 10**6)))

    def test_bad_ones_hold_up_nobody(self) -> None:
        """S8: a refused voucher leaves its neighbours in the transaction alone."""
        evm = self.evm
        statuses = evm.settle(
            evm.voucher(1, 1, signer=evm.stranger),
            evm.voucher(1, 10),
            evm.voucher(2, 1, user=evm.stranger),
            evm.voucher(2, 10),
        )
        self.assertEqual([INVALID_SIGNATURE, SUCCESS, NOT_ACKNOWLEDGED, SUCCESS], statuses)
        self.assertEqual(20, evm.earnings())


class RunTests(ReadyCase):
    """Vouchers of several providers in one transaction."""

    def prepare(self) -> None:
        """Two providers with one signer; the user holds 100 with each."""
        super().prepare()
        evm, functions = self.evm, self.evm.serving.functions
        evm.deposit(100)
        register = functions.addOrUpdateService("", evm.signer.address, 1, 1, 1)
        evm.send(register, evm.other, STAKE)
        evm.send(functions.deposit(evm.user.address, evm.other.address), evm.user, 100)
        evm.send(functions.acknowledgeTEESigner(evm.other.address, True), evm.user)
        nobody = evm.voucher(1, 1, provider=Named(ZERO))
        self.mixed = [
            nobody,
            evm.voucher(1, 1),
            evm.voucher(1, 2, provider=evm.other),
            evm.voucher(2, 4, provider=evm.other),
            evm.voucher(1, 8),
            evm.voucher(2, 16),
            nobody,
            evm.voucher(3, 32, provider=evm.other),
            evm.voucher(3, 64, provider=evm.stranger),
            evm.voucher(3, 128),
        ]

    def earned(self) -> tuple[int, int]:
        """By the one and by the other."""
        of = self.evm.serving.functions.providerEarnings
        return self.evm.earnings(), of(self.evm.other.address).call()

    def test_both(self) -> None:
        """Their signer settles for both, in any order; each earns what its users paid."""
        evm = self.evm
        expected = [
            PROVIDER_MISMATCH,
            SUCCESS,
            SUCCESS,
            SUCCESS,
            INVALID_NONCE,
            SUCCESS,
            PROVIDER_MISMATCH,
            SUCCESS,
            PROVIDER_MISMATCH,
            INSUFFICIENT_BALANCE,
        ]
        preview = evm.serving.functions.previewSettlementResults(self.mixed).call()
        self.assertEqual(expected, preview)
        self.assertEqual(expected, evm.settle(*self.mixed, sender=evm.signer))
        self.assertEqual((100, 38), self.earned())
        self.assertEqual(evm.holdings(), evm.owed_to_anybody())

    def test_one(self) -> None:
        """A provider that sends another's along is told so for those, and settles its own."""
        evm = self.evm
        own = {SUCCESS, INVALID_NONCE, INSUFFICIENT_BALANCE}
        statuses = evm.settle(*self.mixed, sender=evm.other)
        mine = [voucher[1] == evm.other.address for voucher in self.mixed]
        self.assertEqual(mine, [status in own for status in statuses])
        self.assertEqual({PROVIDER_MISMATCH}, set(statuses) - own)
        self.assertEqual((0, 38), self.earned())

    def test_events(self) -> None:
        """Events come in the order of the vouchers, whoever's they are."""
        evm = self.evm
        call = evm.serving.functions.settleFeesWithTEE(self.mixed)
        found = evm.events(evm.send(call, evm.signer))
        fees = [each["args"]["totalFee"] for each in found if each["event"] == "VoucherSettled"]
        self.assertEqual([1, 2, 4, 16, 32, 128], fees)
        self.assertEqual(["VoucherShortfall", "VoucherSettled"], [e["event"] for e in found[-2:]])


class SizeTests(ReadyCase):
    """Only gas limits a batch."""

    def test_more_than_a_byte_counts(self) -> None:
        """Three hundred vouchers settle at once, on both paths."""
        evm = self.evm
        evm.deposit(1_000)
        vouchers = [evm.voucher(nonce, 1) for nonce in range(1, 301)]
        self.assertEqual([SUCCESS] * 300, evm.settle(*vouchers))
        evm.send(evm.batch(*((evm.user, nonce, 1) for nonce in range(301, 601))), evm.signer)
        self.assertEqual((600, 600), (evm.earnings(), evm.last_nonce()))


class PreviewTests(ReadyCase):
    """K19: the preview takes its own list into account."""

    def preview(self, *vouchers: Any) -> list[int]:
        """What it answers to anybody."""
        call = self.evm.serving.functions.previewSettlementResults(list(vouchers))
        return list(call.call({"from": self.evm.stranger.address}))

    def test_running_balance(self) -> None:
        """Balance 10, two vouchers of 10: the second is told that nothing is left."""
        evm = self.evm
        evm.deposit(10)
        asked = [evm.voucher(1, 10), evm.voucher(2, 10)]
        self.assertEqual([SUCCESS, INSUFFICIENT_BALANCE], self.preview(*asked))
        self.assertEqual(self.preview(*asked), evm.settle(*asked))

    def test_as_settled(self) -> None:
        """Over a mixed list of two wallets, refunds and repeats it foretells what then happens."""
        evm = self.evm
        evm.deposit(30)
        evm.request_refund(20)
        evm.deposit(5, evm.other)
        evm.acknowledge(user=evm.other)
        asked = [
            evm.voucher(1, 5),
            evm.voucher(1, 3, user=evm.other),
            evm.voucher(1, 5),
            evm.voucher(2, 20),
            evm.voucher(2, 3, user=evm.other),
            evm.voucher(3, 6),
            evm.voucher(4, 1, signer=evm.other),
        ]
        expected = [
            SUCCESS,
            SUCCESS,
            INVALID_NONCE,
            SUCCESS,
            INSUFFICIENT_BALANCE,
            INSUFFICIENT_BALANCE,
            INVALID_SIGNATURE,
        ]
        self.assertEqual(expected, self.preview(*asked))
        self.assertEqual(expected, evm.settle(*asked))

    def test_changes_nothing(self) -> None:
        """Asking is free."""
        evm = self.evm
        evm.deposit(10)
        self.preview(evm.voucher(1, 10))
        self.assertEqual(((10, 0), 0), (evm.books(), evm.last_nonce()))
