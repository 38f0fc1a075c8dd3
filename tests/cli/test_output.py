"""Tests for L{sandbox_billing.cli.output} and L{sandbox_billing.cli.exits}."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.exits import Exit, WrongChain, exit_of
from sandbox_billing.cli.output import Output, output_options, printable
from sandbox_billing.errors import (
    BadInput,
    BrokenLaw,
    ConfigurationError,
    Refused,
    StoreDown,
    Transient,
    UnknownOutcome,
)


MINED = {"label": "register", "hash": "0xaa", "block": 3}
SENT = {"label": "deposit", "hash": "0xbb", "block": None}


ASKING = """
import click
from sandbox_billing.cli.output import Output
from sandbox_billing.cli.pause_redis import Interrupts, run

out = Output(json=False)
with out.progress() as progress:

    async def work(reactor):
        progress.say("reading")
        out.ask("First?", yes=False)
        out.ask("Second?", yes=False)

    try:
        run(work, Interrupts())
    except click.Abort:
        raise SystemExit(0)
raise SystemExit("it was not heard")
"""
"""A command that asks in the middle of its work."""


def run(
    problem: BaseException | None, *arguments: str, sent: tuple[dict[str, Any], ...] = ()
) -> Result:
    """How a command ends that raises, or that finishes."""

    @click.command()
    @output_options
    def command(out: Output) -> None:
        out.note("busy")
        for one in sent:
            out.sending(one["label"], one["hash"])
            if one["block"] is not None:
                out.mined(one)
        if problem is not None:
            raise problem
        rows = [("a name", "[red]no markup[/red]\x1b[2J"), ("b", "x" * 1500)]
        out.finish({"amount": "5"}, title="Done", rows=rows, lines=["below"])

    return CliRunner().invoke(command, arguments)


class ExitTests(SynchronousTestCase):
    """A status for each family."""

    def test_families(self) -> None:
        """The documented one, for subclasses too."""
        for problem, code in (
            (Refused("no"), Exit.REFUSED),
            (WrongChain("no"), Exit.WRONG_CHAIN),
            (BadInput("no"), Exit.USAGE),
            (ConfigurationError("no"), Exit.USAGE),
            (Transient("no"), Exit.UNREACHABLE),
            (StoreDown("no"), Exit.UNREACHABLE),
            (UnknownOutcome("no"), Exit.UNKNOWN),
        ):
            with self.subTest(problem=problem):
                self.assertIs(code, exit_of(problem))
                told = run(problem)
                self.assertEqual((code, ""), (told.exit_code, told.stdout))
                self.assertEqual("busy\nsandbox-billing: no\n", told.stderr)
                told = run(problem, "--json")
                self.assertEqual(code, told.exit_code)
                self.assertEqual({"error": "no", "code": code}, json.loads(told.stdout))

    def test_something_mined(self) -> None:
        """Whatever fails after a transaction was mined, it is not "nothing": 4, with its hash."""
        words = "no. Before that 1 transaction is mined: register 0xaa; run it again"
        for problem in (Refused("no"), Transient("no"), BadInput("no"), UnknownOutcome("no")):
            with self.subTest(problem=problem):
                told = run(problem, "--json", sent=(MINED, SENT))
                self.assertEqual(4, told.exit_code)
                self.assertEqual(
                    {"error": words, "code": 4, "transactions": [MINED, SENT]},
                    json.loads(told.stdout),
                )
        told = run(KeyboardInterrupt(), sent=(MINED, {**MINED, "hash": "0xcc"}))
        self.assertEqual(4, told.exit_code)
        self.assertIn("2 transactions are mined: register 0xaa, register 0xcc", told.stderr)
        # Not seen mined: its own text says so, and a refusal of it stays one.
        told = run(Refused("no"), "--json", sent=(SENT,))
        self.assertEqual((1, [SENT]), (told.exit_code, json.loads(told.stdout)["transactions"]))

    def test_interrupted(self) -> None:
        """Ctrl-C before anything was sent has its own."""
        for problem in (KeyboardInterrupt(), click.Abort()):
            self.assertEqual(130, run(problem).exit_code)

    def test_defect(self) -> None:
        """What belongs to no family is a defect, and is not dressed up."""
        self.assertIsInstance(run(BrokenLaw("L1", "gone")).exception, BrokenLaw)


class FinishTests(SynchronousTestCase):
    """The result."""

    def test_table(self) -> None:
        """In full on stdout, without markup and without what moves a cursor; talk on stderr."""
        told = run(None)
        self.assertEqual("busy\n", told.stderr)
        self.assertIn("Done\n", told.stdout)
        self.assertIn("[red]no markup[/red]?[2J\n", told.stdout)
        self.assertIn("x" * 1500, told.stdout)
        self.assertTrue(told.stdout.endswith("below\n"))
        self.assertNotIn(" \n", told.stdout)

    def test_title(self) -> None:
        """It is one line, however narrow the columns are, and alone where there are no rows."""

        @click.command()
        @click.option("--empty", is_flag=True)
        @output_options
        def command(out: Output, empty: bool) -> None:
            rows = [] if empty else [("n", "0")]
            out.finish({}, title="Nothing to do: there is no [b]session[/b] here", rows=rows)

        said = "Nothing to do: there is no [b]session[/b] here"
        self.assertEqual(CliRunner().invoke(command).output, f"{said}\n\n  n   0\n\n")
        self.assertEqual(CliRunner().invoke(command, ["--empty"]).output, f"{said}\n")

    def test_terminal(self) -> None:
        """Nor is anything folded, or cut, on a terminal of 80 columns: hashes are copied whole."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        termios.tcsetwinsize(theirs, (24, 80))
        program = (
            "from sandbox_billing.cli.output import Output\n"
            "Output(json=False).finish({}, title='', rows=[('transaction', '0x' + 'ab' * 60)])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={"PATH": os.environ["PATH"], "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(theirs)
        shown = b""
        # A terminal hands over what there is, line by line, and ends with an error.
        with contextlib.suppress(OSError):
            while read := os.read(ours, 4096):
                shown += read
        self.assertEqual(process.wait(), 0)
        self.assertIn(b"0x" + b"ab" * 60, shown)

    def test_question(self) -> None:
        """
        What moves makes room for a question, which is seen before it is answered; Ctrl-C ends it,
        also under a reactor, which does not hear it meanwhile.
        """
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        process = subprocess.Popen(
            [sys.executable, "-c", ASKING],
            env={"PATH": os.environ["PATH"], "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(theirs)
        shown, answers = b"", [(b"First? [y/N]", b"y\n"), (b"Second? [y/N]", None)]
        deadline, again = time.monotonic() + 180, float("inf")
        while time.monotonic() < deadline:
            if time.monotonic() > again:
                # Between the question and the wait for its answer Python hears no signal: whoever
                # is as quick as this presses Ctrl-C once more.
                process.send_signal(signal.SIGINT)
                again = time.monotonic() + 5
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
            if answers and answers[0][0] in shown:
                _, answer = answers.pop(0)
                if answer is None:
                    process.send_signal(signal.SIGINT)
                    again = time.monotonic() + 5
                else:
                    os.write(ours, answer)
        self.assertEqual([], answers, shown)
        self.assertEqual(process.wait(60), 0, shown)

    def test_json(self) -> None:
        """One document and nothing else."""
        told = run(None, "--json")
        self.assertEqual({"amount": "5"}, json.loads(told.stdout))

    def test_printable(self) -> None:
        """Letters of any script pass."""
        self.assertEqual("é λ?", printable("é λ\x07"))

    def test_ask(self) -> None:
        """A script is not asked, unless it has to say so; --yes says so."""
        out = Output(json=False)
        with CliRunner().isolation():
            out.ask("Sure?", yes=False)
            out.ask("Sure?", yes=True, hint="add --yes")
            with self.assertRaisesRegex(Refused, r"Sure\? There is nobody to ask: add --yes"):
                out.ask("Sure?", yes=False, hint="add --yes")
