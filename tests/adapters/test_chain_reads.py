"""
Tests of C{sandbox_billing.adapters.chain.contract, reads, logs}: reorgs between two calls,
nodes with little memory, contracts with fewer functions.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.chain.adapter import Web3Chain
from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import NodeBehind, Unreadable
from sandbox_billing.ledger.identity import Address
from tests.adapters.chain_stubs import (
    Forward,
    StubNode,
    Twist,
    behind,
    dead_url,
    without_hashes,
)
from tests.ports.chain import CHAIN_ID, STAKE, ChainCase, addresses


def failing_call(problem: RpcError, *, only: str | None = None) -> Twist:
    """Answers contract calls with an error; those of one selector, or all."""

    def twist(method: str, params: list[Any], forward: Forward) -> Any:
        if method == "eth_call" and (only is None or params[0]["data"].startswith(only)):
            raise problem
        return forward(method, params)

    return twist


class DeployedContractTests(ChainCase):
    """The contract that is deployed today knows less than ours."""

    def _leaving(self) -> str:
        call = self.stage.serving.encode_abi("leavingAt", args=[self.stage.provider.address])
        return str(call[:10])

    async def test_no_leaving(self) -> None:
        """Without the function nobody leaves: a revert with code 3, data, or neither."""
        head = await self.adapter().head()
        announce = self.stage.serving.functions.announceLeave()
        await self.run_on_chain(self.stage.act, announce, self.stage.provider)
        head = await self.adapter().head()
        self.assertIsNotNone(await self.adapter().leaving_at(head))
        for problem in (
            RpcError("execution reverted", 3, "0x"),
            RpcError("execution reverted", 3),
            RpcError("VM execution error", -32015, "0x"),
            RpcError("execution reverted"),
            RpcError("VM execution error", -32015),
        ):
            node = StubNode(self, failing_call(problem, only=self._leaving()))
            self.assertIsNone(await self.adapter(node.url).leaving_at(head), str(problem))

    async def test_no_separator(self) -> None:
        """A contract without the function has none; that is an answer and no failure."""
        code = await self.run_on_chain(self.stage.without, "domainSeparator")
        chain = self.adapter()
        before = await chain.head()
        await self.run_on_chain(self.stage.upgrade, code)
        self.assertIsNone(await chain.domain_separator(await chain.head()))
        self.assertIsNotNone(await chain.domain_separator(before))

    async def test_a_node_in_trouble(self) -> None:
        """The same error to every call is the node's trouble, not the contract's answer."""
        head = await self.adapter().head()
        for problem in (RpcError("out of memory"), RpcError("limit exceeded", -32005)):
            chain = self.adapter(StubNode(self, failing_call(problem)).url)
            with self.assertRaises(Transient):
                await chain.leaving_at(head)
            with self.assertRaises(Transient):
                await chain.refusals([self.stage.line(1, 1)], head)

    async def test_limited(self) -> None:
        """An error that is no execution's is never taken for a revert."""
        head = await self.adapter().head()
        node = StubNode(self, failing_call(RpcError("slow down", -32005), only=self._leaving()))
        with self.assertRaises(Transient):
            await self.adapter(node.url).leaving_at(head)
        both = self.adapter(node.url, self.service.url)
        self.assertIsNone(await both.leaving_at(head))

    async def test_nothing_deployed(self) -> None:
        """At an address without code the check says so, and reads are no zeroes."""
        chain = self.adapter(contract=Address("0x" + "77" * 20))
        facts = await chain.facts()
        self.assertFalse(facts.has_code)
        head = await chain.head()
        with self.assertRaises(Transient):
            await chain.accounts([self.user], head)
        with self.assertRaises(Transient):
            await chain.first_block()

    async def test_another_contract(self) -> None:
        """At an address with other code the check sees no separator."""
        beacon = await self.run_on_chain(self._beacon)
        facts = await self.adapter(contract=Address(beacon)).facts()
        self.assertTrue(facts.has_code)
        self.assertEqual((facts.domain_separator, facts.lock_seconds), ("0x", 0))

    def _beacon(self) -> str:
        slot = "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50"
        return "0x" + self.stage.w3.eth.get_storage_at(self.stage.proxy, int(slot, 16))[12:].hex()

    async def test_a_batch_that_reverts(self) -> None:
        """A replay that reverts as a whole gives no line a reason."""
        head = await self.adapter().head()
        node = StubNode(self, failing_call(RpcError("execution reverted", 3, "0x")))
        lines = [self.stage.line(1, 1), self.stage.line(2, 1)]
        self.assertEqual(await self.adapter(node.url).refusals(lines, head), (None, None))

    async def test_reasons_are_ours(self) -> None:
        """The replay comes from our sender: the contract asks who submits (K8)."""
        await self.run_on_chain(self.stage.fund, 100)
        head = await self.adapter().head()
        stranger = self.stage.signer.from_bytes(b"\x22" * 32)
        line = self.stage.line(1, 1)
        self.assertEqual(await self.adapter().refusals([line], head), (0,))
        self.assertEqual(await self.adapter(signer=stranger).refusals([line], head), (2,))


