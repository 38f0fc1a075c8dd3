"""
The page about the simulated Daytona names tests that exist.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase


PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulator.rst"


class PageTests(SynchronousTestCase):
    """C{docs/simulator.rst}."""

    def test_named_tests(self) -> None:
        """Each test that the page names is there."""
        named = re.findall(r"``((?:devnet|sdk)\.\w+)\.(\w+)\.(test_\w+)``", PAGE.read_text())
        self.assertGreater(len(named), 40)
        for module, case, test in named:
            found = getattr(import_module(f"tests.{module}"), case)
            self.assertTrue(callable(getattr(found, test, None)), (module, case, test))
