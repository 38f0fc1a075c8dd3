"""
Tests of C{sandbox_billing.adapters.chain.behaviour} and its rehearsal: whether the contract
has the flaws, by what its code does.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.rehearsal import created_address
from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import Address
from tests.adapters.chain_stubs import Forward, StubNode
from tests.ports.chain import ChainCase
from tests.ports.deployed import DeployedStage


class AddressTests(SynchronousTestCase):
    """Where a contract will stand."""

    def test_vectors(self) -> None:
        """The well-known example of the Ethereum yellow paper's scheme, and its edges."""
        sender = Address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0")
        for count, address in (
            (0, "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
            (1, "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"),
            (2, "0xf778b86fa74e846c4f0a1fbd1335fe81c00a0c91"),
        ):
            self.assertEqual(address, created_address(sender, count).hex)
        self.assertEqual(
            4, len({created_address(sender, count) for count in (0x7F, 0x80, 0xFF, 0x100)})
        )


class OursTests(ChainCase):
    """On the contract of this repository."""

    async def test_committed(self) -> None:
        """Code that this project committed is fixed, and no rehearsal is needed."""
        node = StubNode(self)
        chain = self.adapter(node.url)
        head = await chain.head()
        self.assertIs(Behaviour.FIXED, await chain.behaviour(head))
        self.assertIn("eth_getCode", node.heard)
        self.assertNotIn("eth_getTransactionCount", node.heard)

    async def test_asked_once(self) -> None:
        """The code is read once per implementation."""
        node = StubNode(self)
        chain = self.adapter(node.url)
        for _ in range(2):
            await chain.behaviour(await chain.head())
        self.assertEqual(1, node.heard.count("eth_getCode"))

    async def test_unknown_code(self) -> None:
        """Code nobody knows that keeps refunds and takes no more than the fee is fixed, too."""
        other = await self.run_on_chain(self.stage.without, "settleBatch")
        await self.run_on_chain(self.stage.upgrade, other)
        chain = self.adapter()
        self.assertIs(Behaviour.FIXED, await chain.behaviour(await chain.head()))

    async def test_cannot_be_tried(self) -> None:
        """Unknown code that cannot be rehearsed is flawed."""
        other = await self.run_on_chain(self.stage.without, "deposit")
        await self.run_on_chain(self.stage.upgrade, other)
        chain = self.adapter()
        self.assertIs(Behaviour.FLAWED, await chain.behaviour(await chain.head()))

    async def test_a_limited_node(self) -> None:
        """What a node refuses is asked of the next one, and of the same one the next time."""
        other = await self.run_on_chain(self.stage.without, "settleBatch")
        await self.run_on_chain(self.stage.upgrade, other)
        limited = True

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if limited and method == "eth_call" and "to" not in params[0]:
                raise RpcError("too many requests", -32005)
            return forward(method, params)

        node = StubNode(self, twist)
        both = self.adapter(node.url, self.service.url)
        self.assertIs(Behaviour.FIXED, await both.behaviour(await both.head()))
        alone = self.adapter(node.url)
        self.assertIs(Behaviour.FLAWED, await alone.behaviour(await alone.head()))
        limited = False
        self.assertIs(Behaviour.FIXED, await alone.behaviour(await alone.head()))

    async def test_odd_answers(self) -> None:
        """What answers something else than was expected is flawed."""
        other = await self.run_on_chain(self.stage.without, "settleBatch")
        await self.run_on_chain(self.stage.upgrade, other)

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_call" and "to" not in params[0]:
                return "0x" + "00" * 288
            return forward(method, params)

        chain = self.adapter(StubNode(self, twist).url)
        self.assertIs(Behaviour.FLAWED, await chain.behaviour(await chain.head()))

    async def test_at_a_block(self) -> None:
        """An upgrade counts from its block on, in both directions."""
        before = await self.adapter().head()
        double = await self.run_on_chain(self.stage.without, "deposit")
        await self.run_on_chain(self.stage.upgrade, double)
        chain = self.adapter()
        self.assertIs(Behaviour.FLAWED, await chain.behaviour(await chain.head()))
        self.assertIs(Behaviour.FIXED, await chain.behaviour(before))
        await self.run_on_chain(self.stage.upgrade, self.stage.implementation)
        self.assertIs(Behaviour.FIXED, await chain.behaviour(await chain.head()))

    async def test_told(self) -> None:
        """The operator's word stands above everything, and nothing is asked."""
        node = StubNode(self)
        chain = self.adapter(node.url, behaviour=Behaviour.FLAWED)
        head = await chain.head()
        node.heard.clear()
        self.assertIs(Behaviour.FLAWED, await chain.behaviour(head))
        self.assertEqual([], node.heard)


class DeployedTests(ChainCase):
    """On the double of what is deployed today."""

    stage_kind = DeployedStage

    async def test_flawed(self) -> None:
        """K1 and K2 are seen in one read, whatever the address."""
        chain = self.adapter()
        self.assertIs(Behaviour.FLAWED, await chain.behaviour(await chain.head()))

    async def test_seen(self) -> None:
        """It is flawed for what it did, not for what is unknown of it."""
        answers: list[str] = []

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            if method == "eth_call" and "to" not in params[0]:
                answers.append(found)
            return found

        chain = self.adapter(StubNode(self, twist).url)
        await chain.behaviour(await chain.head())
        (answer,) = answers
        words = [int(answer[2:][i : i + 64], 16) for i in range(0, len(answer) - 2, 64)]
        self.assertEqual([20, 80, 15, 15, 0, 0], [words[i] for i in (0, 1, 3, 4, 6, 7)])

    async def test_refused(self) -> None:
        """A node that does not rehearse leaves it unknown: flawed."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_call" and "to" not in params[0]:
                raise RpcError("no creations here", -32000)
            return forward(method, params)

        chain = self.adapter(StubNode(self, twist).url)
        self.assertIs(Behaviour.FLAWED, await chain.behaviour(await chain.head()))
