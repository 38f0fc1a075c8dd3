"""Pages that are wrong are found out; in a real shell, with commands of nobody's."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commands.blocks import WrongMark, blocks_of
from tests.commands.play import NotAsShown, Player
from tests.commands.stages import Stage


GO_ON = "trap 'exit 0' INT; echo up at 127.0.0.1:4711; while true; do sleep 0.1; done"


class PlayerTests(SynchronousTestCase):
    """What becomes of blocks."""

    def setUp(self) -> None:
        """A stage without anything on it."""
        self.stage = Stage.set_up()
        self.addCleanup(self.stage.strike)

    def play(self, *blocks: str) -> list[tuple[str, str]]:
        """A page of console blocks, each with its mark in the first line if it has one."""
        text = ""
        for block in blocks:
            lines = block.split("\n")
            if lines[0].startswith(".."):
                text += f"{lines.pop(0)}\n\n"
            body = "".join(f"   {line}\n" for line in lines)
            text += f".. code-block:: console\n\n{body}\n"
        path = Path(self.mktemp()).with_suffix(".rst")
        path.write_text(text, "utf-8")
        player = Player(self.stage)
        player.play(blocks_of(path, "page"))
        return player.done

    def test_well(self) -> None:
        """One shell for all blocks; output is compared; a status is asked for, or is 0."""
        done = self.play("$ export A=1\n$ false\n$ echo $?\n1", "$ echo $A; echo x >&2\n1\nx")
        self.assertEqual(["page:3", "page:10"], [place for place, _ in done])

    def test_wrong(self) -> None:
        """Another output, more of it, a failure, and a success where none should be."""
        for block in (
            "$ echo one\ntwo",
            "$ printf 'one\\ntwo\\n'\none",
            "$ true\none",
            "$ false",
            ".. commands: fails\n$ true",
            ".. commands: by .ci/run\n$ bin/nothing",
            ".. commands: not here: a reason that is one\n$ sandbox-billing nothing",
        ):
            with self.subTest(block=block):
                self.assertRaises(NotAsShown, self.play, block)

    def test_again(self) -> None:
        """A command that waits for something is repeated."""
        self.play(".. commands: again\n$ echo x >> log; wc -l < log\n2")

    def test_terminal(self) -> None:
        """It goes on, its port is learnt, another page shares it; in the end it is interrupted."""
        block = f'.. commands: terminal one\n$ bash -c "{GO_ON}"\nup at 127.0.0.1:1234'
        self.play(block, "$ echo at 127.0.0.1:1234\nat 127.0.0.1:1234")
        self.play(block)
        self.assertEqual(["one"], list(self.stage.terminals))
        self.assertRaises(WrongMark, self.play, ".. commands: terminal one\n$ sleep 9")
        self.assertRaises(NotAsShown, self.play, ".. commands: terminal two\n$ echo a\nb")
        self.assertEqual([], self.stage.strike())

    def test_stubborn(self) -> None:
        """What Ctrl-C does not end is told and killed, and keeps nothing else from its end."""
        deaf = "trap '' INT; echo up; sleep 99"
        for name, text in (("before", GO_ON), ("deaf", deaf), ("after", GO_ON)):
            self.play(f'.. commands: terminal {name}\n$ bash -c "{text}"\nup…')
        processes = [one.process for one in self.stage.terminals.values()]
        self.assertIn("deaf ended with -9", " ".join(self.stage.strike(seconds=1)))
        self.assertNotIn(None, [one.poll() for one in processes])
