"""
What all rules of the state machine have in common: how a step is taken, counted and
told; how a sequence begins and ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar

from attrs import define, field, frozen
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
)
from hypothesis.strategies import SearchStrategy

from tests.evm.actors import (
    PAIRS,
    PROVIDERS,
    SINK,
    USERS,
    say,
)
from tests.evm.book import Book
from tests.evm.model import LOCK
from tests.evm.model_state import Call, Claim
from tests.evm.solvency_laws import owed
from tests.evm.subject import ABI, Broken, Step, calldata


@define
class Tally:
    """
    How often what happened.

    @ivar rules: By name.
    @ivar functions: Of calls that succeeded.
    @ivar lengths: How many sequences had how many steps, without those at their ends.
    """

    lengths: Counter[int] = field(factory=Counter)
    rules: Counter[str] = field(factory=Counter)
    functions: Counter[str] = field(factory=Counter)
    statuses: Counter[int] = field(factory=Counter)
    events: Counter[str] = field(factory=Counter)
    errors: Counter[str] = field(factory=Counter)

    @property
    def steps(self) -> int:
        """Of all sequences."""
        return sum(length * count for length, count in self.lengths.items())

    def count(self, step: Step) -> None:
        """One message."""
        outcome = step.outcome
        if outcome.revert is not None:
            self.errors[outcome.revert.name] += 1
            return
        self.functions[step.message.call.name] += 1
        self.statuses.update(outcome.returned or ())
        self.events.update(each.name for each in outcome.events)


@frozen
class Taken:
    """A step that was taken, so that it can be taken again."""

    function: Callable[..., None]
    drawn: Mapping[str, Any]


def does(weight: int = 1, **arguments: SearchStrategy[Any]) -> Callable[[Any], Any]:
    """
    A step that the machine can take; it is counted, and named in what it finds.

    All of them are one rule to hypothesis: by itself it would leave out half of its rules
    in most sequences, and here nearly every one needs most of the others.

    @param weight: How often it is taken, compared with others.
    """

    def decorate(function: Callable[..., None]) -> Any:
        @wraps(function)
        def counted(self: Machine, **drawn: Any) -> None:
            self.taken.append(Taken(counted, drawn))
            self.doing = function.__name__
            self.tally.rules[self.doing] += 1
            with self.telling():
                function(self, **drawn)
                if len(self.taken) % 10 == 0:
                    self.take_out_earnings()

        counted.weight, counted.arguments = weight, arguments  # type: ignore[attr-defined]
        return counted

    return decorate


def kinds_of(machine: type[Machine]) -> dict[str, Any]:
    """What a machine L{does}, by name."""
    members = {name: getattr(machine, name) for name in dir(machine)}
    return {name: each for name, each in members.items() if hasattr(each, "weight")}


def steps_of(machine: type[Machine]) -> SearchStrategy[Taken]:
    """Any step that a machine can take."""
    # The heaviest first: hypothesis is fondest of what comes first.
    kinds = sorted(kinds_of(machine).values(), key=lambda each: -each.weight)
    weighted = [each for each in kinds for _ in range(each.weight)]
    return st.sampled_from(weighted).flatmap(
        lambda each: st.builds(Taken, st.just(each), st.fixed_dictionaries(each.arguments))
    )


@define
class Telling:
    """Adds to what is found where it was found."""

    machine: Machine

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, found: object, trace: object) -> None:
        if isinstance(found, Broken):
            self.machine.broken = True
            found.rule = self.machine.doing
            found.steps = tuple(self.machine.said)
            found.taken = tuple(self.machine.taken)
        elif found is not None:
            self.machine.broken = True


class Machine(RuleBasedStateMachine):
    """
    A sequence.

    @cvar fresh: Where a sequence starts: just deployed.
    @cvar opened: Where most start: in business.
    @cvar tally: Of the run.
    """

    fresh: ClassVar[Book]
    opened: ClassVar[Book]
    tally: ClassVar[Tally]

    def __init__(self) -> None:
        super().__init__()
        self.book = self.fresh
        self.said: list[str] = []
        self.taken: list[Taken] = []
        self.doing = ""
        self.broken = False
        self.vouchers: list[Claim] = []
        self.batches: list[tuple[Any, ...]] = []

    # ------------------------------------------------------------------- helpers

    def telling(self) -> Telling:
        """A context in which what is found gets the sequence that led to it."""
        return Telling(self)

    def do(self, name: str, *arguments: Any, by: bytes, value: int = 0) -> Step:
        """A call to the contract."""
        return self.send(self.book.call(name, *arguments), by, value)

    def send(self, call: Call, by: bytes, value: int = 0) -> Step:
        """Any call."""
        whom = "beacon." if call.to == self.state.beacon else ""
        paying = f" with {value}" if value else ""
        self.said.append(f"{say(by)}: {whom}{call.name}({say(call.arguments)}){paying}")
        step = self.book.play(call, by, value)
        self.tally.count(step)
        return step

    @property
    def state(self) -> Any:
        """The model's state."""
        return self.book.subject.state

    @property
    def now(self) -> int:
        """Unix seconds."""
        return self.book.subject.world.now

    def travel(self, seconds: int) -> None:
        """Time passes."""
        self.said.append(f"{seconds} s pass")
        self.book.subject.world.now += seconds

    # --------------------------------------------------------------------- start

    @initialize(opened=st.sampled_from((*(True,) * 9, False)))
    def start(self, opened: bool) -> None:
        """In business, or just deployed."""
        self.taken.append(Taken(type(self).start, {"opened": opened}))
        self.book = (self.opened if opened else self.fresh).fork()
        self.said.append("in business" if opened else "just deployed")

    def take_out_earnings(self) -> None:
        """Whatever has happened, each provider could take out all it earned."""
        world = self.book.subject.world
        snapshot = world.snapshot()
        for provider in PROVIDERS:
            if earned := self.state.provider(provider).earnings:
                had = world.holdings(SINK)
                call = self.book.call("withdrawEarningsTo", SINK)
                result = world.send(provider, call.to, calldata(call))
                if not result.succeeded or world.holdings(SINK) != had + earned:
                    raise Broken("earnings can be withdrawn", f"{earned} of {say(provider)}")
        world.restore(snapshot)

    # ----------------------------------------------------------------------- end

    def teardown(self) -> None:
        """Everybody takes out everything."""
        if self.broken or self.book is self.fresh:
            return
        self.tally.lengths[len(self.taken) - 1] += 1
        self.doing = "the end"
        with self.telling():
            self.empty()

    def check_list(self) -> None:
        """The view of many balances says what the view of one does."""
        for provider in PROVIDERS:
            call = self.book.call("balanceOfBatch", USERS, provider)
            result = self.book.subject.world.ask(call.to, calldata(call))
            expected = tuple(self.state.account(user, provider).balance for user in USERS)
            if result.output != ABI.output(call.name, expected):
                raise Broken("balanceOfBatch answers", f"{expected}, not {result.output.hex()}")

    def empty(self) -> None:
        """K9: what goes in comes out, and not a neuron more."""
        self.check_list()
        for provider in PROVIDERS:
            now = self.state.provider(provider)
            if now.earnings:
                self.do("withdrawEarningsTo", SINK, by=provider)
            if now.registered and not now.leaving_at:
                self.do("announceLeave", by=provider)
        # Twice: balance and pending refund together may be more than one refund can be.
        for _ in range(2):
            self.travel(LOCK)
            for user, provider in PAIRS:
                if self.state.account(user, provider).pending:
                    self.do("withdrawRefundTo", provider, SINK, by=user)
                if balance := self.state.account(user, provider).balance:
                    self.do("requestRefund", provider, balance, by=user)
        self.travel(LOCK)
        for user, provider in PAIRS:
            if self.state.account(user, provider).pending:
                self.do("withdrawRefundTo", provider, SINK, by=user)
        for provider in PROVIDERS:
            if self.state.provider(provider).registered:
                self.do("leave", SINK, by=provider)
        left = self.book.subject.world.holdings(self.state.serving)
        if owed(self.book.facts) or left != self.book.sums.forced:
            raise Broken("everything can be taken out", f"{left} left")