class ReorgTests(ChainCase):
    """A block that changes while it is read is noticed."""

    async def test_between_calls_by_number(self) -> None:
        """A node without block hashes that reorganises within a read is not believed."""
        await self.run_on_chain(self.stage.fund, 100)
        head = await self.adapter().head()
        done: list[bool] = []

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = without_hashes(method, params, forward)
            if method == "eth_call" and not done:
                done.append(True)
                self.stage.reorg(1)
            return found

        with self.assertRaises(NodeBehind):
            await self.adapter(StubNode(self, twist).url).accounts([self.user], head)
        self.assertTrue(done)

    async def test_before_calls_by_number(self) -> None:
        """Nor one that had another block before, and has ours after."""
        await self.run_on_chain(self.stage.fund, 100)
        head = await self.adapter().head()
        asked: list[str] = []

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = without_hashes(method, params, forward)
            if method == "eth_getBlockByNumber":
                asked.append(method)
                # The first is asked because the hash was refused.
                if len(asked) == 2:
                    return {**found, "hash": "0x" + "00" * 32}
            return found

        with self.assertRaises(NodeBehind):
            await self.adapter(StubNode(self, twist).url).accounts([self.user], head)
        self.assertEqual(len(asked), 3)

    async def test_while_logs_are_read(self) -> None:
        """Logs of a range whose end was replaced meanwhile are dropped."""
        await self.run_on_chain(self.stage.fund, 100)
        head = await self.adapter().head()
        done: list[bool] = []

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            if method == "eth_getLogs" and not done:
                done.append(True)
                self.stage.reorg(1)
            return found

        with self.assertRaises(Transient):
            await self.adapter(StubNode(self, twist).url).happenings(1, head.number)
        self.assertTrue(done)

    async def test_after_logs_were_read(self) -> None:
        """Nor is a range believed whose end is another block afterwards, empty or not."""
        head = await self.adapter().head()
        asked: list[str] = []

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            if method == "eth_getBlockByNumber":
                asked.append(method)
                if len(asked) == 2:
                    return {**found, "hash": "0x" + "99" * 32}
            return found

        node = StubNode(self, twist)
        with self.assertRaises(Transient):
            await self.adapter(node.url).happenings(head.number, head.number)
        self.assertEqual(len(asked), 2)

    async def test_the_same_number_again(self) -> None:
        """After a reorg the old block is gone for every kind of read."""
        chain = self.adapter()
        await self.run_on_chain(self.stage.fund, 100)
        old = await chain.head()
        await self.run_on_chain(self.stage.reorg, 1)
        for read in (
            chain.accounts([self.user], old),
            chain.last_nonces([self.user], old),
            chain.service(self.provider, old),
            chain.leaving_at(old),
            chain.refusals([self.stage.line(1, 1)], old),
        ):
            with self.assertRaises(NodeBehind):
                await read


class ManyTests(ChainCase):
    """Many wallets are a few requests."""

    async def test_batches(self) -> None:
        """Three hundred wallets are nine hundred calls, in nine arrays."""
        await self.run_on_chain(self.stage.fund, 100)
        node = StubNode(self)
        chain = self.adapter(node.url)
        head = await chain.head()
        before = node.posts
        found = await chain.accounts([*addresses(299), self.user], head)
        self.assertEqual(node.posts - before, 9)
        self.assertEqual([a.balance for a in found], [0] * 299 + [100])
        self.assertEqual([a.wallet for a in found], [*addresses(299), self.user])

    async def test_smaller_batches(self) -> None:
        """A node that takes ten at a time gets no more, and is not asked for more again."""
        await self.run_on_chain(self.stage.fund, 100)
        node = StubNode(self)
        node.max_batch, node.batch_status = 10, 200
        chain = self.adapter(node.url)
        head = await chain.head()
        (*_, last) = await chain.accounts([*addresses(30), self.user], head)
        self.assertEqual(last.balance, 100)
        before = node.posts
        await chain.accounts(addresses(4), head)
        self.assertLessEqual(node.posts - before, 3)


