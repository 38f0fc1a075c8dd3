"""
Tests of C{sandbox_billing.adapters.memory.chain}: the port's suite, and its faults.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.blocks import Call, MemoryBlocks
from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.adapters.memory.chain_faults import (
    NodeLags,
    Once,
    ReadsFail,
    ReplyLost,
    RequestLost,
    Swallowed,
)
from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import Line, NodeBehind
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest
from sandbox_billing.signing.key import SigningKey
from tests.ports.chain import (
    CHAIN_ID,
    NOW,
    SIGNER_KEY,
    STAKE,
    TOKEN,
    USAGE_HASH,
    ChainCase,
    StandingClock,
    chain_suite,
)


T = TypeVar("T")

CONTRACT = Address("0x" + "c0" * 20)


class Someone:
    """Whom a test calls a user."""

    def __init__(self, key: Any) -> None:
        raw = bytes.fromhex(key[2:]) if isinstance(key, str) else bytes(key)
        self.of = SigningKey.from_bytes(raw).address
        self.address = self.of.hex


class Miner:
    """The part of a devnet's chain that the suite touches."""

    def __init__(self, net: MemoryBlocks) -> None:
        self._net = net

    @property
    def head(self) -> Any:
        """As the devnet has headers: the hash in bytes."""
        ref = self._net.head.ref
        raw = bytes.fromhex(ref.hash[2:])
        return SimpleNamespace(number=ref.number, hash=raw, timestamp=ref.timestamp)

    def mine(self) -> Any:
        """The next block."""
        self._net.mine()
        return self.head


