"""Tests for L{sandbox_billing.cli.completion} and the tables of commands that a shell completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.completion import VARIABLE, script_of
from sandbox_billing.cli.main import cli
from sandbox_billing.cli.user import COMMANDS
from sandbox_billing.errors import BadInput


class CompletionTests(SynchronousTestCase):
    """What a shell is given, and what it asks then."""

    def test_scripts(self) -> None:
        """Each shell's script asks us by the variable that we answer to."""
        for shell in ("bash", "zsh", "fish"):
            told = CliRunner().invoke(cli, ["completion", shell])
            self.assertEqual((told.exit_code, told.stderr), (0, ""))
            self.assertIn(f"{VARIABLE}={shell}_complete", told.stdout)
            document = CliRunner().invoke(cli, ["completion", shell, "--json"]).stdout
            self.assertEqual(json.loads(document)["script"], script_of(shell))
        self.assertEqual(CliRunner().invoke(cli, ["completion", "cmd"]).exit_code, 2)
        self.assertRaises(BadInput, script_of, "cmd")

    def test_bash(self) -> None:
        """bash takes its script without a word."""
        done = subprocess.run(
            ["bash", "-n"], input=script_of("bash"), capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_answers(self) -> None:
        """Names below a group, and options of a command."""
        for typed, at, expected in (
            ("sandbox-billing user re", 2, ["refund", "receipts", "resume"]),
            ("sandbox-billing user refund ", 3, ["request", "withdraw"]),
            ("sandbox-billing user deposit --at", 3, ["--at-least"]),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "sandbox_billing.cli.main"],
                env={
                    "PATH": os.environ["PATH"],
                    VARIABLE: "bash_complete",
                    "COMP_WORDS": typed,
                    "COMP_CWORD": str(at),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            names = [line.partition(",")[2] for line in done.stdout.splitlines()]
            self.assertEqual(names, expected, done.stderr)

    def test_help(self) -> None:
        """Every command of users has a line among all, and an example of its own."""
        told = CliRunner().invoke(cli, ["user", "--help"]).output
        for name in COMMANDS:
            self.assertRegex(told, rf"(?m)^  {name} ")
            parts = [[name, "request"], [name, "withdraw"]] if name == "refund" else [[name]]
            for words in [*parts, ["receipts", "verify"]]:
                told_of = CliRunner().invoke(cli, ["user", *words, "--help"]).output
                self.assertRegex(told_of, rf"sandbox-billing user {' '.join(words)}", words)
        self.assertIn("125", CliRunner().invoke(cli, ["user", "exec", "--help"]).output)
