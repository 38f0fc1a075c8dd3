"""
The port L{IChain}: a world to run it in, and the suite every implementation passes.

The world is the real contract on the devnet's chain, served on a real socket.  Blocks
come when a test mines one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import evolve
from eth_account import Account as EthAccount
from eth_account.signers.local import LocalAccount
from eth_utils.abi import function_abi_to_4byte_selector
from hexbytes import HexBytes
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase
from web3 import Web3
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse, TxReceipt
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.chain.adapter import ChainSettings, Web3Chain
from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.adapters.chain.transactions import GasPolicy
from sandbox_billing.devnet.chain import jsonrpc, methods
from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.devnet.chain.devchain import DevChain, make_dev_chain
from sandbox_billing.devnet.chain.service import DevChainService
from sandbox_billing.devnet.contracts import Deployment, deploy_stack
from sandbox_billing.errors import Refused
from sandbox_billing.interfaces import IChain, IWallClock, Line, NodeBehind
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import UnixSeconds, neuron
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest
from sandbox_billing.signing.key import SigningKey


T = TypeVar("T")

CHAIN_ID = 16602
STAKE = 1_000
TOKEN = 10**18
LOCK_SECONDS = 7_200
USAGE_HASH = b"\x5a" * 32
NOW = UnixSeconds(1_700_000_000)

SIGNER_KEY = b"\x11" * 32
"""A well-known development key, wire.md's vectors are made with it; it never guards real money."""


class InProcess(JSONBaseProvider):
    """web3's way to a chain in this process, without a socket."""

    def __init__(self, chain: DevChain) -> None:
        super().__init__()
        self._chain = chain

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        body = self.encode_rpc_request(method, params)
        return self.decode_rpc_response(jsonrpc.answer(body, partial(methods.perform, self._chain)))


@implementer(IWallClock)
class StandingClock:
    """It is always C{NOW}."""

    def now(self) -> UnixSeconds:
        return NOW

    def after(self) -> UnixSeconds:
        return self.now()


