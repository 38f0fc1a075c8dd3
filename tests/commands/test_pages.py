"""README and tutorial, as a reader would follow them: every block is played, none left out."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from tests.blackbox.process import TREE
from tests.commands.blocks import blocks_of
from tests.commands.known import of_sentence, wrongs
from tests.commands.play import Player
from tests.commands.stages import Production, Stage
from tests.commands.terminal import Shell


class DevnetPagesTests(SynchronousTestCase):
    """Pages for those who begin: on one devnet, at the same time, as different people."""

    timeout = 300

    def test_read_aloud(self) -> None:
        """README and tutorial say what is so, from their first block to their last."""
        stage = Stage.set_up()
        try:
            with ThreadPoolExecutor(2) as readers:
                told = list(readers.map(lambda name: play(stage, name), PAGES))
        finally:
            bad = stage.strike()
        for played, done in told:
            self.assertEqual(played, done)
        self.assertEqual([], bad)

    def test_how_to(self) -> None:
        """The guides for operators, one after the other, on one world with one user."""
        stage = Production.set_up()
        told = []
        try:
            for name in GUIDES:
                if name == LATER:
                    stage.install_later()
                told.append(play(stage, name))
                if name == GUIDES[0]:
                    rent(stage)
        finally:
            bad = stage.strike()
        for played, done in told:
            self.assertEqual(played, done)
        self.assertEqual([], bad)

    def test_other_pages(self) -> None:
        """On pages that are not played every command of ours is there, with its options."""
        found = 0
        for path in sorted([*(TREE / "docs").glob("*.rst"), *(TREE / "docs").glob("*.md")]):
            for typed in _TYPED.findall(path.read_text("utf-8")):
                found += 1
                with self.subTest(page=path.name):
                    self.assertEqual([], wrongs(typed, of_others=False), typed)
        self.assertGreater(found, 100)

    def test_sentences(self) -> None:
        """Commands of ours that are named within a sentence are there, too."""
        found = 0
        for path in [*(TREE / "docs").glob("*.rst"), *(TREE / "docs").glob("*.md")]:
            text = " ".join(path.read_text("utf-8").split())
            for named in re.findall(r"`sandbox-billing ([^`]+)`", text):
                found += 1
                self.assertEqual([], of_sentence(named.split()), path.name)
        self.assertGreater(found, 50)
        self.assertNotEqual([], of_sentence(["queue", "show"]))

    def test_every_guide(self) -> None:
        """No guide is left out."""
        self.assertEqual({f"docs/{p.name}" for p in (TREE / "docs").glob("howto_*")}, set(GUIDES))


_TYPED = re.compile(r"^ *\$ ((?:.*\\\n)*.*)$", re.MULTILINE)

PAGES = ("docs/tutorial.rst", "README.md")

LATER = "docs/howto_upgrade_contract.rst"
"""From here on the next release is installed."""

GUIDES = (
    "docs/howto_production.rst",
    "docs/howto_change_prices.rst",
    LATER,
    "docs/howto_rotate_key.rst",
    "docs/howto_leave.rst",
)


def rent(stage: Production) -> None:
    """As the guides' one user: a sandbox that runs, and is paid for however long they take."""
    shell = Shell.open(stage.folder, stage.environment)
    try:
        for text in (
            f"export SANDBOX_BILLING_URL={stage.proxy}",
            "sandbox-billing user deposit '9 0G'",
            "sandbox-billing user acknowledge --version 1",
            "sandbox-billing user create --name desk",
        ):
            ran = shell.run(text, stage.hurry)
            assert ran.status == 0, ran
    finally:
        shell.close()


def play(stage: Stage, name: str) -> tuple[list[str], list[str]]:
    """@return: The places of all blocks of a page, and of those that were played."""
    blocks, player = blocks_of(TREE / name, name), Player(stage)
    player.play(blocks)
    return [block.place for block in blocks], [place for place, _ in player.done]
