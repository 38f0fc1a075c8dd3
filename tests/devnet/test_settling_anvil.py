"""
Settling through a node's faults, on a node that is not ours: anvil, where it is there.

anvil behaves otherwise in two ways: it takes a replacement from +5 % on, and what a
reorganisation removes does not go back to its pool.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import define
from eth_account import Account as EthAccount
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from web3 import Web3
from web3.contract.contract import ContractFunction
from web3.types import TxReceipt

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.devnet.contracts import deploy_stack
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.voucher import Paid
from sandbox_billing.signing.key import SigningKey
from tests import anvil
from tests.anvil import CHAIN_ID, Anvil
from tests.devnet.settling import CONFIRMATIONS, RESEND_SECONDS, Hand, SettlingCase
from tests.devnet.settling_stories import settling_stories
from tests.ports.chain import SIGNER_KEY, STAKE, TOKEN


DEADLINE = 180.0
"""Real seconds for a few one-second blocks on a busy machine."""


@define(eq=False)
class AnvilNode:
    """anvil with the stack on it, a registered provider and a user who has paid in."""

    anvil: Anvil
    contract: Address
    wall: Hand

    @property
    def url(self) -> str:
        return self.anvil.url

    @property
    def provider(self) -> Address:
        return Address(EthAccount.from_key(DEVELOPMENT_KEYS[1]).address)

    @property
    def user(self) -> Address:
        return Address(EthAccount.from_key(DEVELOPMENT_KEYS[2]).address)

    @property
    def other(self) -> Address:
        return Address(EthAccount.from_key(DEVELOPMENT_KEYS[4]).address)

    @property
    def signer(self) -> SigningKey:
        return SigningKey.from_bytes(SIGNER_KEY)

    async def mine(self, count: int = 1) -> None:
        for _ in range(count):
            self._mine(1)

    def _mine(self, seconds: int) -> None:
        self.wall.moment += seconds
        self.anvil.rpc("evm_setNextBlockTimestamp", self.wall.moment)
        self.anvil.rpc("evm_mine")

    async def mine_nothing(self, count: int = 1, seconds: int = 1) -> None:
        held = [self.anvil.rpc("eth_getRawTransactionByHash", h) for h in self._pooled()]
        for hashed in self._pooled():
            # With the first go those behind it.
            self.anvil.rpc("anvil_dropTransaction", hashed)
        for _ in range(count):
            self._mine(seconds)
        for raw in held:
            self.anvil.rpc("eth_sendRawTransaction", raw)

    def _pooled(self) -> list[str]:
        return [each["hash"] for each in self._content()]

    def _content(self) -> list[dict[str, Any]]:
        mine: list[dict[str, Any]] = []
        for part in self.anvil.rpc("txpool_content").values():
            for sender, waiting in part.items():
                if sender.lower() == self.signer.address.hex:
                    mine += waiting.values()
        return sorted(mine, key=lambda shown: int(shown["nonce"], 16))

    async def drop(self, hashed: str) -> None:
        assert self.anvil.rpc("anvil_dropTransaction", hashed) == hashed

    async def send(self, raw: str) -> None:
        self.anvil.rpc("eth_sendRawTransaction", raw)

    async def reorg(self, depth: int, *, keep: bool) -> None:
        assert not keep
        self.anvil.rpc("anvil_reorg", depth, [])

    async def pool(self) -> list[dict[str, Any]]:
        return [
            {
                "hash": shown["hash"],
                "nonce": int(shown["nonce"], 16),
                "tip": int(shown["maxPriorityFeePerGas"], 16),
                "cap": int(shown["maxFeePerGas"], 16),
                "input": bytes(HexBytes(shown["input"])),
            }
            for shown in self._content()
        ]

    async def use_up(self, nonce: int, *, tip: int = 10**9) -> str:
        form = {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "to": "0x" + "09" * 20,
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": tip,
        }
        raw = "0x" + bytes(self.signer.sign_transaction(form).raw).hex()
        return str(self.anvil.rpc("eth_sendRawTransaction", raw))

    async def deposit(self, amount: int) -> None:
        deposit = _functions(self.anvil, self.contract.hex).deposit
        user = EthAccount.from_key(DEVELOPMENT_KEYS[2])
        call = deposit(user.address, _checksum(self.provider))
        _send(self.anvil.w3(), call, user, amount)
        self._mine(1)

    async def purse(self, amount: int) -> None:
        self.anvil.fund(self.signer.address.hex, amount)

    async def settlements(self) -> list[tuple[int, int]]:
        serving = self.anvil.w3().eth.contract(
            address=_checksum(self.contract), abi=load("SandboxServing").abi
        )
        found = serving.events.VoucherSettled().get_logs(from_block=0)
        return sorted((e["args"]["nonce"], e["args"]["totalFee"]) for e in found)

    async def count(self) -> int:
        return int(self.anvil.rpc("eth_getTransactionCount", self.signer.address.hex, "latest"), 16)


def _checksum(address: Address) -> Any:
    return Web3.to_checksum_address(address.hex)


def _functions(node: Anvil, contract: str) -> Any:
    address = Web3.to_checksum_address(contract)
    return node.w3().eth.contract(address=address, abi=load("SandboxServing").abi).functions


def _send(w3: Web3, call: ContractFunction, sender: LocalAccount, value: int = 0) -> HexBytes:
    transaction = call.build_transaction(
        {
            "from": sender.address,
            "nonce": w3.eth.get_transaction_count(sender.address, "pending"),
            "value": value,
        }
    )
    return w3.eth.send_raw_transaction(sender.sign_transaction(transaction).raw_transaction)


def _deploy(node: Anvil) -> Address:
    """The stack, with a provider, its stake, and two users who paid in and acknowledged."""
    w3 = node.w3()
    owner, provider, user, _, other = (EthAccount.from_key(key) for key in DEVELOPMENT_KEYS[:5])

    def mined(hashed: HexBytes) -> TxReceipt:
        return w3.eth.wait_for_transaction_receipt(hashed, timeout=DEADLINE, poll_latency=0.05)

    def act(call: ContractFunction, sender: LocalAccount, value: int = 0) -> None:
        assert mined(_send(w3, call, sender, value))["status"] == 1

    proxy = deploy_stack(w3, owner, STAKE, wait=mined).proxy
    does = _functions(node, proxy)
    signer = SigningKey.from_bytes(SIGNER_KEY).address
    node.fund(signer.hex, 100 * TOKEN)
    act(
        does.addOrUpdateService("https://provider.example", _checksum(signer), 60, 5, 30),
        provider,
        STAKE,
    )
    for who in (user, other):
        act(does.deposit(who.address, provider.address), who, TOKEN)
        act(does.acknowledgeTEESigner(provider.address, True), who)
    return Address(proxy)


async def on_anvil(case: TestCase) -> AnvilNode:
    """A fresh one; blocks come when the test wants them."""
    node = Anvil(block_seconds=None)
    case.addCleanup(node.stop)
    node.start()
    contract = await deferToThread(_deploy, node)
    node.rpc("evm_setAutomine", False)
    return AnvilNode(node, contract, Hand(_head(node)[1]))


def _head(node: Anvil) -> tuple[int, int]:
    """Number and timestamp."""
    head = node.rpc("eth_getBlockByNumber", "latest", False)
    return int(head["number"], 16), int(head["timestamp"], 16)


class AnvilStories(settling_stories(on_anvil, keeps_orphans=False)):  # type: ignore[misc]
    """The stories of the devnet, again."""

    skip = anvil.skip_reason()


class SecondsTests(SettlingCase):
    """Blocks come by themselves, one a second, and nobody waits for a turn."""

    skip = anvil.skip_reason()

    def setUp(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._set_up())

    async def _set_up(self) -> None:
        node = await on_anvil(self)
        self.anvil, self.ahead = node.anvil, 0
        await node.mine(CONFIRMATIONS)
        await self.open(node)
        self.anvil.rpc("evm_setIntervalMining", 1)

    def pass_time(self, seconds: int) -> None:
        """Let the worker's clock run ahead of the node's."""
        self.ahead += seconds
        self.wall.moment += seconds

    async def seconds(self, what: str, happened: Any) -> None:
        """Turn after turn, as fast as a worker takes them, until something is so."""
        deadline = global_reactor.seconds() + DEADLINE  # type: ignore[attr-defined]
        while not await happened():
            if global_reactor.seconds() > deadline:  # type: ignore[attr-defined]
                self.fail(f"waited in vain for {what}: {self.troubles}")
            await deferLater(global_reactor, 0.1)  # type: ignore[arg-type]
            now = int(time.time()) + self.ahead
            self.wall.moment = max(self.wall.moment, now, _head(self.anvil)[1])
            await self.turn()

    async def test_one_second_blocks(self) -> None:
        """
        What is settled, dropped, stalled and taken back under the worker's feet is paid once
        each.
        """

        async def all_paid() -> bool:
            paid = [isinstance(r.state, Paid) for r in await self.records()]
            return all(paid) and not await self.batches()

        async def attempted() -> bool:
            return bool(await self.attempts())

        await self.seconds("a mirror", lambda: self.journal.mirror.mirror())
        await self.charge()
        await self.seconds("the first to settle", all_paid)
        # The chain stands still, and the node forgets what it was sent.
        self.anvil.rpc("evm_setIntervalMining", 0)
        await self.charge()
        await self.seconds("an attempt", attempted)
        (attempt,) = await self.attempts()
        await self.node.drop(attempt.hash)
        self.pass_time(RESEND_SECONDS)
        await self.turn()
        self.assertEqual([t["hash"] for t in await self.node.pool()], [attempt.hash])
        self.anvil.rpc("evm_setIntervalMining", 1)
        await self.seconds("the second to settle", all_paid)
        # A block of the third is taken back before it is confirmed: only one comes, however long
        # this machine takes to look.
        self.anvil.rpc("evm_setIntervalMining", 0)
        await self.charge()
        await self.seconds("another attempt", attempted)
        (attempt,) = await self.attempts()

        async def mined() -> bool:
            return await self.chain.receipt(attempt.hash) is not None

        self.anvil.rpc("evm_mine")
        self.assertTrue(await mined())
        block = (await self.chain.receipt(attempt.hash)).block.number  # type: ignore[union-attr]
        depth = _head(self.anvil)[0] - block + 1
        self.assertLessEqual(depth, CONFIRMATIONS)
        await self.node.reorg(depth, keep=False)
        await self.turn()
        self.assertFalse(await mined())
        self.assertEqual(await self.attempts(), [attempt])
        self.anvil.rpc("evm_setIntervalMining", 1)
        self.pass_time(RESEND_SECONDS)
        await self.seconds("the third to settle", all_paid)
        self.assertTrue(await mined())
        records = await self.records()
        seals = sorted((r.seal.nonce, r.seal.fee) for r in records if r.seal is not None)
        self.assertEqual([type(r.state).__name__ for r in records], ["Paid"] * 3)
        self.assertEqual(await self.node.settlements(), seals)
        self.assertEqual(await self.node.count(), 3)
