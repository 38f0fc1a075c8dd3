"""
Solvent by proof: random sequences of everything that anybody can do, on the real
contract in the real EVM, held to a model and to the laws of money after every step.

Each step is sent to both; they must agree on success, revert data, returned statuses,
events in order, every view and everybody's native money.  That is the differential
test too: model == EVM over random sequences.  The laws (L{tests.evm.solvency_laws})
are checked first and ask the contract alone, so that an error that contract and model
share is still found.  At the end of each sequence everybody takes out everything, and
what is left is what was forced upon the contract, to the neuron.

L{run} takes the creation code of any implementation: flawed ones must be found out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar, TypeVar

from attrs import define, evolve, field, frozen
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.evm import claims
from tests.evm.book import Book
from tests.evm.claims import FORMS, GENUINE, Wish, choose, pair, picks, wishes
from tests.evm.model import LOCK, PROVIDER_MISMATCH, ZERO, Call, Claim, preview
from tests.evm.solvency_laws import owed
from tests.evm.subject import (
    ABI,
    ACME,
    ALICE,
    GREEDY,
    HEIR,
    MISER,
    OWNER,
    PAIRS,
    PROVIDERS,
    ROGUE,
    SIGNERS,
    SINK,
    STRANGER,
    USERS,
    Broken,
    Step,
    calldata,
    say,
)


T = TypeVar("T")


@frozen(kw_only=True)
class Finding:
    """
    Something that must not be.

    @ivar law: Which law or agreement is broken.
    @ivar rule: What was being done.
    @ivar steps: The whole sequence, a line each.
    @ivar sequence: Which one of the run it was, from 1.
    """

    law: str
    detail: str
    rule: str
    steps: tuple[str, ...]
    seed: int
    sequence: int

    def __str__(self) -> str:
        lines = (f"{number:3}. {line}" for number, line in enumerate(self.steps, 1))
        return "\n".join([f"{self.rule}: {self.law}: {self.detail} (seed {self.seed})", *lines])


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


def does(**arguments: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that is counted, and named in what it finds."""

    def decorate(function: Callable[..., None]) -> Any:
        @wraps(function)
        def counted(self: Solvency, **drawn: Any) -> None:
            self.taken.append(Taken(counted, drawn))
            self.doing = function.__name__
            self.tally.rules[self.doing] += 1
            with self.telling():
                function(self, **drawn)
                if len(self.taken) % 10 == 0:
                    self.take_out_earnings()

        return rule(**arguments)(counted)

    return decorate


ITSELF = b"the contract itself!"
"""Stands for the address of the contract under test."""

users = st.sampled_from(USERS)
providers = st.sampled_from(PROVIDERS)
signers = st.sampled_from((*SIGNERS, *SIGNERS, ROGUE))
receivers = st.sampled_from((SINK, ALICE, GREEDY, GREEDY, MISER, MISER, ZERO, ITSELF))
amounts = st.sampled_from((0, *(1, 5, 10, 20, 50, 100) * 4, 2**127, 2**128 - 1, 2**128))
senders = st.sampled_from((*("provider", "signer") * 4, "user", "stranger"))
patience = st.sampled_from((True, True, False))
forms = st.sampled_from((*(GENUINE,) * 40, *FORMS, "voucher"))


