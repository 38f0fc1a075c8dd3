"""What C{docs/cli.rst} says of the command line is so."""

from __future__ import annotations

import re
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.deploy import deploy
from sandbox_billing.cli.exits import MEANINGS
from sandbox_billing.cli.upgrade import upgrade
from sandbox_billing.cli.verify import verify


PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.rst"


class DocsTests(SynchronousTestCase):
    """The page and the code."""

    def setUp(self) -> None:
        """Read it."""
        self.page = PAGE.read_text("utf-8")

    def test_exits(self) -> None:
        """Every exit status with its meaning, and no other."""
        found = re.findall(r"^   \* - (\d+)\n     - (.+)$", self.page, re.MULTILINE)
        self.assertEqual([(str(int(code)), text) for code, text in MEANINGS.items()], found)

    def test_flags(self) -> None:
        """Every flag of these commands is named, and none that is not there."""
        commands: list[click.Command] = [deploy, upgrade, verify]
        flags = {
            flag
            for command in commands
            for option in command.params
            for flag in (*option.opts, *option.secondary_opts)
        }
        named = set(re.findall(r"(--[a-z][a-z-]+)", self.page))
        # Of the commands on the other page.
        self.assertEqual(flags | {"--contract"}, named)
