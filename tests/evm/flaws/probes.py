"""Tests of the contract that only flaws have asked for so far; run by L{tests.evm.test_flaws}."""

from __future__ import annotations

from eth_utils import to_bytes

from tests.evm.harness import STAKE, SUCCESS
from tests.evm.vouchers import ReadyCase
from tests.evm.wallets import calls_back, through


class ProbeTests(ReadyCase):
    """Corners."""

    def test_batch_adds(self) -> None:
        """What a batch earns comes to what was earned before it."""
        evm = self.evm
        evm.deposit(100)
        evm.settle(evm.voucher(1, 10))
        evm.send(evm.batch((evm.user, 2, 20)), evm.provider)
        evm.send(evm.batch((evm.user, 3, 30)), evm.provider)
        self.assertEqual(60, evm.earnings())

    def test_earnings_once(self) -> None:
        """A provider that answers its earnings by withdrawing again gets them once."""
        evm = self.evm
        functions = evm.serving.functions
        again = to_bytes(hexstr=functions.withdrawEarnings()._encode_transaction_data())
        wallet = evm.create(calls_back(again)).address
        register = functions.addOrUpdateService("", evm.signer.address, 1, 1, 1)
        through(evm, wallet, register, evm.stranger, STAKE)
        evm.send(functions.deposit(evm.user.address, wallet), evm.user, 50)
        evm.send(functions.acknowledgeTEESigner(wallet, True), evm.user)
        message = {
            "user": evm.user.address,
            "provider": wallet,
            "usageHash": bytes(32),
            "nonce": 1,
            "totalFee": 50,
        }
        voucher = (evm.user.address, wallet, 50, bytes(32), 1, evm.sign("SandboxVoucher", message))
        self.assertEqual([SUCCESS], evm.settle(voucher, sender=evm.signer))
        evm.deposit(70, evm.other)

        through(evm, wallet, functions.withdrawEarnings(), evm.stranger)

        self.assertEqual(50, evm.holdings(wallet))
        self.assertEqual(70 + 2 * STAKE, evm.holdings())
