"""Tests for L{sandbox_billing.cli.main}."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing import __version__, cli
from sandbox_billing.cli.exits import MEANINGS, Exit
from sandbox_billing.cli.main import COMMANDS
from sandbox_billing.cli.main import cli as group


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process."""
    command = [sys.executable, "-m", "sandbox_billing.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={})


class MainTests(SynchronousTestCase):
    """The table and what surrounds it."""

    def test_version(self) -> None:
        """The package's."""
        told = CliRunner().invoke(group, ["--version"])
        self.assertEqual(
            (0, f"sandbox-billing, version {__version__}\n"), (told.exit_code, told.output)
        )

    def test_help(self) -> None:
        """Every command and every exit status is listed."""
        told = CliRunner().invoke(group, ["--help"]).output
        for name in COMMANDS:
            self.assertRegex(told, rf"(?m)^  {name} ")
        for code in Exit:
            self.assertRegex(told, rf"(?m)^  {int(code)} ")
        self.assertEqual(set(Exit), set(MEANINGS))

    def test_quick(self) -> None:
        """Asking for help imports neither web3 nor rich nor the reactor."""
        program = (
            "import sys\nfrom click.testing import CliRunner\n"
            "from sandbox_billing.cli.main import cli\n"
            "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
            "assert CliRunner().invoke(cli, ['user', '--help']).exit_code == 0\n"
            "late = ['web3', 'rich', 'eth_account', 'requests', 'twisted.internet.reactor']\n"
            "print([name for name in late if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        )
        self.assertEqual(("[]\n", ""), (done.stdout, done.stderr))

    def test_commands(self) -> None:
        """Each one's module is there, and its help names its options."""
        for name, entry in COMMANDS.items():
            module = entry.place.split(":")[0]
            if not (Path(cli.__file__).parent / f"{module}.py").exists():
                continue
            with self.subTest(name=name):
                told = CliRunner().invoke(group, [name, "--help"])
                self.assertEqual(0, told.exit_code, told.output)
                self.assertIn("--help", told.output)

    def test_unknown_command(self) -> None:
        """A wrong use is told on stderr with status 2."""
        done = run("conquer")
        self.assertEqual((2, ""), (done.returncode, done.stdout))
        self.assertIn("No such command 'conquer'", done.stderr)

    def test_unknown_command_in_json(self) -> None:
        """With --json a wrong use is a document too."""
        done = run("conquer", "--json")
        self.assertEqual(2, done.returncode)
        self.assertEqual(2, json.loads(done.stdout)["code"])
        self.assertIn("conquer", json.loads(done.stdout)["error"])
