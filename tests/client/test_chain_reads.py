"""
Receipts of a real worker, checked against the JSON-RPC of the chain that it settled on; and
nodes that answer in their own ways.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from eth_abi.abi import encode
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client.chain_reads import (
    ACKNOWLEDGED,
    SERVICE_UPDATED,
    SETTLED,
    SHORTFALL,
    JsonRpcChain,
    post_to,
)
from sandbox_billing.client.receipt_claims import RECENT_BLOCKS
from sandbox_billing.client.verify import Claim, Proof, Verdicts, verify
from sandbox_billing.devnet.chain.service import DevChainService
from sandbox_billing.errors import Transient
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import tick
from sandbox_billing.ledger.money import NeuronPerMinute, neuron
from sandbox_billing.services.second_look import DEPTH
from sandbox_billing.web._router import Asked
from sandbox_billing.web.caller import Caller
from sandbox_billing.web.receipts import Receipts
from tests.client.test_verify import proofs, why
from tests.devnet.settling import CONFIRMATIONS, Hand, SettlingCase
from tests.devnet.test_settling import DevnetNode
from tests.ports.chain import CHAIN_ID, TOKEN, fresh_stage
from tests.ports.journal import create_charge, intent, session
from tests.web.world import TERMS


RATE = NeuronPerMinute(60 + 30)
"""Of a core and a GiB, by the stage's prices; its create fee is 5."""


class SettledReceiptsTests(SettlingCase):
    """
    From the settler to the verifier: nothing between them is made up.
    """

    timeout = 600

    def setUp(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._set_up())

    async def _set_up(self) -> None:
        stage = fresh_stage()
        stage.fund(10_000)
        stage.fund(TOKEN, stage.other)
        service = DevChainService(
            reactor=global_reactor,  # type: ignore[arg-type]
            chain=stage.chain,
            block_seconds=None,
        )
        service.startService()
        self.addCleanup(service.stopService)
        await self.open(DevnetNode(stage, service, Hand(stage.chain.head.timestamp)))
        await self.rounds(CONFIRMATIONS + 2)

    async def runs(self, name: str, owner: Address, *periods: int) -> None:
        """A sandbox of somebody is created, and runs for so many seconds, and so many more."""
        now = self.wall.now()
        made = evolve(
            session(name, reference=Reference(f"ref-{name}"), owner=owner),
            provider=self.node.provider,
            opened_at=now,
            charged_until=now,
            changed_at=now,
            rate=RATE,
        )
        wish = intent(f"ref-{name}", owner=owner, provider=self.node.provider)
        journal, doors = self.journal, self.journal.doors
        funds = await doors.funds(owner)
        if funds.account is None:
            funds = await self.intake.admission.funds(owner)
        await doors.reserve(wish, funds)
        await doors.open_session(wish, made, evolve(create_charge(made), amount=neuron(5)))
        await self.begun(made.sandbox)
        for seconds in periods:
            self.wall.moment += seconds
            until = self.wall.now()
            await journal.meter.seen({SandboxId(name): until})
            stored = await doors.session(made.sandbox)
            assert stored is not None
            step = tick(stored.value, seen_at=until, now=until, interval_seconds=seconds)
            assert step is not None
            await journal.meter.charge(stored, step)

    async def documents(self, owner: Address) -> list[Any]:
        """As they come over HTTP, page by page."""
        terms = evolve(TERMS, chain_id=CHAIN_ID, contract=self.node.contract)
        routes = Receipts(receipts=self.journal.receipts, terms=terms)
        found: list[Any] = []
        query = {"limit": "3"}
        while True:
            answer = await routes.list(Asked(caller=Caller(wallet=owner), query=query))
            page = json.loads(json.dumps(answer.document))
            found += page["receipts"]
            if page["next"] is None:
                return found
            query = {"limit": "3", "cursor": page["next"]}

    async def judged(self, documents: list[Any], owner: Address) -> Verdicts:
        """By whoever has nothing but a node."""
        chain = JsonRpcChain(self.node.url, self.node.contract)
        return await deferToThread(
            verify, documents, chain, user=owner, provider=self.node.provider, first_block=0
        )

    async def test_proven(self) -> None:
        """
        Create fees, periods, a shortfall and its debt, of two wallets in batches under one
        signature: every claim is proven, and what is changed afterwards is refuted.
        """
        user, other = self.node.user, self.node.other
        await self.runs("sb-1", user, 61, 119)
        await self.runs("sb-2", other, 77)
        await self.settled()
        # More than there is: what is left is a debt.
        await self.runs("sb-3", user, 7_200)

        async def short() -> bool:
            return not await self.batches() and any(
                record.charge.kind.value == "debt" for record in await self.records()
            )

        await self.until("a debt", short)
        await self.node.deposit(50_000)
        await self.node.mine(DEPTH)

        async def collected() -> bool:
            found = await self.documents(user)
            return all(one["status"] in ("paid", "partial") for one in found)

        await self.until("the debt to be paid", collected)
        for owner, count in ((user, 6), (other, 2)):
            documents = await self.documents(owner)
            self.assertEqual(len(documents), count)
            verdicts = await self.judged(documents, owner)
            self.assertIs(verdicts.proof, Proof.PROVEN, why(verdicts))
            self.assertIn(Claim.BATCH, proofs(verdicts, Proof.PROVEN))
        (partial,) = [one for one in await self.documents(user) if one["status"] == "partial"]
        self.assertEqual(int(partial["fee"]), int(partial["paid"]) + int(partial["owed"]))
        await self.forged(await self.documents(user), user)

    async def forged(self, documents: list[Any], user: Address) -> None:
        """A word here and there, and it shows."""
        for name, value, claim in (
            ("fee", "91", Claim.EVENT),
            ("period_end", documents[0]["period_end"] + 1, Claim.HASH),
            ("nonce", "99", Claim.EVENT),
        ):
            verdicts = await self.judged([{**documents[0], name: value}, *documents[1:]], user)
            self.assertIn(claim, proofs(verdicts, Proof.REFUTED), name)
        await self.node.mine(RECENT_BLOCKS - DEPTH)
        verdicts = await self.judged(documents[:-1], user)
        self.assertEqual(proofs(verdicts, Proof.REFUTED), {Claim.COMPLETE})


