"""A page, played from its first block to its last."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.commands.blocks import Block, Command, How, WrongMark
from tests.commands.compare import Comparison, Learnt, compare
from tests.commands.known import named_by_ci, wrongs
from tests.commands.stages import SDK, Stage
from tests.commands.terminal import SECONDS, NeverEnded, Ran, Shell


PAUSE_SECONDS = 1.5
"""Between two times that a command is repeated: each costs half a second of CPU."""


class NotAsShown(AssertionError):
    """The page says something else than what is so."""


class Player:
    """
    @ivar done: Which blocks were played, and how: nothing is left out in silence.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._learnt = Learnt()
        self._shell: Shell | None = None
        self.done: list[tuple[str, str]] = []

    def play(self, blocks: Sequence[Block]) -> None:
        """
        All of a page.

        @raise NotAsShown: With the place, what was shown and what was printed.
        """
        self._shell = Shell.open(self._stage.folder, self._stage.environment)
        try:
            for block in blocks:
                self.done.append((block.place, self._block(block)))
        finally:
            self._shell.close()

    def _block(self, block: Block) -> str:
        mark = block.mark
        if mark.how in (How.BY_CI, How.NOT_HERE):
            check(block)
        elif mark.how is How.TERMINAL:
            self._in_terminal(block)
        elif mark.by:
            return self._other(block)
        elif block.language == "console":
            commands = block.commands()
            for command, after in zip(commands, (*commands[1:], None), strict=True):
                asked = after is not None and after.text.strip() == "echo $?"
                may_fail = asked or (after is None and mark.fails)
                self._command(block, command, may_fail=may_fail)
        return mark.how.value if block.language == "console" else f"{block.language}: no command"

    def _here(self, block: Block, text: str) -> str:
        """What is to be typed."""
        for given, name in block.mark.stand_ins:
            if given not in text:
                continue
            text = text.replace(given, self._stage.name(name))
        for given, real in self._stage.stand_ins.items():
            text = text.replace(given, real)
        return self._learnt.in_command(text)

    def _command(self, block: Block, command: Command, *, may_fail: bool) -> None:
        text = self._here(block, command.text)
        deadline = time.monotonic() + SECONDS
        while True:
            assert self._shell is not None
            ran = self._shell.run(text, self._stage.hurry)
            found = self._compared(block, command, ran.said)
            well = found.missing is None and (may_fail or ran.status == 0)
            if well or not block.mark.again or time.monotonic() > deadline:
                break
            time.sleep(PAUSE_SECONDS)
        if not well:
            raise NotAsShown(_story(block, command, text, ran, found))
        if may_fail and block.mark.fails and ran.status == 0:
            raise NotAsShown(f"{block.place}: did not fail: {text}")
        self._learnt = found.learnt

    def _compared(self, block: Block, command: Command, said: Sequence[str]) -> Comparison:
        if not command.shown:
            return Comparison(learnt=self._learnt)
        for given, real in self._stage.stand_ins.items():
            said = [line.replace(real, given) for line in said]
        return compare(command.shown, said, self._learnt, block.mark.tolerance)

    def _in_terminal(self, block: Block) -> None:
        (command,) = block.commands()
        text = self._here(block, command.text)
        terminal = self._stage.terminal(block.mark.terminal, text)
        if terminal.text != text:
            raise WrongMark(f"{block.place}: something else goes on there: {terminal.text}")
        last: list[Comparison] = []

        def shown(said: str) -> bool:
            last[:] = [self._compared(block, command, said.split("\n"))]
            return last[0].missing is None

        try:
            terminal.until("what the page shows", shown)
        except NeverEnded as why:
            raise NotAsShown(f"{block.place}: {last[0].missing!r} is not in {why}") from why
        self._learnt = last[0].learnt

    def _other(self, block: Block) -> str:
        """A program in another language: by what the stage has for it, else it is compiled."""
        text = "\n".join(block.lines)
        compile(text, block.place, "exec")
        if block.mark.by == "the SDK" and not SDK.exists():
            return f"{block.language}: compiled; there is no {block.mark.by}"
        path = self._stage.folder / "block"
        path.write_text(text, "utf-8")
        self._command(
            block, Command(text=f"{self._stage.name(block.mark.by)} {path}"), may_fail=False
        )
        return f"{block.language}: run"


def check(block: Block) -> None:
    """
    What can be said of a block without running it.

    @raise NotAsShown: There is no such command, or CI does not run it.
    """
    for command in block.commands():
        if block.mark.how is How.BY_CI and not named_by_ci(command.text):
            raise NotAsShown(f"{block.place}: .ci/run does not name {command.text}")
        wrong = wrongs(command.text)
        if wrong:
            raise NotAsShown(f"{block.place}: {'; '.join(wrong)}")


def _story(block: Block, command: Command, text: str, ran: Ran, found: Comparison) -> str:
    printed = "\n".join(ran.said)
    shown = "\n".join(command.shown)
    why = f"status {ran.status}" if found.missing is None else f"not printed: {found.missing!r}"
    return f"{block.place}: {text}\n{why}\n--- shown\n{shown}\n--- printed\n{printed}"