class Solvency(RuleBasedStateMachine):
    """
    Everything that can happen.

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

    @initialize(opened=st.sampled_from((True, True, True, True, False)))
    def start(self, opened: bool) -> None:
        """In business, or just deployed."""
        self.taken.append(Taken(type(self).start, {"opened": opened}))
        self.book = (self.opened if opened else self.fresh).fork()
        self.said.append("in business" if opened else "just deployed")

    # --------------------------------------------------------------------- users

    @does(user=users, provider=providers, amount=amounts)
    def deposit(self, user: bytes, provider: bytes, amount: int) -> None:
        """A user's own deposit, also of nothing or too much."""
        self.do("deposit", user, provider, by=user, value=amount)

    @does(
        user=st.sampled_from((*USERS, ZERO)),
        provider=st.sampled_from((*PROVIDERS, ZERO)),
        amount=st.integers(1, 60),
    )
    def deposit_for_another(self, user: bytes, provider: bytes, amount: int) -> None:
        """Anyone may pay for anyone, but not for nobody."""
        self.do("deposit", user, provider, by=STRANGER, value=amount)

    @does(
        pick=picks,
        amount=st.sampled_from((0, 1, 5, 20, 60, "all", "all", "all", "too much", "huge")),
    )
    def request_refund(self, pick: int, amount: int | str) -> None:
        """A request, replaced, cancelled or too large."""
        rich = [pair for pair in PAIRS if self.state.account(*pair).balance]
        user, provider = choose(pick, rich, PAIRS)
        account = self.state.account(user, provider)
        everything = account.balance + account.pending
        named = {"all": everything, "too much": everything + 1, "huge": 2**256 - 1}
        wanted = named[amount] if isinstance(amount, str) else min(amount, everything)
        self.do("requestRefund", provider, wanted, by=user)

    @does(pick=picks, patient=patience)
    def withdraw_refund(self, pick: int, patient: bool) -> None:
        """To oneself, also one who takes no money or calls back."""
        user, provider = self.refund(pick, patient)
        self.do("withdrawRefund", provider, by=user)

    @does(pick=picks, receiver=receivers, patient=patience)
    def withdraw_refund_to(self, pick: int, receiver: bytes, patient: bool) -> None:
        """To somebody else."""
        user, provider = self.refund(pick, patient)
        self.do("withdrawRefundTo", provider, self.whom(receiver), by=user)

    def refund(self, pick: int, patient: bool) -> tuple[bytes, bytes]:
        """A wallet, preferably with a refund to take, now or as soon as it may be."""
        pending = [pair for pair in PAIRS if self.state.account(*pair).pending]
        whose = choose(pick, pending, PAIRS)
        if patient and not pending:
            whose = choose(
                pick, [pair for pair in PAIRS if self.state.account(*pair).balance], PAIRS
            )
            user, provider = whose
            self.do("requestRefund", provider, self.state.account(*whose).balance, by=user)
        if patient:
            self.travel_to(self.state.account(*whose).unlock_at)
        return whose

    def travel_to(self, moment: int) -> None:
        """Wait, unless it is past."""
        if moment > self.now:
            self.travel(moment - self.now)

    def whom(self, receiver: bytes) -> bytes:
        """A receiver's address."""
        return self.state.serving if receiver == ITSELF else receiver

    @does(user=users, provider=providers, acknowledged=st.sampled_from((True, True, True, False)))
    def acknowledge(self, user: bytes, provider: bytes, acknowledged: bool) -> None:
        """A yes or a no."""
        self.do("acknowledgeTEESigner", provider, acknowledged, by=user)

    @does(
        user=users,
        provider=st.sampled_from((*PROVIDERS, STRANGER)),
        off=st.sampled_from((0, 0, 0, -1, 1, 2**64)),
    )
    def acknowledge_version(self, user: bytes, provider: bytes, off: int) -> None:
        """A yes to a version, which may not be the current one."""
        version = max(0, self.state.provider(provider).version + off)
        self.do("acknowledgeTEESignerVersion", provider, version, by=user)

    @does(provider=providers)
    def back_to_business(self, provider: bytes) -> None:
        """Back to business after a change or a departure."""
        if not self.state.provider(provider).registered:
            signer = SIGNERS[PROVIDERS.index(provider)]
            stake = self.state.required_stake
            self.do("addOrUpdateService", "again", signer, 1, 1, 1, by=provider, value=stake)
        for user in USERS:
            self.do("acknowledgeTEESigner", provider, True, by=user)

    # ----------------------------------------------------------------- providers

    @does(
        provider=providers,
        signer=st.sampled_from((*SIGNERS, ZERO)),
        prices=st.tuples(*[st.integers(0, 1)] * 3),
        url=st.sampled_from(("", "https://x.example", "https://long.example/" + "x" * 40)),
        wrong=st.sampled_from((0, 0, 0, 1, -1)),
    )
    def register(
        self, provider: bytes, signer: bytes, prices: tuple[int, ...], url: str, wrong: int
    ) -> None:
        """A registration, a return or a change, with the right value or another."""
        registered = self.state.provider(provider).registered
        value = max(0, (0 if registered else self.state.required_stake) + wrong)
        self.do("addOrUpdateService", url, signer, *prices, by=provider, value=value)

    @does(provider=providers, wrong=st.sampled_from((0, 0, 1)))
    def move(self, provider: bytes, wrong: int) -> None:
        """Another address at the same prices, which voids nothing."""
        now = self.state.provider(provider)
        offer = (now.signer, now.offer.cpu, now.offer.create_fee, now.offer.memory)
        url = f"https://{len(self.said)}.example"
        self.do("addOrUpdateService", url, *offer, by=provider, value=777 * wrong)

    @does(pick=picks)
    def withdraw_earnings(self, pick: int) -> None:
        """To the provider itself."""
        self.do("withdrawEarnings", by=self.earner(pick))

    @does(pick=picks, receiver=receivers)
    def withdraw_earnings_to(self, pick: int, receiver: bytes) -> None:
        """To somebody else, who may refuse or call back."""
        self.do("withdrawEarningsTo", self.whom(receiver), by=self.earner(pick))

    def earner(self, pick: int) -> bytes:
        """A provider, preferably with earnings."""
        rich = [each for each in PROVIDERS if self.state.provider(each).earnings]
        return choose(pick, rich, PROVIDERS)

    @does(provider=providers)
    def say_goodbye(self, provider: bytes) -> None:
        """The first of two steps out."""
        self.do("announceLeave", by=provider)

    @does(pick=picks, receiver=receivers, patient=patience)
    def leave(self, pick: int, receiver: bytes, patient: bool) -> None:
        """The second."""
        leaving = [each for each in PROVIDERS if self.state.provider(each).leaving_at]
        provider = choose(pick, leaving, PROVIDERS)
        if patient and not leaving:
            self.do("announceLeave", by=provider)
        if patient:
            self.travel_to(self.state.provider(provider).leaving_at)
        self.do("leave", self.whom(receiver), by=provider)

    # ---------------------------------------------------------------- settlement

    def submitter(self, kind: str, provider: bytes, user: bytes) -> bytes:
        """Who sends a settlement."""
        signer = self.state.provider(provider).signer or STRANGER
        return {"provider": provider, "signer": signer, "user": user}.get(kind, STRANGER)

    def claims(self, wanted: Sequence[Wish], of: bytes | None = None) -> tuple[Claim, ...]:
        """
        Vouchers, each signed in its own form.

        @param of: Their provider; None for any.
        """
        before: Counter[tuple[bytes, bytes]] = Counter()
        found = []
        for wish in wanted:
            whose = pair(self.state, wish.pick, of)
            claim = claims.resolve(self.state, wish, whose, before[whose])
            before[whose] += 1
            found.append(claims.voucher(self.state, claim, wish.form))
        return tuple(found)

    def settle(self, vouchers: tuple[Claim, ...], by: bytes) -> None:
        """Ask for a preview, settle, and compare."""
        look = self.book.call("previewSettlementResults", vouchers)
        result = self.book.subject.world.ask(look.to, calldata(look), by)
        if not result.succeeded:
            raise Broken("a preview answers", ABI.say_error(result.output) + result.problem)
        (forecast,) = ABI.returned(look.name, result.output)
        foretold = preview(self.state, vouchers)
        may = [
            by in (each.provider, self.state.provider(each.provider).signer) for each in vouchers
        ]
        step = self.do("settleFeesWithTEE", vouchers, by=by)
        (statuses,) = ABI.returned("settleFeesWithTEE", step.result.output)
        for allowed, said, status in zip(may, forecast, statuses, strict=True):
            if status != (said if allowed else PROVIDER_MISMATCH):
                raise Broken("K19: the preview agrees", f"it said {forecast}, it was {statuses}")
        if tuple(forecast) != foretold:
            raise Broken("a preview's statuses", f"are {foretold}, not {forecast}")
        self.vouchers = [*self.vouchers, *vouchers][-8:]

    def settle_by(self, vouchers: tuple[Claim, ...], sender: str) -> None:
        """Settle, as somebody."""
        first = vouchers[0] if vouchers else None
        provider, user = (first.provider, first.user) if first else (ACME, ALICE)
        self.settle(vouchers, self.submitter(sender, provider, user))

    @does(wish=wishes(), sender=senders)
    def settle_one(self, wish: Wish, sender: str) -> None:
        """One voucher."""
        self.settle_by(self.claims([wish]), sender)

    @does(
        wanted=st.lists(wishes(), min_size=2, max_size=4),
        provider=st.sampled_from(PROVIDERS),
        sender=senders,
    )
    def settle_many(self, wanted: list[Wish], provider: bytes, sender: str) -> None:
        """Some vouchers of one provider, often of one wallet."""
        self.settle_by(self.claims(wanted, provider), sender)

    @does(wanted=st.lists(wishes(), max_size=4), sender=senders)
    def settle_mixed(self, wanted: list[Wish], sender: str) -> None:
        """Vouchers of any providers, or none."""
        self.settle_by(self.claims(wanted), sender)

    @does(wish=wishes(good=False), sender=senders)
    def settle_odd(self, wish: Wish, sender: str) -> None:
        """A voucher with something wrong: its nonce, its fee, its signature."""
        self.settle_by(self.claims([wish]), sender)

    @does(picked=st.lists(picks, min_size=1, max_size=4), sender=senders)
    def settle_again(self, picked: list[int], sender: str) -> None:
        """Vouchers from before, twice or in another order."""
        if self.vouchers:
            old = tuple(self.vouchers[pick % len(self.vouchers)] for pick in picked)
            self.settle_by(old, sender)

    @does(wanted=st.lists(wishes(), max_size=4), provider=providers, form=forms, sender=senders)
    def settle_batch(self, wanted: list[Wish], provider: bytes, form: str, sender: str) -> None:
        """Lines of one provider under one signature, or none."""
        lines = tuple(evolve(each, signature=None) for each in self.claims(wanted, provider))
        signature = claims.batch(self.state, provider, lines, form)
        by = self.submitter(sender, provider, lines[0].user if lines else ALICE)
        self.do("settleBatch", provider, lines, signature, by=by)
        self.batches = [*self.batches, (provider, lines, signature)][-4:]

    @does(pick=picks, sender=senders)
    def settle_batch_again(self, pick: int, sender: str) -> None:
        """A batch from before."""
        if self.batches:
            provider, lines, signature = self.batches[pick % len(self.batches)]
            self.do(
                "settleBatch",
                provider,
                lines,
                signature,
                by=self.submitter(sender, provider, ALICE),
            )

    # -------------------------------------------------------------------- others

    @does(stake=st.sampled_from((0, 1, 1_000, 10**18)), stranger=st.booleans())
    def set_stake(self, stake: int, stranger: bool) -> None:
        """The owner's, or nobody's."""
        owner = self.state.owners[self.state.serving].owner
        self.do("setProviderStake", stake, by=STRANGER if stranger else owner)

    @does(
        beacon=st.booleans(),
        what=st.sampled_from(
            ("transfer", "transfer", "accept", "accept", "renounce", "initialize")
        ),
        pick=picks,
        to=st.sampled_from((OWNER, HEIR, HEIR, ZERO)),
    )
    def owners(self, beacon: bool, what: str, pick: int, to: bytes) -> None:
        """Contract and beacon are handed over in two steps, and nobody takes them."""
        contract = self.state.beacon if beacon else self.state.serving
        now = self.state.owners[contract]
        by = choose(pick, [now.offered if what == "accept" else now.owner], (OWNER, HEIR, STRANGER))
        if what == "initialize":
            self.do("initialize", 0, by=by)
        else:
            arguments = (to,) if what == "transfer" else ()
            self.send(Call(contract, f"{what}Ownership", arguments), by or STRANGER)

    @does(pick=picks, odd=st.sampled_from((False, False, False, True)))
    def upgrade(self, pick: int, odd: bool) -> None:
        """To the other deployment of the implementation and back; never to a plain address."""
        owner = self.state.owners[self.state.beacon].owner
        by = choose(pick, [owner], (OWNER, HEIR, STRANGER))
        others = sorted(self.state.implementations - {self.state.implementation})
        self.send(Call(self.state.beacon, "upgradeTo", (SINK if odd else others[0],)), by)

    @does(amount=st.integers(1, 1_000))
    def force(self, amount: int) -> None:
        """Money nobody can refuse: it belongs to nobody and pays nothing."""
        self.said.append(f"{amount} forced upon the contract")
        self.book.force(amount)

    @does(pick=picks)
    def pay_for_nothing(self, pick: int) -> None:
        """Money with a function that takes none, or with no data at all."""
        calls = (
            ("", ()),
            ("requestRefund", (ACME, 0)),
            ("withdrawEarnings", ()),
            ("acknowledgeTEESigner", (ACME, False)),
            ("settleFeesWithTEE", ((),)),
            ("announceLeave", ()),
        )
        name, arguments = calls[pick % len(calls)]
        self.do(name, *arguments, by=ACME, value=1)

    @does(seconds=st.sampled_from((1, 60, LOCK - 1, LOCK)))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.travel(seconds)

    @does(early=st.sampled_from((0, 0, 1)))
    def wait_for_a_lock(self, early: int) -> None:
        """Until the next lock opens, or a second less."""
        locks = [each.unlock_at for each in self.state.accounts.values()]
        locks += [each.leaving_at for each in self.state.providers.values()]
        later = [each for each in locks if each > self.now + early]
        if later:
            self.travel(min(later) - early - self.now)

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

    def empty(self) -> None:
        """K9: what goes in comes out, and not a neuron more."""
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


