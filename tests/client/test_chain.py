"""A wallet on the chain, with a node that says what the test wants."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

from attrs import define, field
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.client import ChainAccount, Info, KeySigner, Reverted, Transaction
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from tests.client.local import Handler, Local


# A WELL-KNOWN DEVELOPMENT KEY: 32 bytes of 0x11 (wire.md §2).
SIGNER = KeySigner.from_hex("11" * 32)
CONTRACT, PROVIDER = "0x" + "33" * 20, "0x" + "22" * 20
CODEC = Codec("SandboxServing")
VERSION = 3

RICH = 10**18
RECEIPT = {
    "status": "0x1",
    "blockNumber": "0x10",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x2",
}


class RpcError(Exception):
    """What the node answers in place of a result."""

    def __init__(self, code: int = -32005, data: str | None = None) -> None:
        Exception.__init__(self)
        self.document = {"code": code, "message": "prose that nobody reads", "data": data}


def reverts(name: str = "", kinds: str = "", *values: Any) -> RpcError:
    """With a custom error of the contract, or with nothing."""
    if not name:
        return RpcError(3, "0x")
    selector = keccak(f"{name}({kinds})".encode())[:4]
    return RpcError(3, "0x" + (selector + encode(kinds.split(","), values)).hex())


@define
class Node:
    """
    @ivar call: What a C{eth_call} or an estimate of a transaction meets; raises, or does not.
    @ivar sent: Raw transactions.
    @ivar receipts: In their order; the last one stays.  An error is answered as one.
    @ivar refusal: What it answers to a transaction, whether or not it takes it.
    @ivar known: What it says of a transaction by its hash.
    """

    call: Callable[[str], None] = lambda _function: None
    chain_id: int = 7
    funds: int = RICH
    base_fee: str | None = "0x64"
    receipts: list[Any] = field(factory=lambda: [None, RECEIPT])
    sent: list[str] = field(factory=list)
    dies_at_send: bool = False
    refusal: RpcError | None = None
    known: Any = None

    def answer(self, handler: Handler, body: bytes) -> None:
        """JSON-RPC."""
        asked = json.loads(body)
        if asked["method"] == "eth_sendRawTransaction" and self.dies_at_send:
            self.sent.append(asked["params"][0])
            handler.drop()
            return
        try:
            told = {"result": self.result(asked["method"], asked["params"])}
        except RpcError as error:
            told = {"error": error.document}
        handler.tell({"jsonrpc": "2.0", "id": asked["id"], **told})

    def result(self, method: str, params: list[Any]) -> Any:
        """Of one method."""
        if method in ("eth_call", "eth_estimateGas"):
            return self.called(method, params[0])
        if method == "eth_sendRawTransaction":
            self.sent.append(params[0])
            if self.refusal is not None:
                raise self.refusal
            return "0x" + "00" * 32
        if method == "eth_getTransactionReceipt":
            told = self.receipts.pop(0) if len(self.receipts) > 1 else self.receipts[0]
            return told_or_raised(told)
        if method == "eth_getTransactionByHash":
            return told_or_raised(self.known)
        block = {} if self.base_fee is None else {"baseFeePerGas": self.base_fee}
        return {
            "eth_chainId": hex(self.chain_id),
            "eth_getBalance": hex(self.funds),
            "eth_getTransactionCount": "0x5",
            "eth_getBlockByNumber": block,
            "eth_gasPrice": "0x70",
            "eth_maxPriorityFeePerGas": "0x9",
        }[method]

    def called(self, method: str, call: dict[str, Any]) -> str:
        """A view, or a transaction that is tried."""
        data = bytes.fromhex(call["data"][2:])
        views: dict[str, tuple[list[str], list[Any]]] = {
            "getBalance": (["uint256"] * 3, [5, 6, 7]),
            "isTEEAcknowledged": (["bool"], [True]),
            "services": (
                ["string", "address", "uint256", "uint256", "uint256", "uint256"],
                ["http://x", PROVIDER, 1, 2, VERSION, 3],
            ),
        }
        for name, (kinds, values) in views.items():
            if CODEC.is_call(name, data):
                return "0x" + encode(kinds, values).hex()
        self.call(next(name for name in FUNCTIONS if CODEC.is_call(name, data)))
        return "0x5208" if method == "eth_estimateGas" else "0x"


def told_or_raised(found: Any) -> Any:
    """An error is raised."""
    if isinstance(found, RpcError):
        raise found
    return found


FUNCTIONS = (
    *("deposit", "acknowledgeTEESigner", "acknowledgeTEESignerVersion"),
    *("requestRefund", "withdrawRefund"),
)


class ChainTests(SynchronousTestCase):
    """What is sent, and what is not."""

    def account(self, node: Node) -> ChainAccount:
        """A wallet at that node."""
        local = Local.start(self, node.answer)
        info = Info({"contract_address": CONTRACT, "provider_address": PROVIDER, "chain_id": 7})
        account = ChainAccount.of(info, SIGNER, rpc_url=local.url)
        account.sleep = lambda _seconds: None
        return account

    def sent(self, node: Node) -> str:
        """The function of the one transaction, which is the wallet's."""
        (raw,) = node.sent
        self.assertEqual(Account.recover_transaction(raw).lower(), SIGNER.address.hex)
        return next(n for n in FUNCTIONS if CODEC.calldata(n, *ARGUMENTS[n])[:4].hex() in raw)

    def test_deposit(self) -> None:
        """Tried, priced, signed for this chain, sent, and waited for."""
        for base_fee in ("0x64", None):
            node = Node(base_fee=base_fee)
            done = self.account(node).deposit(1000)
            self.assertEqual(self.sent(node), "deposit")
            hashed = "0x" + keccak(hexstr=node.sent[0]).hex()
            self.assertEqual(done, Transaction(hash=hashed, block=16, gas_used=21000, cost=42000))

    def test_looks(self) -> None:
        """What the contract knows."""
        found = self.account(Node()).standing()
        self.assertEqual((found.balance, found.pending_refund, found.refund_unlock_at), (5, 6, 7))
        self.assertEqual((found.acknowledged, found.signer_version), (True, VERSION))

    def test_others(self) -> None:
        """Each by its function."""
        node = Node()
        self.account(node).request_refund(5)
        self.assertEqual(self.sent(node), "requestRefund")
        node = Node()
        self.account(node).withdraw_refund()
        self.assertEqual(self.sent(node), "withdrawRefund")
        node = Node()
        self.account(node).acknowledge(False)
        self.assertEqual(self.sent(node), "acknowledgeTEESigner")

    def test_acknowledge(self) -> None:
        """For the version that was seen, where the contract can be told; else as it can."""
        node = Node()
        self.account(node).acknowledge(version=VERSION)
        self.assertEqual(self.sent(node), "acknowledgeTEESignerVersion")

        def old(function: str) -> None:
            if function == "acknowledgeTEESignerVersion":
                raise reverts()

        node = Node(old)
        self.account(node).acknowledge()
        self.assertEqual(self.sent(node), "acknowledgeTEESigner")

        def changed(_function: str) -> None:
            raise reverts("SignerVersionMismatch", "uint256,uint256", 3, 4)

        node = Node(changed)
        found = self.assertRaises(Reverted, self.account(node).acknowledge)
        self.assertIn("version 4 now", str(found))
        node = Node()
        self.assertRaises(Refused, self.account(node).acknowledge, version=2)
        self.assertEqual(node.sent, [])

    def test_not_sent(self) -> None:
        """Another chain, an empty wallet, an amount that is none, a contract that says no."""

        def locked(_function: str) -> None:
            raise reverts("RefundLocked", "uint256", 1_800_000_000)

        def broken(_function: str) -> None:
            raise RpcError(-32601)

        for node, kind, said in (
            (Node(chain_id=8), BadInput, "chain 8, not 7"),
            (Node(funds=999), Refused, "send it some"),
            (Node(locked), Reverted, "locked until 2027"),
            (Node(broken), Refused, "prose"),
        ):
            found = self.assertRaises(kind, self.account(node).deposit, 1000)
            self.assertIn(said, str(found))
            self.assertEqual(node.sent, [])
        self.assertRaises(BadInput, self.account(Node()).deposit, 0)
        self.assertRaises(BadInput, self.account(Node()).request_refund, -1)

    def test_lost(self) -> None:
        """Sent, and no answer: the chain tells, or the hash is named."""
        node = Node(dies_at_send=True)
        self.assertEqual(self.account(node).deposit(1000).block, 16)
        self.assertEqual(len(node.sent), 1)
        account = self.account(Node(receipts=[None]))
        account.timeout = 2
        found = self.assertRaises(UnknownOutcome, account.deposit, 1000)
        self.assertRegex(str(found), "0x[0-9a-f]{64} was sent")
        node = Node(receipts=[{**RECEIPT, "status": "0x0"}])
        self.assertIn("failed", str(self.assertRaises(Refused, self.account(node).deposit, 1000)))

    def test_refused_while_waiting(self) -> None:
        """A node that refuses to be asked of what was sent does not say that it was not sent."""
        node = Node(receipts=[RpcError(), {"status": None}, ["no receipt"], RECEIPT])
        self.assertEqual(self.account(node).deposit(1000).block, 16)
        account = self.account(Node(receipts=[RpcError()]))
        account.timeout = 2
        found = self.assertRaises(UnknownOutcome, account.deposit, 1000)
        self.assertRegex(str(found), "0x[0-9a-f]{64} was sent")

    def test_refused_at_send(self) -> None:
        """Not sent, unless the node has it all the same; nobody knows where it does not say."""
        node = Node(refusal=RpcError(-32000), known={"hash": "0x"})
        self.assertEqual(self.account(node).deposit(1000).block, 16)
        node = Node(refusal=RpcError(-32000))
        self.assertRaises(Refused, self.account(node).deposit, 1000)
        node = Node(refusal=RpcError(), known=RpcError())
        found = self.assertRaises(UnknownOutcome, self.account(node).deposit, 1000)
        self.assertRegex(str(found), "0x[0-9a-f]{64} was sent")

    def test_secret_url(self) -> None:
        """What a node's URL holds is in no text."""
        account = self.account(Node())
        account.rpc_url = "http://127.0.0.1:1/key-of-mine"
        self.assertNotIn("key-of-mine", repr(account))
        found = self.assertRaises(Transient, account.balance)
        told = "".join(traceback.format_exception(found))
        self.assertNotIn("key-of-mine", told)

    def test_no_node(self) -> None:
        """Nobody there, or none named."""
        account = self.account(Node())
        account.rpc_url = "http://127.0.0.1:1"
        self.assertRaises(Transient, account.deposit, 1000)
        self.assertRaises(BadInput, ChainAccount.of, Info({}), SIGNER)


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "deposit": (SIGNER.address.hex, PROVIDER),
    "acknowledgeTEESigner": (PROVIDER, True),
    "acknowledgeTEESignerVersion": (PROVIDER, VERSION),
    "requestRefund": (PROVIDER, 5),
    "withdrawRefund": (PROVIDER,),
}
