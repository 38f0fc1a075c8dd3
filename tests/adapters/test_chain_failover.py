"""
Tests of C{sandbox_billing.adapters.chain.nodes, node, transport}: nodes that do not answer,
or should not be believed.
"""

from __future__ import annotations

import traceback
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import formatEventAsClassicLogText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request

from sandbox_billing.adapters.chain import node as node_module
from sandbox_billing.adapters.chain import transport
from sandbox_billing.adapters.chain.node import Node, NodeFailure, RpcRefusal
from sandbox_billing.adapters.chain.nodes import SHUN_SECONDS, Nodes
from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.errors import ConfigurationError, Transient, UnknownOutcome
from sandbox_billing.interfaces import NodeBehind
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.money import UnixSeconds
from tests.adapters.chain_stubs import Forward, StubNode, Twist, behind, dead_url
from tests.ports.chain import CHAIN_ID, ChainCase


PATIENCE_SECONDS = 120.0

NOWHERE = BlockRef(number=1, hash="0x" + "00" * 32, timestamp=UnixSeconds(0))


def _ahead(blocks: int) -> Twist:
    """A node that names a newest block that is not there."""

    def twist(method: str, params: list[Any], forward: Forward) -> Any:
        found = forward(method, params)
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            return dict(found, number=hex(int(found["number"], 16) + blocks))
        return found

    return twist


