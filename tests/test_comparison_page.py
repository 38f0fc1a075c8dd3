"""
The page beside the Go implementation says nothing without a proof, or C{not yet}.

A row whose test was renamed or removed is found here, not by a reader.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from unittest import TestCase, TestLoader

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase


ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "comparison.md"
HEADER = ("what", "theirs", "ours", "shown by")

_TEST = re.compile(r"`(tests\.[\w.]+)`")
_SCRIPT = re.compile(r"`(bin/[\w-]+)`")


@frozen(kw_only=True)
class Row:
    """
    One line of a table.

    @ivar line: Its number on the page, from 1.
    @ivar section: The heading above it.
    """

    line: int
    section: str
    cells: tuple[str, ...]


def rows_of(text: str) -> list[Row]:
    """Every line of every table, headers too, but for the rules below those."""
    rows, section = [], ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
            cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
            rows.append(Row(line=number, section=section, cells=cells))
    return rows


def is_there(name: str) -> bool:
    """
    Whether trial runs something under this name: a module, a test case or one of its tests.

    @param name: C{tests.package.module}, with C{.Class} and C{.method} where it has them.
    """
    parts = name.split(".")
    steps = next((i for i, part in enumerate(parts) if not part.islower()), len(parts))
    try:
        found: object = import_module(".".join(parts[:steps]))
    except ModuleNotFoundError:
        return False
    if steps == len(parts):
        return True
    case = getattr(found, parts[steps], None)
    if not (isinstance(case, type) and issubclass(case, TestCase)):
        return False
    tests = TestLoader().getTestCaseNames(case)
    return tests != [] if steps + 1 == len(parts) else parts[steps + 1 :] in [[t] for t in tests]


def faults_of(row: Row) -> list[str]:
    """What is wrong with one line: its form, and what its last cell stands on."""
    where = f"line {row.line} ({row.section})"
    if len(row.cells) != len(HEADER) or not all(row.cells):
        return [f"{where}: four cells, none of them empty"]
    shown = row.cells[-1]
    tests, scripts = _TEST.findall(shown), _SCRIPT.findall(shown)
    faults = [f"{where}: no test {name}" for name in tests if not is_there(name)]
    faults += [f"{where}: no script {one}" for one in scripts if not (ROOT / one).is_file()]
    if not (tests or scripts or shown.startswith("not yet")):
        faults.append(f"{where}: neither a proof nor 'not yet'")
    return faults


class PageTests(SynchronousTestCase):
    """
    The page as it stands.
    """

    def test_rows(self) -> None:
        """Each line has its proof, which can be run, or says that there is none yet."""
        rows = rows_of(PAGE.read_text("utf-8"))
        lines = [row for row in rows if row.cells != HEADER]
        self.assertEqual([], [fault for row in lines for fault in faults_of(row)])
        self.assertTrue(all(row.section for row in rows))

    def test_tables(self) -> None:
        """Every section with a table has one header, and lines under it."""
        rows = rows_of(PAGE.read_text("utf-8"))
        headed = [row.section for row in rows if row.cells == HEADER]
        self.assertEqual(len(set(headed)), len(headed))
        self.assertEqual(set(headed), {row.section for row in rows if row.cells != HEADER})

    def test_names_in_the_text(self) -> None:
        """A test that is named beside the tables is there too."""
        names = _TEST.findall(PAGE.read_text("utf-8"))
        self.assertIn("tests.test_comparison_page", names)
        self.assertEqual([], [name for name in names if not is_there(name)])


class FaultTests(SynchronousTestCase):
    """
    A page that should not pass does not.
    """

    def faults(self, *cells: str) -> list[str]:
        """Of one line of these cells."""
        return [f for row in rows_of(f"# A\n\n| {' | '.join(cells)} |\n") for f in faults_of(row)]

    def test_good(self) -> None:
        """A method, a class, a module and a script are proofs; C{not yet} needs none."""
        here = f"{__name__}.{type(self).__name__}"
        for shown in (
            *(f"`{here}.test_good`", f"`{here}`", f"`{__name__}`", "`bin/test`"),
            *("not yet: part 6", f"`{here}`; the rest not yet"),
        ):
            self.assertEqual([], self.faults("a", "b", "c", shown), shown)

    def test_bad(self) -> None:
        """Nothing that is not there proves a line, and no cell is left out."""
        here = f"{__name__}.{type(self).__name__}"
        for cells in (
            *(("a", "b", "c", f"`{here}.test_nothing`"), ("a", "b", "c", "`tests.test_nothing`")),
            *(("a", "b", "c", "`tests.web.test_page.NoTests`"), ("a", "b", "c", "`bin/nothing`")),
            *(("a", "b", "c", f"`{__name__}.Row`"), ("a", "b", "c", f"`{here}.faults`")),
            *(("a", "b", "c", "surely"), ("a", "b", "c", f"`{here}`, `{here}.test_nothing`")),
            *(("a", "", "c", "not yet"), ("a", "b", "not yet"), ("a", "b", "c", "d", "not yet")),
        ):
            self.assertEqual(1, len(self.faults(*cells)), cells)
