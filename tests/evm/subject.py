"""
The contract under test, deployed, with those who use it; and one call made of both:
L{Subject.play} sends a L{Call} to the real contract and to the model and holds the two
to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from attrs import define, frozen
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.signing.key import SigningKey
from tests.evm.codec import Abi
from tests.evm.model import (
    LOCK,
    Call,
    CallsBack,
    Claim,
    Message,
    Outcome,
    Ownership,
    Refuses,
    Signature,
    State,
    perform,
)
from tests.evm.world import CHAIN_ID, Result, World


STAKE = 1_000
RICH = 2**200
"""neuron of each actor: enough for what does not fit a uint128."""


class Broken(AssertionError):
    """
    A law does not hold, or contract and model differ.

    @ivar law: Which, in a few words that stay the same from run to run.
    @ivar rule: What was being done, if whoever did it says so.
    @ivar steps: What led to it, likewise.
    @ivar taken: The same, for whoever can take them again.
    """

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(f"{law}: {detail}")
        self.law = law
        self.detail = detail
        self.rule = "before the first step"
        self.steps: tuple[str, ...] = ()
        self.taken: tuple[Any, ...] = ()


# ------------------------------------------------------------------------- actors


def _development_key(number: int) -> SigningKey:
    """A well-known development key; it never guards real money."""
    return SigningKey.from_bytes(keccak(b"solvency" + bytes([number])))


KEYS: Mapping[bytes, SigningKey] = {
    key.address.to_bytes(): key for key in map(_development_key, range(4))
}
"""Those that sign vouchers, by address; the second is a provider's own, the last a rogue's."""

SIGNERS = tuple(KEYS)[:3]
ROGUE = tuple(KEYS)[3]


def _plain(name: str) -> bytes:
    return keccak(name.encode())[12:]


ALICE, BOB, STRANGER, SINK = map(_plain, ("alice", "bob", "stranger", "sink"))
OWNER, HEIR = map(_plain, ("owner", "heir"))
ACME, ZETA = _plain("acme"), SIGNERS[1]
MISER = _plain("miser")
"""A contract that takes no money."""
GREEDY = _plain("greedy")
"""A contract, user and provider at once, that answers money with every call it can think of."""

NAMES: Mapping[bytes, str] = {
    bytes(20): "nobody",
    ALICE: "alice",
    BOB: "bob",
    STRANGER: "stranger",
    SINK: "sink",
    OWNER: "owner",
    HEIR: "heir",
    ACME: "acme",
    ZETA: "zeta",
    MISER: "miser",
    GREEDY: "greedy",
    SIGNERS[0]: "signer 0",
    SIGNERS[2]: "signer 2",
    ROGUE: "rogue",
}


def say(value: Any) -> str:
    """A value for people: addresses by name, the rest short."""
    if isinstance(value, bytes):
        return NAMES.get(value, value.hex()[:8])
    if isinstance(value, Signature):
        return f"signed by {say(value.by) if value.by else 'nobody'}"
    if isinstance(value, Claim):
        signed = f", {say(value.signature)}" if value.signature else ""
        whose = f"{say(value.user)} to {say(value.provider)}"
        return f"[nonce {value.nonce}, {value.fee} from {whose}{signed}]"
    if isinstance(value, tuple):
        return ", ".join(map(say, value))
    return repr(value)


USERS = (ALICE, BOB, GREEDY, MISER, ACME)
PROVIDERS = (ACME, ZETA, GREEDY)
PAIRS = tuple((user, provider) for user in USERS for provider in PROVIDERS)
PEOPLE = tuple(
    dict.fromkeys(
        (ALICE, BOB, STRANGER, SINK, OWNER, HEIR, ACME, ZETA, MISER, GREEDY, *SIGNERS, ROGUE)
    )
)


def greed(serving: bytes) -> tuple[tuple[Call, int], ...]:
    """What C{GREEDY} does with money, each with its value."""
    calls = [Call(serving, "withdrawRefund", (provider,)) for provider in PROVIDERS]
    calls += [
        Call(serving, "withdrawEarnings"),
        Call(serving, "leave", (GREEDY,)),
        Call(serving, "requestRefund", (ACME, 1)),
    ]
    return (*((call, 0) for call in calls), (Call(serving, "deposit", (GREEDY, ACME)), 1))


REFUSE = bytes.fromhex("60006000fd")


def call_back(calls: list[tuple[bytes, int]]) -> bytes:
    """Code that makes calls to its caller, one after the other, whatever comes of them."""
    each = 25
    code, stored, at = b"", b"", each * len(calls) + 1
    for data, value in calls:
        # codecopy(0, at, length); call(gas, caller, value, 0, length, 0, 0); pop
        size, where = len(data).to_bytes(2, "big"), at.to_bytes(2, "big")
        code += b"\x61" + size + b"\x61" + where + b"\x5f\x39"
        code += b"\x5f\x5f\x61" + size + b"\x5f\x60" + bytes([value]) + b"\x33\x5a\xf1\x50"
        code += b"\x5b" * (each - len(code) % each if len(code) % each else 0)
        stored += data
        at += len(data)
    return code + b"\x00" + stored


# ------------------------------------------------------------------------- subject


ABI = Abi.of(load("UpgradeableBeacon").abi, load("SandboxServing").abi)


def _code(name: str) -> bytes:
    return bytes.fromhex(load(name).bytecode[2:])


def plain(argument: Any) -> Any:
    """An argument as eth_abi takes it."""
    if isinstance(argument, Signature):
        return argument.raw
    if isinstance(argument, Claim):
        fields = (argument.fee, argument.usage, argument.nonce)
        if argument.signature is None:
            return (argument.user, *fields)
        return (argument.user, argument.provider, *fields, argument.signature.raw)
    if isinstance(argument, tuple):
        return [plain(each) for each in argument]
    return argument


def calldata(call: Call) -> bytes:
    """A call's bytes."""
    return ABI.call(call.name, *map(plain, call.arguments))


