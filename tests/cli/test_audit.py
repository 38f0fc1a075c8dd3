"""Tests for C{sandbox-billing audit verify}: a copy that was touched is found out, offline."""

from __future__ import annotations

import json
from pathlib import Path

from attrs import evolve
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.audit_log import (
    anchored,
    checked,
    extends,
    in_order,
    keep,
    read_anchor,
    read_log,
    written,
)
from sandbox_billing.cli.main import cli
from sandbox_billing.errors import BadInput, Refused, UnknownOutcome
from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.audit import FIRST, AuditEntry, entry_hash
from tests.cli.stage import Told
from tests.ledger.test_audit import CHAINS, OLD, chain


def edited(form: bytes) -> bytes:
    """As somebody would who has another name in mind."""
    return encode(evolve(decode(AuditEntry, form), by="mallory")).encode()


class LogTests(SynchronousTestCase):
    """The pure part, with logs of any kind."""

    @given(CHAINS)
    def test_whole(self, forms: list[bytes]) -> None:
        """What is written is read again as it was, holds together, and has its last hash."""
        folder = Path(self.mktemp())
        folder.mkdir()
        keep(folder / "log", forms)
        read = read_log(folder / "log")
        self.assertEqual(read, tuple(forms))
        found = checked(read, "log")
        self.assertEqual((found.count, found.last), (len(forms), entry_hash(forms[-1])))
        self.assertEqual(found.old, forms.count(OLD))
        self.assertEqual([one.name for one in folder.iterdir()], ["log"])

    @given(CHAINS, st.data())
    def test_touched(self, forms: list[bytes], data: st.DataObject) -> None:
        """
        Edited, dropped, put in twice, swapped: the first entry that does not follow is named.
        """
        first = forms.count(OLD)
        place = data.draw(st.integers(first, len(forms) - 2))
        before, after = forms[:place], forms[place + 1 :]
        for touched, number in (
            ([*before, edited(forms[place]), *after], place + 2),
            ([*before, *after], place + 1),
            ([*before, forms[place], forms[place], *after], place + 2),
            ([*before, after[0], forms[place], *after[1:]], place + 1),
            ([*before, b"{", *after], place + 1),
        ):
            with self.assertRaisesRegex(Refused, rf"log is broken: entry {number}\b"):
                checked(touched, "log")

    @given(CHAINS, st.data())
    def test_cut(self, forms: list[bytes], data: st.DataObject) -> None:
        """A log that was cut off, or built anew, holds together: an anchor or a copy tells."""
        kept = data.draw(st.integers(0, len(forms) - 1))
        cut, anchor = forms[:kept], entry_hash(forms[-1])
        first = forms.count(OLD)
        anew = chain(["built", "anew", *["x"] * len(forms)], (OLD,) * first)[: len(forms)]
        for other in (cut, anew):
            checked(other, "log")
            if other == forms:
                continue
            with self.assertRaisesRegex(Refused, "none of the"):
                anchored(other, anchor)
            with self.assertRaises(Refused):
                extends(other, forms, "older")
        with self.assertRaisesRegex(Refused, rf"entry {kept + 1} is missing"):
            extends(cut, forms, "older")

    @given(CHAINS, st.data())
    def test_grown(self, forms: list[bytes], data: st.DataObject) -> None:
        """What only grew is an extension, and every older hash stands in it, in its place."""
        kept = data.draw(st.integers(0, len(forms)))
        extends(forms, forms[:kept], "older")
        last = checked(forms[:kept], "older").last
        found = anchored(forms, last)
        # Two entries from before the chain may be the same.
        self.assertEqual(0 if not kept else forms[found - 1], 0 if not kept else forms[kept - 1])

    @given(st.lists(st.integers(1, 6), max_size=6))
    def test_pages(self, numbers: list[int]) -> None:
        """Pages that do not fit together are no log."""
        numbered = [(number, b"%d" % number) for number in numbers]
        if numbers == list(range(len(numbers), 0, -1)):
            self.assertEqual(in_order(numbered), tuple(form for _, form in numbered[::-1]))
            return
        with self.assertRaisesRegex(UnknownOutcome, "do not fit together"):
            in_order(numbered)

    def test_anchor(self) -> None:
        """As it was printed, or as somebody wrote it down; what is no hash is told."""
        self.assertEqual(read_anchor(" 0x" + "AB" * 32 + "\n"), "ab" * 32)
        self.assertEqual(anchored([], read_anchor(FIRST)), 0)
        for wrong in ("", "ab", "ab" * 33, "xy" * 32):
            self.assertRaises(BadInput, read_anchor, wrong)