class FailoverTests(ChainCase):
    """The next node is asked."""

    async def test_hanging(self) -> None:
        """A node that hangs costs one time-out; then it is asked last."""
        node = StubNode(self)
        node.hangs = {"*"}
        # Both have as long, and the good one must not need it.
        chain = self.adapter(node.url, self.service.url, read_seconds=2.0)
        await chain.head()
        asked = len(node.heard)
        self.assertEqual(asked, 1)
        await chain.head()
        await chain.gas_balance()
        self.assertEqual(len(node.heard), asked)

    async def test_standing_still(self) -> None:
        """A node that no longer follows the chain does not say what is newest."""
        still = StubNode(self, behind(3))
        for urls in ((still.url, self.service.url), (self.service.url, still.url)):
            chain = self.adapter(*urls)
            for _ in range(3):
                mined = await self.run_on_chain(self.stage.chain.mine)
                self.assertEqual((await chain.head()).number, mined.number)

    async def test_a_head_that_nobody_has(self) -> None:
        """A node that names a block far ahead stops nobody, whichever is asked first."""
        liar = StubNode(self, _ahead(1000))
        for urls in ((liar.url, self.service.url), (self.service.url, liar.url)):
            chain = self.adapter(*urls, confirmations=2)
            for _ in range(2):
                mined = await self.run_on_chain(self.stage.chain.mine)
                head = await chain.head()
                self.assertEqual(head.number, mined.number)
                await chain.accounts([self.user], head)
                heard = len(liar.heard)
            # It was left out from then on.
            await chain.head()
            self.assertEqual(len(liar.heard), heard)

    async def test_a_head_that_is_late(self) -> None:
        """A node that does not show the block it named yet is outvoted, and stays a good node."""
        early = StubNode(self, _ahead(1))
        chain = self.adapter(early.url, self.service.url, confirmations=2)
        for _ in range(3):
            mined = await self.run_on_chain(self.stage.chain.mine)
            self.assertEqual((await chain.head()).number, mined.number)
        before = len(early.heard)
        await chain.gas_balance()
        self.assertEqual(len(early.heard), before + 1)

    async def test_a_lonely_head(self) -> None:
        """Where the only quick node names what nobody has, the slow one is waited for."""
        self.patch(node_module, "HASTY_SECONDS", 0.2)
        liar, slow = StubNode(self, _ahead(1000)), StubNode(self)
        slow.delay_seconds = 0.5
        head = await self.adapter(liar.url, slow.url, confirmations=2).head()
        self.assertEqual(head.number, await self.run_on_chain(lambda: self.stage.chain.head.number))

    async def test_nobody_has_it(self) -> None:
        """Where all name what nobody has, nothing can be said."""
        urls = [StubNode(self, _ahead(blocks)).url for blocks in (1000, 2000)]
        with self.assertRaises(NodeBehind):
            await self.adapter(*urls).head()

    async def test_hanging_spare(self) -> None:
        """A spare node that hangs costs one short time-out, and then nothing for a while."""
        self.patch(node_module, "HASTY_SECONDS", 0.3)
        spare = StubNode(self)
        spare.hangs = {"*"}
        chain = self.adapter(self.service.url, spare.url, read_seconds=PATIENCE_SECONDS)
        begun = global_reactor.seconds()  # type: ignore[attr-defined]
        for _ in range(3):
            self.assertIsNone(await chain.receipt("0x" + "22" * 32))
            await chain.head()
            await chain.account_nonces()
        passed = global_reactor.seconds() - begun  # type: ignore[attr-defined]
        self.assertLess(passed, PATIENCE_SECONDS)
        self.assertEqual(spare.heard, ["eth_chainId"])

    async def test_all_slow(self) -> None:
        """Where nobody is quick, the first is waited for."""
        self.patch(node_module, "HASTY_SECONDS", 0.2)
        slow = StubNode(self), StubNode(self)
        for node in slow:
            node.delay_seconds = 0.5
        head = await self.adapter(*(node.url for node in slow)).head()
        self.assertEqual(head.number, await self.run_on_chain(lambda: self.stage.chain.head.number))

    async def test_one_answer_is_enough(self) -> None:
        """Once a node has shown a receipt no other is asked for it."""
        chain = self.adapter(self.service.url, (spare := StubNode(self)).url)
        await self.run_on_chain(self.stage.fund, 100)
        attempt = await chain.prepare([self.stage.line(1, 1)], None)
        await chain.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        self.assertIsNotNone(await chain.receipt(attempt.hash))
        self.assertNotIn("eth_getTransactionReceipt", spare.heard)

    async def test_asked_again(self) -> None:
        """After its time a failed node is the first again."""
        clock = Clock()
        failing, good = StubNode(self), StubNode(self)
        failing.status = 500
        nodes = Nodes(
            [Node(stub.url, seconds=clock.seconds) for stub in (failing, good)],
            chain_id=CHAIN_ID,
            seconds=clock.seconds,
        )

        def ask() -> Any:
            return nodes.ask(lambda node: node.call("eth_blockNumber"))

        await deferToThread(ask)
        failing.status = 200
        failing.heard.clear()
        await deferToThread(ask)
        self.assertEqual(failing.heard, [])
        clock.advance(SHUN_SECONDS)
        await deferToThread(ask)
        self.assertEqual(failing.heard, ["eth_chainId", "eth_blockNumber"])

    async def test_all_failed(self) -> None:
        """With nobody left it is transient, and every node's failure is named."""
        failing = StubNode(self)
        failing.status = 502
        dead = dead_url(self)
        with self.assertRaises(Transient) as caught:
            await self.adapter(dead, failing.url).head()
        for url in (dead, failing.url):
            self.assertIn(url.removeprefix("http://"), caught.exception.text)
        self.assertIn("502", caught.exception.text)

    async def test_behind(self) -> None:
        """A node without the block is skipped; with none that has it: NodeBehind."""
        await self.run_on_chain(self.stage.fund, 100)
        lagging = StubNode(self, behind(1))
        alone = self.adapter(lagging.url)
        both = self.adapter(lagging.url, self.service.url)
        head = await self.adapter().head()
        with self.assertRaises(NodeBehind):
            await alone.block(head.number)
        with self.assertRaises(NodeBehind):
            await alone.accounts([self.user], head)
        with self.assertRaises(NodeBehind):
            await alone.happenings(1, head.number)
        (account,) = await both.accounts([self.user], head)
        self.assertEqual(account.balance, 100)
        self.assertEqual(len((await both.happenings(1, head.number)).events), 3)

    async def test_behind_and_dead(self) -> None:
        """One node behind and one dead: NodeBehind, which is transient like the other."""
        head = await self.adapter().head()
        chain = self.adapter(dead_url(self), StubNode(self, behind(1)).url)
        with self.assertRaises(NodeBehind):
            await chain.block(head.number)

    async def test_receipt_of_the_better_node(self) -> None:
        """A node that has no receipt yet says nothing against one that has."""
        await self.run_on_chain(self.stage.fund, 100)
        chain = self.adapter(StubNode(self, behind(1)).url, self.service.url)
        attempt = await chain.prepare([self.stage.line(1, 1)], None)
        await chain.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        self.assertIsNotNone(await chain.receipt(attempt.hash))

    async def test_receipt_without_a_price(self) -> None:
        """A receipt of a node from before London is read all the same."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            if method == "eth_getTransactionReceipt" and found is not None:
                del found["effectiveGasPrice"]
            return found

        lines = [self.stage.line(1, 30)]
        await self.run_on_chain(self.stage.fund, 1_000)
        old = self.adapter(StubNode(self, twist).url)
        attempt = await old.prepare(lines, None)
        await old.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        receipt = await old.receipt(attempt.hash)
        self.assertEqual(receipt, await self.adapter().receipt(attempt.hash))
        self.assertIsNotNone(receipt)

    async def test_another_chain(self) -> None:
        """A node of another chain is asked nothing else, and the start-up check shows it."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            return "0x1" if method == "eth_chainId" else forward(method, params)

        foreign = StubNode(self, twist)
        chain = self.adapter(foreign.url, self.service.url)
        await chain.head()
        self.assertEqual(foreign.heard, ["eth_chainId"])
        self.assertEqual((await chain.facts()).chain_id, 1)
        attempt = await chain.prepare([self.stage.line(1, 1)], None)
        await chain.broadcast(attempt)
        self.assertEqual(set(foreign.heard), {"eth_chainId"})

    async def test_a_mended_node(self) -> None:
        """A node that served another chain is used once it serves ours."""
        answers = ["0x1"]

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            return answers[0] if method == "eth_chainId" else forward(method, params)

        chain = self.adapter(StubNode(self, twist).url)
        with self.assertRaises(Transient):
            await chain.head()
        answers[0] = hex(CHAIN_ID)
        await chain.head()


