"""Tests for L{sandbox_billing.cli.user_place}: where the provider is, and whose wallet it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.exits import WrongChain
from sandbox_billing.cli.keys import KeySource, Role
from sandbox_billing.cli.user_place import Place, ground
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.key import SigningKey


KEY = "0x" + (4).to_bytes(32, "big").hex()
"""A WELL-KNOWN DEVELOPMENT KEY: the number 4."""

ALICE, BOB = SigningKey.from_hex(KEY).address, Address("0x" + "b0" * 20)
NOTHING = KeySource(role=Role.USER)


def place(**said: Any) -> Place:
    """What was said; the rest was not."""
    return Place(**{"url": "https://p.example", "key": NOTHING, **said})


class UrlTests(SynchronousTestCase):
    """The provider's address."""

    def test_needed(self) -> None:
        """None, and what is none, say how one is written."""
        for url in (None, "", "p.example", "ftp://p.example", "https://", "https://[::1"):
            why = str(self.assertRaises(BadInput, place(url=url).require_url))
            self.assertIn("--url", why)
        self.assertEqual(place().require_url(), "https://p.example")

    def test_open(self) -> None:
        """Only what stays on this machine may go without TLS."""
        for url, is_open in (
            ("https://p.example", False),
            ("http://p.example", True),
            ("http://localhost.example", True),
            ("http://localhost:8080", False),
            ("http://127.0.0.1:8080", False),
        ):
            self.assertIs(place(url=url).is_open(), is_open, url)

    def test_agreed(self) -> None:
        """What was named must be; what was not may be anything."""
        place().agree("provider", None, ALICE)
        place().agree("provider", ALICE, ALICE)
        why = str(self.assertRaises(WrongChain, place().agree, "chain id", 1, 2))
        self.assertIn("--chain-id says 1", why)

    def test_gone(self) -> None:
        """Where money is needs no provider, and whoever has none is told what to name instead."""
        why = str(self.assertRaises(BadInput, ground, place(url=None)))
        self.assertIn("or name all of it: --rpc, --chain-id, --contract and --provider", why)


class WalletTests(SynchronousTestCase):
    """Whose it is, without asking for a secret."""

    def setUp(self) -> None:
        """Without what the environment of the tests may have."""
        self.patch(__import__("os"), "environ", {})

    def test_named(self) -> None:
        """The option wins over the key, and the key over the environment."""
        by_key = evolve(NOTHING, text=KEY)
        self.assertEqual(place(wallet=BOB, key=by_key).known_address(), BOB)
        self.assertEqual(place(key=by_key).known_address(), ALICE)
        self.assertIsNone(place().known_address())
        self.patch(__import__("os"), "environ", {"USER_KEY": KEY})
        self.assertEqual(place().known_address(), ALICE)
        why = self.assertRaises(BadInput, place(key=evolve(NOTHING, text="0x12")).known_address)
        self.assertIn("--key", str(why))

    def test_keystore(self) -> None:
        """A keystore tells its address; one that does not, or is none, tells nothing."""
        file = Path(self.mktemp())
        key = evolve(NOTHING, keystore=file)
        self.assertIsNone(place(key=key).known_address())
        for text, known in (
            (json.dumps({"address": ALICE.hex[2:]}), ALICE),
            (json.dumps({"address": ALICE.hex}), ALICE),
            (json.dumps({"address": 7}), None),
            ("{}", None),
            ("[]", None),
            ("no", None),
        ):
            file.write_text(text)
            self.assertEqual(place(key=key).known_address(), known, text)
