"""Many vouchers under one signature."""

from __future__ import annotations

from typing import Any

from tests.evm.harness import (
    INSUFFICIENT_BALANCE,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    NOT_ACKNOWLEDGED,
    SUCCESS,
    error,
)
from tests.evm.vouchers import ReadyCase, other_forms, settled, shortfall


class BatchTests(ReadyCase):
    """settleBatch: many lines, one signature."""

    def prepare(self) -> None:
        """Two users with money."""
        super().prepare()
        evm = self.evm
        evm.deposit(100)
        evm.deposit(50, evm.other)
        evm.acknowledge(user=evm.other)

    def settle(self, call: Any) -> tuple[list[int], Any]:
        """(statuses, receipt)."""
        statuses = call.call({"from": self.evm.signer.address})
        return list(statuses), self.evm.send(call, self.evm.signer)

    def test_lines(self) -> None:
        """Lines of several wallets are paid in order, with the same events as vouchers."""
        evm = self.evm
        call = evm.batch((evm.user, 1, 70), (evm.other, 1, 10), (evm.user, 2, 40))
        statuses, receipt = self.settle(call)
        self.assertEqual([SUCCESS, SUCCESS, INSUFFICIENT_BALANCE], statuses)
        found = evm.events(receipt)
        self.assertEqual(
            ["VoucherSettled", "VoucherSettled", "VoucherShortfall", "VoucherSettled"],
            [each["event"] for each in found],
        )
        self.assertEqual(settled(evm, 1, 70)[1], dict(found[0]["args"]))
        self.assertEqual(shortfall(evm, 2, 30, 10)[1], dict(found[2]["args"]))
        self.assertEqual(110, evm.earnings())
        self.assertEqual(((0, 0), (40, 0)), (evm.books(), evm.books(evm.other)))
        self.assertEqual((2, 1), (evm.last_nonce(), evm.last_nonce(evm.other)))

    def test_refund_covers(self) -> None:
        """A line uses the pending refund as a voucher does (K1, K2)."""
        evm = self.evm
        evm.request_refund(99)
        self.assertEqual([SUCCESS], self.settle(evm.batch((evm.user, 1, 2)))[0])
        self.assertEqual((0, 98), evm.books())

    def test_submitters(self) -> None:
        """Only the provider and its signer; others, and an unregistered provider, revert."""
        evm = self.evm
        call = evm.batch((evm.user, 1, 1))
        expected = "NotSubmitter(address,address)"
        for sender in (evm.user, evm.stranger):
            refused = error(expected, evm.provider.address, sender.address)
            self.assert_refused(refused, call, sender)
        nobody = evm.serving.functions.settleBatch(evm.stranger.address, [], b"")
        refused = error(expected, evm.stranger.address, evm.stranger.address)
        self.assert_refused(refused, nobody, evm.stranger)
        self.assertEqual([SUCCESS], call.call({"from": evm.provider.address}))

    def refused(self, call: Any) -> None:
        """The whole call reverts, for its signature."""
        evm = self.evm
        refused = error("BadBatchSignature(address)", evm.provider.address)
        self.assert_refused(refused, call, evm.provider)

    def test_bad_signature(self) -> None:
        """A batch that another key signed reverts whole, also one that has no lines."""
        evm = self.evm
        self.refused(evm.batch((evm.user, 1, 1), (evm.other, 1, 1), signer=evm.other))
        self.refused(evm.batch(signer=evm.other))
        for sender in (evm.stranger, evm.user):
            call = evm.batch((evm.user, 1, 1), signer=evm.other)
            expected = error("NotSubmitter(address,address)", evm.provider.address, sender.address)
            self.assert_refused(expected, call, sender)

    def test_statuses(self) -> None:
        """Lines are checked as vouchers are, in their order; refused ones leave no event."""
        evm = self.evm
        evm.settle(evm.voucher(5, 1))
        evm.acknowledge(False, user=evm.other)
        call = evm.batch((evm.other, 0, 1), (evm.user, 5, 1), (evm.user, 6, 1), (evm.other, 9, 1))
        statuses, receipt = self.settle(call)
        self.assertEqual([NOT_ACKNOWLEDGED, INVALID_NONCE, SUCCESS, NOT_ACKNOWLEDGED], statuses)
        self.assert_events(receipt, settled(evm, 6, 1))
        self.assertEqual((2, 0), (evm.earnings(), evm.last_nonce(evm.other)))

    def test_after_a_signer_change(self) -> None:
        """The old signer's batch reverts; the new one's finds nobody who acknowledged it."""
        evm = self.evm
        old = evm.batch((evm.user, 1, 1))
        evm.register(signer=evm.signer, cpu=61)
        self.assertEqual([NOT_ACKNOWLEDGED], old.call({"from": evm.provider.address}))
        evm.register(signer=evm.stranger, cpu=61)
        self.refused(old)
        new = evm.batch((evm.user, 1, 1), signer=evm.stranger)
        self.assertEqual([NOT_ACKNOWLEDGED], new.call({"from": evm.provider.address}))

    def test_one_form_of_signature(self) -> None:
        """K17: the high-s twin, other lengths and other v are no signatures of a batch."""
        evm = self.evm
        provider, lines, signature = evm.batch((evm.user, 1, 1)).args
        for form in other_forms(signature):
            self.refused(evm.serving.functions.settleBatch(provider, lines, form))
        genuine = evm.serving.functions.settleBatch(provider, lines, signature)
        self.assertEqual([SUCCESS], self.settle(genuine)[0])

    def test_signed_as_a_whole(self) -> None:
        """Lines left out, added, reordered or changed void the signature."""
        evm = self.evm
        call = evm.batch((evm.user, 1, 10), (evm.user, 2, 20))
        provider, lines, signature = call.args
        changed = (lines[0][0], 11, *lines[0][2:])
        for altered in (lines[:1], lines[1:], lines[::-1], [*lines, lines[1]], [changed, lines[1]]):
            self.refused(evm.serving.functions.settleBatch(provider, altered, signature))

    def test_not_a_voucher(self) -> None:
        """A batch of one and a voucher with the same fields have different signatures."""
        evm = self.evm
        user, provider, fee, usage, nonce, of_voucher = evm.voucher(1, 10)
        of_batch = evm.batch((evm.user, 1, 10)).args[2]
        lines = [(user, fee, usage, nonce)]
        self.refused(evm.serving.functions.settleBatch(provider, lines, of_voucher))
        as_voucher = (user, provider, fee, usage, nonce, of_batch)
        self.assertEqual([INVALID_SIGNATURE], evm.settle(as_voucher))

    def test_once(self) -> None:
        """Sent again, a batch finds its nonces used; so does each line as a voucher."""
        evm = self.evm
        call = evm.batch((evm.user, 1, 10), (evm.user, 2, 20))
        self.settle(call)
        self.assertEqual([INVALID_NONCE, INVALID_NONCE], self.settle(call)[0])
        self.assertEqual([INVALID_NONCE], evm.settle(evm.voucher(2, 20)))
        self.assertEqual(30, evm.earnings())

    def test_wide_numbers(self) -> None:
        """Nonces and fees are compared before they are narrowed here too."""
        evm = self.evm
        call = evm.batch((evm.user, 2**64, 1), (evm.user, 1, 2**128 + 1))
        self.assertEqual([INVALID_NONCE, INSUFFICIENT_BALANCE], self.settle(call)[0])
        self.assertEqual((100, 1), (evm.earnings(), evm.last_nonce()))

    def test_empty(self) -> None:
        """No lines, no effect."""
        self.assertEqual([], self.settle(self.evm.batch())[0])

    def test_cheaper(self) -> None:
        """Fifty lines of one wallet cost less than half of 50 vouchers on the deployed contract."""
        evm = self.evm
        evm.deposit(1000)
        deployed = 874_860  # failures.md V3, measured
        call = evm.batch(*((evm.user, nonce, 10) for nonce in range(1, 51)))
        statuses, receipt = self.settle(call)
        self.assertEqual([SUCCESS] * 50, statuses)
        self.assertLess(receipt["gasUsed"], deployed // 2)
