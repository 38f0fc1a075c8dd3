"""
What a command says: its result on stdout, everything else on stderr.

With C{--json} stdout carries one JSON document and nothing else, also when the command
fails: C{{"error": text, "code": exit status}}, and C{transactions} if it has sent any.
Amounts are decimal strings of neuron.

Tests: L{tests.cli.test_output}.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn, Protocol

import click

from sandbox_billing.cli.exits import FAMILIES, Exit, exit_of
from sandbox_billing.errors import Refused


Rows = Sequence[tuple[str, str]]

_WIDE = 100_000
"""
Columns: nothing is ever folded by us.  A terminal wraps a long hash by itself, and it can still
be copied in one piece.
"""


class Progress(Protocol):
    """
    Tells how far one piece of work is.
    """

    def say(self, text: str) -> None:
        """@param text: What is being waited for now."""


class _Lines:
    """Progress where nobody watches: a line for each change."""

    def __init__(self) -> None:
        self._last = ""

    def say(self, text: str) -> None:
        if text != self._last:
            click.echo(text, err=True)
        self._last = text


class Output:
    """
    One command's voice.

    @ivar json: Whether a script listens.
    @ivar again: What to do when something was mined, and something after it failed.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.again = "run it again"
        self._sent: dict[str, Mapping[str, Any]] = {}
        # What moves on the terminal now.
        self._bar: Any = None

    def note(self, text: str) -> None:
        """A line for whoever watches; on stderr."""
        click.echo(text, err=True)

    # -- what was sent in this run, for the case that it fails

    @property
    def sent(self) -> Sequence[Mapping[str, Any]]:
        """In order; C{block} is None for what was not seen mined."""
        return tuple(self._sent.values())

    def sending(self, label: str, hashed: str) -> None:
        """Something is about to be broadcast."""
        # Waited for a second time it may be mined already.
        self._sent.setdefault(hashed, {"label": label, "hash": hashed, "block": None})

    def forget(self, hashes: Iterable[str]) -> None:
        """None of them is or will be in any block: not taken, or replaced."""
        for hashed in hashes:
            self._sent.pop(hashed, None)

    def mined(self, document: Mapping[str, Any]) -> None:
        """@param document: With its C{label}, C{hash} and C{block}."""
        self._sent[document["hash"]] = document

    # -- the end

    def finish(
        self, document: Mapping[str, Any], *, title: str, rows: Rows, lines: Sequence[str] = ()
    ) -> None:
        """
        The result; once, at the end.

        @param document: For scripts; amounts in it are decimal strings already.
        @param rows: For people: names and values.
        @param lines: What is too long for a table; below it.
        """
        self.finish_table(document, title=title, columns=("", ""), rows=rows)
        if not self.json:
            for line in lines:
                click.echo(printable(line))

    def finish_table(
        self,
        document: Mapping[str, Any],
        *,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
    ) -> None:
        """
        As L{finish}, with columns of one's own.
        """
        if self.json:
            click.echo(json.dumps(document, indent=2))
            return
        # A tenth of a second that --json and --help need not pay.
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(width=_WIDE, highlight=False)
        headed = any(columns)
        table = Table(box=SIMPLE, show_header=headed)
        for place, column in enumerate(columns):
            table.add_column(
                column, no_wrap=True, overflow="ignore", style="cyan" if place == 0 else ""
            )
        for row in rows:
            # As text: a URL on chain may contain what rich takes for markup.
            table.add_row(*(Text(printable(cell)) for cell in row))
        with console.capture() as written:
            # Not as the table's own: rich folds that to the width of the columns.
            console.print(Text(printable(title), style="bold"))
            if rows:
                console.print(table)
        # rich fills every line with blanks.
        click.echo("\n".join(line.rstrip() for line in written.get().splitlines()))

    def fail(self, text: str, code: Exit) -> NoReturn:
        """
        End the command.

        Whatever it is: with a transaction mined it was not nothing, and nobody shall read that.

        @param text: What is wrong and what to do.
        """
        mined = [one for one in self.sent if one["block"] is not None]
        if mined:
            hashes = ", ".join(f"{one['label']} {one['hash']}" for one in mined)
            count = "1 transaction is" if len(mined) == 1 else f"{len(mined)} transactions are"
            text = f"{text}. Before that {count} mined: {hashes}; {self.again}"
            code = Exit.UNKNOWN
        if self.json:
            document: dict[str, Any] = {"error": text, "code": int(code)}
            if self.sent:
                document["transactions"] = self.sent
            click.echo(json.dumps(document, indent=2))
        click.echo(f"sandbox-billing: {text}", err=True)
        raise click.exceptions.Exit(int(code))

    def ask(self, question: str, *, yes: bool, hint: str | None = None) -> None:
        """
        Ask the person at the terminal before money moves.

        A script is not asked: it has named what it wants.

        @param yes: C{--yes}: do not ask.
        @param hint: Nor may a script pass: what it has to say instead, C{add --yes if ...}.
        @raise Refused: The answer is no.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            if hint is not None:
                raise Refused(f"{question} There is nobody to ask: {hint}")
            return
        with self._still(), _hearing():
            agreed = click.confirm(question, err=True)
        if not agreed:
            raise Refused("stopped at the question; nothing was sent")

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Without what moves, which would go on below a question and take its [y/N] for its own."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """
        A display that moves on a terminal and is plain lines elsewhere; on stderr.
        """
        if not sys.stderr.isatty():
            yield _Lines()
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        class _Moving:
            def say(self, text: str) -> None:
                bar.update(task, description=escape(text))

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            self._bar = bar
            try:
                yield _Moving()
            finally:
                self._bar = None


@contextmanager
def _hearing() -> Iterator[None]:
    """Ctrl-C ends a question also under the reactor, which stands still meanwhile."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def printable(text: str) -> str:
    """Text that somebody else wrote, without what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Adds C{--json}, passes C{out}, and ends the command by the family of what it raises.

    The decorator next to C{@click.command()}.
    """

    @click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
    @wraps(command)
    def wrapped(*args: Any, as_json: bool, **kwargs: Any) -> None:
        out = Output(json=as_json)
        try:
            command(*args, out=out, **kwargs)
        except FAMILIES as problem:
            out.fail(str(problem), exit_of(problem))
        except (KeyboardInterrupt, click.Abort):
            out.fail("stopped; nothing more was sent", Exit.INTERRUPTED)

    return wrapped
