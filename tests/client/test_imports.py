"""What a user's program must install for the library, and what it need not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import sandbox_billing.client


REFUSED = ("twisted", "klein", "treq", "txredisapi", "grpc", "zope")
LATE = ("web3", "eth_account", "eth_abi")
"""Seconds and a hundred MiB, for who uses the chain or a keystore."""

PROGRAM = f"""
import importlib, sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {REFUSED!r}:
            raise ImportError(name + " is hidden")
        return None

sys.meta_path.insert(0, Hidden())
for planted in sys.argv[1:2]:
    importlib.import_module(planted)
import sandbox_billing.client
late = [name for name in {LATE!r} if name in sys.modules]
assert not late, late
for name in sys.argv[2:]:
    importlib.import_module(name)
print("good")
"""


def run(planted: str, *names: str) -> subprocess.CompletedProcess[str]:
    """@param planted: Imported first."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, planted, *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class ImportTests(SynchronousTestCase):
    """In a Python that has none of the daemon's framework."""

    def test_alone(self) -> None:
        """Every module can be had without it, and the package brings nothing of the chain along."""
        folder = Path(sandbox_billing.client.__file__).parent
        names = sorted(f"sandbox_billing.client.{one.stem}" for one in folder.glob("*.py"))
        self.assertGreater(len(names), 15)
        done = run("json", *names)
        self.assertEqual((done.returncode, done.stdout), (0, "good\n"), done.stderr)

    def test_hidden(self) -> None:
        """What is hidden is: the hook is no decoration."""
        for planted in ("zope.interface", "sandbox_billing.interfaces"):
            done = run(planted)
            self.assertIn("is hidden", done.stderr)
        self.assertIn("AssertionError", run("eth_abi").stderr)