class VerifyTests(SynchronousTestCase):
    """The command, over files."""

    def setUp(self) -> None:
        """A log of three, and a folder."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.forms = chain(["a", "b", "c"])
        self.file = self.copy("log.jsonl", self.forms)

    def copy(self, name: str, forms: list[bytes]) -> Path:
        """A log in a file."""
        path = self.folder / name
        path.write_bytes(written(forms))
        return path

    def run_verify(self, *arguments: str | Path) -> Told:
        """The command."""
        done = CliRunner().invoke(cli, ["audit", "verify", *map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Told(status=done.exit_code, out=done.stdout, err=done.stderr)

    def test_good(self) -> None:
        """Count and last hash, for people and for scripts; what is new, where the anchor is."""
        last = entry_hash(self.forms[-1])
        told = self.run_verify(self.file)
        self.assertEqual(told.status, 0, told.err)
        self.assertRegex(told.out, rf"entries +3\n +last hash +{last}\n")
        older = self.copy("older.jsonl", self.forms[:1])
        anchor = entry_hash(self.forms[1])
        told = self.run_verify(self.file, "--against", older, "--anchor", anchor, "--json")
        self.assertEqual(
            told.document, {"entries": 3, "old": 0, "last": last, "new": 2, "anchor": 2}
        )

    def test_empty(self) -> None:
        """A log without entries is one."""
        told = self.run_verify(self.copy("empty", []), "--json")
        self.assertEqual(told.document, {"entries": 0, "old": 0, "last": FIRST})

    def test_old(self) -> None:
        """Entries from before the chain are counted, and said to prove nothing."""
        told = self.run_verify(self.copy("old", [OLD, OLD, *chain(["a"], (OLD, OLD))[2:]]))
        self.assertRegex(told.out, "older than the chain +2, which nothing proves")

    def test_refused(self) -> None:
        """Status 1, with the entry; a script finds it in its document."""
        touched = self.copy("touched", [self.forms[0], edited(self.forms[1]), self.forms[2]])
        told = self.run_verify(touched, "--json")
        self.assertEqual(told.status, 1)
        self.assertIn("entry 3 does not follow entry 2", json.loads(told.out)["error"])
        fork = self.copy("fork", [self.forms[0], *chain(["x", "y"], (self.forms[0],))[1:]])
        told = self.run_verify(fork, "--against", self.file)
        self.assertEqual((told.status, "entry 2 is not the one that log" in told.err), (1, True))
        told = self.run_verify(self.file, "--against", touched)
        self.assertEqual((told.status, "touched is broken" in told.err), (1, True))
        headless = self.copy("headless", self.forms[1:])
        told = self.run_verify(headless)
        self.assertEqual((told.status, "the beginning was left out" in told.err), (1, True))
        bare = self.copy("bare", [*self.forms, OLD])
        told = self.run_verify(bare)
        self.assertEqual((told.status, "entry 4 carries no hash" in told.err), (1, True))

    def test_files(self) -> None:
        """A file that is none, or half of one, is another matter: status 2."""
        half = self.folder / "half"
        half.write_bytes(written(self.forms)[:-1])
        for wrong, said in ((self.folder / "none", "cannot be read"), (half, "middle of a line")):
            told = self.run_verify(wrong)
            self.assertEqual((told.status, said in told.err), (2, True), told.err)

    def test_kept(self) -> None:
        """No copy is written over another, and nothing is left beside it."""
        with self.assertRaisesRegex(BadInput, "is there already"):
            keep(self.file, self.forms[:1])
        self.assertEqual(read_log(self.file), tuple(self.forms))
        with self.assertRaisesRegex(BadInput, "cannot be written"):
            keep(self.folder / "no" / "such", self.forms)
        self.assertEqual([one.name for one in self.folder.iterdir()], ["log.jsonl"])
