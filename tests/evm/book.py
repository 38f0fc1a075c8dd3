"""A contract under test with everything that is checked after each call to it."""

from __future__ import annotations

from attrs import define

from tests.evm.actors import ACME, ALICE, BOB, GREEDY, MISER, SIGNERS, STRANGER, ZETA
from tests.evm.model_state import Call
from tests.evm.reading import Facts, agree_on_state, read
from tests.evm.solvency_laws import Sums, check_step
from tests.evm.subject import STAKE, Step, Subject, agree


@define
class Book:
    """
    @ivar sums: Since deployment.
    @ivar facts: What the views answer now.
    """

    subject: Subject
    sums: Sums
    facts: Facts

    @classmethod
    def of(cls, bytecode: bytes, beacon: bytes) -> Book:
        """
        @param bytecode: An implementation's creation code.
        @param beacon: A beacon's.
        @raise Broken: It cannot be deployed.
        """
        subject = Subject.deploy(bytecode, beacon)
        return cls(subject, Sums(), read(subject))

    def fork(self) -> Book:
        """The same history once more."""
        return Book(self.subject.fork(), self.sums.copy(), self.facts)

    def call(self, name: str, *arguments: object) -> Call:
        """A call to the contract."""
        return Call(self.subject.state.serving, name, arguments)

    def play(self, call: Call, sender: bytes, value: int = 0) -> Step:
        """
        Send a call, to contract and model.

        @raise Broken: A law does not hold, or they differ.
        """
        step = self.subject.play(call, sender, value)
        before, self.facts = self.facts, read(self.subject)
        paid = self.sums.add(step)
        check_step(step, paid, before, self.facts)
        self.check()
        agree(step)
        agree_on_state(self.subject, self.facts)
        return step

    def force(self, amount: int) -> None:
        """Money that nobody asked for; no sum but its own may change."""
        self.subject.force(amount)
        self.sums.forced += amount
        self.check()
        agree_on_state(self.subject, self.facts)

    def split(self, chain: int) -> None:
        """From now on it is another chain, with the same history."""
        self.subject.world.chain = chain
        self.facts = read(self.subject)
        agree_on_state(self.subject, self.facts)

    def check(self) -> None:
        """L1, by the contract alone."""
        serving = self.subject.state.serving
        self.sums.check(self.facts, self.subject.world.holdings(serving))

    def open(self) -> None:
        """Three providers, some users with money and their word."""
        for provider, signer in zip((ACME, ZETA, GREEDY), SIGNERS, strict=True):
            offer = ("https://provider.example", signer, 60, 5, 30)
            self.play(self.call("addOrUpdateService", *offer), provider, STAKE)
        wallets = ((ALICE, ACME), (BOB, ACME), (GREEDY, ACME), (ALICE, ZETA), (BOB, GREEDY))
        for user, provider in wallets:
            self.play(self.call("deposit", user, provider), user, 100)
        self.play(self.call("deposit", MISER, ACME), STRANGER, 30)
        for user, provider in (*wallets, (MISER, ACME)):
            self.play(self.call("acknowledgeTEESigner", provider, True), user)
