"""What pages say of C{systemctl}: the units are ours, and what is stopped stays stopped."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.alerts.playbook import commands
from tests.systemd.units import FOLDER


ROOT = FOLDER.parent

ALL = "sandbox-billing*"
"""Every unit that is loaded, of either layout, sockets too."""

_ASKED = re.compile(
    r"systemctl (start|stop|restart|reload|edit|status|(?:enable|disable) --now)"
    r"((?: '?sandbox-billing[\w.@*-]*'?)+)"
)


def wrongs(text: str) -> list[str]:
    """What does not hold of the units that a page names."""
    found = []
    for verb, words in _ASKED.findall(re.sub(r"\s+", " ", text)):
        for name in words.replace("'", "").split():
            if verb == "stop":
                found += [] if name == ALL else [f"{verb} {name}: the socket starts it again"]
                continue
            unit = name if name.endswith((".service", ".socket")) else f"{name}.service"
            if not (FOLDER / re.sub(r"@\d\d\.", "@.", unit)).is_file() or "@." in unit:
                found.append(f"{verb} {name}: there is no such unit")
    return found


class UnitNamesTests(SynchronousTestCase):
    """
    Whoever follows a page at night.
    """

    def test_pages(self) -> None:
        """Every unit that is named is there; who is told to stop one stops its socket, too."""
        pages = [
            *(ROOT / "docs").rglob("*.rst"),
            *(ROOT / "docs").rglob("*.md"),
            ROOT / "README.md",
        ]
        for path in [*pages, *(ROOT / "sandbox_billing" / "cli").glob("*.py")]:
            self.assertEqual([], wrongs(path.read_text("utf-8")), path)
        self.assertEqual(
            [], wrongs("`systemctl stop 'sandbox-billing*'`, `systemctl reload nginx`")
        )

    def test_sockets(self) -> None:
        """Both layouts have a socket, which is why."""
        self.assertEqual(2, len(list(FOLDER.glob("sandbox-billing*.socket"))))

    def test_wrong(self) -> None:
        """A socket that is left open, an instance of one digit, a unit of nobody's."""
        for text in (
            *("systemctl stop sandbox-billing", "systemctl stop sandbox-billing.service"),
            *("systemctl restart sandbox-billing-web@1", "systemctl start sandbox-billing-web@"),
            "systemctl enable --now sandbox-billing.socket sandbox-billing-workers.service",
        ):
            self.assertEqual(1, len(wrongs(text)), text)


class PlaybookTests(SynchronousTestCase):
    """
    What the playbook has one type first, on a machine that was installed by the page.
    """

    def told(self, more: str = "") -> tuple[str, str]:
        """What the variables are then, and what went wrong."""
        folder = Path(self.mktemp()).resolve()
        (folder / "secrets").mkdir(parents=True)
        (folder / "secrets" / "REDIS_PASSWORD").write_text("two words\n")
        (folder / "secrets" / "RPC_URL").write_text("https://node.example/?key=a&net=b")
        shutil.copy(FOLDER / "environment.example", folder / "environment")
        with (folder / "environment").open("a") as file:
            file.write(more)
        typed = "\n".join(commands("Before you need it")).replace(
            "/etc/sandbox-billing", str(folder)
        )
        names = "$PROVIDER|$REDISCLI_AUTH|$RPC_URL|$REDIS_ADDR|$METRICS|$DAYTONA|$TRUSTED_PROXIES"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc"],
            input=f'{typed}\necho "{names}"\n',
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin"},
            check=False,
        )
        return done.stdout.strip(), done.stderr

    def test_variables(self) -> None:
        """Settings and secrets are there, whatever is in them; the address is in lower case."""
        for more, then in (
            ("PROVIDER_ADDRESS=0xAB\nDAYTONA_API_URL=http://d:3000\n", "http://d:3000/api|"),
            # As the daemon reads them, too: with quotes, blanks, and the /api.
            (
                'PROVIDER_ADDRESS="0xAB"\nDAYTONA_API_URL=http://d:3000/api/\n'
                "TRUSTED_PROXIES = '10.0.0.1, 10.*' \n",
                "http://d:3000/api|10.0.0.1, 10.*",
            ),
        ):
            self.assertEqual(
                (
                    "0xab|two words|https://node.example/?key=a&net=b|localhost:6379|"
                    f"127.0.0.1:9464|{then}",
                    "",
                ),
                self.told(more),
            )

    def test_nobody(self) -> None:
        """Who is not named is asked for: else each key would look empty."""
        said, wrong = self.told()
        self.assertIn("\n|two words", f"\n{said}")
        self.assertIn("PROVIDER_ADDRESS: is told by /info", wrong)
