"""The vocabulary of what is measured, and that the daemon keeps to it."""

from __future__ import annotations

import ast
import math
from collections import defaultdict
from pathlib import Path

from attrs.exceptions import FrozenInstanceError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sandbox_billing import measures
from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.adapters.prometheus.registry import PrometheusMeasures
from sandbox_billing.interfaces import UNMEASURED, IMeasures
from sandbox_billing.ledger.overview import _TEXTS
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.measures import VOCABULARY, Kind, Measure
from sandbox_billing.services.settled_figures import OUTCOMES


PACKAGE = Path(measures.__file__).parent
CONSTANTS = {name: one for name, one in vars(measures).items() if isinstance(one, Measure)}
WAYS = {Kind.COUNTER: "count", Kind.HISTOGRAM: "observe", Kind.GAUGE: "set"}


def uses(source: str) -> list[tuple[str, str, frozenset[str], int]]:
    """
    Each place where something is measured: how, what, under which labels, in which line.

    Whatever is handed to C{count}, C{observe} or C{set} of something called C{measures} by
    another name than a constant's is told as C{?}.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        holder = node.func.value
        name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
        if name.lstrip("_") != "measures" or node.func.attr not in WAYS.values():
            continue
        first = node.args[0]
        what = first.attr if isinstance(first, ast.Attribute) else getattr(first, "id", "?")
        labels = frozenset(keyword.arg or "**" for keyword in node.keywords)
        found.append((node.func.attr, what, labels, node.lineno))
    return found


class VocabularyTests(SynchronousTestCase):
    """What is declared."""

    def test_names(self) -> None:
        """No name stands twice; counters and what is measured in a unit say so at their end."""
        names = [one.name for one in VOCABULARY]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(set(VOCABULARY), set(CONSTANTS.values()))
        for one in VOCABULARY:
            self.assertEqual(one.kind is Kind.COUNTER, one.name.endswith("_total"), one.name)
            if one.unit in ("seconds", "neuron") and one.kind is not Kind.COUNTER:
                self.assertTrue(one.name.endswith("_" + one.unit), one.name)
            self.assertTrue(one.help.endswith("."), one.name)

    def test_buckets(self) -> None:
        """Histograms have some, in order and finite; nothing else has any."""
        for one in VOCABULARY:
            self.assertEqual(one.kind is Kind.HISTOGRAM, bool(one.buckets), one.name)
            self.assertEqual(sorted(set(one.buckets)), list(one.buckets), one.name)
            self.assertTrue(all(map(math.isfinite, one.buckets)), one.name)

    def test_known(self) -> None:
        """Whatever is told in a word has its series from the start."""
        self.assertEqual(set(OUTCOMES.values()), set(measures.SETTLED_VOUCHERS.known))
        whats = {what for what, _ in _TEXTS.values()} | {"strange"}
        self.assertEqual(whats, set(measures.RECONCILE_DIFFERENCES.known))
        kinds = {kind.value for kind in ChargeKind if kind.value != "imported"}
        self.assertEqual(kinds, set(measures.CHARGES.known))
        for one in VOCABULARY:
            self.assertTrue(not one.known or len(one.labels) == 1, one.name)

    def test_frozen(self) -> None:
        """A declared measure stays as it is declared."""
        with self.assertRaises(FrozenInstanceError):
            measures.READY.name = "other"  # type: ignore[misc]

    def test_odd_names(self) -> None:
        """What Prometheus would not take is no name."""
        for name in ("", "a", "Upper", "with space", "tail_", "9first", "dotted.name"):
            with self.subTest(name=name), self.assertRaises(ValueError):
                Measure(name=name, kind=Kind.GAUGE, unit="", help="It is odd.")


class UseTests(SynchronousTestCase):
    """The tree as it stands."""

    def test_each(self) -> None:
        """Whatever is measured is declared, is of that kind and has these labels; nothing idles."""
        used: defaultdict[str, int] = defaultdict(int)
        wrong = []
        for path in sorted(PACKAGE.rglob("*.py")):
            for way, what, labels, line in uses(path.read_text()):
                one = CONSTANTS.get(what)
                where = f"{path.relative_to(PACKAGE)}:{line}"
                if one is None:
                    wrong.append(f"{where} measures {what}, which is not declared")
                elif WAYS[one.kind] != way:
                    wrong.append(f"{where} does {way} {what}, a {one.kind.value}")
                elif "**" not in labels and labels - {"amount"} != set(one.labels):
                    wrong.append(f"{where} measures {what} by {sorted(labels)}")
                used[what] += 1
        self.assertEqual([], wrong)
        self.assertEqual(set(), set(CONSTANTS) - set(used))

    def test_planted(self) -> None:
        """The walk sees what it must find."""
        source = (
            "self.measures.count(CHARGES, 3, kind='x')\n"
            "self._measures.set(measures.READY, 1)\n"
            "measures.observe(made_up(), 1.0, **labels)\n"
            "queue.count(7)\n"
        )
        self.assertEqual(
            [
                ("count", "CHARGES", frozenset({"kind"}), 1),
                ("set", "READY", frozenset(), 2),
                ("observe", "?", frozenset({"**"}), 3),
            ],
            uses(source),
        )


class PortTests(SynchronousTestCase):
    """Those who can be told."""

    def test_whole(self) -> None:
        """The silent one, the one for tests and the real one."""
        for one in (UNMEASURED, MemoryMeasures(), PrometheusMeasures()):
            self.assertTrue(verifyObject(IMeasures, one))

    def test_silent(self) -> None:
        """Whatever it is told, nothing comes of it."""
        UNMEASURED.count(measures.READY, -1, odd="label")
        UNMEASURED.observe(measures.READY, math.nan)
        UNMEASURED.set(measures.CHARGES, 1)

    def test_strict(self) -> None:
        """The one for tests refuses what the real one only logs."""
        memory = MemoryMeasures()
        for attempt in (
            lambda: memory.count(measures.CHARGES),
            lambda: memory.count(measures.CHARGES, kind="create", wallet="0x"),
            lambda: memory.count(measures.CHARGES, -1, kind="create"),
            lambda: memory.set(measures.CHARGES, 1, kind="create"),
            lambda: memory.observe(
                Measure(name="made_up", kind=Kind.HISTOGRAM, unit="", help="It is not."), 1
            ),
        ):
            self.assertRaises(ValueError, attempt)
        memory.count(measures.CHARGES, 2, kind="create")
        memory.observe(measures.STOP_SECONDS, 4.0)
        memory.set(measures.SESSIONS, 3)
        self.assertEqual({("charges_total", "create"): 2}, memory.counts)
        self.assertEqual({("stop_seconds",): [4.0]}, memory.seen)
        self.assertEqual({("sessions",): 3}, memory.shown)
