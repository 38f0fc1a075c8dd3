"""wire.md's vector, settled by the contract's own code at the very address it names."""

from __future__ import annotations

from eth_abi import encode
from eth_account import Account
from eth_utils import keccak, to_checksum_address
from twisted.trial.unittest import SynchronousTestCase
from web3.types import TxParams

from tests.evm.genesis import contract_in_genesis, slot
from tests.evm.harness import CHAIN_ID, DEVELOPMENT_KEY, SUCCESS, EvmCase


USER = to_checksum_address("0x" + "11" * 20)
PROVIDER = to_checksum_address("0x" + "22" * 20)
NONCE, FEE = 42, 1_000_020
USAGE_HASH = bytes.fromhex("479468908be0de1b1a995dfe7761e1a2cec727edbefff256e895a3bad84b45aa")
SEPARATOR = "c882146594b1c87dd95b9c94c69bc0c6d4aa62a52e23a64e61cb25ec4d0193f9"
SIGNATURE = bytes.fromhex(
    "43511a396585f3500b5ed5bb7ed08b8149d4b63ac79337acc116eaaca18c3f26"
    "41e7585e1ac66365ceec914e9d782513316875a762166d28d6d993043ce2660b1b"
)


class VectorTests(SynchronousTestCase):
    """The vector, byte for byte."""

    def test_settles(self) -> None:
        """Separator, digest and signature of wire.md are the contract's."""
        signer = Account.from_key(DEVELOPMENT_KEY).address
        # A user with the fee and one neuron more, a provider that registered wire.md's key.
        account = (FEE + 1) | (NONCE - 1) << 128 | 1 << 192
        service = int(signer, 16) | 1 << 160
        storage = {slot(USER, slot(PROVIDER, 1)): account, slot(PROVIDER, 3) + 1: service}
        functions = contract_in_genesis(PROVIDER, storage).functions
        rich: TxParams = {"from": PROVIDER}
        self.assertEqual(SEPARATOR, functions.domainSeparator().call(rich).hex())
        voucher = (USER, PROVIDER, FEE, USAGE_HASH, NONCE, SIGNATURE)
        settle = functions.settleFeesWithTEE([voucher])
        self.assertEqual([SUCCESS], settle.call(rich))
        self.assertEqual([SUCCESS], functions.previewSettlementResults([voucher]).call(rich))


class DomainTests(EvmCase):
    """The separator behind a proxy."""

    def test_formula(self) -> None:
        """It is EIP-712's of wire.md's name and version, this chain and the proxy."""
        kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        names = [keccak(text=kind), keccak(text="0G Sandbox Serving"), keccak(text="1")]
        proxy = self.evm.deployment.proxy
        expected = keccak(
            encode(
                ["bytes32", "bytes32", "bytes32", "uint256", "address"], [*names, CHAIN_ID, proxy]
            )
        )
        self.assertEqual(expected, self.evm.serving.functions.domainSeparator().call())