class Stage:
    """
    A chain with the stack on it, a registered provider and a rich signer.

    Not for several threads: once it is served, its owner's only (L{World.run}).
    """

    def __init__(self) -> None:
        self.chain = make_dev_chain(now=time.time, automine=True)
        self.w3 = Web3(InProcess(self.chain))
        self.owner, self.provider, self.user, self.stranger, self.other = (
            EthAccount.from_key(key) for key in DEVELOPMENT_KEYS[:5]
        )
        self.signer = SigningKey.from_bytes(SIGNER_KEY)
        self.chain.mine()
        self.chain.mine()
        self.before_deployment = self.chain.head.number
        deployed = self.deploy()
        self.proxy, self.beacon = deployed.proxy, deployed.beacon
        self.implementation = deployed.implementation
        self.contract_block = self.chain.head.number
        self.serving = self.w3.eth.contract(address=self.proxy, abi=load("SandboxServing").abi)
        self.contract = Address(self.proxy)
        self.domain = EIP712Domain(CHAIN_ID, self.contract)
        self.pay(self.signer.address.hex, 100 * TOKEN)
        self.register()
        self.chain.automine = False

    def deploy(self) -> Deployment:
        """Ours."""
        return deploy_stack(self.w3, self.owner, STAKE, wait=self._mined)

    def _mined(self, transaction: HexBytes) -> TxReceipt:
        return self.w3.eth.get_transaction_receipt(transaction)

    def pay(self, to: str, amount: int) -> None:
        """Money out of nothing."""
        self.chain.set_balance(bytes.fromhex(to[2:]), amount)

    def send(
        self, call: ContractFunction | ContractConstructor, sender: LocalAccount, value: int = 0
    ) -> bytes:
        """Put a call into the pool; it is mined with the next block."""
        head = self.w3.eth.get_block("latest")
        transaction = call.build_transaction(
            {
                "from": sender.address,
                "nonce": self.w3.eth.get_transaction_count(sender.address, "pending"),
                "chainId": CHAIN_ID,
                "gas": 6_000_000,
                "value": value,
                "maxFeePerGas": head["baseFeePerGas"] * 3,
                "maxPriorityFeePerGas": head["baseFeePerGas"],
            }
        )
        signed = sender.sign_transaction(transaction)
        return bytes(self.w3.eth.send_raw_transaction(signed.raw_transaction))

    def act(
        self, call: ContractFunction | ContractConstructor, sender: LocalAccount, value: int = 0
    ) -> TxReceipt:
        """
        Mine a call.

        @raise AssertionError: It reverted.
        """
        sent = self.send(call, sender, value)
        if not self.chain.automine:
            self.chain.mine()
        receipt = self._mined(HexBytes(sent))
        assert receipt["status"] == 1, f"{call} reverted"
        return receipt

    def register(
        self,
        who: LocalAccount | None = None,
        *,
        cpu: int = 60,
        signer: str | None = None,
        stake: int = STAKE,
    ) -> None:
        """addOrUpdateService, by the provider with our signer unless said otherwise."""
        call = self.serving.functions.addOrUpdateService(
            "https://provider.example",
            Web3.to_checksum_address(signer or self.signer.address.hex),
            cpu,
            5,
            30,
        )
        self.act(call, who or self.provider, stake)

    def deposit(self, amount: int, user: LocalAccount | None = None) -> None:
        """A user's own deposit with the provider."""
        who = user or self.user
        call = self.serving.functions.deposit(who.address, self.provider.address)
        self.act(call, who, amount)

    def acknowledge(self, user: LocalAccount | None = None, *, acknowledged: bool = True) -> None:
        """A user's word on the provider's signer."""
        call = self.serving.functions.acknowledgeTEESigner(self.provider.address, acknowledged)
        self.act(call, user or self.user)

    def request_refund(self, amount: int) -> None:
        """The user's."""
        self.act(self.serving.functions.requestRefund(self.provider.address, amount), self.user)

    def fund(self, amount: int, user: LocalAccount | None = None) -> None:
        """Deposit and acknowledge."""
        self.deposit(amount, user)
        self.acknowledge(user)

    def line(self, nonce: int, fee: int, user: LocalAccount | None = None) -> Line:
        """A voucher that our signer signed."""
        who = Address((user or self.user).address)
        fields = VoucherFields(
            user=who,
            provider=Address(self.provider.address),
            usage_hash=USAGE_HASH,
            nonce=nonce,
            total_fee=fee,
        )
        return Line(
            user=who,
            fee=neuron(fee),
            usage_hash="0x" + USAGE_HASH.hex(),
            nonce=Nonce(nonce),
            signature="0x" + self.signer.sign_digest(digest(self.domain, fields)).hex(),
        )

    def settle(self, *lines: Line) -> TxReceipt:
        """Settle as another submitter would: the provider itself."""
        vouchers = [
            (
                Web3.to_checksum_address(line.user.hex),
                self.provider.address,
                line.fee,
                HexBytes(line.usage_hash),
                line.nonce,
                HexBytes(line.signature),
            )
            for line in lines
        ]
        return self.act(self.serving.functions.settleFeesWithTEE(vouchers), self.provider)

    def upgrade(self, implementation: str) -> None:
        """What the proxy runs from the next block on."""
        beacon = self.w3.eth.contract(address=self.beacon, abi=load("UpgradeableBeacon").abi)
        self.act(beacon.functions.upgradeTo(implementation), self.owner)

    def without(self, *functions: str) -> str:
        """
        Deploy an implementation that is ours but for some functions: calls of those revert
        and say nothing, as where they never were.

        @return: Its address.
        """
        self.chain.automine = True
        code = _all_but(self.implementation, [self.serving.functions[f] for f in functions])
        factory = self.w3.eth.contract(abi=[], bytecode=code)
        receipt = self.act(factory.constructor(), self.owner)
        self.chain.automine = False
        return receipt["contractAddress"]

    def reorg(self, depth: int, *, keep: bool = False) -> None:
        """Other blocks in the place of the newest ones."""
        self.chain.reorg(depth, keep_transactions=keep)


