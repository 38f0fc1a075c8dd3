"""
Settling through a node's faults: the real services, adapter and Redis on the devnet's chain.

The chain is py-evm behind our JSON-RPC node with geth's rules for the pool.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel
from twisted.trial.unittest import TestCase
from web3.types import RPCEndpoint

from sandbox_billing.devnet.chain.service import DevChainService
from sandbox_billing.devnet.wallet import connect
from sandbox_billing.ledger.identity import Address
from sandbox_billing.services.second_look import DEPTH
from sandbox_billing.signing.key import SigningKey
from tests.devnet.settling import BUMP_SECONDS, CONFIRMATIONS, Hand
from tests.devnet.settling_stories import settling_stories
from tests.ports.chain import CHAIN_ID, TOKEN, Stage, fresh_stage


@define(eq=False)
class DevnetNode:
    """The devnet's node, with a block when the test wants one."""

    stage: Stage
    service: DevChainService
    wall: Hand

    @property
    def url(self) -> str:
        return self.service.url

    @property
    def contract(self) -> Address:
        return self.stage.contract

    @property
    def provider(self) -> Address:
        return Address(self.stage.provider.address)

    @property
    def user(self) -> Address:
        return Address(self.stage.user.address)

    @property
    def other(self) -> Address:
        return Address(self.stage.other.address)

    @property
    def signer(self) -> SigningKey:
        return self.stage.signer

    async def mine(self, count: int = 1) -> None:
        for _ in range(count):
            self.wall.moment += 1
            await self.service.run(self.stage.chain.mine, self.wall.moment)

    async def mine_nothing(self, count: int = 1, seconds: int = 1) -> None:
        def empty() -> None:
            self.stage.chain.set_next_timestamp(self.wall.moment)
            # In an empty block of its own.
            self.stage.chain.set_balance(b"\x09" * 20, 1)

        for _ in range(count):
            self.wall.moment += seconds
            await self.service.run(empty)

    async def drop(self, hashed: str) -> None:
        dropped = self.stage.chain.drop_transaction
        assert await self.service.run(dropped, bytes.fromhex(hashed[2:]))

    async def send(self, raw: str) -> None:
        await self.service.run(self.stage.chain.send_raw, bytes.fromhex(raw[2:]))

    async def reorg(self, depth: int, *, keep: bool) -> None:
        await self.service.run(self.stage.reorg, depth, keep=keep)

    async def pool(self) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]]:
            mine = bytes.fromhex(self.signer.address.hex[2:])
            found = self.stage.chain.pool.by_sender.get(mine, {})
            return [dict(self.stage.w3.eth.get_transaction(found[n].hash)) for n in sorted(found)]

        shown = await self.service.run(look)
        return [
            {
                "hash": "0x" + bytes(t["hash"]).hex(),
                "nonce": t["nonce"],
                "tip": t["maxPriorityFeePerGas"],
                "cap": t["maxFeePerGas"],
                "input": bytes(t["input"]),
            }
            for t in shown
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
        raw = bytes(self.signer.sign_transaction(form).raw)
        return "0x" + bytes(await self.service.run(self.stage.chain.send_raw, raw)).hex()

    async def deposit(self, amount: int) -> None:
        await self.service.run(self.stage.deposit, amount)
        self.wall.moment = max(self.wall.moment, self.stage.chain.head.timestamp)

    async def purse(self, amount: int) -> None:
        await self.service.run(self.stage.pay, self.signer.address.hex, amount)
        self.wall.moment = max(self.wall.moment, self.stage.chain.head.timestamp)

    async def settlements(self) -> list[tuple[int, int]]:
        def look() -> list[tuple[int, int]]:
            found = self.stage.serving.events.VoucherSettled().get_logs(from_block=0)
            return sorted((e["args"]["nonce"], e["args"]["totalFee"]) for e in found)

        return await self.service.run(look)

    async def count(self) -> int:
        mine = bytes.fromhex(self.signer.address.hex[2:])
        return await self.service.run(self.stage.chain.nonce, mine)


async def devnet(case: TestCase) -> DevnetNode:
    """A user with a token, acknowledged; the wall clock is the chain's."""
    stage = fresh_stage()
    stage.fund(TOKEN)
    stage.fund(TOKEN, stage.other)
    service = DevChainService(
        reactor=global_reactor,  # type: ignore[arg-type]
        chain=stage.chain,
        block_seconds=None,
    )
    service.startService()
    case.addCleanup(service.stopService)
    return DevnetNode(stage, service, Hand(stage.chain.head.timestamp))


class DevnetStories(settling_stories(devnet)):  # type: ignore[misc]
    """All stories, and those that take a node whose answers can be spoilt."""

    async def spoil(self, kind: str, times: int) -> None:
        """Have the node fail its next sends."""
        make = connect(self.node.url).provider.make_request
        await deferToThread(
            make, RPCEndpoint("devnet_failNext"), ["eth_sendRawTransaction", kind, times]
        )

    async def test_unknown(self) -> None:
        """
        Whether a send was not heard, not answered or answered wrongly: the outcome is read
        from the chain, and each voucher is paid once.
        """
        for kind in ("unheard", "unanswered", "misreported"):
            await self.charge()
            await self.spoil(kind, 1)
            await self.rounds(1, nothing=True)
            (attempt,) = await self.attempts()
            arrived = [shown["hash"] for shown in await self.node.pool()]
            self.assertEqual(arrived, [] if kind == "unheard" else [attempt.hash])
            await self.settled()
            self.assertIsNotNone(await self.chain.receipt(attempt.hash))
        self.assertEqual(await self.node.count(), 3)
        self.assertEqual(len(self.alarms.told("may or may not have been sent")), 1)

    async def test_gas_spike(self) -> None:
        """
        While gas costs more than the operator allows nothing is prepared; what was sent before
        waits, and all goes on once it is cheaper.
        """
        await self.charge()
        first = await self.sent()
        await self.charge(self.node.other)
        for _ in range(BUMP_SECONDS // 10 + 2):
            await self.node.service.run(self.node.stage.chain.set_next_base_fee, 2 * self.fee_cap)
            await self.node.mine_nothing(1, seconds=10)
            await self.turn()
        self.assertEqual(await self.attempts(), [first])
        self.assertTrue(self.alarms.told("waits: {why}", LogLevel.critical))
        await self.node.service.run(self.node.stage.chain.set_next_base_fee, 10**9)
        await self.settled()
        self.assertEqual(await self.node.count(), 2)

    async def test_reorg_that_keeps(self) -> None:
        """
        A deep reorganisation after which everything is mined again harms nobody: one
        alarm, the same books, nobody quarantined (S9).
        """
        await self.charge()
        await self.sent()
        await self.settled()
        books = await self.records()
        await self.node.reorg(CONFIRMATIONS + 3, keep=True)
        await self.rounds(3)
        self.assertTrue(self.alarms.told("was replaced after it was confirmed"))
        await self.node.mine(DEPTH + 3)
        await self.rounds(2)
        self.assertIsNone((await self.journal.funds.funds(self.node.user)).blocked)
        self.assertEqual(await self.journal.letters.letters(), ())
        self.assertEqual(await self.records(), books)
        await self.charge()
        await self.settled()
