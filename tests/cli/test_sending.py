"""Tests for L{sandbox_billing.cli.sending} and L{sandbox_billing.cli.following}."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, evolve, field, frozen

from sandbox_billing.adapters.chain.fees import DynamicFees, LegacyFees
from sandbox_billing.adapters.chain.node import RpcRefusal
from sandbox_billing.cli.options import ChainOptions, SendingOptions
from sandbox_billing.cli.output import Output
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import Pace, Session, connect
from sandbox_billing.cli.transaction import Call, Draft, Signed
from sandbox_billing.devnet.chain.errors import METHOD_NOT_FOUND
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from tests.cli.stage import CHAIN_ID, OWNER, DevnetCase


GWEI = 10**9
PAY = Call(label="pay", to=Address("0x" + "11" * 20), data=b"", value=5)


@define
class Clock:
    """
    Time that passes when somebody sleeps.

    @ivar later: By the time at which something happens, once.
    """

    now: float = 0.0
    later: dict[float, Callable[[], object]] = field(factory=dict)

    def seconds(self) -> float:
        """As a monotonic clock."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Many times what was asked: the tests are not about polling."""
        self.now += seconds * 20
        for when in [when for when in self.later if when <= self.now]:
            self.later.pop(when)()


class Quiet(Output):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(json=False)
        self.notes: list[str] = []
        self.shown: list[Any] = []

    def say(self, text: str) -> None:
        """As the progress display."""

    @contextmanager
    def progress(self) -> Iterator[Quiet]:
        yield self

    def finish(self, document: Any, **more: Any) -> None:
        self.shown.append(document)

    def note(self, text: str) -> None:
        self.notes.append(text)


@frozen(kw_only=True)
class BeforeLondon(Session):
    """A chain without EIP-1559."""

    def call(self, method: str, *params: Any) -> Any:
        if method == "eth_maxPriorityFeePerGas":
            raise RpcRefusal("no such method", code=METHOD_NOT_FOUND)
        found = super().call(method, *params)
        if method == "eth_getBlockByNumber":
            del found["baseFeePerGas"]
        return found


@frozen(kw_only=True)
class Lagging(Session):
    """
    Behind a balancer: the first backend takes an offer, or does not answer; the next lags: it
    finds nothing by its hash, and refuses the repeated bytes in the words of one that is ahead.

    @ivar offered: How often something was offered.
    @ivar unanswered: Whether the first backend's answer is lost.
    """

    offered: list[str] = field(factory=list)
    unanswered: bool = False

    def call(self, method: str, *params: Any) -> Any:
        if method == "eth_sendRawTransaction":
            self.offered.append(params[0])
            if len(self.offered) > 1:
                raise RpcRefusal("nonce too low", code=-32000)
            found = super().call(method, *params)
            if self.unanswered:
                raise Transient("no answer")
            return found
        if self.offered and method in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
            return None
        return super().call(method, *params)


@frozen(kw_only=True)
class Unwilling(Session):
    """A node that takes nothing."""

    offered: list[str] = field(factory=list)

    def call(self, method: str, *params: Any) -> Any:
        if method == "eth_sendRawTransaction":
            self.offered.append(params[0])
            raise RpcRefusal("the pool is full", code=-32000)
        return super().call(method, *params)


