"""The command line, from the commands themselves, for C{docs/reference_cli.rst}."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import Any

import click
from twisted.python import usage

from sandbox_billing.cli.exits import MEANINGS
from sandbox_billing.cli.main import cli
from sandbox_billing.tap import Options


Row = tuple[str, ...]


_MARKUP = re.compile(r"[*`|\\]|(?<=\w)_(?=\W|$)|(?<=\w):(?=\w)")

_LITERAL = re.compile(r"(?<![\w-])(?:--[a-z][\w-]*|[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])(?![\w-])")
"""Options and variables, which a reader shall be able to copy."""


def plain(text: str) -> str:
    """A help text as reStructuredText: its words are no markup, options and variables literal."""
    parts, at = [], 0
    for found in _LITERAL.finditer(text):
        parts += [_MARKUP.sub(r"\\\g<0>", text[at : found.start()]), f"``{found[0]}``"]
        at = found.end()
    return "".join([*parts, _MARKUP.sub(r"\\\g<0>", text[at:])])


def paragraphs(help_text: str | None) -> list[str]:
    """A help text; what click is told not to wrap (C{\\b}) is a block of its own."""
    lines: list[str] = []
    for paragraph in cleandoc(help_text or "").partition("\f")[0].split("\n\n"):
        if paragraph.startswith("\b"):
            block = paragraph.removeprefix("\b").strip("\n").splitlines()
            lines += ["::", "", *(f"   {line}" for line in block), ""]
        elif paragraph.strip():
            lines += [plain(" ".join(paragraph.split())), ""]
    return lines


def table(header: Row, widths: str, rows: Iterable[Row]) -> list[str]:
    """A C{list-table}, or nothing where there are no rows."""
    rows = list(rows)
    if not rows:
        return []
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (header, *rows):
        lines += [f"   {'*' if at == 0 else ' '} - {cell}" for at, cell in enumerate(row)]
    return [*lines, ""]


def commands(
    command: click.Command, parent: click.Context | None, name: str
) -> Iterator[click.Context]:
    """A command and all below it, in the order of its help."""
    context = click.Context(command, info_name=name, parent=parent)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            if not found.hidden:
                yield from commands(found, context, below)


def _default(option: click.Option, context: click.Context) -> str:
    found = option.get_default(context, call=False)
    if found is None or option.is_flag or callable(found) or "UNSET" in repr(found):
        return ""
    return f"``{found}``" if str(found) else ""


def _option(option: click.Option, context: click.Context) -> Row:
    spelt = ", ".join(f"``{one}``" for one in (*option.opts, *option.secondary_opts))
    if not option.is_flag and not option.count:
        spelt += f" ``{option.make_metavar(context)}``"
    told = " ".join((option.help or "").split())
    words = [plain(re.sub(r" ?\[env: [^]]*\]", "", told))]
    if option.required:
        words.append("Required.")
    if option.multiple:
        words.append("May be given more than once.")
    if option.envvar:
        names = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar)
        words.append("From " + " or ".join(f"``{one}``" for one in names) + ".")
    return spelt, _default(option, context) or " ", " ".join(filter(None, words))


def _of_command(context: click.Context) -> list[str]:
    command, path = context.command, context.command_path
    under = '"' if context.parent and context.parent.parent else "~"
    anchor = f".. _command-{path.replace(' ', '-')}:"
    lines = [anchor, "", path, under * len(path), ""]
    pieces = " ".join(command.collect_usage_pieces(context))
    lines += [".. code-block:: text", "", f"   {path} {pieces}", ""]
    lines += paragraphs(command.help)
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    rows = [_option(one, context) for one in options if not one.hidden and "--help" not in one.opts]
    return [*lines, *table(("option", "default", "what it does"), "40 15 45", rows)]


def commands_as_rst() -> list[str]:
    """Every command of C{sandbox-billing}, and what its exit status says."""
    lines: list[str] = []
    for context in commands(cli, None, "sandbox-billing"):
        lines += _of_command(context)
    title = "Exit status"
    lines += [title, "~" * len(title), ""]
    rows = [(str(int(code)), plain(text)) for code, text in MEANINGS.items()]
    return [*lines, *table(("status", "meaning"), "15 85", rows)]


def daemon_as_rst(options: Any = Options) -> list[str]:
    """The options of C{twistd sandbox-billing}."""
    rows: list[Row] = []
    for name, short, default, *doc in options.optParameters:
        spelt = f"``--{name}=``" + (f", ``-{short}``" if short else "")
        shown = " " if default is None else f"``{default}``"
        rows.append((spelt, shown, plain(doc[0])))
    for name, short, doc in options.optFlags:
        rows.append((f"``--{name}``" + (f", ``-{short}``" if short else ""), " ", plain(doc)))
    assert issubclass(options, usage.Options)
    return table(("option", "default", "what it does"), "35 15 50", rows)
