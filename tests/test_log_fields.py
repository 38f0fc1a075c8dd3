"""Every call of a logger keeps to the vocabulary; the page of the log is made from both."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docs import log_events
from docs.log_events import Event, events_of
from sandbox_billing.log_fields import ADDRESS, DECLARED, FIELDS, FORMS, NEURON, OF_CONTEXT


PAGE = Path(log_events.__file__).parent / "logs.rst"

OURS = frozenset({"time", "level", "from", "message", "event", "failure"})


def of(source: str, **constants: str) -> list[Event]:
    """The events of a piece of source."""
    return list(events_of(ast.parse(source), "somewhere", constants))


def wrong_with(event: Event) -> list[str]:
    """What of a call is not as it must be."""
    wrong = []
    if event.text is None:
        wrong.append("its text is no constant")
    wrong += [f"{one} is not declared" for one in event.names if one not in DECLARED]
    wrong += [f"{one} is not given" for one in event.used if one not in event.names]
    wrong += [
        f"{one} is formatted"
        for one in re.findall(r"\{[^{}]*[:!.\[][^{}]*\}", event.text or "")
        if event.text is not None
    ]
    for name, value in event.given:
        text, field = ast.unparse(value), DECLARED.get(name)
        if field is None:
            continue
        if field.form == ADDRESS and not (text.endswith(".hex") or text.startswith("'0x' + ")):
            wrong.append(f"{name} is no address as text")
        if field.form == NEURON and not text.startswith("str("):
            wrong.append(f"{name} is no amount as text")
        if isinstance(value, ast.JoinedStr):
            wrong.append(f"{name} is a text with values in it, which want names of their own")
    return wrong


def errors_as_values(tree: ast.AST) -> list[int]:
    """Lines where what was caught is logged as an object: it would be left out of the line."""
    return [
        value.lineno
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler) and handler.name
        for event in events_of(handler, "", {})
        for _, value in event.given
        if isinstance(value, ast.Name) and value.id == handler.name
    ]


class VocabularyTests(SynchronousTestCase):
    """L{sandbox_billing.log_fields} and who uses it."""

    def test_every_call(self) -> None:
        """A constant text; each value by a declared name, in its form; each brace has its value."""
        found = log_events.events()
        self.assertGreater(len(found), 100)
        self.assertEqual([], [(one.where, wrong) for one in found for wrong in wrong_with(one)])

    def test_every_word(self) -> None:
        """No word is declared that nobody uses, twice, in no form, or as one of the line's own."""
        used = {name for one in log_events.events() for name in one.names}
        self.assertEqual([], sorted(set(DECLARED) - used - OF_CONTEXT))
        self.assertEqual(len(DECLARED), len(FIELDS))
        self.assertEqual(set(), OURS & set(DECLARED))
        for field in FIELDS:
            self.assertIn(field.form, FORMS)
            self.assertTrue(field.meaning)

    def test_every_logger(self) -> None:
        """A logger is called by a name that the walk knows, and made nowhere else."""
        for module, tree in log_events.trees().items():
            for node in ast.walk(tree):
                match node:
                    case (
                        ast.Assign(targets=[target], value=made)
                        | ast.AnnAssign(target=target, value=made)
                    ) if isinstance(made, ast.Call) and ast.unparse(made.func) == "Logger":
                        name = ast.unparse(target).rpartition(".")[2]
                        self.assertIn(name, log_events.LOGGERS, module)

    def test_no_objects(self) -> None:
        """What was caught is logged as its text."""
        wrong = {name: errors_as_values(tree) for name, tree in log_events.trees().items()}
        self.assertEqual({}, {name: lines for name, lines in wrong.items() if lines})

    def test_planted(self) -> None:
        """Each of these is seen."""
        for source, told in (
            ('log.info(f"{a}")', "its text is no constant"),
            ('self._log.warn(TEXT + "x")', "its text is no constant"),
            ('log.info("{tx} is mined", tx=tx)', "tx is not declared"),
            ('log.info("mined", id=1)', "id is not declared"),
            ('log.info("mined", **words)', "** is not declared"),
            ('log.info("{wallet} pays")', "wallet is not given"),
            ('log.info("{seconds:.1f} s", seconds=1)', "{seconds:.1f} is formatted"),
            ('log.info("{why!r}", why=why)', "{why!r} is formatted"),
            ('log.info("x", wallet=wallet)', "wallet is no address as text"),
            ('log.info("x", amount=amount)', "amount is no amount as text"),
            ('log.failure("x", why=f"{a} and {b}")', "why is a text with values in it, which"),
        ):
            with self.subTest(source=source):
                (event,) = of(source)
                self.assertIn(told, "; ".join(wrong_with(event)))
        good = 'self.at._log.failure("{wallet} waits", failure=f, wallet=wallet.hex)'
        self.assertEqual([], [wrong for one in of(good) for wrong in wrong_with(one)])
        self.assertEqual([], of("draft.warn(wallet); client.info()"))
        caught = "try:\n  x()\nexcept E as why:\n  log.info('{why}', why=why)"
        self.assertEqual([4], errors_as_values(ast.parse(caught)))

    def test_constants(self) -> None:
        """A text may stand under a name at the top of a module."""
        (event,) = of("self._log.info(ACCESS, status=1)", ACCESS="{status}")
        self.assertEqual(("{status}", ("status",), []), (event.text, event.used, wrong_with(event)))


class PageTests(SynchronousTestCase):
    """C{docs/logs.rst}."""

    def test_made(self) -> None:
        """The page has both tables made, and none by hand."""
        page = PAGE.read_text("utf-8")
        for directive in ("log-fields", "log-events"):
            self.assertEqual(1, page.count(f"\n.. {directive}::\n"))

    def test_tables(self) -> None:
        """Every field has its row, and so has every event of the daemon, under its level."""
        fields = "\n".join(log_events.fields_as_rst())
        for field in FIELDS:
            self.assertIn(f"   * - ``{field.name}``\n     - {field.meaning}\n", fields)
        told = "\n".join(log_events.events_as_rst())
        for text in ("the lease is lost: work stops here", "charged {charge}: {amount} neuron for"):
            self.assertIn(f"``{text}", told)
        errors = told.partition(".. rubric:: error\n")[2].partition(".. rubric:: warn\n")[0]
        self.assertIn("the lease is lost: work stops here", errors)
        self.assertNotIn("simulator", told)
        self.assertNotIn("None", told)
