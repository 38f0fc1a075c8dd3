"""The names, and the page that lists them."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tests
from docs import keys_table
from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.ledger.identity import Address, ChargeId, SandboxId
from sandbox_billing.signing.eip55 import checksum


PROVIDER = Address("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed")
KINDS = {"string", "hash", "list", "set", "zset"}


class KeysTests(SynchronousTestCase):
    """Names are part of the wire."""

    def test_names_others_know(self) -> None:
        """wire.md, section 6, letter by letter."""
        keys = Keys(PROVIDER, checksum(PROVIDER))
        sandbox = SandboxId("sb-1")
        self.assertEqual(keys.session(sandbox), "billing:compute:sb-1")
        self.assertEqual(keys.nonce(PROVIDER), f"billing:nonce:{PROVIDER}:{PROVIDER}")
        self.assertEqual(keys.pending(), "voucher:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
        self.assertEqual(keys.stop_reason(sandbox), "stop:sandbox:sb-1")
        self.assertEqual(keys.request_nonce(PROVIDER, "ab"), f"auth:nonce:{PROVIDER}:ab")
        self.assertEqual(keys.sandbox(sandbox), "billing:sandbox:sb-1")
        self.assertEqual(keys.exposure(PROVIDER), f"billing:exposure:{PROVIDER}")
        self.assertEqual(keys.blocked(PROVIDER), f"billing:blocked:{PROVIDER}")
        self.assertEqual(keys.charge(ChargeId("sb-1:create")), "billing:charge:sb-1:create")

    def test_no_name_twice(self) -> None:
        """No two kinds of thing can stand under one name, nor under one the Go system had."""
        spelled = [name for name, _, _ in Keys.names()]
        self.assertEqual(len(set(spelled)), len(spelled))
        for old in ("voucher:queue:", "voucher:dlq:", "billing:reserved:"):
            self.assertEqual([name for name in spelled if name.startswith(old)], [])
        self.assertNotIn("billing:events", spelled)

    def test_all_said(self) -> None:
        """Each name says its type and what is there."""
        for name, kind, holds in Keys.names():
            self.assertIn(kind, KINDS, name)
            self.assertTrue(holds.endswith("."), name)

    def test_documented(self) -> None:
        """The page is made of exactly these names with their types, and lists none by hand (T7)."""
        docs = Path(tests.__file__).resolve().parent.parent / "docs"
        page = (docs / "reference_keys.rst").read_text("utf-8")
        self.assertEqual(1, page.count("\n.. keys-table::\n"))
        self.assertNotIn("``billing:", (page.partition(".. keys-table::")[0]))
        rows = "\n".join(keys_table.as_rst())
        for name, kind, holds in Keys.names():
            self.assertIn(f"   * - ``{name}``\n     - {kind}\n     - {holds}\n", rows)

    def test_named_elsewhere(self) -> None:
        """Where a page tells of a key, there is one that begins so."""
        docs = Path(tests.__file__).resolve().parent.parent / "docs"
        spelled = {name for name, _, _ in Keys.names()}
        journal = (docs / "journal.rst").read_text("utf-8")
        named = set(re.findall(r"``((?:billing|auth|stop|voucher):[a-z-]+)", journal))
        self.assertGreater(len(named), 10)
        self.assertEqual(
            set(), {one for one in named if not any(key.startswith(one) for key in spelled)}
        )
