"""
Tests of C{sandbox_billing.signing.settle_call}.
"""

from __future__ import annotations

from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.settle import batch_calldata, settle_calldata
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, batch_digest
from sandbox_billing.signing.key import SigningKey, recover
from sandbox_billing.signing.settle_call import SETTLE_BATCH, batch_call_of, read_batch_call


KEY = SigningKey.from_bytes(b"\x11" * 32)
"""wire.md's well-known development key; it never guards real money."""

PROVIDER = Address("0x" + "22" * 20)
DOMAIN = EIP712Domain(16602, Address("0xd7e0CD227e602FedBb93c36B1F5bf415398508a4"))
CODEC = Codec("SandboxServing")


def line(nonce: int) -> Line:
    """A voucher."""
    return Line(
        user=Address("0x" + "11" * 20),
        fee=Neuron(1_000_000 + nonce),
        usage_hash="0x" + "47" * 32,
        nonce=Nonce(nonce),
        signature="0x" + "00" * 65,
    )


def transaction(data: bytes, **fees: int) -> str:
    """A signed one that carries a call."""
    fields = {"chainId": 1, "nonce": 3, "to": PROVIDER.hex, "value": 0, "gas": 10**6}
    signed = KEY.sign_transaction({**fields, **fees, "data": "0x" + data.hex()})
    return "0x" + signed.raw.hex()


def batch_call(count: int) -> bytes:
    """The settler's own, for so many vouchers."""
    lines = [line(n) for n in range(count)]
    return batch_calldata(CODEC, PROVIDER, lines, domain=DOMAIN, signer=KEY)


class SettleCallTests(SynchronousTestCase):
    """What is read back of a batch."""

    def test_read_back(self) -> None:
        """From both kinds of transaction: the lines that were signed, and by whom."""
        data = batch_call(3)
        for fees in ({"gasPrice": 7}, {"type": 2, "maxFeePerGas": 7, "maxPriorityFeePerGas": 1}):
            found = batch_call_of(transaction(data, **fees))
            assert found is not None
            expected = [
                VoucherFields(
                    user=one.user,
                    provider=PROVIDER,
                    usage_hash=bytes.fromhex(one.usage_hash[2:]),
                    nonce=one.nonce,
                    total_fee=one.fee,
                ).struct_hash()
                for one in map(line, range(3))
            ]
            self.assertEqual((found.provider, list(found.lines)), (PROVIDER, expected))
            signed = batch_digest(DOMAIN, PROVIDER, found.lines)
            self.assertEqual(recover(signed, found.signature), KEY.address)

    def test_others(self) -> None:
        """A call with a signature per voucher is no batch, nor is what is no transaction."""
        data = settle_calldata(CODEC, PROVIDER, [line(1)])
        self.assertIsNone(batch_call_of(transaction(data, gasPrice=7)))
        self.assertIsNone(batch_call_of("0xraw"))
        self.assertIsNone(batch_call_of("0xc0"))

    def test_selector(self) -> None:
        """It is the one of the contract's ABI."""
        self.assertEqual(batch_call(0)[:4], SETTLE_BATCH)

    def test_damaged(self) -> None:
        """What names the function and cannot be read is told as such."""
        self.assertRaises(BadInput, read_batch_call, SETTLE_BATCH + encode(["uint256"], [7]))
        self.assertRaises(BadInput, read_batch_call, batch_call(2)[:-40])

    @given(st.binary(max_size=200))
    def test_anything(self, raw: bytes) -> None:
        """Whatever bytes there are, nothing is raised."""
        batch_call_of("0x" + raw.hex())