class SendingTests(DevnetCase):
    """One account on a chain that mines when it is told to."""

    block_seconds = None

    def setUp(self) -> None:
        """Have a clock that the tests move."""
        super().setUp()
        self.clock = Clock()
        self.out = Quiet()
        self.stored: list[Signed] = []

    def sender(
        self, *, key: SigningKey = OWNER, session: Session | None = None, **options: Any
    ) -> Sender:
        """Of the rich account, waiting for no block upon a transaction's own."""
        found = session or self.session()
        return Sender(found, key, SendingOptions(**{"confirmations": 0, **options}), self.out)

    def session(self, made: type[Session] = Session) -> Session:
        """By the tests' clock."""
        pace = Pace(self.clock.seconds, self.clock.sleep)
        found = connect(ChainOptions(rpc=self.desk.url, chain_id=CHAIN_ID), pace)
        return made(node=found.node, chain_id=found.chain_id, pace=found.pace)

    def mine(self) -> None:
        """One block."""
        self.desk.rpc("evm_mine")

    def dear_block(self) -> None:
        """One block, too dear for whatever waits; and so is the next."""
        self.desk.rpc("devnet_setNextBlockBaseFeePerGas", hex(8 * GWEI))
        self.mine()
        self.desk.rpc("devnet_setNextBlockBaseFeePerGas", hex(8 * GWEI))

    async def test_confirmed(self) -> None:
        """It is done when enough blocks stand on its own, not sooner."""

        def work() -> None:
            for when in (10.0, 20.0, 30.0):
                self.clock.later[when] = self.mine
            done = self.sender(confirmations=2).send(PAY, store=self.stored.append)
            self.assertGreaterEqual(self.clock.now, 30.0)
            self.assertEqual(
                (1, 21000, self.stored[0].hash), (done.block, done.gas_used, done.hash)
            )
            self.assertEqual([f"pay: sending {done.hash}"], self.out.notes)

        await self.at_work(work)

    async def test_fee_raised(self) -> None:
        """No block takes what fees have outgrown: it is replaced, the store knows both."""

        def work() -> None:
            self.clock.later = {10.0: self.dear_block, 100.0: self.mine}
            done = self.sender().send(PAY, store=self.stored.append)
            self.assertEqual(2, len(self.stored))
            self.assertEqual(self.stored[1].hash, done.hash)
            self.assertEqual({0}, {one.nonce for one in self.stored})
            self.assertIn("raising the fee", self.out.notes[1])
            self.assertEqual(1, self.desk.nonce())

        await self.at_work(work)

    async def test_fee_raised_later(self) -> None:
        """What an earlier command has left under its price is replaced by the next one."""

        def work() -> None:
            sender = self.sender()
            self.assertRaises(UnknownOutcome, sender.send, PAY, store=self.stored.append)
            self.dear_block()
            self.clock.later[self.clock.now + 100] = self.mine
            done = self.sender().follow(PAY, list(self.stored), store=self.stored.append)
            self.assertEqual(2, len(self.stored))
            self.assertEqual(self.stored[1].hash, done.hash)

        await self.at_work(work)

    async def test_fee_left(self) -> None:
        """What offers enough is not replaced however long it takes."""

        def work() -> None:
            self.clock.later[200.0] = self.mine
            self.sender().send(PAY, store=self.stored.append)
            self.assertEqual(1, len(self.stored))

        await self.at_work(work)

    async def test_unknown(self) -> None:
        """The time is up, or Ctrl-C: the hash is told, and the outcome is unknown."""

        def work() -> None:
            with self.assertRaisesRegex(UnknownOutcome, r"300 s are up, and 0x[0-9a-f]{64} was"):
                self.sender().send(PAY)
            self.mine()
            with self.assertRaisesRegex(UnknownOutcome, "may still be mined: Not twice$"):
                self.sender().send(evolve(PAY, again="Not twice"))
            self.mine()

            def interrupt() -> None:
                raise KeyboardInterrupt

            self.clock.later[self.clock.now + 10] = interrupt
            with self.assertRaisesRegex(UnknownOutcome, "Ctrl-C was pressed, and 0x"):
                self.sender().send(PAY)

        await self.at_work(work)

    async def test_earlier_first(self) -> None:
        """While something of the account waits, nothing is sent after it; then it is."""

        def work() -> None:
            self.assertRaises(UnknownOutcome, self.sender().send, PAY)
            with self.assertRaisesRegex(UnknownOutcome, "is still not mined"):
                self.sender().send(PAY, store=self.stored.append)
            self.assertEqual([], self.stored)
            self.clock.later = {self.clock.now + 10: self.mine, self.clock.now + 50: self.mine}
            self.sender().send(PAY, store=self.stored.append)
            self.assertEqual(1, self.stored[0].nonce)

        await self.at_work(work)

    async def test_node_fails(self) -> None:
        """Lost questions and lost answers, to the sending too, change nothing."""

        def work() -> None:
            for method, kind in (
                ("eth_sendRawTransaction", "unanswered"),
                ("eth_sendRawTransaction", "unheard"),
                ("eth_sendRawTransaction", "misreported"),
                ("eth_getTransactionReceipt", "unheard"),
            ):
                self.desk.rpc("devnet_failNext", method, kind)
                self.clock.later[self.clock.now + 60] = self.mine
                self.sender().send(PAY, store=self.stored.append)
            self.assertEqual([0, 1, 2, 3], [one.nonce for one in self.stored])
            self.assertEqual(4, self.desk.nonce())

        await self.at_work(work)

    async def test_refused(self) -> None:
        """Too poor for the value, or for the gas; what reverts is not sent."""

        def work() -> None:
            poor = SigningKey.from_bytes(b"\x05" * 31 + b"\x01")
            with self.assertRaisesRegex(Refused, "pay needs up to 5 neuron"):
                self.sender(key=poor).send(PAY)
            self.desk.rpc("devnet_setBalance", poor.address.hex, hex(10))
            with self.assertRaisesRegex(Refused, "has 10 neuron"):
                self.sender(key=poor).send(PAY)
            reverting = Call(label="create", to=None, data=bytes.fromhex("5f5ffd"))
            with self.assertRaisesRegex(Refused, "create: the contract refuses: no reason given"):
                self.sender().send(reverting)
            self.assertEqual("0x0", self.desk.rpc("txpool_status")["pending"])

        await self.at_work(work)

    async def test_failed(self) -> None:
        """What was mined and failed is told with its hash, and as refused: its end is known."""

        def work() -> None:
            sender = self.sender()
            call = Call(label="create", to=None, data=b"\xfe")
            draft = Draft(call=call, gas=100_000, fees=DynamicFees(tip=GWEI, cap=10 * GWEI))
            signed = sender.sign(draft, 0)
            self.clock.later[5.0] = self.mine
            told = f"in block 1 and failed .{signed.hash}.*: run it again"
            with self.assertRaisesRegex(Refused, told):
                sender.follow(call, [signed])
            # Its nonce is used up, but who knows whether by itself: it may have been offered.
            other = sender.sign(Draft(call=PAY, gas=21_000, fees=draft.fees), 0)
            with self.assertRaisesRegex(UnknownOutcome, f"{other.hash} was sent but not seen"):
                sender.follow(PAY, [other])

        await self.at_work(work)

    async def test_not_taken(self) -> None:
        """What no node has taken at its very first offer is refused, and offered only once."""

        def work() -> None:
            session = self.session(Unwilling)
            with self.assertRaisesRegex(Refused, "pay was not taken: the pool is full"):
                self.sender(session=session).send(PAY)
            self.assertEqual(1, len(session.offered))  # type: ignore[attr-defined]
            self.mine()
            self.assertEqual(0, self.desk.nonce())

        await self.at_work(work)

    async def test_refused_later(self) -> None:
        """What was taken, or not answered, and is refused when it is offered again: unknown."""

        def work() -> None:
            for unanswered in (False, True):
                session = evolve(self.session(Lagging), unanswered=unanswered, offered=[])
                before = self.desk.nonce()
                self.clock.later[self.clock.now + 10] = self.mine
                with self.assertRaisesRegex(UnknownOutcome, "nonce too low.*was sent but not seen"):
                    self.sender(session=session).send(PAY)
                self.assertGreater(len(session.offered), 2)
                self.assertEqual(before + 1, self.desk.nonce())

        await self.at_work(work)

    async def test_checked(self) -> None:
        """A check sees what is about to be sent, and can keep it back."""

        def work() -> None:
            seen: list[Signed] = []

            def refuse(signed: Signed) -> None:
                seen.append(signed)
                raise Refused("it is otherwise now")

            with self.assertRaisesRegex(Refused, "otherwise now"):
                self.sender().send(PAY, check=refuse, store=self.stored.append)
            self.assertEqual((1, []), (len(seen), self.stored))
            self.assertEqual("0x0", self.desk.rpc("txpool_status")["pending"])

        await self.at_work(work)

    async def test_legacy(self) -> None:
        """Where blocks have no base fee, a transaction of the old type is sent."""

        def work() -> None:
            session = self.session(BeforeLondon)
            self.clock.later[5.0] = self.mine
            sender = self.sender(session=session)
            self.assertIsInstance(sender.fees(), LegacyFees)
            done = sender.send(PAY)
            self.assertEqual("0x0", self.desk.rpc("eth_getTransactionByHash", done.hash)["type"])

        await self.at_work(work)

    async def test_dry(self) -> None:
        """Each call is shown, one that needs the others without gas; nothing is sent."""

        def work() -> None:
            later = Call(label="later", to=None, data=bytes.fromhex("5f5ffd"))
            for bound in (None, 30_000):
                calls = [PAY, evolve(later, bound=bound)]
                self.assertIsNone(self.sender(dry_run=True).transact(calls))

        await self.at_work(work)
        unknown, bounded = self.out.shown
        first, second = unknown["transactions"]
        self.assertEqual(("5", 25200), (first["value"], first["gas"]))
        self.assertEqual((None, None), (second["gas"], unknown["total"]["gas"]))
        self.assertEqual("0x5f5ffd", second["data"])
        first, second = bounded["transactions"]
        self.assertEqual((True, False), (first["gas_estimated"], second["gas_estimated"]))
        cost = str(int(first["cost"]) + int(second["cost"]))
        self.assertEqual({"value": "5", "gas": 55_200, "cost": cost}, bounded["total"])
        self.assertEqual(
            (CHAIN_ID, checksum(OWNER.address)), (bounded["chain_id"], bounded["sender"])
        )
        self.assertGreater(int(bounded["balance"]), 0)

    async def test_kept_for_a_failure(self) -> None:
        """What was sent is remembered: mined, not seen, replaced, not taken, failed."""

        def work() -> None:
            sender = self.sender()
            self.clock.later = {10.0: self.dear_block, 100.0: self.mine}
            replaced = sender.send(PAY, store=self.stored.append)
            with self.assertRaises(Refused):
                self.sender(session=self.session(Unwilling)).send(PAY)
            self.assertRaises(UnknownOutcome, sender.send, PAY, store=self.stored.append)
            self.assertEqual(
                [
                    replaced.document(),
                    {"label": "pay", "hash": self.stored[-1].hash, "block": None},
                ],
                list(self.out.sent),
            )
            self.mine()
            sender.follow(PAY, self.stored[-1:])
            self.assertEqual([2, 3], [one["block"] for one in self.out.sent])

        await self.at_work(work)