@define
class Telling:
    """Adds to what is found where it was found."""

    machine: Solvency

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


# ------------------------------------------------------------------------- running


@frozen(kw_only=True)
class Run:
    """@ivar finding: None if nothing was found."""

    tally: Tally
    finding: Finding | None


def explore(bytecode: str, *, sequences: int, steps: int, seed: int, shorten: bool = True) -> Run:
    """
    Try an implementation.

    @param bytecode: Its creation code, hexadecimal.
    @param sequences: Full ones, at least; there are some shorter ones besides.
    @param steps: In each full sequence.
    @param seed: The same one tries the same sequences.
    @param shorten: Whether to look for what of a sequence matters once one is found.
    """
    tally = Tally()
    try:
        fresh = Book.of(bytes.fromhex(bytecode.removeprefix("0x")))
        opened = fresh.fork()
        opened.open()
        kind = type("Run", (Solvency,), {"fresh": fresh, "opened": opened, "tally": tally})
        turn = 0
        while (missing := sequences - tally.lengths[steps]) > 0:
            _try(kind, missing + 1, steps, seed + 1_000_003 * turn)
            turn += 1
    except Broken as broken:
        if shorten and broken.taken:
            broken = _shortened(kind, broken)
        finding = Finding(
            law=broken.law,
            detail=broken.detail,
            rule=broken.rule,
            steps=broken.steps,
            seed=seed,
            sequence=tally.lengths.total() + 1,
        )
        return Run(tally=tally, finding=finding)
    return Run(tally=tally, finding=None)