class LogRangeTests(ChainCase):
    """Ranges are as large as nodes take."""

    def _watching(self, largest: int) -> tuple[StubNode, list[int]]:
        asked: list[int] = []

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getLogs":
                first, last = (int(params[0][key], 16) for key in ("fromBlock", "toBlock"))
                asked.append(last - first + 1)
                if last - first + 1 > largest:
                    raise RpcError("range too large", -32005)
            return forward(method, params)

        return StubNode(self, twist), asked

    async def _mine(self, blocks: int) -> int:
        for _ in range(blocks):
            await self.run_on_chain(self.stage.chain.mine)
        return (await self.adapter().head()).number

    async def _events(self, chain: Web3Chain, first: int, last: int) -> int:
        return len((await chain.happenings(first, last)).events)

    async def test_configured(self) -> None:
        """No range is longer than LOG_RANGE, and together they leave nothing out."""
        await self.run_on_chain(self.stage.fund, 100)
        last = await self._mine(12)
        node, asked = self._watching(1_000)
        self.assertEqual(await self._events(self.adapter(node.url, log_range=5), 0, last), 3)
        self.assertEqual(max(asked), 5)
        self.assertEqual(sum(asked), 2 * (last + 1))

    async def test_halved(self) -> None:
        """A refused range is halved until it is taken."""
        await self.run_on_chain(self.stage.fund, 100)
        last = await self._mine(12)
        node, asked = self._watching(4)
        chain = self.adapter(node.url, log_range=16)
        self.assertEqual(await self._events(chain, 0, last), 3)
        taken = [size for size in asked if size <= 4]
        self.assertGreaterEqual(sum(taken), 2 * (last + 1))
        self.assertLess(len(asked), 60)

    async def test_wider_again(self) -> None:
        """A node that takes more later is asked for more, after a while."""
        last = await self._mine(12)
        limit = [1]
        asked: list[int] = []

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getLogs":
                first, until = (int(params[0][key], 16) for key in ("fromBlock", "toBlock"))
                asked.append(until - first + 1)
                if asked[-1] > limit[0]:
                    raise RpcError("range too large", -32005)
            return forward(method, params)

        chain = self.adapter(StubNode(self, twist).url, log_range=4)
        await chain.happenings(0, 1)
        limit[0] = 1_000
        asked.clear()
        await chain.happenings(0, last)
        self.assertEqual(asked[0], 1)
        self.assertIn(2, asked)

    async def test_a_block_that_is_refused(self) -> None:
        """A single block that no node gives is a failure, not an endless halving."""
        last = await self._mine(1)
        node, asked = self._watching(0)
        with self.assertRaises(Transient):
            await self.adapter(node.url, log_range=4).happenings(0, last)
        self.assertLess(len(asked), 10)

    async def test_slow(self) -> None:
        """After a time-out the next turn asks for less."""
        await self.run_on_chain(self.stage.fund, 100)
        last = await self._mine(4)
        node, asked = self._watching(1_000)
        chain = self.adapter(node.url, log_range=4, read_seconds=0.5)
        await chain.head()
        node.hangs = {"eth_getLogs"}
        with self.assertRaises(Transient):
            await chain.happenings(0, last)
        node.hangs = set()
        asked.clear()
        self.assertEqual(await self._events(chain, 0, last), 3)
        self.assertEqual(asked[0], 2)

    async def test_strange_logs(self) -> None:
        """Logs of other contracts, blocks or forks make a node useless, and the next is asked."""
        await self.run_on_chain(self.stage.fund, 100)
        last = await self._mine(2)
        for changes in (
            {"address": "0x" + "99" * 20},
            {"address": None},
            {"blockNumber": hex(last + 1)},
            {"blockHash": "0x" + "99" * 32},
            {"topics": ["0x" + "99" * 32]},
            {"removed": True},
        ):

            def twist(
                method: str, params: list[Any], forward: Forward, changes: Any = changes
            ) -> Any:
                found = forward(method, params)
                return [{**e, **changes} for e in found] if method == "eth_getLogs" else found

            node = StubNode(self, twist)
            with self.assertRaises(Transient, msg=str(changes)):
                await self.adapter(node.url).happenings(0, last)
            both = self.adapter(node.url, self.service.url)
            self.assertEqual(await self._events(both, 0, last), 3)

    async def test_a_strangers_registration(self) -> None:
        """Of another provider's registration nothing need be readable; of ours, everything."""
        whose = self.stage.stranger
        await self.run_on_chain(self.stage.register, whose)
        last = await self._mine(1)

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            if method == "eth_getLogs":
                return [{**e, "data": "0x99"} if len(e["topics"]) == 2 else e for e in found]
            return found

        chain = self.adapter(StubNode(self, twist).url)
        with self.assertRaises(Transient):
            await chain.happenings(0, last)
        told = await self.adapter().happenings(last - 1, last)
        self.assertEqual((Address(whose.address),), told.services)
        self.assertEqual((), (await chain.happenings(last - 1, last)).services)

    async def test_a_strangers_words(self) -> None:
        """A url that is no text stops nobody, and is read for what it is worth."""
        before = await self.adapter().head()
        await self.run_on_chain(self._registers_rubbish)
        chain = self.adapter()
        head = await chain.head()
        stranger = Address(self.stage.stranger.address)
        happened = await chain.happenings(before.number + 1, head.number)
        self.assertEqual((stranger,), happened.services)
        record = await chain.service(stranger, head)
        self.assertIsNotNone(record)
        assert record is not None
        self.assertEqual("\ufffd" * 4, record.url)

    def _registers_rubbish(self) -> None:
        stage = self.stage
        call = stage.serving.functions.addOrUpdateService("AAAA", stage.stranger.address, 1, 1, 1)
        data = str(call._encode_transaction_data()).replace(b"AAAA".hex(), "ff" * 4)
        price = stage.w3.eth.get_block("latest")["baseFeePerGas"]
        signed = stage.stranger.sign_transaction(
            {
                "to": stage.proxy,
                "data": data,
                "value": STAKE,
                "gas": 3_000_000,
                "nonce": stage.w3.eth.get_transaction_count(stage.stranger.address),
                "chainId": CHAIN_ID,
                "maxFeePerGas": price * 3,
                "maxPriorityFeePerGas": price,
            }
        )
        sent = stage.w3.eth.send_raw_transaction(signed.raw_transaction)
        stage.chain.mine()
        self.assertEqual(1, stage.w3.eth.get_transaction_receipt(sent)["status"])

    async def test_unreadable_service(self) -> None:
        """A registration that no node can tell is that, and no node that is lost."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            return "0x99" if method == "eth_call" else forward(method, params)

        head = await self.adapter().head()
        chain = self.adapter(StubNode(self, twist).url, dead_url(self))
        with self.assertRaises(Unreadable):
            await chain.service(Address(self.stage.stranger.address), head)

    async def test_logs_of_other_blocks(self) -> None:
        """Logs from outside the range would be counted twice: the node is not believed."""
        await self.run_on_chain(self.stage.fund, 100)
        last = await self._mine(1)

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getLogs":
                return forward(method, [{**params[0], "fromBlock": "0x0"}])
            return forward(method, params)

        with self.assertRaises(Transient):
            await self.adapter(StubNode(self, twist).url).happenings(last, last)
        self.assertEqual(await self._events(self.adapter(), last, last), 0)


class FirstBlockTests(ChainCase):
    """Where to begin."""

    async def test_no_old_states(self) -> None:
        """A node that forgets old states is not enough, and the text says what to set."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getCode" and int(params[1], 16) < self.stage.contract_block + 1:
                raise RpcError("missing trie node")
            return forward(method, params)

        forgetful = StubNode(self, twist)
        with self.assertRaises(Transient) as caught:
            await self.adapter(forgetful.url).first_block()
        self.assertIn("START_BLOCK", caught.exception.text)
        both = self.adapter(forgetful.url, self.service.url)
        self.assertEqual(await both.first_block(), self.stage.contract_block)