class SessionTests(DevnetCase):
    """Which chain, and which contract."""

    async def test_second_node(self) -> None:
        """Of several nodes the first that answers is taken."""

        def work() -> None:
            urls = f"http://127.0.0.1:9, {self.desk.url}"
            self.assertEqual(CHAIN_ID, connect(ChainOptions(rpc=urls, chain_id=CHAIN_ID)).chain_id)

        await self.at_work(work)

    async def test_unreachable(self) -> None:
        """Where none answers, each is named, by host and port only."""
        options = ChainOptions(rpc="http://u:s3cret@127.0.0.1:9/key,http://127.0.0.1:8", chain_id=1)
        why = self.assertRaises(Transient, connect, options)
        self.assertEqual(
            "127.0.0.1:9 failed: ConnectionError; 127.0.0.1:8 failed: ConnectionError: "
            "look at --rpc",
            str(why),
        )

    async def test_contract(self) -> None:
        """Nothing, or something else, at the contract's address is refused."""

        def work() -> None:
            for where in ("0x" + "77" * 20, OWNER.address.hex):
                options = ChainOptions(
                    rpc=self.desk.url, chain_id=CHAIN_ID, contract=Address(where)
                )
                with self.assertRaisesRegex(Refused, "there is no contract at"):
                    connect(options)

        await self.at_work(work)
