"""
Tests of C{sandbox_billing.adapters.chain.capabilities}, and of settling with either call
on contracts that have C{settleBatch} and that have not.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.chain.adapter import Web3Chain
from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.raw import read_raw
from sandbox_billing.adapters.chain.settle import SETTLE, SETTLE_BATCH
from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.errors import Refused, Transient
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.signing.key import SigningKey
from tests.adapters.chain_stubs import Forward, StubNode, honest, without_hashes
from tests.ports.chain import ChainCase, chain_suite


CODEC = Codec("SandboxServing")
PROBE = "eth_getStorageAt"
"""The first call of a question for the implementation."""


def call_of(attempt: Attempt) -> str:
    """Which of the two settle calls an attempt makes."""
    data = read_raw(attempt).data
    (name,) = [name for name in (SETTLE, SETTLE_BATCH) if CODEC.is_call(name, data)]
    return name


def _on_an_older_contract(case: ChainCase) -> Web3Chain:
    case.stage.upgrade(case.stage.without(SETTLE_BATCH))
    return case.adapter()


class OlderContractTests(chain_suite(_on_an_older_contract)):  # type: ignore[misc]
    """The port on a contract without C{settleBatch}: nothing else is missed."""

    async def test_the_call(self) -> None:
        """A signature per voucher."""
        await self.run_on_chain(self.stage.fund, 100)
        attempt = await self.chain.prepare([self.stage.line(1, 30)], None)
        self.assertEqual(call_of(attempt), SETTLE)


class CapabilityTests(ChainCase):
    """Which call is made."""

    async def _lines(self, count: int = 2) -> list[Line]:
        await self.run_on_chain(self.stage.fund, 1_000)
        return [self.stage.line(nonce, 30) for nonce in range(1, count + 1)]

    async def _mined(self, chain: Web3Chain, attempt: Attempt) -> bool:
        await chain.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        receipt = await chain.receipt(attempt.hash)
        assert receipt is not None
        return receipt.succeeded

    async def test_one_signature(self) -> None:
        """Ours takes a batch under one signature, and pays it line by line."""
        chain = self.adapter()
        attempt = await chain.prepare(await self._lines(), None)
        self.assertEqual(call_of(attempt), SETTLE_BATCH)
        self.assertTrue(await self._mined(chain, attempt))
        head = await chain.head()
        settled = (await chain.happenings(head.number, head.number)).settlements
        self.assertEqual([(s.nonce, s.paid, s.status) for s in settled], [(1, 30, 0), (2, 30, 0)])

    async def test_asked_once(self) -> None:
        """The probe is made once per implementation; what the beacon names is looked up."""
        node = StubNode(self)
        chain = self.adapter(node.url)
        lines = await self._lines()
        await chain.prepare(lines[:1], None)
        first = node.heard.count("eth_call")
        node.heard.clear()
        await chain.prepare(lines[1:], None)
        self.assertEqual(node.heard.count("eth_call"), first - 1)

    async def test_asked_again(self) -> None:
        """After an upgrade the question is asked anew, in both directions."""
        chain = self.adapter()
        lines = await self._lines(3)
        await chain.prepare(lines[:1], None)
        older = await self.run_on_chain(self.stage.without, SETTLE_BATCH)
        await self.run_on_chain(self.stage.upgrade, older)
        attempt = await chain.prepare(lines, None)
        self.assertEqual(call_of(attempt), SETTLE)
        await self.run_on_chain(self.stage.upgrade, self.stage.implementation)
        again = await chain.prepare(lines, None)
        self.assertEqual(call_of(again), SETTLE_BATCH)
        # The same lines keep their account nonce, whatever the call: no gap (T-7).
        self.assertEqual(again.account_nonce, attempt.account_nonce)
        self.assertTrue(await self._mined(chain, await self._first(chain, lines)))

    async def _first(self, chain: Web3Chain, lines: list[Line]) -> Attempt:
        """The attempt of the lowest account nonce, so that it can be mined."""
        return await chain.prepare(lines[:1], None)

    async def test_bump(self) -> None:
        """A bump repeats the call it replaces, also across an upgrade (T-1)."""
        chain = self.adapter()
        lines = await self._lines()
        older = await self.run_on_chain(self.stage.without, SETTLE_BATCH)
        await self.run_on_chain(self.stage.upgrade, older)
        attempt = await chain.prepare(lines, None)
        await self.run_on_chain(self.stage.upgrade, self.stage.implementation)
        bumped = await chain.prepare(lines, attempt)
        self.assertEqual(read_raw(bumped).data, read_raw(attempt).data)
        self.assertTrue(await self._mined(chain, bumped))

    async def test_a_call_that_is_gone(self) -> None:
        """A bump of a call that the contract no longer knows is refused, and nothing is sent."""
        chain = self.adapter()
        lines = await self._lines()
        attempt = await chain.prepare(lines, None)
        older = await self.run_on_chain(self.stage.without, SETTLE_BATCH)
        await self.run_on_chain(self.stage.upgrade, older)
        with self.assertRaises(Refused) as caught:
            await chain.prepare(lines, attempt)
        self.assertIn("reverts", caught.exception.text)

    async def test_not_our_provider(self) -> None:
        """A contract that refuses us for a reason of its own has the function all the same."""
        stranger = SigningKey.from_bytes(b"\x12" * 32)
        await self.run_on_chain(self.stage.pay, stranger.address.hex, 10**18)
        lines = await self._lines()
        with self.assertRaises(Refused) as caught:
            await self.adapter(signer=stranger).prepare(lines, None)
        self.assertIn("NotSubmitter", caught.exception.text)

    async def test_no_proxy(self) -> None:
        """A contract that stands behind no beacon is asked itself."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            return "0x" + "00" * 32 if method == PROBE else forward(method, params)

        attempt = await self.adapter(StubNode(self, twist).url).prepare(await self._lines(), None)
        self.assertEqual(call_of(attempt), SETTLE_BATCH)

    async def test_swallows_everything(self) -> None:
        """A fallback that takes any call, and answers nothing, has no settleBatch."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_call" and CODEC.is_call(SETTLE_BATCH, _data(params)):
                return "0x"
            return forward(method, params)

        attempt = await self.adapter(StubNode(self, twist).url).prepare(await self._lines(), None)
        self.assertEqual(call_of(attempt), SETTLE)

    async def test_old_words(self) -> None:
        """A node that says a revert in words alone still tells the two contracts apart."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            try:
                return without_hashes(method, params, forward)
            except RpcError as problem:
                if problem.code == 3:
                    raise RpcError("execution reverted", -32000) from None
                raise

        lines = await self._lines()
        node = StubNode(self, twist)
        self.assertEqual(call_of(await self.adapter(node.url).prepare(lines, None)), SETTLE_BATCH)
        older = await self.run_on_chain(self.stage.without, SETTLE_BATCH)
        await self.run_on_chain(self.stage.upgrade, older)
        self.assertEqual(call_of(await self.adapter(node.url).prepare(lines, None)), SETTLE)

    async def test_a_node_in_trouble(self) -> None:
        """What is no answer decides nothing, and is asked again."""
        node = StubNode(self, lambda method, params, forward: "0x1234")
        chain = self.adapter(node.url)
        lines = await self._lines()
        with self.assertRaises(Transient):
            await chain.prepare(lines, None)
        node.twist = honest
        self.assertEqual(call_of(await chain.prepare(lines, None)), SETTLE_BATCH)

    async def test_a_node_that_hides_storage(self) -> None:
        """Settling does not depend on what only some nodes tell: the last answer counts."""

        def hiding(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getStorageAt":
                raise RpcError("the method does not exist", -32601)
            return forward(method, params)

        node = StubNode(self, hiding)
        chain = self.adapter(node.url)
        lines = await self._lines(3)
        self.assertEqual(call_of(await chain.prepare(lines[:1], None)), SETTLE)
        node.twist = honest
        self.assertEqual(call_of(await chain.prepare(lines[1:2], None)), SETTLE_BATCH)
        node.twist = hiding
        self.assertEqual(call_of(await chain.prepare(lines[2:], None)), SETTLE_BATCH)

    async def test_a_node_that_trims(self) -> None:
        """A storage word without the zeros in front is the same word."""

        def trimming(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            return hex(int(found, 16)) if method == "eth_getStorageAt" else found

        lines = await self._lines()
        chain = self.adapter(StubNode(self, trimming).url)
        self.assertEqual(call_of(await chain.prepare(lines, None)), SETTLE_BATCH)


def _data(params: list[Any]) -> bytes:
    return bytes.fromhex(params[0]["data"][2:])
