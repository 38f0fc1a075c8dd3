"""Tests of the contract that only flaws have asked for so far; run by L{tests.evm.test_flaws}."""

from __future__ import annotations

from eth_utils import to_bytes
from web3.exceptions import ContractPanicError

from tests.evm.harness import PROVIDER_MISMATCH, STAKE, SUCCESS, error
from tests.evm.vouchers import ReadyCase
from tests.evm.wallets import calls_back, through


class ProbeTests(ReadyCase):
    """Corners."""

    def other_provider(self) -> None:
        """A second one, with the same signer, where the user has 50 and acknowledged."""
        evm = self.evm
        functions = evm.serving.functions
        register = functions.addOrUpdateService("", evm.signer.address, 1, 1, 1)
        evm.send(register, evm.other, STAKE)
        evm.send(functions.deposit(evm.user.address, evm.other.address), evm.user, 50)
        evm.send(functions.acknowledgeTEESigner(evm.other.address, True), evm.user)

    def test_earnings_add(self) -> None:
        """What a call earns comes to what was earned before it, by vouchers and by batches."""
        evm = self.evm
        evm.deposit(100)
        evm.settle(evm.voucher(1, 10))
        evm.settle(evm.voucher(2, 10))
        evm.send(evm.batch((evm.user, 3, 20)), evm.provider)
        evm.send(evm.batch((evm.user, 4, 30)), evm.provider)
        self.assertEqual(70, evm.earnings())

    def test_two_providers(self) -> None:
        """In a list of vouchers of two, in turns, each earns its own and no more."""
        evm = self.evm
        evm.deposit(100)
        self.other_provider()
        theirs = [evm.voucher(nonce, 7, provider=evm.other) for nonce in (1, 2)]
        ours = [evm.voucher(nonce, 10) for nonce in (1, 2)]
        asked = [ours[0], theirs[0], ours[1], theirs[1]]
        self.assertEqual([SUCCESS] * 4, evm.settle(*asked, sender=evm.signer))
        earned = evm.serving.functions.providerEarnings(evm.other.address).call()
        self.assertEqual((20, 14), (evm.earnings(), earned))
        self.assertEqual(evm.holdings(), evm.owed_to_anybody())

    def test_behind_its_own(self) -> None:
        """K8: who may submit one voucher of a list may not submit what follows it."""
        evm = self.evm
        evm.deposit(100)
        self.other_provider()
        asked = [evm.voucher(1, 7, provider=evm.other), evm.voucher(1, 10)]
        self.assertEqual([SUCCESS, PROVIDER_MISMATCH], evm.settle(*asked, sender=evm.other))
        self.assertEqual(0, evm.earnings())

    def test_deposit_beyond_128_bits(self) -> None:
        """More than 2^128 - 1 in one deposit, or in one balance, is refused and not cut off."""
        evm = self.evm
        self.enrich(evm.user.address, 2**130)
        deposit = evm.serving.functions.deposit(evm.user.address, evm.provider.address)
        for amount in (2**128, 2**128 + 7):
            refused = error("SafeCastOverflowedUintDowncast(uint8,uint256)", 128, amount)
            self.assert_refused(refused, deposit, evm.user, amount)
        evm.send(deposit, evm.user, 2**128 - 1)
        self.assertEqual((2**128 - 1, 0), evm.books())
        with self.assertRaises(ContractPanicError):
            deposit.call({"from": evm.user.address, "value": 1})

    def enrich(self, address: str, amount: int) -> None:
        """More money than there is, out of nothing: in the block that is being made."""
        chain = self.evm.tester.backend.chain
        state = chain.get_vm().state
        state.set_balance(bytes.fromhex(address[2:]), amount)
        chain.header = chain.header.copy(state_root=state.make_state_root())
        state.persist()
        self.evm.mine()

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
