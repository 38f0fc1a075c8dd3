"""
Tests of C{tests.anvil}, and of the chain adapter on a node that is not ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eth_account import Account as EthAccount
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from web3.contract.contract import ContractFunction
from web3.types import TxReceipt

from sandbox_billing.adapters.chain.adapter import ChainSettings, Web3Chain
from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.adapters.chain.transactions import GasPolicy
from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.devnet.contracts import deploy_stack
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import neuron
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest
from sandbox_billing.signing.key import SigningKey
from tests import anvil
from tests.anvil import CHAIN_ID, Anvil
from tests.ports.chain import SIGNER_KEY, STAKE, TOKEN, USAGE_HASH, StandingClock


DEADLINE = 120.0
"""Seconds for a handful of one-second blocks on a busy machine."""
CONFIRMATIONS = 2


class SkipTests(SynchronousTestCase):
    """L{anvil.skip_reason}."""

    def test_missing(self) -> None:
        """Without a binary there is a reason, unless it is required; then starting fails."""
        self.assertIn("npm ci", anvil.skip_reason(None, {}) or "")
        self.assertIsNone(anvil.skip_reason(None, {"REQUIRE_NODE": "1"}))
        self.assertIsNone(anvil.skip_reason("/usr/bin/anvil", {}))
        with self.assertRaisesRegex(RuntimeError, "no anvil"):
            Anvil(executable=None).start()


class AnvilTests(SynchronousTestCase):
    """L{Anvil} itself."""

    skip = anvil.skip_reason()

    def test_start_and_stop(self) -> None:
        """Two of them run side by side, mine by themselves, and are gone once stopped."""
        one, other = Anvil(), Anvil(block_seconds=None)
        for node in (one, other):
            self.addCleanup(node.stop)
            node.start()
        self.assertNotEqual(one.url, other.url)
        deadline = time.monotonic() + DEADLINE
        while int(one.rpc("eth_blockNumber"), 16) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertGreaterEqual(int(one.rpc("eth_blockNumber"), 16), 2)
        self.assertEqual(other.rpc("eth_blockNumber"), "0x0")
        client = other.w3()
        one.stop()
        other.stop()
        with self.assertRaises(OSError):
            client.eth.get_block_number()

    def test_refused(self) -> None:
        """What anvil says when it does not start is in the error."""
        node = Anvil(more=("--no-such-flag",))
        self.addCleanup(node.stop)
        with self.assertRaisesRegex(RuntimeError, "no-such-flag"):
            node.start()


class SettlementTests(TestCase):
    """L{Web3Chain} against anvil, with a block each second."""

    skip = anvil.skip_reason()
    timeout = 600

    def setUp(self) -> None:
        node = Anvil()
        self.addCleanup(node.stop)
        node.start()
        self.owner, self.provider, self.user = (
            EthAccount.from_key(key) for key in DEVELOPMENT_KEYS[:3]
        )
        self.signer = SigningKey.from_bytes(SIGNER_KEY)
        node.fund(self.signer.address.hex, TOKEN)
        self.node, self.w3 = node, node.w3()

    def _pool(self, threads: int) -> ThreadPool:
        pool = ThreadPool(minthreads=0, maxthreads=threads)
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    def _adapter(self, contract: Address) -> Web3Chain:
        return Web3Chain.of(
            ChainSettings(
                urls=(self.node.url,),
                chain_id=CHAIN_ID,
                contract=contract,
                provider=Address(self.provider.address),
                gas=GasPolicy(fee_cap=neuron(1_000 * 10**9), floor=neuron(TOKEN // 100)),
            ),
            reactor=global_reactor,  # type: ignore[arg-type]
            read_pool=self._pool(4),
            submission_pool=self._pool(1),
            signer=self.signer,
            clock=StandingClock(),
        )

    def _mined(self, transaction: HexBytes) -> TxReceipt:
        return self.w3.eth.wait_for_transaction_receipt(
            transaction, timeout=DEADLINE, poll_latency=0.05
        )

    def _send(self, call: ContractFunction, sender: LocalAccount, value: int = 0) -> HexBytes:
        transaction = call.build_transaction(
            {
                "from": sender.address,
                "nonce": self.w3.eth.get_transaction_count(sender.address, "pending"),
                "value": value,
                # What is needed may not be known: an earlier call of ours may still wait.
                "gas": 500_000,
            }
        )
        return self.w3.eth.send_raw_transaction(
            sender.sign_transaction(transaction).raw_transaction
        )

    def _stack(self, balance: int) -> str:
        """Deploy, register, deposit and acknowledge: the proxy's address."""
        proxy = deploy_stack(self.w3, self.owner, STAKE, wait=self._mined).proxy
        serving = self.w3.eth.contract(address=proxy, abi=load("SandboxServing").abi)
        does = serving.functions
        signer = self.w3.to_checksum_address(self.signer.address.hex)
        provider, user = self.provider.address, self.user.address
        register = does.addOrUpdateService("https://provider.example", signer, 60, 5, 30)
        self.assertEqual(self._mined(self._send(register, self.provider, STAKE))["status"], 1)
        sent = [
            self._send(does.deposit(user, provider), self.user, balance),
            self._send(does.acknowledgeTEESigner(provider, True), self.user),
        ]
        self.assertEqual([self._mined(each)["status"] for each in sent], [1, 1])
        return proxy

    def _line(self, contract: Address, nonce: int, fee: int) -> Line:
        user = Address(self.user.address)
        fields = VoucherFields(
            user=user,
            provider=Address(self.provider.address),
            usage_hash=USAGE_HASH,
            nonce=nonce,
            total_fee=fee,
        )
        signature = self.signer.sign_digest(digest(EIP712Domain(CHAIN_ID, contract), fields))
        return Line(
            user=user,
            fee=neuron(fee),
            usage_hash="0x" + USAGE_HASH.hex(),
            nonce=Nonce(nonce),
            signature="0x" + signature.hex(),
        )

    async def _poll(self, ask: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + DEADLINE
        while (found := await ask()) is None:
            self.assertLess(time.monotonic(), deadline, "it did not come true in time")
            await deferLater(global_reactor, 0.05)  # type: ignore[arg-type]
        return found

    async def test_settlement(self) -> None:
        """A batch of the adapter's is mined by the clock, and paid once it is deep enough."""
        contract = Address(await deferToThread(self._stack, 100))
        chain = self._adapter(contract)
        facts = await chain.facts()
        self.assertEqual((facts.chain_id, facts.has_code), (CHAIN_ID, True))
        lines = [self._line(contract, 1, 30), self._line(contract, 2, 90)]
        attempt = await chain.prepare(lines, None)
        await chain.broadcast(attempt)

        async def deep() -> Any:
            receipt = await chain.receipt(attempt.hash)
            head = await chain.head()
            if receipt is None or head.number < receipt.block.number + CONFIRMATIONS:
                return None
            return receipt

        receipt = await self._poll(deep)
        self.assertTrue(receipt.succeeded)
        found = await chain.happenings(receipt.block.number, receipt.block.number)
        self.assertEqual(
            [(s.nonce, s.status, s.paid) for s in found.settlements], [(1, 0, 30), (2, 1, 70)]
        )
        (account,) = await chain.accounts([Address(self.user.address)], receipt.block)
        self.assertEqual((account.balance, account.last_nonce), (0, 2))
        self.assertEqual(
            await chain.first_block(), await deferToThread(self._first_block, contract)
        )

    def _first_block(self, contract: Address) -> int:
        """The first block with code at an address, found by looking at each."""
        where = self.w3.to_checksum_address(contract.hex)
        number = 0
        while not self.w3.eth.get_code(where, number):
            number += 1
        return number
