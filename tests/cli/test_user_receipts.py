"""Tests for L{sandbox_billing.cli.user_receipts}: what was saved, and how verdicts are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.main import cli
from sandbox_billing.cli.output import Output
from sandbox_billing.cli.user_receipts import chain_at, saved, tell, user_of
from sandbox_billing.client.receipts import NOT_PROVABLE, Claim, Finding, Proof
from sandbox_billing.client.verify import Judged, Verdicts
from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.ledger.identity import Address
from tests.client.local import Handler, Local


ALICE = "0x" + "a1" * 20


class SavedTests(SynchronousTestCase):
    """Receipts in a file."""

    def setUp(self) -> None:
        """A file that is not there yet."""
        self.file = Path(self.mktemp())

    def test_read(self) -> None:
        """As 'receipts --json' prints them, or the bare list."""
        for document in ({"receipts": [{"user": ALICE}]}, [{"user": ALICE}]):
            self.file.write_text(json.dumps(document))
            self.assertEqual(saved(self.file), [{"user": ALICE}])

    def test_none(self) -> None:
        """Not there, no JSON, nothing of the kind."""
        self.assertIn("cannot be read", str(self.assertRaises(BadInput, saved, self.file)))
        for text in ("{", "{}", '"x"', "[" * 100_000):
            self.file.write_text(text)
            self.assertRaises(BadInput, saved, self.file)

    def test_whose(self) -> None:
        """Of one wallet, or it has to be said whose."""
        self.assertEqual(user_of([{"user": ALICE}, {"user": ALICE}]).hex, ALICE)
        for documents in (
            [],
            [{"user": ALICE}, {"user": "0x" + "b0" * 20}],
            [{}],
            [1],
            [{"user": []}],
        ):
            self.assertIn("--wallet", str(self.assertRaises(BadInput, user_of, documents)))

    def test_missing_file(self) -> None:
        """The command ends with a wrong use, before any node is asked."""
        told = CliRunner().invoke(
            cli, ["user", "receipts", "verify", "--file", str(self.file), "--rpc", "http://x"]
        )
        self.assertEqual((told.exit_code, "--file cannot be read" in told.stderr), (2, True))

    def test_before(self) -> None:
        """What stands before 'verify' would count for nothing: another provider would be asked."""
        for option in (["--url", "http://x"], ["--json"], ["--sandbox", "desk"]):
            told = CliRunner().invoke(cli, ["user", "receipts", *option, "verify"])
            self.assertEqual(told.exit_code, 2, told.output)
            self.assertIn(f"{option[0]} says nothing before 'verify'", told.stderr)


class NodesTests(SynchronousTestCase):
    """Which of several nodes is asked."""

    def node(self, chain_id: object) -> str:
        """One that tells nothing but its chain."""

        def answer(handler: Handler, asked: bytes) -> None:
            said = json.dumps({"id": 0, "result": chain_id}).encode()
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(said)))
            handler.end_headers()
            handler.wfile.write(said)

        return Local.start(self, answer).url

    def test_in_turn(self) -> None:
        """The first that answers for this chain; where there is none, why not of each."""
        nobody, good = "http://127.0.0.1:1", self.node("0x7")
        nonsense, other = self.node("seven"), self.node("0x8")
        contract = Address(ALICE)
        chain = chain_at(f"{nobody}, {nonsense},{other},{good}", 7, contract)
        self.assertEqual((chain.chain_id(), chain.contract), (7, contract))
        why = str(self.assertRaises(Transient, chain_at, f"{nobody},{other}", 7, contract))
        self.assertIn("serves chain 8", why)
        self.assertIn("gave no answer", why)
        self.assertIn("--rpc", str(self.assertRaises(Transient, chain_at, " ,", 7, contract)))


class TellTests(SynchronousTestCase):
    """Verdicts for people and for scripts."""

    def told(self, proof: Proof, *, as_json: bool = False) -> tuple[int, str]:
        """How it ends, and what is said of one receipt that came out so."""
        verdicts = Verdicts(
            receipts=(
                Judged(
                    id="charge-1",
                    receipt=None,
                    findings=(
                        Finding(Claim.HASH, Proof.PROVEN, "good hash"),
                        Finding(Claim.EVENT, proof, "the reason"),
                    ),
                ),
            ),
            history=(Finding(Claim.COMPLETE, Proof.PROVEN, "nothing is missing"),),
        )

        import click

        @click.command()
        def command() -> None:
            tell(Output(json=as_json), verdicts)

        done = CliRunner().invoke(command, [])
        return done.exit_code, done.stdout

    def test_proven(self) -> None:
        """Each claim with how often it came out how, and always what is not shown."""
        status, text = self.told(Proof.PROVEN)
        self.assertEqual(status, 0)
        self.assertIn("1 receipt: proven", text)
        for said in ("usage hash", "complete", *NOT_PROVABLE):
            self.assertIn(said, text)
        self.assertNotIn("the reason", text)

    def test_not_proven(self) -> None:
        """It is explained, and is no failure."""
        status, text = self.told(Proof.NOT_PROVEN)
        self.assertEqual(status, 0)
        self.assertIn("charge-1: event not proven: the reason", text)
        self.assertNotIn("good hash", text)

    def test_refuted(self) -> None:
        """It is explained, and ends with 6, also for scripts."""
        status, text = self.told(Proof.REFUTED)
        self.assertEqual(status, 6)
        self.assertIn("charge-1: event refuted: the reason", text)
        status, text = self.told(Proof.REFUTED, as_json=True)
        document: Any = json.loads(text)
        self.assertEqual((status, document["proof"]), (6, "refuted"))