def _all_but(implementation: str, functions: Sequence[Any]) -> str:
    """
    Creation code of a contract that reverts without data for some selectors, and hands
    every other call on to C{implementation}, in its caller's storage.
    """
    refused = b""
    # PUSH0 CALLDATALOAD PUSH1 224 SHR
    head = bytes.fromhex("5f3560e01c")
    # CALLDATASIZE PUSH0 PUSH0 CALLDATACOPY, DELEGATECALL(GAS, implementation, all of it),
    # RETURNDATASIZE PUSH0 PUSH0 RETURNDATACOPY
    body = bytes.fromhex("365f5f375f5f365f73" + implementation[2:] + "5af43d5f5f3e")
    # Each: DUP1 PUSH4 selector EQ PUSH1 target JUMPI
    refusing = len(head) + 10 * len(functions) + len(body) + 3
    for function in functions:
        selector = function_abi_to_4byte_selector(function.abi)
        refused += b"\x80\x63" + selector + b"\x14\x60" + bytes([refusing]) + b"\x57"
    # PUSH1 done JUMPI | refusing: JUMPDEST RETURNDATASIZE PUSH0 REVERT | done: JUMPDEST ... RETURN
    done = refusing + 4
    tail = b"\x60" + bytes([done]) + bytes.fromhex("575b3d5ffd5b3d5ff3")
    runtime = head + refused + body + tail
    # PUSH1 size DUP1 PUSH1 10 PUSH0 CODECOPY PUSH0 RETURN
    creation = b"\x60" + bytes([len(runtime)]) + bytes.fromhex("80600a5f395ff3") + b"\x00"
    return "0x" + (creation + runtime).hex()


_STAGES: dict[type[Stage], tuple[Stage, int]] = {}


def fresh_stage(kind: type[Stage] = Stage) -> Stage:
    """A stage as it was when it was made: made once, put back for each test."""
    if kind in _STAGES:
        stage, snapshot = _STAGES.pop(kind)
        stage.chain.revert(snapshot)
    else:
        stage = kind()
    stage.chain.automine = False
    _STAGES[kind] = (stage, stage.chain.snapshot())
    return stage