class MemoryStage:
    """What L{tests.ports.chain.Stage} is to the EVM: the same deeds, on a L{MemoryBlocks}."""

    behaviour = Behaviour.FIXED

    def __init__(self) -> None:
        people = [Someone(key) for key in DEVELOPMENT_KEYS[:5]]
        self.owner, self.provider, self.user, self.stranger, self.other = people
        self.signer = SigningKey.from_bytes(SIGNER_KEY)
        self.domain = EIP712Domain(CHAIN_ID, CONTRACT)
        self.net = MemoryBlocks(self.domain, lambda: NOW)
        self.net.head.state.behaviour = self.behaviour
        self.net.mine(2)
        self.contract_block = self.net.contract_block = self.net.head.ref.number
        self.net.purses[self.signer.address] = 100 * TOKEN
        self.register()
        self.chain = Miner(self.net)
        # As web3 spells the calls that tests make by name.
        self.serving = SimpleNamespace(
            functions=SimpleNamespace(
                announceLeave=lambda: self._announce, deposit=lambda _user, whose: (whose,)
            )
        )

    def _do(self, call: Call) -> None:
        self.net.act(call)

    def _announce(self, _sender: Someone, _value: int) -> None:
        self._do(lambda contract: contract.announce_leave(self.provider.of))

    def act(self, call: Any, sender: Someone, value: int = 0) -> None:
        """A call by name."""
        if callable(call):
            call(sender, value)
        else:
            whose = Address(call[0])
            self._do(lambda contract: contract.deposit(sender.of, whose, value))

    def register(
        self, who: Someone | None = None, *, cpu: int = 60, stake: int = STAKE, signer: Any = None
    ) -> None:
        """addOrUpdateService."""
        whose = (who or self.provider).of
        prices = Prices(
            per_cpu_per_minute=neuron(cpu),
            per_memory_gib_per_minute=neuron(30),
            create_fee=neuron(5),
        )
        key = signer or self.signer.address
        self._do(
            lambda contract: contract.register(
                whose, key, prices, stake, "https://provider.example"
            )
        )

    def deposit(self, amount: int, user: Someone | None = None) -> None:
        """A user's own."""
        who = (user or self.user).of
        self._do(lambda contract: contract.deposit(who, self.provider.of, amount))

    def acknowledge(self, user: Someone | None = None, *, acknowledged: bool = True) -> None:
        """A user's word on the signer."""
        who = (user or self.user).of
        self._do(lambda contract: contract.acknowledge(who, self.provider.of, acknowledged))

    def request_refund(self, amount: int) -> None:
        """The user's."""
        self._do(lambda contract: contract.request_refund(self.user.of, self.provider.of, amount))

    def fund(self, amount: int, user: Someone | None = None) -> None:
        """Deposit and acknowledge."""
        self.deposit(amount, user)
        self.acknowledge(user)

    def line(self, nonce: int, fee: int, user: Someone | None = None) -> Line:
        """A voucher that our signer signed."""
        who = (user or self.user).of
        fields = VoucherFields(
            user=who,
            provider=self.provider.of,
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

    def settle(self, *lines: Line) -> None:
        """By the provider itself."""
        whose = self.provider.of
        self._do(lambda contract: contract.settle(whose, whose, lines))

    def reorg(self, depth: int, *, keep: bool = False) -> None:
        """Other blocks in the place of the newest ones."""
        self.net.reorg(depth, keep=keep)


class MemoryCase(ChainCase):
    """The suite's world without its socket."""

    memory_stage = MemoryStage

    def setUp(self) -> None:
        """No server, no threads."""
        self.stage: Any = self.memory_stage()
        self.user, self.provider = self.stage.user.of, self.stage.provider.of

    def run_on_chain(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """At once."""
        return succeed(work(*args, **kwargs))


def client(stage: MemoryStage) -> MemoryChain:
    """One process's way to the stage."""
    return MemoryChain(
        net=stage.net,
        provider=stage.provider.of,
        sender=stage.signer.address,
        wall=StandingClock(),
        floor=TOKEN // 100,
    )


class MemoryChainTests(chain_suite(lambda case: client(case.stage)), MemoryCase):  # type: ignore[misc]
    """L{MemoryChain} is a chain."""


class FaultTests(SynchronousTestCase):
    """Each way of failing is what its name says."""

    def setUp(self) -> None:
        self.stage = MemoryStage()
        self.stage.fund(100)
        self.chain = client(self.stage)

    def prepared(self, nonce: int = 1) -> Attempt:
        """A settlement of 30 neuron."""
        attempt: Attempt = self.successResultOf(
            Deferred.fromCoroutine(self.chain.prepare([self.stage.line(nonce, 30)], None))
        )
        return attempt

    def ask(self, work: Any) -> Any:
        """The result of what completes at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def balance(self) -> int:
        """What the user has after the next block."""
        self.stage.net.mine()
        slot = self.stage.net.head.state.slot(self.stage.provider.of, self.stage.user.of)
        return slot.balance

    def unknown(self, attempt: Attempt) -> None:
        """Broadcast, without an answer."""
        self.failureResultOf(Deferred.fromCoroutine(self.chain.broadcast(attempt)), UnknownOutcome)

    def test_request_lost(self) -> None:
        """Unknown, and nothing moves until the same bytes are sent again."""
        attempt = self.prepared()
        self.chain.fault = Once(RequestLost())
        self.unknown(attempt)
        self.assertEqual(self.balance(), 100)
        self.ask(self.chain.broadcast(attempt))
        self.assertEqual(self.balance(), 70)

    def test_reply_lost(self) -> None:
        """Unknown, though it was taken; sending it again does not take twice."""
        attempt = self.prepared()
        self.chain.fault = Once(ReplyLost())
        self.unknown(attempt)
        self.assertEqual(self.balance(), 70)
        self.ask(self.chain.broadcast(attempt))
        self.assertEqual(self.balance(), 70)

    def test_swallowed(self) -> None:
        """Answered and never mined."""
        attempt = self.prepared()
        self.chain.fault = Swallowed()
        self.ask(self.chain.broadcast(attempt))
        self.assertEqual(self.balance(), 100)
        self.assertIsNone(self.ask(self.chain.receipt(attempt.hash)))

    def test_never_mines(self) -> None:
        """What the miner withholds waits in the pool, and is mined when he relents."""
        attempt = self.prepared()
        self.stage.net.withholds = lambda transaction: transaction.name == attempt.hash
        self.ask(self.chain.broadcast(attempt))
        self.assertEqual(self.balance(), 100)
        self.stage.net.withholds = lambda transaction: False
        self.assertEqual(self.balance(), 70)

    def test_gap(self) -> None:
        """A transaction waits behind an account nonce that was never sent (T-7)."""
        first, second = self.prepared(1), self.prepared(2)
        self.ask(self.chain.broadcast(second))
        self.assertEqual(self.balance(), 100)
        self.ask(self.chain.broadcast(first))
        self.assertEqual(self.balance(), 40)

    def test_abandoned(self) -> None:
        """An attempt given back leaves no gap."""
        self.chain.abandon(self.prepared(1))
        self.ask(self.chain.broadcast(self.prepared(2)))
        self.assertEqual(self.balance(), 70)

    def test_adopted(self) -> None:
        """The account nonce of a stored attempt is never given again, by any process."""
        stored = self.prepared()
        reborn = client(self.stage)
        reborn.adopt_attempts([stored])
        attempt = self.ask(reborn.prepare([self.stage.line(2, 30)], None))
        self.assertEqual(attempt.account_nonce, stored.account_nonce + 1)

    def test_what_waits_costs_too(self) -> None:
        """A purse has to pay for everything that may still be mined (T-10)."""
        stored = self.prepared()
        cost = stored.gas_limit * stored.fee_cap
        self.stage.net.purses[self.stage.signer.address] = cost * 3 // 2
        reborn = evolve(client(self.stage), floor=0)
        reborn.adopt_attempts([stored])
        other = [self.stage.line(2, 30)]
        self.failureResultOf(Deferred.fromCoroutine(reborn.prepare(other, None)), Refused)
        self.ask(reborn.prepare([self.stage.line(1, 30)], stored))
        self.ask(reborn.broadcast(stored))
        self.stage.net.mine()
        self.ask(reborn.prepare(other, None))

    def test_rotated(self) -> None:
        """Attempts of an earlier key take no account nonce of ours."""
        stored = evolve(self.prepared(), account_nonce=4, sender=Address("0x" + "99" * 20))
        reborn = client(self.stage)
        reborn.adopt_attempts([stored])
        attempt = self.ask(reborn.prepare([self.stage.line(2, 30)], None))
        self.assertEqual(attempt.account_nonce, 0)

    def test_lags(self) -> None:
        """A node behind has neither the newest block nor its receipts."""
        attempt = self.prepared()
        self.ask(self.chain.broadcast(attempt))
        newest = self.stage.net.mine().ref
        self.chain.fault = NodeLags(1)
        self.assertEqual(self.ask(self.chain.head()).number, newest.number - 1)
        self.assertIsNone(self.ask(self.chain.receipt(attempt.hash)))
        self.failureResultOf(
            Deferred.fromCoroutine(self.chain.accounts([self.stage.user.of], newest)), NodeBehind
        )

    def test_reads_fail(self) -> None:
        """Nothing is answered, and that is a passing trouble."""
        self.chain.fault = ReadsFail()
        self.failureResultOf(Deferred.fromCoroutine(self.chain.head()), Transient)

    def test_reorganised_back_into_the_pool(self) -> None:
        """A reorganisation may keep its transactions: they are mined again (S9)."""
        attempt = self.prepared()
        self.ask(self.chain.broadcast(attempt))
        self.assertEqual(self.balance(), 70)
        self.stage.net.reorg(1, keep=True)
        self.assertIsNone(self.ask(self.chain.receipt(attempt.hash)))
        self.assertEqual(self.balance(), 70)

    def test_books(self) -> None:
        """The contract owes exactly what it holds, whatever was settled (L1)."""
        self.stage.request_refund(80)
        self.ask(self.chain.broadcast(self.prepared()))
        state = self.stage.net.mine().state
        slot = state.slot(self.stage.provider.of, self.stage.user.of)
        self.assertEqual((slot.balance, slot.pending), (0, 70))
        self.assertEqual(state.earnings[self.stage.provider.of], 30)
        self.assertEqual(state.native, state.owed())
