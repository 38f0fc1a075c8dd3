"""
Tests of the node's methods and of JSON-RPC itself, without a socket:
C{sandbox_billing.devnet.chain.methods, params, render, fees, jsonrpc}.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.chain.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RpcError,
)
from sandbox_billing.devnet.chain.jsonrpc import MAX_BATCH, answer
from sandbox_billing.devnet.chain.methods import METHODS, perform

from .chain_probe import (
    ADDRESS,
    GWEI,
    POOR,
    STORED_TOPIC,
    deploy_probe,
    make_chain,
    signed,
    signed_legacy,
    store_call,
)


def octets(value: bytes) -> str:
    return "0x" + value.hex()


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.text(max_size=5)
    | st.sampled_from(["latest", "pending", "0x0", "0x1", "0x" + "00" * 20, "0x" + "00" * 32]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["to", "from", "data", "address", "topics", "fromBlock", "blockHash"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


class EnvelopeTests(SynchronousTestCase):
    """
    JSON-RPC 2.0 around any method.
    """

    def asked(self, body: bytes) -> Any:
        """
        The answer to a body, when echo, refuse and break are the methods.
        """

        def act(method: str, values: list[Any]) -> Any:
            if method == "refuse":
                raise RpcError("no", 3, "0xab")
            if method == "break":
                raise ZeroDivisionError
            return [method, values]

        found = answer(body, act)
        return json.loads(found) if found else None

    def test_result(self) -> None:
        """
        A request is answered under its own id; absent parameters are none.
        """
        self.assertEqual(
            self.asked(b'{"jsonrpc":"2.0","id":"x","method":"echo"}'),
            {"jsonrpc": "2.0", "id": "x", "result": ["echo", []]},
        )

    def test_refusal(self) -> None:
        """
        An L{RpcError} becomes code, message and data.
        """
        self.assertEqual(
            self.asked(b'{"id":1,"method":"refuse","params":[]}')["error"],
            {"code": 3, "message": "no", "data": "0xab"},
        )

    def test_our_defect(self) -> None:
        """
        Any other exception is logged and answered in one bland line.
        """
        error = self.asked(b'{"id":1,"method":"break"}')["error"]
        self.assertEqual(error, {"code": INTERNAL_ERROR, "message": "internal error"})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_malformed(self) -> None:
        """
        What is no request is answered with the right code and no id.
        """
        for body, code in (
            (b"", PARSE_ERROR),
            (b"{", PARSE_ERROR),
            (b"\xff", PARSE_ERROR),
            (b"[" * 100_000, PARSE_ERROR),
            (b"7", INVALID_REQUEST),
            (b"[]", INVALID_REQUEST),
            (b'{"id":1}', INVALID_REQUEST),
            (b'{"id":1,"method":5}', INVALID_REQUEST),
            (b'{"id":{},"method":"echo"}', INVALID_REQUEST),
            (json.dumps([{}] * (MAX_BATCH + 1)).encode(), INVALID_REQUEST),
        ):
            reply = self.asked(body)
            self.assertEqual((reply["error"]["code"], reply["id"]), (code, None), body[:40])

    def test_named_parameters(self) -> None:
        """
        Parameters by name are refused, as Ethereum's nodes do.
        """
        error = self.asked(b'{"id":1,"method":"echo","params":{"a":1}}')["error"]
        self.assertEqual(error["code"], INVALID_PARAMS)

    def test_batch(self) -> None:
        """
        A batch is answered in order; its bad members fail alone; notifications are silent.
        """
        replies = self.asked(
            b'[{"id":1,"method":"echo"},5,{"method":"echo"},{"id":2,"method":"refuse"}]'
        )
        self.assertEqual([r["id"] for r in replies], [1, None, 2])
        self.assertEqual([("result" in r) for r in replies], [True, False, False])

    def test_notification(self) -> None:
        """
        A request without an id is carried out and not answered.
        """
        self.assertIsNone(self.asked(b'{"method":"echo"}'))


class MethodTests(SynchronousTestCase):
    """
    The forms of answers.
    """

    def setUp(self) -> None:
        self.chain = make_chain()

    def ask(self, method: str, *values: Any) -> Any:
        """
        The result of one request, as it would be after JSON.
        """
        return json.loads(json.dumps(perform(self.chain, method, list(values))))

    def refusal(self, method: str, *values: Any) -> RpcError:
        """
        The error of one request that must fail.
        """
        return self.assertRaises(RpcError, perform, self.chain, method, list(values))

    def test_who(self) -> None:
        """
        Chain id as hex and as decimal, no accounts, not syncing.
        """
        self.assertEqual(self.ask("eth_chainId"), "0x40da")
        self.assertEqual(self.ask("net_version"), "16602")
        self.assertEqual(self.ask("eth_accounts"), [])
        self.assertIs(self.ask("eth_syncing"), False)

    def test_unknown_method(self) -> None:
        """
        A method we do not have is told from one that failed.
        """
        self.assertEqual(self.refusal("eth_sendTransaction", {}).code, METHOD_NOT_FOUND)

    def test_block_forms(self) -> None:
        """
        A block with hashes and with whole transactions, by number and by hash.
        """
        found = self.ask("eth_sendRawTransaction", octets(signed(0)))
        self.chain.mine()
        short = self.ask("eth_getBlockByNumber", "0x1", False)
        full = self.ask("eth_getBlockByHash", short["hash"], True)
        self.assertEqual(short["transactions"], [found])
        self.assertEqual(full["transactions"][0]["hash"], found)
        self.assertEqual(len(short["logsBloom"]), 2 + 512)
        self.assertEqual({**short, "transactions": 0}, {**full, "transactions": 0})
        self.assertIsNone(self.ask("eth_getBlockByNumber", "0x63", False))
        self.assertIsNone(self.ask("eth_getBlockByHash", "0x" + "11" * 32, False))

    def test_pending_block(self) -> None:
        """
        The pending block shows what would be mined and has no hash.
        """
        found = self.ask("eth_sendRawTransaction", octets(signed(0)))
        block = self.ask("eth_getBlockByNumber", "pending", False)
        self.assertEqual((block["hash"], block["number"]), (None, "0x1"))
        self.assertEqual(block["transactions"], [found])
        self.assertEqual(self.ask("eth_blockNumber"), "0x0")

    def test_tags(self) -> None:
        """
        Earliest, latest, safe and finalized name the right blocks.
        """
        for _ in range(5):
            self.chain.mine()
        numbers = {
            tag: self.ask("eth_getBlockByNumber", tag, False)["number"]
            for tag in ("earliest", "latest", "safe", "finalized")
        }
        self.assertEqual(
            numbers, {"earliest": "0x0", "latest": "0x5", "safe": "0x3", "finalized": "0x3"}
        )

    def test_transaction_forms(self) -> None:
        """
        Waiting, a transaction has no place; mined, it has; each type has its fee keys.
        """
        legacy = self.ask("eth_sendRawTransaction", octets(signed_legacy(0)))
        dynamic = self.ask("eth_sendRawTransaction", octets(signed(1, fee=4 * GWEI)))
        self.assertIsNone(self.ask("eth_getTransactionByHash", legacy)["blockNumber"])
        self.chain.mine()
        form = self.ask("eth_getTransactionByHash", legacy)
        self.assertEqual((form["type"], form["transactionIndex"]), ("0x0", "0x0"))
        self.assertIn(int(form["v"], 16), (35 + 2 * 16602, 36 + 2 * 16602))
        self.assertNotIn("maxFeePerGas", form)
        form = self.ask("eth_getTransactionByBlockNumberAndIndex", "0x1", "0x1")
        self.assertEqual((form["hash"], form["type"]), (dynamic, "0x2"))
        self.assertEqual(form["maxFeePerGas"], hex(4 * GWEI))
        self.assertIsNone(self.ask("eth_getTransactionByHash", "0x" + "22" * 32))

    def test_receipt_and_logs(self) -> None:
        """
        A receipt carries its logs in the form in which they are also found by filter.
        """
        probe = deploy_probe(self.chain)
        raw = signed(1, to=probe, gas=100_000, data=store_call(5))
        found = self.ask("eth_sendRawTransaction", octets(raw))
        self.assertIsNone(self.ask("eth_getTransactionReceipt", found))
        self.chain.mine()
        receipt = self.ask("eth_getTransactionReceipt", found)
        self.assertEqual((receipt["status"], receipt["contractAddress"]), ("0x1", None))
        self.assertEqual(receipt["logs"][0]["topics"][0], octets(STORED_TOPIC))
        self.assertNotEqual(int(receipt["logsBloom"], 16), 0)
        for wanted in (
            {"fromBlock": "0x0"},
            {"blockHash": receipt["blockHash"]},
            {"fromBlock": "0x0", "address": octets(probe), "topics": [octets(STORED_TOPIC)]},
            {"fromBlock": "earliest", "toBlock": "0xffff", "topics": []},
            {
                "fromBlock": "0x0",
                "address": [octets(probe), octets(POOR)],
                "topics": [None, [], ["0x" + "00" * 32, "0x" + "05".rjust(64, "0")]],
            },
        ):
            self.assertEqual(self.ask("eth_getLogs", wanted), receipt["logs"], wanted)
        for unwanted in (
            {"fromBlock": "0x0", "toBlock": "0x1"},
            {"fromBlock": "0x0", "address": octets(POOR)},
            {"fromBlock": "0x0", "topics": ["0x" + "00" * 32]},
            {"fromBlock": "0x0", "topics": [None, None, None, None]},
        ):
            self.assertEqual(self.ask("eth_getLogs", unwanted), [], unwanted)

    def test_bad_filters(self) -> None:
        """
        Filters that mean nothing are refused, not answered with nothing.
        """
        for wanted in (
            {"fromBlock": "0x2", "toBlock": "0x1"},
            {"blockHash": "0x" + "00" * 32},
            {"blockHash": "0x" + "00" * 32, "fromBlock": "0x0"},
            {"topics": ["0x00"]},
            {"topics": [None] * 5},
            {"address": "0x00"},
            [],
        ):
            self.refusal("eth_getLogs", wanted)

    def test_eip_1898(self) -> None:
        """
        A block can be named by an object with its number or its hash.
        """
        self.chain.send_raw(signed(0))
        old = octets(self.chain.head.hash)
        self.chain.mine()
        balances = [
            int(self.ask("eth_getBalance", octets(POOR), ref), 16)
            for ref in ({"blockHash": old}, {"blockNumber": "0x1"}, {"blockNumber": "latest"})
        ]
        self.assertEqual(balances, [0, 1, 1])
        error = self.refusal("eth_getBalance", octets(POOR), {"blockHash": "0x" + "00" * 32})
        self.assertEqual(error.text, "header not found")

    def test_storage_and_code(self) -> None:
        """
        Storage is a whole word, now and at an old block; code is there once deployed.
        """
        probe = deploy_probe(self.chain)
        self.chain.send_raw(signed(1, to=probe, gas=100_000, data=store_call(5)))
        self.chain.mine()
        for ref, value in (("latest", 5), ("0x1", 0)):
            word = self.ask("eth_getStorageAt", octets(probe), "0x0", ref)
            self.assertEqual(word, f"0x{value:064x}")
        self.assertEqual(self.ask("eth_getCode", octets(probe), "0x0"), "0x")
        self.assertGreater(len(self.ask("eth_getCode", octets(probe))), 100)

    def test_call_objects(self) -> None:
        """
        C{input} and C{data} are one, surplus keys are ignored, overrides are refused.
        """
        probe = octets(deploy_probe(self.chain))
        data = octets(store_call(1))
        for request in (
            {"to": probe, "data": data},
            {"to": probe, "input": data, "data": data},
            {"to": probe, "input": data, "nonce": "0x7", "type": "0x2", "chainId": "0x1"},
            {"to": probe, "input": data, "from": octets(ADDRESS), "gas": "0x20000"},
        ):
            self.assertEqual(self.ask("eth_call", request, "latest"), "0x")
        error = self.refusal("eth_call", {"to": probe, "data": data, "input": "0x00"})
        self.assertEqual(error.code, INVALID_PARAMS)
        self.assertIn("overrides", self.refusal("eth_call", {"to": probe}, "latest", {"a": 1}).text)

    def test_fee_history(self) -> None:
        """
        One more base fee than blocks, fullness as fractions, tips by share of the gas.
        """
        self.chain.send_raw(signed(0, fee=3 * GWEI))
        self.chain.mine()
        self.chain.mine()
        history = self.ask("eth_feeHistory", "0x2", "latest", [0, 50, 100])
        self.assertEqual(history["oldestBlock"], "0x1")
        self.assertEqual(len(history["baseFeePerGas"]), 3)
        self.assertEqual(history["gasUsedRatio"], [21_000 / 30_000_000, 0.0])
        self.assertEqual(history["reward"], [[hex(2 * GWEI)] * 3, ["0x0"] * 3])
        self.assertEqual(len(self.ask("eth_feeHistory", "0x400", "0x1")["gasUsedRatio"]), 2)
        self.refusal("eth_feeHistory", "0x1", "latest", [50, 20])

    def test_control(self) -> None:
        """
        The control methods reach the chain.
        """
        self.ask("evm_mine")
        self.assertEqual(self.ask("devnet_mine", 3), "0x4")
        kept = self.ask("evm_snapshot")
        self.ask("evm_increaseTime", 100)
        self.ask("evm_mine")
        self.assertEqual(self.ask("evm_revert", kept), True)
        self.assertEqual(self.ask("eth_blockNumber"), "0x4")
        self.ask("devnet_setBalance", octets(POOR), "0x5")
        self.assertEqual(self.ask("eth_getBalance", octets(POOR), "latest"), "0x5")
        self.assertEqual(self.ask("devnet_pauseMining"), True)
        self.assertIsNone(self.chain.tick())
        self.assertEqual(self.ask("devnet_resumeMining"), True)
        self.assertIsNotNone(self.chain.tick())
        for nonce in (0, 2):
            found = self.ask("eth_sendRawTransaction", octets(signed(nonce)))
        self.assertEqual(self.ask("txpool_status"), {"pending": "0x1", "queued": "0x1"})
        self.assertEqual(self.ask("devnet_dropTransaction", found), True)
        self.assertEqual(self.ask("devnet_dropTransaction", found), False)
        self.ask("evm_mine")
        self.assertEqual(len(self.ask("devnet_reorg", 1, False)), 1)
        self.ask("evm_setAutomine", True)
        self.ask("eth_sendRawTransaction", octets(signed(0)))
        self.assertEqual(self.ask("eth_getTransactionCount", octets(ADDRESS), "latest"), "0x1")

    def test_every_method_answers_anything(self) -> None:
        """
        No parameters, however odd, make a method fail in any way but L{RpcError}.
        """

        @given(st.sampled_from(sorted(METHODS)), st.lists(_json, max_size=3))
        def check(method: str, values: list[Any]) -> None:
            chain = make_chain()
            chain.mine()
            try:
                json.dumps(perform(chain, method, values))
            except RpcError as e:
                self.assertTrue(e.text)

        check()