class MovesTests(ChainCase):
    """What several nodes know of one wallet, each by itself."""

    def forgetful(self) -> StubNode:
        """A node that lost its logs and does not know it."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            return [] if method == "eth_getLogs" else forward(method, params)

        return StubNode(self, twist)

    async def test_one_has_lost_some(self) -> None:
        """What one node left out another tells; only one knows all of it then."""
        await self.run_on_chain(self.stage.fund, 100)
        head = await self.adapter().head()
        chain = self.adapter(self.forgetful().url, self.service.url)
        found = await chain.moves(self.user, 0, head.number)
        self.assertEqual((found.deposited, found.sources), (100, 1))

    async def test_two_agree(self) -> None:
        """Two that know the same are two sources; one that is behind is none."""
        await self.run_on_chain(self.stage.fund, 100)
        head = await self.adapter().head()
        chain = self.adapter(self.service.url, StubNode(self).url, StubNode(self, behind(1)).url)
        found = await chain.moves(self.user, 0, head.number)
        self.assertEqual((found.deposited, found.sources), (100, 2))

    async def test_nobody_answers(self) -> None:
        """No answer is no knowledge."""
        with self.assertRaises(Transient):
            await self.adapter(dead_url(self)).moves(self.user, 0, 1)

    async def test_short_ranges_only(self) -> None:
        """A node that refuses long ranges is asked for short ones, and counts all the same."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getLogs":
                length = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
                if length > 3:
                    raise RpcError("query exceeds max block range", -32005)
            return forward(method, params)

        await self.run_on_chain(self.stage.fund, 100)
        head = await self.adapter().head()
        chain = self.adapter(StubNode(self, twist).url, self.service.url)
        found = await chain.moves(self.user, 0, head.number)
        self.assertEqual((found.deposited, found.sources), (100, 2))
