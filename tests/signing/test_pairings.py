"""What is imported of py_ecc beside eth_account and web3."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import sandbox_billing


PACKAGE = Path(sandbox_billing.__file__).parent

PROGRAM = """
import sys
from sandbox_billing.adapters.chain.node import Node
Node("http://127.0.0.1:1", seconds=float)._provider()
assert "web3" in sys.modules
# Left on its own, eth_account computes with the points of four modules.
assert not [name for name in sys.modules if name.startswith("py_ecc.") and "bls" in name]
from eth_keyfile import keyfile
public = keyfile.bls.SkToPk(7)
from py_ecc.bls import G2ProofOfPossession
from py_ecc.bls12_381 import curve_order
assert public == G2ProofOfPossession.SkToPk(7)
assert keyfile.MAX_V4_PRIVATE_KEY == curve_order - 1
from py_ecc.bls12_381 import pairing
"""

OTHER = """
import sys
from importlib.abc import MetaPathFinder
from sandbox_billing.signing.pairings import spare_pairings

class Newer(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "eth_keyfile" and "py_ecc.bls" in sys.modules:
            from py_ecc.bls import SomethingNew
        return None

sys.meta_path.insert(0, Newer())
spare_pairings()
import eth_account, eth_keyfile.keyfile
assert "py_ecc.optimized_bls12_381" in sys.modules
"""

LATE = re.compile(r"^(?:    )+(?:from|import) (?:web3|eth_account)\b.*", re.MULTILINE)
"""Such an import in a function."""


class PairingsTests(SynchronousTestCase):
    """A curve that nobody needs is not computed with."""

    def run_alone(self, program: str) -> None:
        """It succeeds in a Python of its own."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_put_off(self) -> None:
        """It is there all the same for who asks: eth_keyfile, and who imports py_ecc himself."""
        self.run_alone(PROGRAM)

    def test_another_release(self) -> None:
        """An eth_keyfile that wants more than we know of is imported as it is."""
        self.run_alone(OTHER)

    def test_everywhere(self) -> None:
        """Whatever imports eth_account or web3 late spares it first: daemon, commands, library."""
        found = 0
        for path in sorted(PACKAGE.rglob("*.py")):
            source = path.read_text("utf-8")
            typed = source.find("if TYPE_CHECKING:")
            for late in LATE.finditer(source):
                before = source[: late.start()].rstrip("\n").splitlines()
                if before[-1].startswith("if TYPE_CHECKING:") and typed >= 0:
                    continue
                while LATE.match(before[-1]):
                    before.pop()
                self.assertEqual(before[-1].strip(), "spare_pairings()", (path, late[0]))
                found += 1
        self.assertGreaterEqual(found, 6)