CONTRACT, USER, PROVIDER = (Address("0x" + digit * 40) for digit in "123")
SIGNER, NEXT = Address("0x" + "4" * 40), Address("0x" + "5" * 40)


def log(topic: str, types: list[str], values: list[Any], block: int, index: int = 0) -> Any:
    """As a node tells it."""
    return {
        "address": CONTRACT.hex.upper().replace("0X", "0x"),
        "topics": [topic, *(f"0x{one.hex[2:]:0>64}" for one in (USER, PROVIDER))],
        "data": "0x" + encode(types, values).hex(),
        "transactionHash": f"0x{block:064X}".replace("0X", "0x"),
        "blockNumber": hex(block),
        "logIndex": hex(index),
    }


class Node:
    """
    A node by hand.

    @ivar most: Blocks it takes at once.
    @ivar batches: Whether it takes several calls at once.
    @ivar archive: Whether it knows the state of earlier blocks.
    """

    def __init__(self, *logs: Any, most: int = 10**9) -> None:
        self.logs = logs
        self.most = most
        self.batches = True
        self.archive = True
        self.asked: list[Any] = []

    def post(self, document: Any) -> Any:
        if isinstance(document, list):
            if not self.batches:
                return {"error": {"code": -32600, "message": "one at a time"}}
            # In any order.
            return [self._answer(one) for one in reversed(document)]
        return self._answer(document)

    def _answer(self, call: Any) -> Any:
        self.asked.append((call["method"], call["params"]))
        found = getattr(self, call["method"])(*call["params"])
        known = {"result": found} if found is not None else {"error": {"message": "no"}}
        return {"jsonrpc": "2.0", "id": call["id"], **known}

    def eth_blockNumber(self) -> str:
        return hex(1000)

    def eth_chainId(self) -> str:
        return hex(7)

    def eth_getLogs(self, asked: Any) -> Any:
        first, last = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
        if last - first + 1 > self.most:
            return None
        wanted = asked["topics"][0]
        return [
            one
            for one in self.logs
            if first <= int(one["blockNumber"], 16) <= last and one["topics"][0] in wanted
        ]

    def eth_getBlockByNumber(self, block: str, whole: bool) -> Any:
        return {"timestamp": hex(1_700_000_000 + int(block, 16))}

    def eth_call(self, call: Any, block: str) -> Any:
        if block == "latest":
            return "0x" + "ab" * 32
        if not self.archive:
            return None
        number = int(block, 16)
        if number < 3:
            return "0x"
        signer = SIGNER if number < 50 else NEXT
        values = [b"\xff url", signer.hex, 601, 5000, 1 if number < 50 else 2, 330]
        kinds = ["bytes", "address", "uint256", "uint256", "uint256", "uint256"]
        return "0x" + encode(kinds, values).hex()

    def chain(self) -> JsonRpcChain:
        """Asked through the adapter."""
        return JsonRpcChain("http://node.invalid", CONTRACT, post=self.post)


