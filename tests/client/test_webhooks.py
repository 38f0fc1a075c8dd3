"""What a receiver believes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client import webhooks
from sandbox_billing.client.webhooks import WrongSignature, verify_signature
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.webhook import signature


NOW = 1_700_000_000
SECRET = "whsec_test"
BODY = b'{"id":"1"}'
# As `printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac whsec_test` says it.
MAC = "11bf4466ea17c3df3fd743af0b435368e16b7a05eb8eced85e8c4670767bdec5"
HEADER = f"t={NOW},v1={MAC}"


class VerifyTests(SynchronousTestCase):
    """One function."""

    def refused(self, header: str = HEADER, body: bytes = BODY, now: float = NOW) -> str:
        """Why."""
        return str(self.assertRaises(WrongSignature, verify_signature, SECRET, header, body, now))

    def test_vector(self) -> None:
        """What was computed elsewhere is taken, spaces and newer parts beside it or not."""
        for header in (HEADER, f"t={NOW}, v1={MAC}", f"v2=x,v1={MAC},t={NOW}"):
            verify_signature(SECRET, header, BODY, NOW)
        verify_signature(SECRET, f"t={NOW},v1={'0' * 64},v1={MAC}", BODY, NOW)

    def test_age(self) -> None:
        """Five minutes, both ways; nothing that was heard once is told again later."""
        for now in (NOW - 300, NOW + 300):
            verify_signature(SECRET, HEADER, BODY, now)
        for now in (NOW - 301, NOW + 301):
            self.assertIn("within 300 s", self.refused(now=now))
        verify_signature(SECRET, HEADER, BODY, NOW + 5, tolerance=5)

    def test_forged(self) -> None:
        """Another body, moment, secret or signature."""
        self.refused(body=BODY + b" ")
        self.refused(f"t={NOW + 1},v1={MAC}")
        self.refused(f"t={NOW},v1={MAC.upper()}")
        self.refused(f"t={NOW},v1={MAC[:-1]}")
        self.assertRaises(WrongSignature, verify_signature, "whsec_tesu", HEADER, BODY, NOW)

    def test_no_signature(self) -> None:
        """What has not the form."""
        for header in ("", "t=", f"t={NOW}", f"v1={MAC}", f"t=x,v1={MAC}", f"t={NOW},v1=é"):
            self.refused(header)
        self.refused(f"t={NOW},t={NOW},v1={MAC}")
        self.refused(f"t=-{NOW},v1={MAC}")

    @given(st.text(max_size=60))
    def test_any_header(self, header: str) -> None:
        """No text but a signature is taken, and none ends otherwise."""
        self.refused(header)

    @given(st.text(), st.binary(), st.integers(0, 10**11))
    def test_ours(self, secret: str, body: bytes, at: int) -> None:
        """Whatever the provider signs is taken."""
        verify_signature(secret, signature(secret, UnixSeconds(at), body), body, at)

    def test_page(self) -> None:
        """The example of the page is one."""
        page = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.rst").read_text("utf-8")
        (secret,) = re.findall(r"whsec_[0-9A-Za-z_-]{43}", page)
        (header,) = re.findall(r"Signature: (t=\d+,v1=[0-9a-f]{64})\n", page)
        (body,) = re.findall(r"^   (\{.*\"chain_id\":16602\})$", page, re.MULTILINE)
        verify_signature(secret, header, body.encode(), int(header[2:12]))

    def test_standard_library(self) -> None:
        """The module stands on its own: a receiver may copy it."""
        program = (
            "import sys, runpy; runpy.run_path(sys.argv[1]);"
            "print([n for n in sys.modules if n.split('.')[0] not in sys.stdlib_module_names"
            " and n not in ('__main__', 'sitecustomize')])"
        )
        found = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program, str(Path(webhooks.__file__))],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(found.stdout.strip(), "[]")
