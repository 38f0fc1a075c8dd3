"""Blocks of a page, the commands in them, and the marks above them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, unique
from pathlib import Path

from attrs import field, frozen


PLAIN = frozenset({"text", "", "ini", "json", "yaml", "nginx", "sql", "none"})
"""Languages in which nothing is a command."""

_RST_BLOCK = re.compile(r"^( *)\.\. code-block::(.*)$")
_RST_MARK = re.compile(r"^ *\.\. commands: (.+)$")
_MD_FENCE = re.compile(r"^(```+)(.*)$")
_MD_MARK = re.compile(r"^<!-- commands: (.+) -->$")


class WrongMark(Exception):
    """A mark that nobody knows, or a block that cannot be understood."""


@unique
class How(Enum):
    """What becomes of a block."""

    RUN = "run"
    TERMINAL = "terminal"
    BY_CI = "by .ci/run"
    NOT_HERE = "not here"
    SHOWN = "shown"


@frozen(kw_only=True)
class Mark:
    """
    What is said above a block.

    @ivar terminal: Its name.
    @ivar by: What runs a block of another language.
    @ivar tolerance: Of amounts, in percent; None for any amount at all.
    @ivar stand_ins: Text of commands, and the stage's name of what it stands for.
    """

    how: How = How.RUN
    terminal: str = ""
    by: str = ""
    reason: str = ""
    tolerance: int | None = 0
    again: bool = False
    fails: bool = False
    stand_ins: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Command:
    """
    @ivar text: What is typed; may be of several lines.
    @ivar shown: Lines of output on the page; nothing when none are shown.
    """

    text: str
    shown: tuple[str, ...] = ()


@frozen(kw_only=True)
class Block:
    """
    @ivar line: Of its first line in the page, from 1.
    """

    page: str
    line: int
    language: str
    lines: tuple[str, ...]
    mark: Mark = field(factory=Mark)

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"

    def commands(self) -> tuple[Command, ...]:
        """
        @raise WrongMark: Output stands above the first command.
        """
        found: list[tuple[list[str], list[str]]] = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append(([line[2:]], []))
            elif not found:
                raise WrongMark(f"{self.place}: a console block begins with $: {line}")
            elif found[-1][0][-1].endswith("\\") and not found[-1][1]:
                found[-1][0].append(line)
            else:
                found[-1][1].append(line)
        return tuple(
            Command(text="\n".join(typed), shown=tuple(line for line in shown if line.strip()))
            for typed, shown in found
        )


def read_mark(text: str, place: str) -> Mark:
    """
    @raise WrongMark: Nobody knows it.
    """
    told: dict[str, object] = {}
    stand_ins: list[tuple[str, str]] = []
    for part in (part.strip() for part in text.split(";")):
        word, _, rest = part.partition(" ")
        if word == "terminal" and rest:
            told |= {"how": How.TERMINAL, "terminal": rest}
        elif part == "amounts differ":
            told["tolerance"] = None
        elif found := re.fullmatch(r"amounts within (\d+) %", part):
            told["tolerance"] = int(found[1])
        elif part in ("again", "fails"):
            told[part] = True
        elif word == "with" and " = " in rest:
            given, _, name = rest.rpartition(" = ")
            stand_ins.append((given, name))
        elif word == "run" and rest:
            told["by"] = rest
        elif part == "by .ci/run":
            told["how"] = How.BY_CI
        elif found := re.fullmatch(r"(not here|shown): (.{8,})", part):
            told |= {"how": How(found[1]), "reason": found[2]}
        else:
            raise WrongMark(f"{place}: nobody knows the mark {part!r}")
    return Mark(**told, stand_ins=tuple(stand_ins))  # type: ignore[arg-type]


def blocks_of(path: Path, name: str) -> tuple[Block, ...]:
    """
    Every block of a page, in order.

    @param name: What the page is called in messages.
    @raise WrongMark: A mark is unknown, or stands above no block.
    """
    lines = path.read_text("utf-8").split("\n")
    finder = _rst_blocks if path.suffix == ".rst" else _md_blocks
    found, marks = [], dict(_marks(lines))
    for line, first, language, content in finder(lines):
        above = line - 1
        while above > 0 and not lines[above - 1].strip():
            above -= 1
        text = marks.pop(above, None)
        place = f"{name}:{first}"
        mark = Mark() if text is None else read_mark(text, place)
        block = Block(page=name, line=first, language=language, lines=tuple(content), mark=mark)
        found.append(_checked(block, marked=text is not None))
    if marks:
        raise WrongMark(f"{name}: marks above no block: {marks}")
    return tuple(found)


def _checked(block: Block, *, marked: bool) -> Block:
    """
    @raise WrongMark: It is of a kind for which there is no rule.
    """
    how, language = block.mark.how, block.language
    if language == "console":
        if how is How.SHOWN:
            raise WrongMark(f"{block.place}: a console block has commands")
        block.commands()
    elif language in PLAIN and not marked:
        if any(line.startswith("$ ") for line in block.lines):
            raise WrongMark(f"{block.place}: commands in a block of {language or 'no language'}")
    elif how is not How.SHOWN and not block.mark.by:
        raise WrongMark(f"{block.place}: a block of {language} needs 'run NAME' or 'shown: REASON'")
    return block


def _marks(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Numbers of lines, from 1, and the marks in them."""
    for number, line in enumerate(lines, 1):
        found = _RST_MARK.match(line) or _MD_MARK.match(line)
        if found:
            yield number, found[1]


def _rst_blocks(lines: list[str]) -> Iterator[tuple[int, int, str, list[str]]]:
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.rstrip().endswith("::") and not line.lstrip().startswith(".. "):
            raise WrongMark(f"line {number}: say which language it is: .. code-block::")
        found = _RST_BLOCK.match(line)
        if not found:
            continue
        opened, content = number, []
        while number < len(lines) and (
            not lines[number].strip() or lines[number].startswith(found[1] + "   ")
        ):
            content.append(lines[number].removeprefix(found[1] + "   "))
            number += 1
        while content and (not content[0].strip() or content[0].startswith(":")):
            content.pop(0)
        first = number - len(content) + 1
        while content and not content[-1].strip():
            content.pop()
        yield opened, first, found[2].strip(), content


def _md_blocks(lines: list[str]) -> Iterator[tuple[int, int, str, list[str]]]:
    number = 0
    while number < len(lines):
        found = _MD_FENCE.match(lines[number])
        number += 1
        if not found:
            continue
        opened, content = number, []
        while lines[number] != found[1]:
            content.append(lines[number])
            number += 1
        number += 1
        yield opened, opened + 1, found[2].strip(), content
