"""
Tests of C{sandbox_billing.devnet.demo}: what is left behind.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.demo import verdict


class VerdictTests(SynchronousTestCase):
    """
    The last line of a run.
    """

    def setUp(self) -> None:
        """A run that has logged."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.log = self.folder / "daemon.log"
        self.log.write_text("{}\n")

    def test_came_true(self) -> None:
        """Nothing is left."""
        self.assertEqual(verdict(self.folder, self.log, good=True), "the story came true")
        self.assertFalse(self.folder.exists())

    def test_failed(self) -> None:
        """The log is left, and named."""
        said = verdict(self.folder, self.log, good=False)
        self.assertEqual(said, f"something went wrong; read {self.log}")
        self.assertEqual(self.log.read_text(), "{}\n")
