"""What C{docs/cli.rst} and the pages beside it say of the command line is so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from eth_utils.crypto import keccak
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.cli.exits import MEANINGS
from sandbox_billing.cli.main import cli as group


DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (
    "cli.rst",
    "cli_user.rst",
    "cli_provider.rst",
    "cli_operator.rst",
    "cli_queue.rst",
    "cli_reconcile.rst",
    "migration.rst",
)

OPERATORS = ("operator ", "audit export", "provider snapshot", "provider delete-snapshot")

ALIASES = {"provider init-service": "provider register"}

_FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")
_HEADING = re.compile(r"^(.+)\n-{3,}$", re.MULTILINE)
_CONSOLE = re.compile(r"^   \$ (?:.*\\\n)*.*$", re.MULTILINE)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by the words that call it."""
    return below(group, "", click.Context(group))


def below(
    above: click.Group, words: str, context: click.Context
) -> Iterator[tuple[str, click.Command]]:
    """A group's commands and those of its groups; a group that can be called is one, too."""
    for part in above.list_commands(context):
        command = above.get_command(context, part)
        assert command is not None
        name = f"{words} {part}".strip()
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield name, command
        if isinstance(command, click.Group):
            yield from below(command, name, context)


def called(words: list[str], known: Iterable[str]) -> str:
    """The command that a line of a shell calls."""
    starts = (" ".join(words[1:count]) for count in (4, 3, 2))
    return next(name for name in starts if name in known)


def flags(command: click.Command) -> set[str]:
    """Every option's names."""
    return {
        flag
        for option in command.params
        if isinstance(option, click.Option)
        for flag in (*option.opts, *option.secondary_opts)
    }


class DocsTests(SynchronousTestCase):
    """The pages and the code."""

    def setUp(self) -> None:
        """Read them, by sections."""
        self.pages = {name: (DOCS / name).read_text("utf-8") for name in PAGES}
        self.sections: dict[str, str] = {}
        for text in self.pages.values():
            pieces = _HEADING.split(text)[1:]
            self.sections.update(zip(pieces[::2], pieces[1::2], strict=True))

    def test_exits(self) -> None:
        """Every exit status with its meaning, and no other."""
        page = self.pages["cli.rst"]
        found = re.findall(r"^   \* - (\d+)\n     - (.+)$", page, re.MULTILINE)
        self.assertEqual([(str(int(code)), text) for code, text in MEANINGS.items()], found)

    def test_flags(self) -> None:
        """Each command has its section, and each flag is in it or among those of all commands."""
        everywhere = set(_FLAG.findall(self.sections["What all commands share"]))
        of_users = set(_FLAG.findall(self.sections["What the user's commands share"]))
        of_operators = set(_FLAG.findall(self.sections["What the operator's commands share"]))
        for name, command in commands():
            with self.subTest(command=name):
                shared = everywhere | (of_users if name.startswith("user ") else set())
                shared |= of_operators if name.startswith(OPERATORS) else set()
                section = self.sections[ALIASES.get(name, name)]
                named, known = set(_FLAG.findall(section)), flags(command)
                self.assertEqual(set(), known - shared - named, f"{name}: not documented")
                self.assertEqual(set(), named - known, f"{name}: has none of these")

    def test_shared(self) -> None:
        """What all commands share is known to some; and a flag of one command is not among it."""
        known = [flags(command) for _, command in commands()]
        for flag in _FLAG.findall(self.sections["What all commands share"]):
            self.assertGreater(sum(flag in each for each in known), 1, flag)

    def test_environment(self) -> None:
        """Every variable that an option reads is named."""
        text = "".join(self.pages.values())
        for name, command in commands():
            for option in command.params:
                if option.envvar is not None:
                    self.assertIn(f"``{option.envvar}``", text, f"{name} {option.name}")

    def test_examples(self) -> None:
        """Every command line that is shown names a command and only flags that it has."""
        known = dict(commands())
        found = 0
        for line in _CONSOLE.findall("".join(self.pages.values())):
            words = line.replace("\\\n", " ").split()[1:]
            if words[0] != "sandbox-billing":
                continue
            if words[1].startswith("-"):
                continue
            found += 1
            name, ours = called(words, known), line.partition(" -- ")[0]
            self.assertEqual(set(), set(_FLAG.findall(ours)) - flags(known[name]), line)
        self.assertGreater(found, 3)

    def test_links(self) -> None:
        """Each page leads to the other."""
        for page in ("cli_operator", "cli_provider", "cli_user"):
            self.assertIn(f":doc:`{page}`", self.pages["cli.rst"])
            self.assertIn(":doc:`cli`", self.pages[f"{page}.rst"])

    def test_handing_over(self) -> None:
        """The calls of the recipe are those of both contracts, and the events too."""
        section = self.sections["Handing over the contract and its beacon"]
        named = set(re.findall(r"'(\w+\([a-z]*\)(?:\(\w+\))?)'", section))
        self.assertEqual(
            {"transferOwnership(address)", "acceptOwnership()", "owner()(address)"}, named - _VIEWS
        )
        for contract in ("SandboxServing", "UpgradeableBeacon"):
            codec = Codec(contract)
            for call, arguments in (
                ("transferOwnership(address)", ("0x" + "11" * 20,)),
                ("acceptOwnership()", ()),
            ):
                data = codec.calldata(call.partition("(")[0], *arguments)
                self.assertEqual(keccak(text=call)[:4], data[:4])
                self.assertIn(f"``0x{data[:4].hex()}``", section)


_VIEWS = {"pendingOwner()(address)"}
