"""Tests for L{sandbox_billing.cli.user_tokens}: what a login leaves on the machine."""

from __future__ import annotations

import json
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.user_tokens import SPARE_SECONDS, Kept, Tokens, state_folder
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address


ALICE, BOB = Address("0x" + "a1" * 20), Address("0x" + "b0" * 20)
URL = "https://sandboxes.example"
KEPT = Kept(
    url=URL,
    wallet=ALICE.hex,
    token="sbt_secret",
    id="0" * 32,
    scopes=("read", "manage"),
    sandbox=None,
    expires_at=1_700_000_000,
)


class TokensTests(SynchronousTestCase):
    """The files."""

    def setUp(self) -> None:
        """A folder that is not there yet."""
        self.folder = Path(self.mktemp()) / "state" / "sandbox-billing"
        self.tokens = Tokens(self.folder)

    def test_kept(self) -> None:
        """By provider and wallet, the last one counts; nobody else may read file or folder."""
        self.assertIsNone(self.tokens.find(URL, ALICE))
        path = self.tokens.keep(KEPT)
        newer = evolve(KEPT, token="sbt_newer")
        self.assertEqual(self.tokens.keep(newer), path)
        self.assertEqual(self.tokens.find(URL, ALICE), newer)
        self.assertEqual([path], list(self.folder.iterdir()))
        self.assertEqual(
            (path.stat().st_mode & 0o777, self.folder.stat().st_mode & 0o777), (0o600, 0o700)
        )
        self.assertIsNone(self.tokens.find(URL, BOB))
        self.assertIsNone(self.tokens.find(URL + "/other", ALICE))

    def test_only_one(self) -> None:
        """Without a wallet the only one of a provider is meant; of two none is guessed."""
        self.tokens.keep(KEPT)
        self.tokens.keep(evolve(KEPT, url="https://other.example", wallet=BOB.hex))
        self.assertEqual(self.tokens.find(URL, None), KEPT)
        self.tokens.keep(evolve(KEPT, wallet=BOB.hex))
        self.assertIsNone(self.tokens.find(URL, None))

    def test_forgotten(self) -> None:
        """It is gone, and the second time there was none."""
        self.tokens.keep(KEPT)
        self.assertEqual([True, False], [self.tokens.forget(URL, ALICE) for _ in range(2)])
        self.assertIsNone(self.tokens.find(URL, ALICE))

    def test_not_believed(self) -> None:
        """A file that others may read, of another version, or that is damaged, is none."""
        path = self.tokens.keep(KEPT)
        good = json.loads(path.read_text())
        for text in (
            "",
            "[]",
            "{}",
            json.dumps({**good, "version": 2}),
            json.dumps({**good, "wallet": "0x1"}),
        ):
            path.write_text(text)
            self.assertIsNone(self.tokens.find(URL, ALICE), text)
        path.write_text(json.dumps(good))
        self.assertEqual(self.tokens.find(URL, ALICE), KEPT)
        path.chmod(0o644)
        self.assertIsNone(self.tokens.find(URL, ALICE))

    def test_serves(self) -> None:
        """It has the scope, and does not end in the middle of the command."""
        last = KEPT.expires_at - SPARE_SECONDS
        self.assertTrue(KEPT.serves("manage", last - 1))
        self.assertFalse(KEPT.serves("manage", last))
        self.assertFalse(KEPT.serves("toolbox", 0))

    def test_not_shown(self) -> None:
        """The secret is in no text about it."""
        self.assertNotIn("secret", repr(KEPT))

    def test_unwritable(self) -> None:
        """A folder that is none is said."""
        self.folder.parent.mkdir(parents=True)
        self.folder.write_text("")
        self.assertIn("cannot be kept", str(self.assertRaises(BadInput, self.tokens.keep, KEPT)))

    def test_folder(self) -> None:
        """As XDG names it, if that is absolute; else below the home."""
        self.assertEqual(state_folder({"XDG_STATE_HOME": "/s"}), Path("/s/sandbox-billing"))
        home = Path("~/.local/state/sandbox-billing").expanduser()
        for named in ({}, {"XDG_STATE_HOME": "relative"}, {"XDG_STATE_HOME": ""}):
            self.assertEqual(state_folder(named), home)
