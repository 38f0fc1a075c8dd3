"""What became of a nonce that is used: events decide, then the money, then a second node."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.account import Account, Settlement
from sandbox_billing.ledger.identity import Nonce
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.proof import Contradiction, Lost, NoProof, WalletHistory, find
from tests.strategies import accounts, settlements


@st.composite
def stories(draw: Any) -> tuple[WalletHistory, Account]:
    """An account, and the true history of how it came to hold what it holds."""
    account = draw(accounts())
    paid = st.integers(0, 10**20).map(Neuron)
    settled = [
        evolve(one, nonce=Nonce(nonce), paid=draw(paid))
        for nonce, one in enumerate(draw(st.lists(settlements(), max_size=4)), start=1)
    ]
    withdrawn = draw(st.integers(0, 10**20))
    came = account.collectable + withdrawn + sum(s.paid for s in settled)
    history = WalletHistory(
        deposited=Neuron(came),
        withdrawn=Neuron(withdrawn),
        settlements=tuple(settled),
        sources=1,
    )
    return history, account


class ProofTests(SynchronousTestCase):
    """L{find}."""

    @given(stories(), st.integers(1, 6))
    def test_true_history(self, story: tuple[WalletHistory, Account], nonce: int) -> None:
        """Of a whole history every nonce is explained: by its event, or as lost."""
        history, account = story
        found = find(Nonce(nonce), history, account)
        if nonce <= len(history.settlements):
            assert isinstance(found, Settlement)
            self.assertEqual(found.nonce, nonce)
        else:
            self.assertEqual(found, Lost())

    @given(stories(), st.integers(1, 10**20))
    def test_an_event_left_out(self, story: tuple[WalletHistory, Account], fee: int) -> None:
        """A payment whose event nodes have lost is no lost nonce, however many nodes agree."""
        history, account = story
        for sources in (1, 2, 5):
            came = evolve(history, deposited=Neuron(history.deposited + fee), sources=sources)
            found = find(Nonce(99), came, account)
            assert isinstance(found, Contradiction)
            self.assertIn(f"{fee} neuron are missing", found.reason)

    @given(stories(), st.integers(1, 10**20))
    def test_too_much(self, story: tuple[WalletHistory, Account], more: int) -> None:
        """More money than the events explain hides as much of what was paid: no proof either."""
        history, account = story
        richer = evolve(account, balance=Neuron(account.balance + more))
        for sources in (1, 2):
            found = find(Nonce(99), evolve(history, sources=sources), richer)
            assert isinstance(found, Contradiction)
            self.assertIn(f"{more} neuron are too many", found.reason)

    @given(stories(), settlements())
    def test_unknown_payment(
        self, story: tuple[WalletHistory, Account], silent: Settlement
    ) -> None:
        """Where an event does not say what was paid, one node proves nothing; two do."""
        history, account = story
        silent = evolve(silent, nonce=Nonce(50), paid=None)
        history = evolve(history, settlements=(*history.settlements, silent))
        self.assertIsInstance(find(Nonce(99), history, account), NoProof)
        self.assertEqual(find(Nonce(50), history, account), silent)
        self.assertEqual(find(Nonce(99), evolve(history, sources=2), account), Lost())