def _try(kind: Any, examples: int, steps: int, number: int) -> None:
    run_state_machine_as_test(
        hypothesis_seed(number)(kind),
        settings=settings(
            max_examples=examples,
            # The start is a step to hypothesis.
            stateful_step_count=steps + 1,
            # What is found is shortened below, in a tenth of the time.
            phases=(Phase.generate,),
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            print_blob=False,
        ),
    )


def _shortened(kind: Callable[[], Solvency], found: Broken) -> Broken:
    """The same law broken by fewer steps: leave out halves, quarters ... single ones."""
    kept, size = list(found.taken), len(found.taken) // 2
    while size:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            again = _replay(kind, fewer)
            if again is not None and again.law == found.law:
                kept, found = list(again.taken), again
            else:
                at += size
        size //= 2
    return found


def _replay(kind: Callable[[], Solvency], taken: Sequence[Taken]) -> Broken | None:
    machine = kind()
    try:
        for each in taken:
            each.function(machine, **each.drawn)
        machine.teardown()
    except Broken as broken:
        return broken
    return None


def run(bytecode: str, *, sequences: int, steps: int, seed: int) -> Finding | None:
    """
    Look for a broken law, and stop at the first.

    @return: None if there was none.  See L{explore} for the arguments.
    """
    return explore(bytecode, sequences=sequences, steps=steps, seed=seed, shorten=False).finding