def revert_data(outcome: Outcome) -> bytes:
    """What the model says a call reverts with."""
    assert outcome.revert is not None
    return ABI.error(outcome.revert.name, *outcome.revert.arguments)


@frozen(kw_only=True)
class Step:
    """
    One message and what came of it.

    @ivar before: The model's state.
    @ivar outcome: The model's.
    @ivar result: The EVM's, equal to it.
    """

    message: Message
    before: State
    outcome: Outcome
    result: Result


@define
class Subject:
    """
    @ivar world: Where the contract stands.
    @ivar state: What the model says of it.
    """

    world: World
    state: State

    @classmethod
    def deploy(cls, bytecode: bytes) -> Subject:
        """
        Implementation twice, beacon, proxy, as C{deploy} does.

        @param bytecode: The implementation's creation code.
        @raise Broken: It cannot be deployed.
        """
        world = World.empty()
        for address in PEOPLE:
            world.give(address, RICH)
        try:
            first, second = (world.create(bytecode, sender=OWNER) for _ in range(2))
            arguments = encode(["address", "address"], [first, OWNER])
            beacon = world.create(_code("UpgradeableBeacon") + arguments, sender=OWNER)
            arguments = encode(["address", "bytes"], [beacon, ABI.call("initialize", STAKE)])
            serving = world.create(_code("BeaconProxy") + arguments, sender=OWNER)
        except Refused as refused:
            raise Broken("it can be deployed", str(refused)) from refused
        calls = greed(serving)
        world.install(MISER, REFUSE)
        world.install(GREEDY, call_back([(calldata(call), value) for call, value in calls]))
        refusing = (MISER, serving, beacon, first, second)
        state = State(
            serving=serving,
            beacon=beacon,
            owners={serving: Ownership(owner=OWNER), beacon: Ownership(owner=OWNER)},
            implementation=first,
            implementations=frozenset((first, second)),
            required_stake=STAKE,
            purses=dict.fromkeys(PEOPLE, RICH),
            receivers={**dict.fromkeys(refusing, Refuses()), GREEDY: CallsBack(calls)},
        )
        return cls(world, state)

    def fork(self) -> Subject:
        """Another one of the same history."""
        return Subject(self.world.fork(), self.state)

    def play(self, call: Call, sender: bytes, value: int = 0) -> Step:
        """
        Send a call to both.

        @raise Broken: They do not agree on success, revert data, statuses, or events in order.
        """
        message = Message(call=call, sender=sender, value=value, now=self.world.now)
        outcome = perform(self.state, message)
        result = self.world.send(sender, call.to, calldata(call), value)
        step = Step(message=message, before=self.state, outcome=outcome, result=result)
        self.state = outcome.state
        return step

    def force(self, amount: int) -> None:
        """Money that no function took: a contract that destroys itself sends it."""
        # push20 proxy; selfdestruct
        code = b"\x73" + self.state.serving + b"\xff"
        self.world.create(code, sender=STRANGER, value=amount)
        self.state = self.state.pay(STRANGER, self.state.serving, amount)


