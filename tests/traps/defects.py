"""
Defects of the daemon, each an edit of a copy of the tree.

The tests that should notice run on the copy in a process of their own, so nothing of a defect
is left behind, whatever it does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase


TREE = Path(__file__).resolve().parents[2]
SECONDS = 120
"""For one run; each takes a few."""


@frozen(kw_only=True)
class Defect:
    """
    @ivar path: Of the file, from the root.
    @ivar find: What stands there, once.
    @ivar replace: What takes its place.
    """

    path: str
    find: str
    replace: str

    def apply(self, tree: Path) -> None:
        """
        @raise AssertionError: The text is not there once: the code moved on, and the trap must.
        """
        file = tree / self.path
        before = file.read_text("utf-8")
        found = before.count(self.find)
        assert found == 1, f"found {found} times in {self.path}: {self.find!r}"
        file.write_text(before.replace(self.find, self.replace), "utf-8")


class DefectCase(SynchronousTestCase):
    """A trap."""

    def copied(self) -> Path:
        """A tree of its own, in which only the package is a copy: nobody edits tests."""
        root = Path(self.mktemp()).resolve()
        root.mkdir(parents=True)
        shutil.copytree(TREE / "sandbox_billing", root / "sandbox_billing")
        for name in ("tests", "benchmarks", "contracts"):
            (root / name).symlink_to(TREE / name)
        return root

    def run_tests(self, root: Path, *names: str) -> subprocess.CompletedProcess[str]:
        """Trial on a tree; its own folder comes before whatever is installed."""
        return subprocess.run(
            [sys.executable, "-m", "twisted.trial", "--reporter=text", *names],
            cwd=root,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def assert_noticed(self, defects: Defect | Sequence[Defect], *names: str) -> None:
        """
        With a defect, each of these tests is red, and because it found something.

        @param defects: Several where one stands behind the other.
        @param names: Dotted; each is a test method.
        """
        root = self.copied()
        for defect in [defects] if isinstance(defects, Defect) else defects:
            defect.apply(root)
        ended = self.run_tests(root, *names)
        told = ended.stdout + ended.stderr
        self.assertEqual(1, ended.returncode, told)
        self.assertIn(f"Ran {len(names)} tests", told)
        for name in names:
            # The reporter names whatever failed, each on a line of its own.
            self.assertRegex(told, rf"(?m)^{re.escape(name)}$")
        # A tree that breaks down as soon as it is tried proves nothing.
        self.assertRegex(told, r"FailTest|AssertionError|not enough values to unpack")
