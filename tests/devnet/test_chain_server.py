"""
Tests of the chain on a real socket, with web3.py as its client:
C{sandbox_billing.devnet.chain.service, server, faults}.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import requests
from eth_account import Account
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.test.requesthelper import DummyChannel
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractCustomError, ContractLogicError, Web3RPCError

from sandbox_billing.devnet.chain.devchain import make_dev_chain
from sandbox_billing.devnet.chain.server import MAX_BODY_BYTES, BoundedRequest
from sandbox_billing.devnet.chain.service import DevChainService

from .chain_probe import ADDRESS, GWEI, KEY, POOR, PROBE_ABI, PROBE_BYTECODE, signed


_DEADLINE_SECONDS = 120.0
_CHECKSUM = Web3.to_checksum_address(ADDRESS)


def soon(check: Callable[[], Any]) -> Any:
    """
    Ask until the answer is true (in a thread, where asking may block).
    """
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not (found := check()):
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.01)
    return found


class ServedChain(TestCase):
    """
    A chain on a free port.
    """

    timeout = 600
    block_seconds: float | None = None
    automine = False

    def setUp(self) -> None:
        self.chain = make_dev_chain(now=time.time, automine=self.automine)
        self.service = DevChainService(
            reactor=global_reactor,  # type: ignore[arg-type]
            chain=self.chain,
            block_seconds=self.block_seconds,
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)
        provider = HTTPProvider(
            self.service.url,
            request_kwargs={"timeout": _DEADLINE_SECONDS},
            exception_retry_configuration=None,
        )
        self.web3 = Web3(provider)

    def control(self, method: str, *values: Any) -> Any:
        """
        A control request, from a thread.
        """
        reply = self.web3.provider.make_request(method, list(values))  # type: ignore[arg-type]
        assert "error" not in reply, reply
        return reply["result"]


class Web3Tests(ServedChain):
    """
    What web3.py does with us, without mining by itself.
    """

    automine = True

    async def test_contract(self) -> None:
        """
        A contract is deployed, called, filtered for events, and its reverts are understood.
        """

        def work() -> None:
            w3 = self.web3
            factory = w3.eth.contract(abi=PROBE_ABI, bytecode=PROBE_BYTECODE)
            sealed = Account.sign_transaction(
                factory.constructor().build_transaction({"from": _CHECKSUM, "nonce": 0}), KEY
            )
            deployed = w3.eth.wait_for_transaction_receipt(
                w3.eth.send_raw_transaction(sealed.raw_transaction)
            )
            probe = w3.eth.contract(address=deployed["contractAddress"], abi=PROBE_ABI)
            for value, gas in ((5, {}), (6, {"gasPrice": 3 * GWEI})):
                form = probe.functions.store(value).build_transaction(
                    {"from": _CHECKSUM, "nonce": w3.eth.get_transaction_count(_CHECKSUM), **gas}
                )
                raw = Account.sign_transaction(form, KEY).raw_transaction
                receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw))
                self.assertEqual(receipt["status"], 1)
            self.assertEqual(probe.functions.value().call(), 6)
            self.assertEqual(probe.functions.value().call(block_identifier=2), 5)
            events = probe.events.Stored().get_logs(from_block=0)
            self.assertEqual([e["args"]["value"] for e in events], [5, 6])
            events = probe.events.Stored().get_logs(
                from_block=0, argument_filters={"value": [6, 7]}
            )
            self.assertEqual([e["args"]["note"] for e in events], ["stored"])
            self.assertRaises(ContractCustomError, probe.functions.refuse(3).call)
            error = self.assertRaises(ContractLogicError, probe.functions.scold().call)
            self.assertIn("no", str(error))

        await deferToThread(work)

    async def test_reads(self) -> None:
        """
        Every kind of read passes through web3's own formatters.
        """

        def work() -> None:
            eth = self.web3.eth
            sent = eth.send_raw_transaction(signed(0))
            self.assertEqual(eth.chain_id, 16602)
            self.assertEqual(eth.block_number, 1)
            self.assertEqual(eth.get_balance(POOR), 1)
            self.assertEqual(eth.get_balance(POOR, 0), 0)
            self.assertEqual(eth.get_transaction_count(_CHECKSUM, "pending"), 1)
            self.assertEqual(eth.get_transaction(sent)["blockNumber"], 1)
            block = eth.get_block(1, True)
            self.assertEqual(block["transactions"][0]["hash"], sent)
            self.assertEqual(eth.get_block(block["hash"])["number"], 1)
            self.assertEqual(eth.get_transaction_receipt(sent)["effectiveGasPrice"], 3 * GWEI)
            self.assertEqual(len(eth.fee_history(1, "latest", [50.0])["reward"]), 1)
            self.assertEqual(eth.gas_price, eth.max_priority_fee + GWEI)
            self.assertEqual(eth.get_code(POOR), b"")
            self.assertEqual(int.from_bytes(eth.get_storage_at(POOR, 0)), 0)
            self.assertFalse(eth.syncing)

        await deferToThread(work)

    async def test_refusals(self) -> None:
        """
        Refusals reach the client with geth's code and words.
        """

        def work() -> None:
            send = self.web3.eth.send_raw_transaction
            send(signed(0))
            error = self.assertRaises(Web3RPCError, send, signed(0, value=3))
            assert error.rpc_response is not None
            self.assertEqual(
                error.rpc_response["error"],
                {"code": -32000, "message": "nonce too low: next nonce 1, tx nonce 0"},
            )

        await deferToThread(work)

    async def test_many_threads(self) -> None:
        """
        Eight clients that write and read at once leave a chain that adds up.
        """

        def client(number: int) -> None:
            key = (number + 1).to_bytes(32, "big")
            sender = Account.from_key(key).address
            for nonce in range(10):
                self.web3.eth.send_raw_transaction(signed(nonce, key=key))
                self.assertEqual(self.web3.eth.get_transaction_count(sender), nonce + 1)

        failures: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                client(number)
            except BaseException as e:
                failures.append(e)

        def work() -> None:
            threads = [threading.Thread(target=guarded, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        await deferToThread(work)
        self.assertEqual(failures, [])
        self.assertEqual(await self.service.run(self.chain.balance, POOR), 80)


class PoolOverTheWireTests(ServedChain):
    """
    Replacement, gaps, loss and reorg as a client meets them.
    """

    async def test_story_of_a_transaction(self) -> None:
        """
        Sent, outbid, lost, sent again, mined, orphaned, mined again, orphaned and forgotten.
        """

        def work() -> None:
            eth = self.web3.eth
            first = eth.send_raw_transaction(signed(0, fee=10 * GWEI))
            error = self.assertRaises(
                Web3RPCError, eth.send_raw_transaction, signed(0, fee=10 * GWEI + 1)
            )
            self.assertIn("replacement transaction underpriced", str(error))
            second = eth.send_raw_transaction(signed(0, fee=11 * GWEI))
            self.assertEqual(eth.get_transaction(second).get("blockNumber"), None)
            self.assertTrue(self.control("devnet_dropTransaction", second.to_0x_hex()))
            self.control("evm_mine")
            self.assertEqual(eth.get_transaction_count(_CHECKSUM, "pending"), 0)
            # Once lost, even the cheaper first one is welcome again.
            self.assertEqual(eth.send_raw_transaction(signed(0, fee=10 * GWEI)), first)
            self.control("evm_mine")
            block_hash = eth.get_transaction_receipt(first)["blockHash"]
            self.control("devnet_reorg", 1, True)
            self.assertIsNone(self.control("eth_getTransactionReceipt", first.to_0x_hex()))
            self.assertIsNone(self.control("eth_getBlockByHash", block_hash.to_0x_hex(), False))
            self.control("evm_mine")
            self.assertEqual(eth.get_transaction_receipt(first)["blockNumber"], 3)
            self.control("devnet_reorg", 1, False)
            self.assertIsNone(self.control("eth_getTransactionByHash", first.to_0x_hex()))
            self.assertEqual(eth.get_transaction_count(_CHECKSUM, "pending"), 0)

        await deferToThread(work)

    async def test_gap(self) -> None:
        """
        A future nonce waits through blocks and is mined with the one that fills the gap.
        """

        def work() -> None:
            eth = self.web3.eth
            late = eth.send_raw_transaction(signed(1))
            self.control("devnet_mine", 3)
            self.assertEqual(eth.get_transaction_count(_CHECKSUM, "pending"), 0)
            eth.send_raw_transaction(signed(0))
            self.assertEqual(eth.get_transaction_count(_CHECKSUM, "pending"), 2)
            self.control("evm_mine")
            self.assertEqual(eth.get_transaction_receipt(late)["transactionIndex"], 1)

        await deferToThread(work)

    async def test_stop_answers_what_was_asked(self) -> None:
        """
        A request that is being worked on when the service stops gets its answer.
        """
        replies: list[Any] = []
        client = threading.Thread(target=lambda: replies.append(self.control("devnet_mine", 1000)))
        client.start()
        await deferToThread(soon, lambda: self.chain.head.number > 20)
        await self.service.stopService()
        await deferToThread(client.join)
        self.assertEqual(len(replies), 1)


class FaultTests(ServedChain):
    """
    A node that fails its caller.
    """

    async def test_kinds(self) -> None:
        """
        Unheard is not done; unanswered and misreported are done; then all is well.
        """

        def work() -> None:
            send = self.web3.eth.send_raw_transaction
            method = "eth_sendRawTransaction"
            for kind, error, nonce, known in (
                ("unheard", requests.exceptions.ConnectionError, 0, 0),
                ("unanswered", requests.exceptions.ConnectionError, 0, 1),
                ("misreported", Web3RPCError, 1, 2),
            ):
                self.control("devnet_failNext", method, kind)
                self.assertRaises(error, send, signed(nonce))
                self.assertEqual(self.control("txpool_status")["pending"], hex(known), kind)
            send(signed(2))

        await deferToThread(work)

    async def test_unknown_kind(self) -> None:
        """
        A kind of failure we do not have is refused.
        """

        def work() -> None:
            reply = self.web3.provider.make_request(
                "devnet_failNext",  # type: ignore[arg-type]
                ["eth_call", "explode"],
            )
            self.assertEqual(reply["error"]["code"], -32602)

        await deferToThread(work)


class TimedServiceTests(ServedChain):
    """
    Mining by the real clock.
    """

    block_seconds = 0.02

    async def test_blocks_come(self) -> None:
        """
        A sent transaction is mined without anybody asking for a block.
        """

        def work() -> None:
            found = self.web3.eth.send_raw_transaction(signed(0)).to_0x_hex()
            receipt = soon(lambda: self.control("eth_getTransactionReceipt", found))
            self.assertEqual(receipt["status"], "0x1")

        await deferToThread(work)

    async def test_stop(self) -> None:
        """
        Stopped, the port refuses, no connection is left open and no thread is left.
        """

        def work() -> None:
            self.assertGreaterEqual(self.web3.eth.block_number, 0)

        await deferToThread(work)
        await self.service.stopService()
        self.assertNotIn("devnet-chain", " ".join(t.name for t in threading.enumerate()))

        def refused() -> None:
            self.assertRaises(requests.exceptions.ConnectionError, lambda: self.web3.eth.chain_id)

        await deferToThread(refused)


class HttpTests(ServedChain):
    """
    What is not a JSON-RPC request.
    """

    def exchange(self, method: str, body: bytes, kind: str) -> tuple[int, bytes]:
        """
        Status and body of one request (in a thread).
        """
        connection = http.client.HTTPConnection(
            self.service.url.removeprefix("http://"), timeout=_DEADLINE_SECONDS
        )
        try:
            connection.request(method, "/", body, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    async def test_statuses(self) -> None:
        """
        Only POSTs of JSON of a bearable size are taken; a bad body is JSON-RPC's affair.
        """

        def work() -> None:
            kind = "application/json"
            for method, body, given, status in (
                ("GET", b"", kind, 405),
                ("POST", b"{}", "text/plain", 415),
                ("POST", b"{}", kind + "; charset=utf-8", 200),
                ("POST", b" " * MAX_BODY_BYTES, kind, 200),
                ("POST", b" " * (MAX_BODY_BYTES + 1), kind, 413),
            ):
                self.assertEqual(self.exchange(method, body, given)[0], status, (method, given))
            _, text = self.exchange("POST", b"{", kind)
            self.assertEqual(json.loads(text)["error"]["code"], -32700)

        await deferToThread(work)

    def test_long_body_is_not_kept(self) -> None:
        """
        Of a body beyond the limit no more than the limit stays in memory.
        """
        request = BoundedRequest(DummyChannel(), False)  # type: ignore[no-untyped-call]
        request.gotLength(3 * MAX_BODY_BYTES)
        for _ in range(3):
            request.handleContentChunk(b" " * MAX_BODY_BYTES)
        assert request.content is not None
        self.assertEqual(request.content.tell(), MAX_BODY_BYTES)
        self.assertTrue(request.too_long)
        request.content.close()

    async def test_endless_body(self) -> None:
        """
        Who goes on sending far beyond the limit is cut off.
        """

        def work() -> None:
            body = b" " * (8 * MAX_BODY_BYTES)
            self.assertRaises(
                (ConnectionError, http.client.HTTPException),
                self.exchange,
                "POST",
                body,
                "application/json",
            )

        await deferToThread(work)

    async def test_client_hangs_up(self) -> None:
        """
        A client that leaves in the middle has its request carried out, and harms nobody.
        """

        def work() -> None:
            connection = http.client.HTTPConnection(self.service.url.removeprefix("http://"))
            body = json.dumps({"id": 1, "method": "devnet_mine", "params": [200]}).encode()
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            connection.close()
            soon(lambda: self.web3.eth.block_number == 200)

        await deferToThread(work)
