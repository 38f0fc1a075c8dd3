"""
The contract under test, deployed twice: as code in the EVM, and as the model.

L{Subject.play} sends a call to both, L{agree} holds the two to the same bytes.
"""

from __future__ import annotations

from typing import Any

from attrs import define, frozen
from eth_abi.abi import encode

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.errors import Refused
from tests.evm.actors import GREEDY, MISER, OWNER, PEOPLE, STRANGER, call_back, greed
from tests.evm.codec import Abi
from tests.evm.model import perform
from tests.evm.model_state import (
    Call,
    CallsBack,
    Claim,
    Message,
    Outcome,
    Ownership,
    Refuses,
    Signature,
    State,
)
from tests.evm.world import Result, World


STAKE = 1_000
RICH = 2**200
"""neuron of each actor: enough for what does not fit a uint128."""

REFUSE = bytes.fromhex("60006000fd")
"""Code that reverts."""


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
    def deploy(cls, bytecode: bytes, beacon_code: bytes) -> Subject:
        """
        Implementation twice, beacon, proxy, as C{deploy} does.

        @param bytecode: The implementation's creation code.
        @param beacon_code: The beacon's, before its arguments.
        @raise Broken: It cannot be deployed.
        """
        world = World.empty()
        for address in PEOPLE:
            world.give(address, RICH)
        try:
            first, second = (world.create(bytecode, sender=OWNER) for _ in range(2))
            arguments = encode(["address", "address"], [first, OWNER])
            beacon = world.create(beacon_code + arguments, sender=OWNER)
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
        Send a call to both; L{agree} compares.
        """
        message = Message(
            call=call, sender=sender, value=value, now=self.world.now, chain=self.world.chain
        )
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
