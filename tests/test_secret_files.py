"""Settings that are files."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import ConfigurationError
from sandbox_billing.secret_files import LONGEST, read_secrets
from sandbox_billing.tap import Options, configuration_of
from tests.test_configuration import LEAST


class SecretFileTests(SynchronousTestCase):
    """L{read_secrets}, and C{--secrets}."""

    def folder(self, **files: bytes) -> Path:
        """A folder with these."""
        path = Path(self.mktemp())
        path.mkdir()
        for name, text in files.items():
            (path / name.replace("dot_", ".")).write_bytes(text)
        return path

    def test_read(self) -> None:
        """Space around a value is no part of it; an empty file is an absent setting."""
        folder = self.folder(
            DAYTONA_ADMIN_KEY=b" key\n", REDIS_PASSWORD=b"\n", dot_hidden=b"kept by an editor"
        )
        self.assertEqual(read_secrets(folder), ({"DAYTONA_ADMIN_KEY": "key"}, []))

    def test_wrong(self) -> None:
        """Each file that is of no use is named, and no value is repeated."""
        folder = self.folder(
            DAYTONA_KEY=b"secret",
            REDIS_PASSWORD=b"one\ntwo",
            RPC_URL=b"\xff",
            MOCK_APP_PRIVATE_KEY=b"x" * (LONGEST + 1),
        )
        (folder / "PROXY_DOMAIN").mkdir()
        found, problems = read_secrets(folder)
        self.assertEqual(found, {})
        self.assertEqual(
            problems,
            [
                f"--secrets {folder}: nobody reads DAYTONA_KEY",
                f"--secrets {folder}/MOCK_APP_PRIVATE_KEY: must be one line",
                f"--secrets {folder}/PROXY_DOMAIN: Is a directory",
                f"--secrets {folder}/REDIS_PASSWORD: must be one line",
                f"--secrets {folder}/RPC_URL: is no text in UTF-8",
            ],
        )

    def test_missing(self) -> None:
        """A folder that is not there is told with everything else."""
        options = Options()
        options.parseOptions(["--secrets", "/nowhere/at/all"])
        why = self.assertRaises(ConfigurationError, configuration_of, options, {})
        self.assertEqual(why.problems[0], "--secrets /nowhere/at/all: No such file or directory")
        self.assertGreater(len(why.problems), 3)

    def test_order(self) -> None:
        """They win over the environment file, and the environment wins over them."""
        options = Options()
        file = self.folder(environment=b"BATCH_MAX=1\nREDIS_PASSWORD=file\n") / "environment"
        held = self.folder(REDIS_PASSWORD=b"held", BATCH_MAX=b"2")
        options.parseOptions(["--env-file", str(file), "--secrets", str(held)])
        found = configuration_of(options, {**LEAST, "BATCH_MAX": "3"})
        self.assertEqual((found.redis_password, found.batch_max), ("held", 3))

    def test_devnet(self) -> None:
        """The devnet has secrets of its own."""
        options = Options()
        options.parseOptions(["--devnet", "--secrets", "/x"])
        self.assertIn("--devnet has settings of its own: leave --secrets out", options.problems())
