"""
Tests of C{sandbox_billing.ledger.overview}: what of a sweep is told, and how long a purse lasts.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.effects import (
    Adopt,
    AskById,
    Begin,
    Change,
    Close,
    Refit,
    ReleaseIntent,
    Report,
)
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.overview import Purse, differences
from sandbox_billing.ledger.resources import Resources
from tests.ports.journal import intent


AT = UnixSeconds(1_700_000_000)
SB = SandboxId("sb-1")
WALLET = Address("0x" + "1a" * 20)


class DifferencesTests(SynchronousTestCase):
    """What a plan says, in words."""

    def told(self, *changes: Change) -> list[tuple[str, str]]:
        """Sandbox and word of each."""
        return [(one.sandbox, one.what) for one in differences(changes, AT)]

    def test_usual_course(self) -> None:
        """A sandbox that has begun to run differs from nothing."""
        self.assertEqual(self.told(Begin(SB, AT)), [])

    def test_words(self) -> None:
        """Each other change has its word; what names no sandbox is told all the same."""
        adopted = Adopt(
            sandbox=SB, owner=WALLET, resources=Resources(), reference=Reference("adopted:sb-1")
        )
        found = self.told(
            adopted,
            Close(SB),
            Refit(SB, Resources()),
            AskById(SB),
            Report(SB, "runs without an owner label"),
            ReleaseIntent(evolve(intent(), sandbox=None)),
        )
        words = ["adopted", "closed", "resized", "missing", "strange"]
        self.assertEqual(found, [*((SB, word) for word in words), ("-", "released")])

    def test_text_of_a_report(self) -> None:
        """What is strange is told as it was reported."""
        (one,) = differences([Report(SB, "runs without an owner label")], AT)
        self.assertEqual((one.text, one.at), ("runs without an owner label", AT))


class PurseTests(SynchronousTestCase):
    """How long the gas lasts."""

    def test_seconds_left(self) -> None:
        """What is above the floor, at the pace of lately; nobody can tell where none was used."""
        purse = Purse(
            sender=WALLET,
            balance=Neuron(110),
            floor=Neuron(10),
            transaction=Neuron(1),
            read_at=AT,
        )
        self.assertEqual(purse.seconds_left(Neuron(10), 3600), 36_000)
        self.assertIsNone(purse.seconds_left(Neuron(0), 3600))
        self.assertEqual(evolve(purse, balance=Neuron(3)).seconds_left(Neuron(10), 3600), 0)
