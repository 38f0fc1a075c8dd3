"""README and tutorial, as a reader would follow them: every block is played, none left out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from tests.blackbox.process import TREE
from tests.commands.blocks import blocks_of
from tests.commands.play import Player
from tests.commands.stages import Stage


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
        for name, done in zip(PAGES, told, strict=True):
            self.assertEqual([block.place for block in blocks_of(TREE / name, name)], done, name)
        self.assertEqual([], bad)


PAGES = ("docs/tutorial.rst", "README.md")


def play(stage: Stage, name: str) -> list[str]:
    """@return: The places of all blocks that were played."""
    player = Player(stage)
    player.play(blocks_of(TREE / name, name))
    return [place for place, _ in player.done]