class ChainCase(TestCase):
    """
    A stage that is served on a socket, and adapters made for it.
    """

    timeout = 300
    stage_kind: type[Stage] = Stage

    def setUp(self) -> None:
        self.stage = fresh_stage(self.stage_kind)
        self.service = DevChainService(
            reactor=global_reactor,  # type: ignore[arg-type]
            chain=self.stage.chain,
            block_seconds=None,
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.user = Address(self.stage.user.address)
        self.provider = Address(self.stage.provider.address)

    def run_on_chain(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Do something to the stage, in the thread that owns the chain."""
        return self.service.run(work, *args, **kwargs)

    def pool(self, threads: int) -> ThreadPool:
        """A running thread pool that ends with the test."""
        pool = ThreadPool(minthreads=0, maxthreads=threads)
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    def adapter(self, *urls: str, **changes: Any) -> Web3Chain:
        """
        An adapter for these nodes; the served stage alone when there are none.

        @param changes: Of L{ChainSettings}; C{signer}, and C{fee_cap} and C{floor} too.
        """
        signer = changes.pop("signer", self.stage.signer)
        policy = GasPolicy(
            fee_cap=neuron(changes.pop("fee_cap", 1_000 * 10**9)),
            floor=neuron(changes.pop("floor", TOKEN // 100)),
        )
        given: dict[str, Any] = {
            "chain_id": CHAIN_ID,
            "contract": self.stage.contract,
            "provider": self.provider,
            "gas": policy,
            "urls": urls or (self.service.url,),
        }
        return Web3Chain.of(
            ChainSettings(**{**given, **changes}),
            reactor=global_reactor,  # type: ignore[arg-type]
            read_pool=self.pool(4),
            submission_pool=self.pool(1),
            signer=signer,
            clock=StandingClock(),
        )


def chain_suite(make: Callable[[ChainCase], IChain]) -> type[TestCase]:
    """
    What every L{IChain} does with the contract.

    @param make: From a case with its stage ready to an implementation.
    """

    class ChainPort(ChainCase):
        """L{IChain}."""

        def setUp(self) -> None:
            super().setUp()
            self.chain: Any = make(self)

        async def newest(self) -> BlockRef:
            """The newest block, though the first node to answer may lag."""
            head = await self.run_on_chain(lambda: self.stage.chain.head)
            block: BlockRef = await self.chain.block(head.number)
            return block

        async def _settled(self, *lines: Line) -> Any:
            attempt = await self.chain.prepare(lines, None)
            await self.chain.broadcast(attempt)
            await self.run_on_chain(self.stage.chain.mine)
            return await self.chain.receipt(attempt.hash)

        def test_interface(self) -> None:
            """It has every method of the port."""
            verifyObject(IChain, self.chain)

        async def test_facts(self) -> None:
            """The start-up check sees the contract's separator and lock."""
            facts = await self.chain.facts()
            self.assertEqual(facts.chain_id, CHAIN_ID)
            self.assertTrue(facts.has_code)
            self.assertEqual(facts.domain_separator, "0x" + self.stage.domain.separator.hex())
            self.assertEqual(facts.lock_seconds, LOCK_SECONDS)

        async def test_domain_separator(self) -> None:
            """What signatures are checked against is read at a block, as for the start-up check."""
            facts = await self.chain.facts()
            self.assertEqual(
                facts.domain_separator, await self.chain.domain_separator(await self.newest())
            )

        async def test_blocks(self) -> None:
            """The head is the newest block, and found again by its number."""
            mined = await self.run_on_chain(self.stage.chain.mine)
            head = await self.chain.head()
            self.assertEqual(
                head,
                BlockRef(
                    number=mined.number, hash="0x" + mined.hash.hex(), timestamp=mined.timestamp
                ),
            )
            self.assertEqual(await self.chain.block(head.number), head)

        async def test_a_block_to_come(self) -> None:
            """A block nobody has yet is NodeBehind, not some other block."""
            head = await self.newest()
            with self.assertRaises(NodeBehind):
                await self.chain.block(head.number + 1)

        async def test_first_block(self) -> None:
            """The contract's first block is the one its proxy was created in."""
            self.assertEqual(await self.chain.first_block(), self.stage.contract_block)

        async def test_service(self) -> None:
            """A registration is read whole; without one there is none."""
            head = await self.newest()
            record = await self.chain.service(self.provider, head)
            self.assertEqual(
                (record.signer, record.signer_version, record.url),
                (self.stage.signer.address, 1, "https://provider.example"),
            )
            self.assertEqual(
                (
                    record.prices.per_cpu_per_minute,
                    record.prices.per_memory_gib_per_minute,
                    record.prices.create_fee,
                    record.prices.flat_per_second,
                ),
                (60, 30, 5, 0),
            )
            self.assertIsNone(await self.chain.service(self.user, head))

        async def test_service_in_the_past(self) -> None:
            """A registration is that of the named block, not today's."""
            before = await self.newest()
            await self.run_on_chain(self.stage.register, cpu=61, stake=0)
            now = await self.newest()
            self.assertEqual((await self.chain.service(self.provider, before)).signer_version, 1)
            self.assertEqual((await self.chain.service(self.provider, now)).signer_version, 2)

        async def test_leaving(self) -> None:
            """Leaving has a moment once it was announced."""
            before = await self.newest()
            self.assertIsNone(await self.chain.leaving_at(before))
            announce = self.stage.serving.functions.announceLeave()
            await self.run_on_chain(self.stage.act, announce, self.stage.provider)
            after = await self.newest()
            self.assertEqual(await self.chain.leaving_at(after), after.timestamp + LOCK_SECONDS)

        async def test_accounts(self) -> None:
            """Balance, pending refund, lock, acknowledgement and nonce are the block's."""
            await self.run_on_chain(self.stage.fund, 100)
            await self.run_on_chain(self.stage.settle, self.stage.line(3, 10))
            before = await self.newest()
            await self.run_on_chain(self.stage.request_refund, 40)
            now = await self.newest()
            stranger = Address(self.stage.stranger.address)
            none, account = await self.chain.accounts([stranger, self.user], now)
            self.assertEqual(
                (
                    account.wallet,
                    account.balance,
                    account.pending_refund,
                    account.refund_unlock_at,
                    account.acknowledged,
                    account.last_nonce,
                    account.block,
                ),
                (self.user, 50, 40, now.timestamp + LOCK_SECONDS, True, 3, now.number),
            )
            self.assertEqual((none.balance, none.acknowledged, none.last_nonce), (0, False, 0))
            (earlier,) = await self.chain.accounts([self.user], before)
            self.assertEqual((earlier.balance, earlier.pending_refund), (90, 0))
            self.assertEqual(await self.chain.last_nonces([stranger, self.user], now), (0, 3))

        async def test_nobody(self) -> None:
            """Asking for no wallets is answered with none."""
            head = await self.newest()
            self.assertEqual(await self.chain.accounts([], head), ())
            self.assertEqual(await self.chain.last_nonces([], head), ())

        async def test_settlement(self) -> None:
            """A batch settles: a receipt, and an event with what was paid."""
            await self.run_on_chain(self.stage.fund, 100)
            receipt = await self._settled(self.stage.line(1, 30), self.stage.line(2, 20))
            self.assertTrue(receipt.succeeded)
            self.assertEqual(receipt.block, await self.newest())
            self.assertGreater(receipt.gas_used, 0)
            self.assertGreater(receipt.gas_price, 0)
            number = receipt.block.number
            found = await self.chain.happenings(number, number)
            self.assertEqual(
                [
                    (s.user, s.provider, s.fee, s.nonce, s.status, s.paid, s.timestamp)
                    for s in found.settlements
                ],
                [
                    (self.user, self.provider, fee, nonce, 0, fee, receipt.block.timestamp)
                    for nonce, fee in ((1, 30), (2, 20))
                ],
            )
            self.assertEqual({s.transaction for s in found.settlements}, {receipt.transaction})
            self.assertEqual({s.usage_hash for s in found.settlements}, {"0x" + "5a" * 32})
            self.assertEqual((found.events, found.services), ((), ()))

        async def test_shortfall(self) -> None:
            """A voucher that found too little says what it took, each its own (K3)."""
            other = self.stage.other
            await self.run_on_chain(self.stage.fund, 12)
            await self.run_on_chain(self.stage.fund, 7, other)
            receipt = await self._settled(
                self.stage.line(1, 30), self.stage.line(1, 40, other), self.stage.line(2, 5)
            )
            number = receipt.block.number
            found = await self.chain.happenings(number, number)
            self.assertEqual(
                [(s.user, s.nonce, s.fee, s.status, s.paid) for s in found.settlements],
                [
                    (self.user, 1, 30, 1, 12),
                    (Address(other.address), 1, 40, 1, 7),
                    (self.user, 2, 5, 1, 0),
                ],
            )

        async def test_fifty(self) -> None:
            """A batch of fifty vouchers goes out in one transaction."""
            await self.run_on_chain(self.stage.fund, 1_000)
            lines = [self.stage.line(nonce, 10) for nonce in range(1, 51)]
            receipt = await self._settled(*lines)
            self.assertTrue(receipt.succeeded)
            (account,) = await self.chain.accounts([self.user], receipt.block)
            self.assertEqual((account.balance, account.last_nonce), (500, 50))

        async def test_somebody_else_submitted(self) -> None:
            """An event counts in whatever transaction it stands (K8, S4)."""
            await self.run_on_chain(self.stage.fund, 100)
            ours = await self.chain.prepare([self.stage.line(1, 30)], None)
            await self.run_on_chain(self.stage.settle, self.stage.line(1, 30))
            head = await self.newest()
            (settled,) = (await self.chain.happenings(head.number, head.number)).settlements
            self.assertNotEqual(settled.transaction, ours.hash)
            self.assertEqual((settled.nonce, settled.paid), (1, 30))
            self.assertIsNone(await self.chain.receipt(ours.hash))

        async def test_refusals_at_the_parent(self) -> None:
            """Reasons are those of the named block, whatever happened since (S5)."""
            await self.run_on_chain(self.stage.deposit, 100)
            unacknowledged = await self.newest()
            await self.run_on_chain(self.stage.acknowledge)
            acknowledged = await self.newest()
            good, bad = self.stage.line(1, 5), self.stage.line(2, 5)
            forged = Line(
                user=bad.user,
                fee=neuron(6),
                usage_hash=bad.usage_hash,
                nonce=bad.nonce,
                signature=bad.signature,
            )
            poor = self.stage.line(3, 1_000)
            self.assertEqual(await self.chain.refusals([good], unacknowledged), (3,))
            self.assertEqual(
                await self.chain.refusals([good, forged, poor, good], acknowledged), (0, 5, 1, 4)
            )

        async def test_events(self) -> None:
            """Events of our provider come in log order, registrations of everybody."""
            first = (await self.newest()).number + 1
            await self.run_on_chain(self.stage.fund, 100)
            await self.run_on_chain(self.stage.request_refund, 40)
            await self.run_on_chain(self.stage.register, self.stage.other)
            await self.run_on_chain(self.stage.acknowledge, acknowledged=False)
            deposit = self.stage.serving.functions.deposit(
                self.stage.user.address, self.stage.other.address
            )
            await self.run_on_chain(self.stage.act, deposit, self.stage.user, 5)
            await self.run_on_chain(self.stage.register, cpu=61, stake=0)
            head = await self.newest()
            found = await self.chain.happenings(first, head.number)
            self.assertEqual(
                [(e.name, e.wallet) for e in found.events],
                [
                    ("Deposited", self.user),
                    ("TEESignerAcknowledged", self.user),
                    ("RefundRequested", self.user),
                    ("TEESignerAcknowledged", self.user),
                    ("ServiceUpdated", None),
                ],
            )
            places = [(e.block, e.log_index) for e in found.events]
            self.assertEqual(places, sorted(places))
            self.assertEqual(found.services, (Address(self.stage.other.address), self.provider))

        async def test_logs_of_a_block_to_come(self) -> None:
            """A range that ends above the head is NodeBehind, never fewer logs."""
            head = await self.newest()
            with self.assertRaises(NodeBehind):
                await self.chain.happenings(head.number, head.number + 1)
            with self.assertRaises(NodeBehind):
                await self.chain.moves(self.user, head.number, head.number + 1)

        async def test_moves(self) -> None:
            """What moved for one wallet adds up to what its account holds (L1)."""
            first = (await self.newest()).number + 1
            await self.run_on_chain(self.stage.fund, 100)
            await self.run_on_chain(self.stage.deposit, 7)
            await self.run_on_chain(self.stage.fund, 3, self.stage.other)
            await self._settled(self.stage.line(1, 30), self.stage.line(1, 9, self.stage.other))
            await self._settled(self.stage.line(4, 200))
            head = await self.newest()
            found = await self.chain.moves(self.user, first, head.number)
            self.assertEqual((found.deposited, found.withdrawn, found.sources), (107, 0, 1))
            self.assertEqual(
                [(s.user, s.nonce, s.fee, s.status, s.paid) for s in found.settlements],
                [(self.user, 1, 30, 0, 30), (self.user, 4, 200, 1, 77)],
            )
            later = await self.chain.moves(self.user, head.number, head.number)
            self.assertEqual((later.deposited, len(later.settlements)), (0, 1))

        async def test_reorganised(self) -> None:
            """A block that was replaced is not read any more, and the receipt goes (S9)."""
            await self.run_on_chain(self.stage.fund, 100)
            receipt = await self._settled(self.stage.line(1, 30))
            await self.run_on_chain(self.stage.reorg, 1)
            with self.assertRaises(NodeBehind):
                await self.chain.accounts([self.user], receipt.block)
            self.assertIsNone(await self.chain.receipt(receipt.transaction))
            again = await self.chain.block(receipt.block.number)
            self.assertNotEqual(again.hash, receipt.block.hash)
            (account,) = await self.chain.accounts([self.user], again)
            self.assertEqual((account.balance, account.last_nonce), (100, 0))

        async def test_sent_twice(self) -> None:
            """Sending an attempt again is harmless: while it waits, and when it is mined."""
            await self.run_on_chain(self.stage.fund, 100)
            attempt = await self.chain.prepare([self.stage.line(1, 30)], None)
            await self.chain.broadcast(attempt)
            await self.chain.broadcast(attempt)
            await self.run_on_chain(self.stage.chain.mine)
            await self.chain.broadcast(attempt)
            self.assertIsNotNone(await self.chain.receipt(attempt.hash))

        async def test_bumps_end(self) -> None:
            """
            No bump offers more than a multiple of today's price (T-3); an empty call in the
            place of what must not be mined outbids it all the same.
            """
            await self.run_on_chain(self.stage.fund, 1_000)
            lines = [self.stage.line(1, 30)]
            first = attempt = await self.chain.prepare(lines, None)
            with self.assertRaises(Refused):
                for _ in range(40):
                    attempt = await self.chain.prepare(lines, attempt)
            self.assertTrue(4 * first.fee_cap < attempt.fee_cap <= 5 * first.fee_cap)
            empty = await self.chain.prepare([], attempt)
            self.assertGreaterEqual(empty.fee_cap * 10, attempt.fee_cap * 11)
            with self.assertRaises(Refused):
                await self.chain.prepare([], empty)

        async def test_no_blocks(self) -> None:
            """While no block comes nothing is bumped; what must not be mined is outbid (T-3)."""
            await self.run_on_chain(self.stage.fund, 1_000)
            lines = [self.stage.line(1, 30)]
            head = await self.newest()
            attempt = await self.chain.prepare(lines, None)
            attempt = evolve(attempt, recorded_at=UnixSeconds(head.timestamp + 1))
            with self.assertRaises(NodeBehind):
                await self.chain.prepare(lines, attempt)
            await self.chain.prepare([], attempt)
            await self.run_on_chain(self.stage.chain.mine)
            await self.chain.prepare(lines, attempt)

        async def test_replacement(self) -> None:
            """A bump keeps the account nonce, and is mined in the place of the first."""
            await self.run_on_chain(self.stage.fund, 100)
            lines = [self.stage.line(1, 30)]
            attempt = await self.chain.prepare(lines, None)
            await self.chain.broadcast(attempt)
            bumped = await self.chain.prepare(lines, attempt)
            self.assertEqual(bumped.account_nonce, attempt.account_nonce)
            self.assertGreaterEqual(bumped.fee_cap * 10, attempt.fee_cap * 11)
            await self.chain.broadcast(bumped)
            await self.run_on_chain(self.stage.chain.mine)
            self.assertIsNone(await self.chain.receipt(attempt.hash))
            self.assertTrue((await self.chain.receipt(bumped.hash)).succeeded)

        async def test_replaced_by_nothing(self) -> None:
            """A call without vouchers outbids one with some, which are not settled then."""
            await self.run_on_chain(self.stage.fund, 100)
            attempt = await self.chain.prepare([self.stage.line(1, 30)], None)
            await self.chain.broadcast(attempt)
            nothing = await self.chain.prepare([], attempt)
            self.assertEqual((False, True), (attempt.empty, nothing.empty))
            self.assertEqual(nothing.account_nonce, attempt.account_nonce)
            self.assertGreaterEqual(nothing.fee_cap * 10, attempt.fee_cap * 11)
            more = await self.chain.prepare([], nothing)
            await self.chain.broadcast(nothing)
            await self.chain.broadcast(more)
            await self.run_on_chain(self.stage.chain.mine)
            self.assertTrue((await self.chain.receipt(more.hash)).succeeded)
            self.assertIsNone(await self.chain.receipt(attempt.hash))
            head = (await self.chain.head()).number
            self.assertEqual((), (await self.chain.happenings(head, head)).settlements)

        async def test_two_prepared(self) -> None:
            """Two batches prepared before either is sent do not share an account nonce."""
            await self.run_on_chain(self.stage.fund, 100)
            one = await self.chain.prepare([self.stage.line(1, 30)], None)
            two = await self.chain.prepare([self.stage.line(2, 30)], None)
            self.assertEqual(two.account_nonce, one.account_nonce + 1)

        async def test_account_nonces(self) -> None:
            """What is mined at a block, mined now, and waits, are told apart (T-6, T-7)."""
            await self.run_on_chain(self.stage.fund, 100)
            before = await self.newest()
            await self._settled(self.stage.line(1, 30))
            after = await self.newest()
            await self.chain.broadcast(await self.chain.prepare([self.stage.line(2, 30)], None))
            self.assertEqual(await self.chain.account_nonce(before), 0)
            self.assertEqual(await self.chain.account_nonce(after), 1)
            counts = await self.chain.account_nonces()
            self.assertEqual((counts.mined, counts.pending), (1, 2))
            await self.run_on_chain(self.stage.reorg, 1)
            with self.assertRaises(NodeBehind):
                await self.chain.account_nonce(after)

        async def test_a_given_account_nonce(self) -> None:
            """A gap is used up by a call that settles nothing (T-7)."""
            await self.run_on_chain(self.stage.fund, 100)
            self.chain.adopt_attempts([await self.chain.prepare([self.stage.line(1, 30)], None)])
            late = await self.chain.prepare([self.stage.line(2, 30)], None)
            self.assertEqual(late.account_nonce, 1)
            await self.chain.broadcast(late)
            await self.run_on_chain(self.stage.chain.mine)
            self.assertIsNone(await self.chain.receipt(late.hash))
            filler = await self.chain.prepare([], None, account_nonce=0)
            await self.chain.broadcast(filler)
            await self.run_on_chain(self.stage.chain.mine)
            self.assertTrue((await self.chain.receipt(filler.hash)).succeeded)
            self.assertTrue((await self.chain.receipt(late.hash)).succeeded)

        async def test_gas_price(self) -> None:
            """What gas costs now is what a transaction pays, about."""
            await self.run_on_chain(self.stage.fund, 100)
            price = await self.chain.gas_price()
            receipt = await self._settled(self.stage.line(1, 30))
            self.assertTrue(receipt.gas_price // 3 <= price <= receipt.gas_price * 3, price)

        async def test_gas_balance(self) -> None:
            """What is left for gas falls by what transactions cost."""
            await self.run_on_chain(self.stage.fund, 100)
            before = await self.chain.gas_balance()
            receipt = await self._settled(self.stage.line(1, 30))
            paid = receipt.gas_used * receipt.gas_price
            self.assertEqual(await self.chain.gas_balance(), before - paid)

    return ChainPort


def addresses(count: int) -> Sequence[Address]:
    """So many wallets that never did anything."""
    return [Address.from_bytes(number.to_bytes(20, "big")) for number in range(1, count + 1)]