def settled(nonce: int, block: int, status: int = 0, index: int = 1) -> Any:
    """A voucher of 100."""
    kinds = ["uint256", "bytes32", "uint256", "uint8"]
    return log(SETTLED, kinds, [100, b"\x07" * 32, nonce, status], block, index)


def registered(signer: Address, block: int) -> Any:
    """A registration."""
    values = [b"\xff", signer.hex, 1]
    made = log(SERVICE_UPDATED, ["bytes", "address", "uint256"], values, block)
    del made["topics"][1]
    return made


def broken_logs(whole: Any) -> list[Any]:
    """What is no log, each in its own way."""
    words: dict[str, list[Any]] = {
        "topics": [dict.fromkeys(whole["topics"], 1), [[]], None, [SETTLED, 5, {}]],
        "data": [7, [], None, "0xzz"],
        "logIndex": ["x", None, [], "0x" + "f" * 5000],
        "blockNumber": [hex(2**63), {}],
        "transactionHash": [5, "0x", None, [[]]],
        "address": [5, None],
    }
    return [{**whole, name: value} for name, values in words.items() for value in values]


class NodesTests(SynchronousTestCase):
    """
    What nodes refuse, and what of it can be got otherwise.
    """

    def test_ranges(self) -> None:
        """One that takes few blocks at once is asked for so many, and nothing is lost or twice."""
        logs = [settled(block, block) for block in range(0, 1000, 7)]
        for most in (1, 6, 100, 10**6):
            for batches in (True, False):
                node = Node(*logs, most=most)
                node.batches = batches
                found = node.chain().settled(USER, PROVIDER, 0, 999)
                self.assertEqual([one.nonce for one in found], list(range(0, 1000, 7)))

    def test_ever(self) -> None:
        """Everything at once where the node tells it, else nothing; and soon, however far."""
        logs = [settled(block, block) for block in range(0, 1000, 7)]
        for most in (10**6, 100, 1):
            found = Node(*logs, most=most).chain().settled_ever(USER, PROVIDER, 999)
            assert found is not None
            self.assertEqual(len(found), 143)
        node = Node(most=1000)
        self.assertIsNone(node.chain().settled_ever(USER, PROVIDER, 10**9))
        self.assertLess(len(node.asked), 100)
        late = JsonRpcChain("", CONTRACT, start_block=500, post=Node(*logs, most=100).post)
        found = late.settled_ever(USER, PROVIDER, 999)
        assert found is not None
        self.assertEqual(found[0].block, 504)

    def test_no_logs(self) -> None:
        """One that refuses a single block is no use, and says so."""
        self.assertRaises(Transient, Node(most=0).chain().settled, USER, PROVIDER, 0, 9)

    def test_ranges_unheeded(self) -> None:
        """One that heeds no range tells everything each time: each log counts once."""
        node = Node(settled(3, 9), settled(4, 90), settled(4, 90, index=2), settled(5, 101))

        def heedless(asked: Any) -> Any:
            width = int(asked["toBlock"], 16) - int(asked["fromBlock"], 16)
            return list(node.logs) if width < 7 else None

        node.eth_getLogs = heedless  # type: ignore[method-assign]
        found = node.chain().settled(USER, PROVIDER, 0, 100)
        self.assertEqual([one.nonce for one in found], [3, 4, 4])

    def test_shortfall(self) -> None:
        """How much moved is told by the log before; without it nobody knows."""
        kinds = ["uint256", "uint256", "uint256"]
        node = Node(
            log(SHORTFALL, kinds, [3, 40, 60], 9, 0),
            settled(3, 9, 1),
            settled(4, 10, 1),
            settled(5, 11),
        )
        found = node.chain().settled(USER, PROVIDER, 0, 99)
        self.assertEqual([one.paid for one in found], [40, None, 100])
        self.assertEqual(found[0].transaction, f"0x{9:064x}")

    def test_signers(self) -> None:
        """In the block of a change either key was registered; before the contract none."""
        found = Node().chain().signers(PROVIDER, {1, 20, 50, 51})
        self.assertEqual(
            found,
            {
                1: frozenset(),
                20: frozenset({SIGNER}),
                50: frozenset({SIGNER, NEXT}),
                51: frozenset({NEXT}),
            },
        )

    def test_few_questions(self) -> None:
        """Between two blocks with the same registration nobody is asked."""
        node = Node()
        found = node.chain().signers(PROVIDER, range(3, 1000))
        self.assertEqual(found[49], frozenset({SIGNER}))
        self.assertEqual(found[50], frozenset({SIGNER, NEXT}))
        self.assertEqual(set(map(found.get, range(51, 1000))), {frozenset({NEXT})})
        self.assertLess(len(node.asked), 50)

    def test_others_logs(self) -> None:
        """A node that heeds no filter tells others' events; they are not ours."""
        ours = settled(3, 9)
        others = [
            {**settled(4, 9), "address": USER.hex},
            {**settled(5, 9), "topics": [SETTLED, *reversed(settled(5, 9)["topics"][1:])]},
            {**settled(6, 9), "removed": True},
        ]
        node = Node(ours, *others)
        self.assertEqual([one.nonce for one in node.chain().settled(USER, PROVIDER, 0, 99)], [3])
        for broken in ({}, 7, {**ours, "blockNumber": None}, *broken_logs(ours)):
            chain = JsonRpcChain(
                "", CONTRACT, post=lambda document, said=broken: {"result": [said]}
            )
            self.assertRaises(Transient, chain.settled, USER, PROVIDER, 0, 9)

    def test_signers_by_events(self) -> None:
        """A node without earlier states has the events still."""
        node = Node(registered(SIGNER, 3), registered(NEXT, 50))
        node.archive = False
        found = node.chain().signers(PROVIDER, {20, 50, 51})
        self.assertEqual(
            [set(found[block]) for block in (20, 50, 51)], [{SIGNER}, {SIGNER, NEXT}, {NEXT}]
        )

    def test_prices(self) -> None:
        """At each acknowledgement, not at a revoke; unknown where states are forgotten."""
        node = Node(
            log(ACKNOWLEDGED, ["bool"], [True], 5),
            log(ACKNOWLEDGED, ["bool"], [False], 8),
            log(ACKNOWLEDGED, ["bool"], [True], 60),
        )
        found = node.chain().prices(USER, PROVIDER, 99)
        assert found is not None
        self.assertEqual([one.block for one in found], [5, 60])
        self.assertEqual(found[0].acknowledged_at, 1_700_000_005)
        self.assertEqual(found[0].prices.per_cpu_per_minute, 601)
        self.assertEqual(found[0].prices.create_fee, 5000)
        node.archive = False
        self.assertIsNone(node.chain().prices(USER, PROVIDER, 99))

    def test_numbers(self) -> None:
        """Head, chain and separator, or that the node does not say them."""
        chain = Node().chain()
        self.assertEqual((chain.head(), chain.chain_id()), (1000, 7))
        self.assertEqual(chain.domain_separator(), b"\xab" * 32)
        numbers = [{"result": said} for said in (7, "-0x5", hex(2**63), "0x" + "f" * 100, "0x_1")]
        for reply in (None, [], {"error": {"message": "no"}}, {"error": {"message": []}}, *numbers):
            chain = JsonRpcChain("", CONTRACT, post=lambda document, said=reply: said)
            self.assertRaises(Transient, chain.head)

    def test_names(self) -> None:
        """Answers under no number are none, whatever stands there."""
        chain = JsonRpcChain("", CONTRACT, post=lambda document: [{"id": []}, {"id": None}, 7])
        self.assertRaises(Transient, chain.settled, USER, PROVIDER, 0, 10)
        self.assertRaises(Transient, chain.signers, PROVIDER, {10})

    def test_times(self) -> None:
        """A block that does not say when it was is no block."""
        node = Node(log(ACKNOWLEDGED, ["bool"], [True], 5))
        for said in ({"a": 1}, {"timestamp": "zz"}, {"timestamp": 7}, {"timestamp": []}):
            node.eth_getBlockByNumber = lambda *of, said=said: said  # type: ignore[method-assign]
            self.assertRaises(Transient, node.chain().prices, USER, PROVIDER, 99)

    def test_endless(self) -> None:
        """A node that takes one block at a time, of a chain without end, is left soon."""
        node = Node(most=1)
        for last in (10**7, 2**62):
            self.assertRaises(Transient, node.chain().settled, USER, PROVIDER, 0, last)
            self.assertIsNone(node.chain().settled_ever(USER, PROVIDER, last))
            self.assertIsNone(node.chain().prices(USER, PROVIDER, last))
        self.assertLess(len(node.asked), 1000)

    def test_no_url_in_texts(self) -> None:
        """A node's address may hold a secret: no error tells it."""
        post = post_to("http://user:s3cret@127.0.0.1:1/path-of-secrets", seconds=1.0)
        why = self.assertRaises(Transient, post, {})
        self.assertNotIn("secret", str(why) + repr(why.__cause__))