def agree(step: Step) -> None:
    """
    @raise Broken: Contract and model differ on a message.
    """
    name = step.message.call.name or "money without data"
    outcome, result = step.outcome, step.result
    if result.problem:
        raise Broken(f"{name} ends", result.problem)
    if outcome.revert is not None:
        expected = revert_data(outcome)
        if result.succeeded:
            raise Broken(f"{name} reverts", f"with {ABI.say_error(expected)}; it succeeded")
        if result.output != expected:
            said = ABI.say_error(result.output)
            raise Broken(f"{name} reverts", f"with {ABI.say_error(expected)}, not {said}")
        return
    if not result.succeeded:
        raise Broken(f"{name} succeeds", f"it reverted: {ABI.say_error(result.output)}")
    if outcome.returned is not None:
        (statuses,) = ABI.returned(name, result.output)
        if tuple(statuses) != outcome.returned:
            raise Broken(f"{name}'s statuses", f"are {outcome.returned}, not {statuses}")
    expected_logs = [ABI.event(each.emitter, each.name, *each.arguments) for each in outcome.events]
    if expected_logs != list(result.logs):
        raise Broken(
            f"{name}'s events",
            f"are {[each.name for each in outcome.events]}, "
            f"not {[ABI.read_event(log) for log in result.logs]}",
        )


# ------------------------------------------------------------------------- reading


Question = tuple[Any, ...]
"""A view's name and its arguments; the beacon's names start with C{beacon}."""

Facts = Mapping[Question, Any]
"""The answers to L{QUESTIONS}."""

_OF_A_PAIR = ("getBalance", "getLastNonce", "isTEEAcknowledged")
_OF_A_PROVIDER = (
    "services",
    "serviceExists",
    "providerEarnings",
    "getProviderEarnings",
    "providerStakes",
    "leavingAt",
)
_OF_SERVING = ("providerStake", "owner", "pendingOwner", "domainSeparator", "LOCK_TIME")
_OF_BEACON = ("owner", "pendingOwner", "implementation")

QUESTIONS: Mapping[Question, bytes] = {
    **{(name, *pair): ABI.call(name, *pair) for name in _OF_A_PAIR for pair in PAIRS},
    **{(name, who): ABI.call(name, who) for name in _OF_A_PROVIDER for who in PROVIDERS},
    **{(name,): ABI.call(name) for name in _OF_SERVING},
    **{("beacon", name): ABI.call(name) for name in _OF_BEACON},
}
"""Everything that the contracts can be asked, with its calldata."""


@lru_cache(maxsize=4096)
def _answer(name: str, output: bytes) -> Any:
    values = ABI.returned(name, output)
    return values[0] if len(values) == 1 else values


def read(subject: Subject) -> Facts:
    """
    Ask the contracts everything; the world remembers what did not change.

    @raise Broken: A view fails.
    """
    facts = {}
    for question, data in QUESTIONS.items():
        of_beacon = question[0] == "beacon"
        to = subject.state.beacon if of_beacon else subject.state.serving
        name = question[1] if of_beacon else question[0]
        try:
            facts[question] = _answer(name, subject.world.view(to, data))
        except Refused as refused:
            raise Broken(f"{name} can be read", str(refused)) from refused
    return facts


def foretell(state: State) -> Facts:
    """What L{read} finds, by the model."""
    facts: dict[Question, Any] = {}
    for user, who in PAIRS:
        account, provider = state.account(user, who), state.provider(who)
        acknowledged = provider.registered and account.acknowledged == provider.version
        facts["getBalance", user, who] = account.balance, account.pending, account.unlock_at
        facts["getLastNonce", user, who] = account.nonce
        facts["isTEEAcknowledged", user, who] = acknowledged
    for who in PROVIDERS:
        provider = state.provider(who)
        offer = provider.offer
        prices = offer.cpu, offer.create_fee, provider.version, offer.memory
        facts["services", who] = offer.url, provider.signer, *prices
        facts["serviceExists", who] = provider.registered
        facts["providerEarnings", who] = provider.earnings
        facts["getProviderEarnings", who] = provider.earnings
        facts["providerStakes", who] = provider.stake
        facts["leavingAt", who] = provider.leaving_at
    serving, beacon = state.owners[state.serving], state.owners[state.beacon]
    domain = EIP712Domain(CHAIN_ID, Address.from_bytes(state.serving))
    facts["providerStake",] = state.required_stake
    facts["owner",], facts["pendingOwner",] = serving.owner, serving.offered
    facts["domainSeparator",], facts["LOCK_TIME",] = domain.separator, LOCK
    facts["beacon", "owner"], facts["beacon", "pendingOwner"] = beacon.owner, beacon.offered
    facts["beacon", "implementation"] = state.implementation
    return facts


def agree_on_state(subject: Subject, facts: Facts) -> None:
    """
    @raise Broken: Contract and model answer a view differently, or somebody's native money
        is not what the model says.
    """
    for question, expected in foretell(subject.state).items():
        if facts[question] != expected:
            name = " ".join(each for each in question if isinstance(each, str))
            who = ", ".join(say(each) for each in question if isinstance(each, bytes))
            raise Broken(f"{name} answers", f"{expected} for {who}, not {facts[question]}")
    for address in (*PEOPLE, subject.state.serving, subject.state.beacon):
        has, should = subject.world.holdings(address), subject.state.purse(address)
        if has != should:
            raise Broken("native money", f"of {say(address)} is off by {has - should}")
