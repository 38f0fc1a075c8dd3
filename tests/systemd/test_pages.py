"""What pages say of C{systemctl}: the units are ours, and what is stopped stays stopped."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

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
