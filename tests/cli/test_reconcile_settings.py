"""Where C{reconcile} has the daemon's settings from: where the unit has the daemon look."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.reconcile import settings_of
from sandbox_billing.errors import BadInput


SETTINGS = """
DAYTONA_API_URL=http://127.0.0.1:3000/api
SETTLEMENT_CONTRACT=0xDe09E74d4888Bc4e65F589e8c13Bce9F71DdF4c7
RPC_URL=http://127.0.0.1:8545
CHAIN_ID=16602
BACKEND_APP_NAME=app
"""


class SettingsTests(SynchronousTestCase):
    """
    A file of settings without secrets, and a folder with them.
    """

    def setUp(self) -> None:
        """As the page on installing leaves them."""
        folder = Path(self.mktemp())
        self.file, self.secrets = folder / "environment", folder / "secrets"
        self.secrets.mkdir(parents=True)
        self.file.write_text(SETTINGS)
        (self.secrets / "DAYTONA_ADMIN_KEY").write_text("from-a-file\n")
        (self.secrets / "REDIS_PASSWORD").write_text("")

    def test_folder(self) -> None:
        """Secrets are read from it, and an empty one is none; the environment wins."""
        found = settings_of(self.file, {}, self.secrets)
        self.assertEqual("from-a-file", found.daytona_admin_key)
        self.assertIsNone(found.redis_password)
        found = settings_of(self.file, {"DAYTONA_ADMIN_KEY": "typed"}, self.secrets)
        self.assertEqual("typed", found.daytona_admin_key)

    def test_wrong(self) -> None:
        """Without it the key is missing; what nobody reads is told."""
        self.assertIn("DAYTONA_ADMIN_KEY", str(self.failure(None)))
        (self.secrets / "DAYTONA_KEY").write_text("x")
        self.assertIn("nobody reads DAYTONA_KEY", str(self.failure(self.secrets)))

    def failure(self, secrets: Path | None) -> BadInput:
        """What is said instead."""
        return self.assertRaises(BadInput, settings_of, self.file, {}, secrets)  # type: ignore[no-any-return]
