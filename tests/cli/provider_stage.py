"""
A provider at the command line: a contract to work with, and a voucher to be paid.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import frozen
from eth_account import Account
from hexbytes import HexBytes

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.devnet.contracts import deploy_stack
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest
from sandbox_billing.signing.key import SigningKey
from tests.cli.stage import CHAIN_ID, OWNER_KEY, SECONDS, Desk, Told


STAKE = 10**17

PROVIDER_KEY = "0x" + (2).to_bytes(32, "big").hex()
"""A WELL-KNOWN DEVELOPMENT KEY: the number 2."""
PROVIDER = SigningKey.from_hex(PROVIDER_KEY)

SIGNER = SigningKey.from_bytes((3).to_bytes(32, "big"))
"""A WELL-KNOWN DEVELOPMENT KEY: the number 3."""

USER_KEY = "0x" + (4).to_bytes(32, "big").hex()
"""A WELL-KNOWN DEVELOPMENT KEY: the number 4."""
USER = SigningKey.from_hex(USER_KEY)

USAGE_HASH = b"\x07" * 32


@frozen(kw_only=True)
class Office:
    """
    A desk with a deployed contract.

    @ivar proxy: Where it stands.
    """

    desk: Desk
    proxy: str

    @classmethod
    def open(cls, desk: Desk) -> Office:
        """Deploy; blocking."""
        w3 = desk.w3()

        def wait(hashed: HexBytes) -> Any:
            return w3.eth.wait_for_transaction_receipt(hashed, timeout=SECONDS, poll_latency=0.05)

        proxy = deploy_stack(w3, Account.from_key(OWNER_KEY), STAKE, wait=wait).proxy
        return cls(desk=desk, proxy=proxy)

    def run(self, *arguments: str, **more: str) -> Told:
        """A command with the contract's address and the keys of provider and user."""
        settings = {
            "SETTLEMENT_CONTRACT": self.proxy,
            "PROVIDER_KEY": PROVIDER_KEY,
            "USER_KEY": USER_KEY,
            **more,
        }
        return self.desk.run(*arguments, **settings)

    def ok(self, *arguments: str, **more: str) -> Any:
        """The document of a command that must succeed."""
        told = self.run(*arguments, "--json", **more)
        assert told.status == 0, f"{arguments}: {told.status}\n{told.out}\n{told.err}"
        return told.document

    def settle(self, key: SigningKey, *, user: Address, nonce: int, fee: int) -> None:
        """The provider submits a voucher signed by itself or its enclave."""
        w3 = self.desk.w3()
        fields = VoucherFields(
            user=user,
            provider=PROVIDER.address,
            usage_hash=USAGE_HASH,
            nonce=nonce,
            total_fee=fee,
        )
        domain = EIP712Domain(CHAIN_ID, Address(self.proxy))
        signature = key.sign_digest(digest(domain, fields))
        serving = w3.eth.contract(address=w3.to_checksum_address(self.proxy), abi=_abi())
        provider = Account.from_key(PROVIDER_KEY)
        voucher = (
            w3.to_checksum_address(user.hex),
            provider.address,
            fee,
            USAGE_HASH,
            nonce,
            signature,
        )
        call = serving.functions.settleFeesWithTEE([voucher])
        nonce_of_account = w3.eth.get_transaction_count(provider.address)
        transaction = call.build_transaction(
            {"from": provider.address, "nonce": nonce_of_account, "gas": 500_000}
        )
        raw = provider.sign_transaction(transaction).raw_transaction
        hashed = w3.eth.send_raw_transaction(raw)
        receipt = w3.eth.wait_for_transaction_receipt(hashed, timeout=SECONDS, poll_latency=0.05)
        assert receipt["status"] == 1 and receipt["logs"], "the voucher was not settled"

    def later(self, seconds: int) -> None:
        """Let so much time pass on chain."""
        self.desk.rpc("evm_increaseTime", seconds)
        before = int(self.desk.rpc("eth_blockNumber"), 16)
        deadline = time.monotonic() + SECONDS
        while int(self.desk.rpc("eth_blockNumber"), 16) < before + 2:
            assert time.monotonic() < deadline, "no block comes"
            time.sleep(0.05)


def _abi() -> Any:
    return load("SandboxServing").abi
