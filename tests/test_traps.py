"""What makes a trap red: L{tests.traps.trap}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw, Transient
from tests.simulation.faults import FaultKind
from tests.traps.trap import Death, Notice, Patch, Patches, TrapCase, noticed_by, traps_of


READS = "sandbox_billing.ledger.money.parse_neuron"


def raising(error: Exception) -> Callable[[Any], Callable[..., Any]]:
    """What ends with an error wherever it is called."""

    def replaced(*about: Any, **how: Any) -> Any:
        raise error

    return lambda original: replaced


class MachineryTests(SynchronousTestCase):
    """Traps that are set on purpose."""

    def set_off(self, patches: Patches, *notices: Notice) -> str:
        """
        Run a trap.

        @return: Why it is red; nothing when it is green.
        """

        class Case(TrapCase):
            @noticed_by(*notices)
            def test_it(self) -> Patches:
                """Something."""
                return patches

        result = TestResult()
        Case("test_it").run(result)
        found: Sequence[Any] = (*result.failures, *result.errors)
        return "\n".join(failure.getErrorMessage() for _, failure in found)

    def noticing(self, error: Exception) -> str:
        """What becomes of a trap whose test meets an error."""
        return self.set_off(Patch("tests.test_traps.probed", raising(error)), PROBE)

    def test_noticed(self) -> None:
        """An assertion that fails and a law that is broken each spring a trap."""
        self.assertEqual("", self.noticing(AssertionError("other")))
        self.assertEqual("", self.noticing(BrokenLaw("L1", "money is gone")))

    def test_broken_down(self) -> None:
        """A patch that no longer fits proves nothing, and neither does trouble that passes."""
        self.assertIn("TypeError: one argument", self.noticing(TypeError("one argument")))
        self.assertIn("KeyError", self.noticing(KeyError("renamed")))
        self.assertIn("did not notice", self.noticing(Transient("no answer")))

    def test_not_noticed(self) -> None:
        """A defect that no test sees is told with the test that should have."""
        same = Patch("tests.test_traps.probed", lambda original: original)
        self.assertIn(f"{PROBE} did not notice", self.set_off(same, PROBE))

    def test_moved(self) -> None:
        """A place that is gone is told, in whatever part of its name."""
        for target in (
            "sandbox_billing.ledger.money.parse_gold",
            "sandbox_billing.ledger.money.Purse.open",
            "sandbox_billing.ledger.silver.parse_neuron",
            "nowhere.at_all",
        ):
            self.assertIn("there is no", self.set_off(Patch(target, raising(ValueError())), PROBE))

    def test_never_called(self) -> None:
        """A patch that nothing runs into is told, though another made the test red."""
        red = Patch("tests.test_traps.probed", raising(AssertionError()))
        idle = Patch(READS, raising(AssertionError()))
        self.assertIn(READS, self.set_off([red, idle], PROBE))

    def test_red_anyway(self) -> None:
        """A test that is red without the defect springs no trap."""
        red = Patch("tests.test_traps.probed", raising(AssertionError()))
        self.assertIn("without the defect", self.set_off(red, RED))

    def test_left_behind(self) -> None:
        """Nothing of a defect is there when its trap has ended."""
        before = probed
        self.assertEqual("", self.noticing(AssertionError()))
        self.assertIs(before, probed)
        self.assertEqual(1, probed())

    def test_subclass(self) -> None:
        """What takes the place of a class is a kind of it."""
        stranger = Patch("tests.test_traps.Probed", lambda original: dict)
        self.assertIn("is no kind of", self.set_off(stranger, PROBE))

    def test_stories(self) -> None:
        """A death is where its calls are met, and one that never comes is told."""
        met = Death("create-tick-stop", FaultKind.CRASH_AFTER, ("IRuntime.create",))
        self.assertEqual(
            "tests.simulation: create-tick-stop, dying after IRuntime.create", str(met)
        )
        self.assertEqual((), met.run().problems)
        never = Death("create-tick-stop", FaultKind.CRASH_AFTER, ("IRuntime.archive",))
        self.assertRaises(AssertionError, never.run)

    def test_told(self) -> None:
        """For the documents: what each puts back, and what notices it."""

        class Case(TrapCase):
            @noticed_by(PROBE, RED)
            def test_it(self) -> Patches:
                """
                Money is
                gone.
                """
                return []

            def helper(self) -> None:
                """No trap."""

        self.assertEqual([("Money is gone.", (PROBE, RED))], list(traps_of(Case)))


class Probed:
    """Something to be replaced."""


def probed() -> int:
    """What C{Probe} asks."""
    return 1


class Probe(SynchronousTestCase):
    """Runs in the traps above alone: its methods are not named as tests."""

    def asks(self) -> None:
        """Green, unless what it asks is replaced."""
        self.assertEqual(1, probed())

    def red(self) -> None:
        """Always."""
        self.assertEqual(2, probed())


PROBE, RED = "tests.test_traps.Probe.asks", "tests.test_traps.Probe.red"
