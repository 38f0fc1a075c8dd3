"""Tests for L{sandbox_billing.cli.keys}."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner, Result
from eth_account import Account
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.signing.key import SigningKey


SECRET = "0x" + "11" * 32
"""A WELL-KNOWN DEVELOPMENT KEY: wire.md's vectors are made with it."""

OTHER = "0x" + "22" * 32
"""Another one."""

ADDRESS = SigningKey.from_hex(SECRET).address.hex
PASSWORD = "correct horse"


@click.command()
@output_options
@key_options(Role.OWNER)
def whose(out: Output, key: KeySource) -> None:
    """Says whose key it has."""
    out.finish({"source": repr(key), "address": str(key.load().address)}, title="", rows=[])


PROGRAM = """
import click
from sandbox_billing.cli.keys import Role, key_options
from sandbox_billing.cli.output import output_options
@click.command()
@output_options
@key_options(Role.OWNER)
def whose(out, key):
    out.finish({"address": str(key.load().address)}, title="", rows=[])
whose(["--json"])
"""


class KeyTests(SynchronousTestCase):
    """Each source, which wins, and that none is ever shown."""

    def setUp(self) -> None:
        """Have a keystore with a weak derivation, which is quick."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.keystore = self.folder / "keystore.json"
        stored = Account.encrypt(SECRET, PASSWORD, kdf="pbkdf2", iterations=10)
        self.keystore.write_text(json.dumps(stored))
        self.password = self.folder / "password"
        self.password.write_text(PASSWORD + "\n")

    def run_whose(self, *arguments: str, **environment: str) -> Result:
        """What the command says to a script."""
        found = CliRunner(env={"OWNER_KEY": None, **environment}).invoke(
            whose, ["--json", *arguments]
        )
        self.assertNotIn("11" * 16, found.output)
        self.assertNotIn("22" * 16, found.output)
        return found

    def assert_mine(self, found: Result) -> None:
        """It found the key of C{SECRET}."""
        self.assertEqual(0, found.exit_code, found.output)
        self.assertEqual(ADDRESS, json.loads(found.stdout)["address"])

    def assert_wrong(self, found: Result, words: str) -> None:
        """It ended as wrong use, saying why."""
        self.assertEqual(2, found.exit_code, found.output)
        self.assertIn(words, json.loads(found.stdout)["error"])

    def test_environment(self) -> None:
        """By the role's name, with 0x or without."""
        self.assert_mine(self.run_whose(OWNER_KEY=SECRET))
        self.assert_mine(self.run_whose(OWNER_KEY=SECRET[2:] + "\n"))

    def test_option(self) -> None:
        """It is taken before the environment's, with a warning on stderr."""
        found = self.run_whose("--key", SECRET, OWNER_KEY=OTHER)
        self.assert_mine(found)
        self.assertIn("visible to others", found.stderr)
        found = self.run_whose("--key", "0x11")
        self.assert_wrong(found, "--key: ")
        self.assertNotIn("visible to others", found.stderr)

    def test_keystore(self) -> None:
        """It is taken before the environment's; the password is a file's first line."""
        found = self.run_whose(
            "--keystore", str(self.keystore), "--password-file", str(self.password), OWNER_KEY=OTHER
        )
        self.assert_mine(found)
        self.assertNotIn(PASSWORD, found.output)

    def test_keystore_refused(self) -> None:
        """A wrong password, a file that is no keystore, none at all, nobody to ask."""
        keystore = ("--keystore", str(self.keystore))
        wrong = self.folder / "wrong"
        wrong.write_text("battery staple")
        told = self.run_whose(*keystore, "--password-file", str(wrong))
        self.assert_wrong(told, "the password is wrong")
        self.assertNotIn("battery", told.output)
        self.assert_wrong(self.run_whose(*keystore), "give --password-file")
        for content in ("{}", "[]", "null", '{"version": 3}', "not JSON", SECRET):
            odd = self.folder / "odd.json"
            odd.write_text(content)
            told = self.run_whose("--keystore", str(odd), "--password-file", str(self.password))
            self.assert_wrong(told, "is no keystore")
        told = self.run_whose("--keystore", str(self.folder / "nothing"))
        self.assert_wrong(told, "--keystore cannot be read: No such file")
        told = self.run_whose("--keystore", str(self.folder / "nothing"), "--key", "")
        self.assert_wrong(told, "not both")
        told = self.run_whose("--password-file", str(self.password), OWNER_KEY=SECRET)
        self.assert_wrong(told, "belongs to --keystore")

    def test_none(self) -> None:
        """Without any, and nobody to ask, what to set is said."""
        self.assert_wrong(self.run_whose(), "set OWNER_KEY, or give --keystore FILE")

    def test_malformed(self) -> None:
        """A key that is none is not repeated."""
        for text in ("0x11", "hunter2" * 8, "0x" + "00" * 32):
            told = self.run_whose(OWNER_KEY=text)
            self.assert_wrong(told, "OWNER_KEY: ")
            self.assertNotIn(text, told.output)

    def test_prompt(self) -> None:
        """At a terminal it is asked for, and what is typed is not echoed."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"]},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        shown = b""
        # With its last character: by then nothing is echoed.
        while b"private key: " not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, SECRET.encode() + b"\n")
        out, _ = process.communicate(timeout=120)
        shown += os.read(ours, 1024)
        self.assertEqual(ADDRESS, json.loads(out)["address"])
        self.assertIn(b"owner's private key:", shown)
        self.assertNotIn(b"1111", shown)

    def test_repr(self) -> None:
        """What a traceback or a log might show of the source has no key in it."""
        self.assertNotIn("11" * 8, repr(KeySource(role=Role.USER, text=SECRET)))