class BeliefTests(ChainCase):
    """What is not JSON-RPC, or not what was asked for, is no answer."""

    async def test_garbage(self) -> None:
        """Bytes of all kinds are a failure of the node, never an exception of a library."""
        node = StubNode(self)
        chain = self.adapter(node.url)
        for body in (
            b"",
            b"<html>",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"[1]",
            b"7",
            b"{}",
            b'{"id":0,"jsonrpc":"2.0"}',
            b'{"id":0,"jsonrpc":"2.0","error":"no"}',
            b'{"id":0,"jsonrpc":"2.0","error":{"code":"x"}}',
            b'{"id":0,"jsonrpc":"2.0","result":5}',
            b'{"id":0,"jsonrpc":"2.0","result":"0xzz"}',
            b"[" * 100_000,
        ):
            node.body = body
            with self.assertRaises(Transient, msg=repr(body[:40])):
                await chain.head()
        self.flushWarnings()

    async def test_answers_of_a_batch(self) -> None:
        """A batch with twins, strangers or errors in it is not taken for its answers."""
        node = StubNode(self)
        asked = Node(node.url, seconds=Clock().seconds)
        pair = [("eth_blockNumber", []), ("eth_chainId", [])]
        for body in (
            b'[{"id":1,"result":"0x1"},{"id":1,"result":"0x2"}]',
            b'[{"result":"0x1"},{"result":"0x2"}]',
            b'[{"id":1,"result":"0x1"},null]',
            b'[{"id":"a","result":"0x1"},{"id":2,"result":"0x2"}]',
        ):
            node.body = body
            with self.assertRaises(NodeFailure, msg=repr(body)):
                await deferToThread(asked.batch, pair)
        node.body = b'[{"id":2,"error":{"code":-32000,"message":"x"}},{"id":1,"result":"0x1"}]'
        # web3 hopes that answers without ids come in order, and says so; we do not hope.
        self.flushWarnings()
        first, second = await deferToThread(asked.batch, pair)
        self.assertEqual(first, "0x1")
        self.assertIsInstance(second, RpcRefusal)

    async def test_bad_blocks(self) -> None:
        """A block without hash, number or time is no block."""
        for changes in (
            {"hash": None},
            {"hash": "0x12"},
            {"number": "7"},
            {"timestamp": None},
            {"gasLimit": "0x"},
        ):

            def twist(
                method: str, params: list[Any], forward: Forward, changes: Any = changes
            ) -> Any:
                found = forward(method, params)
                return {**found, **changes} if method == "eth_getBlockByNumber" else found

            with self.assertRaises(NodeFailure, msg=str(changes)):
                await deferToThread(self._block, StubNode(self, twist).url)

    def _block(self, url: str) -> Any:
        from sandbox_billing.adapters.chain.nodes import found_header

        node = Node(url, seconds=Clock().seconds)
        return found_header(node.call("eth_getBlockByNumber", "latest", False), "latest")

    async def test_another_receipt(self) -> None:
        """A receipt of another transaction is none of ours."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getTransactionReceipt":
                return {"transactionHash": "0x" + "11" * 32, "status": "0x1"}
            return forward(method, params)

        with self.assertRaises(Transient):
            await self.adapter(StubNode(self, twist).url).receipt("0x" + "22" * 32)

    async def test_redirect(self) -> None:
        """A redirect is not followed: what we send would go to somebody else."""
        target, node = StubNode(self), StubNode(self)
        node.status = 307
        node.location = target.url
        with self.assertRaises(Transient):
            await self.adapter(node.url).head()
        self.assertEqual(target.heard, [])

    async def test_too_long(self) -> None:
        """An answer beyond the bound is dropped."""
        self.patch(transport, "MAX_ANSWER_BYTES", 1_000)
        node = StubNode(self)
        node.body = b'{"id":0,"jsonrpc":"2.0","result":"' + b"0" * 2_000 + b'"}'
        with self.assertRaises(NodeFailure):
            await deferToThread(Node(node.url, seconds=Clock().seconds).call, "eth_chainId")

    async def test_too_deep(self) -> None:
        """An answer that would end the parser's stack is dropped before it is parsed."""
        node = StubNode(self)
        node.body = b'{"id":0,"jsonrpc":"2.0","result":' + b"[" * 101 + b"]" * 101 + b"}"
        with self.assertRaises(NodeFailure):
            await deferToThread(Node(node.url, seconds=Clock().seconds).call, "eth_chainId")

    async def test_dripping(self) -> None:
        """A byte now and then does not keep a thread for ever."""
        loops: list[LoopingCall] = []

        class Dripping(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                loops.append(LoopingCall(self.transport.write, b" "))
                loops[-1].start(0.05)

            def connectionLost(self, reason: Any = None) -> None:
                loops[-1].stop()

        port = global_reactor.listenTCP(0, Factory.forProtocol(Dripping), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}"
        node = Node(url, seconds=global_reactor.seconds, read_seconds=0.4)  # type: ignore[attr-defined]
        with self.assertRaises(NodeFailure) as caught:
            await deferToThread(node.call, "eth_chainId")
        self.assertTrue(caught.exception.slow)


class SecretTests(ChainCase):
    """A URL's credentials are seen by its node only."""

    secrets = ("s3cret-user", "s3cret-password", "S3CRETPATH", "S3CRETQUERY")

    def _with_secrets(self, url: str) -> str:
        where = url.removeprefix("http://")
        return f"http://s3cret-user:s3cret-password@{where}/v3/S3CRETPATH?key=S3CRETQUERY"

    def _assert_clean(self, text: str) -> None:
        for secret in self.secrets:
            self.assertNotIn(secret, text)

    async def test_errors_and_logs(self) -> None:
        """No error, log line or repr contains them, whatever fails and however it says so."""
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)

        def echoing(method: str, params: list[Any], forward: Forward) -> Any:
            raise RpcError(f"project {self.secrets[2]} is over its limit", -32005)

        failing, hanging, garbled = StubNode(self), StubNode(self), StubNode(self)
        failing.status, garbled.body = 500, b"no"
        hanging.hangs = {"*"}
        urls = [dead_url(self), "http://127.0.0.1:1"]
        urls += [n.url for n in (failing, hanging, garbled, StubNode(self, echoing))]
        each = [self._with_secrets(url) for url in urls]
        for chosen in [*([url] for url in each), each]:
            chain = self.adapter(*chosen, read_seconds=0.3)
            for call in (
                chain.head(),
                chain.accounts([self.user], NOWHERE),
                chain.first_block(),
                chain.prepare([self.stage.line(1, 1)], None),
            ):
                with self.assertRaises(Transient) as caught:
                    await call
                self._assert_clean("".join(traceback.format_exception(caught.exception)))
                self._assert_clean(repr(caught.exception) + str(caught.exception))
        self._assert_clean("".join(formatEventAsClassicLogText(e) or "" for e in logged))
        self._assert_clean(repr(Node(each[0], seconds=Clock().seconds)))

    async def test_broadcast(self) -> None:
        """Nor does an unknown outcome."""
        attempt = await self.adapter().prepare([self.stage.line(1, 1)], None)
        with self.assertRaises(UnknownOutcome) as caught:
            await self.adapter(self._with_secrets(dead_url(self))).broadcast(attempt)
        self._assert_clean("".join(traceback.format_exception(caught.exception)))

    async def test_they_work(self) -> None:
        """And its node does see them."""
        seen: list[Any] = []
        node = StubNode(self)

        def look(request: Request) -> None:
            seen.append((request.uri, request.getUser(), request.getPassword()))

        node.look = look
        await self.adapter(self._with_secrets(node.url)).head()
        self.assertEqual(
            seen[0], (b"/v3/S3CRETPATH?key=S3CRETQUERY", b"s3cret-user", b"s3cret-password")
        )


class NodeTests(SynchronousTestCase):
    """C{Node}, without a network."""

    def test_urls(self) -> None:
        """What is no http URL is a configuration error that does not repeat it."""
        Node("https://rpc.example/path", seconds=Clock().seconds)
        for url in ("", "ws://host", "host:8545", "http://", "file:///etc/s3cret"):
            with self.assertRaises(ConfigurationError) as caught:
                Node(url, seconds=Clock().seconds)
            self.assertNotIn("s3cret", str(caught.exception))

    def test_nothing_is_imported(self) -> None:
        """Making an adapter does not import web3: C{twistd --help} would pay for it."""
        import subprocess
        import sys

        code = (
            "import sys; import sandbox_billing.adapters.chain.adapter; "
            "sys.exit(any(m in sys.modules for m in ('web3', 'eth_account', 'requests')))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)
