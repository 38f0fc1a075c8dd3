"""
Every event that the daemon can log, read from its source, and the fields it may have.

A call of a logger has a constant text and values by name.  What is here is for the page
C{docs/logs.rst} and for C{tests.test_log_fields}, which holds every call to the vocabulary
of L{sandbox_billing.log_fields}.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from string import Formatter

from attrs import frozen

from sandbox_billing.log_fields import FIELDS, FORMS


PACKAGE = Path(__file__).resolve().parents[1] / "sandbox_billing"

LOGGERS = frozenset({"_log", "log", "_LOG", "LOG", "logger", "_logger"})
"""What a logger is called here; C{tests.test_log_fields} looks that no other name is used."""

SEVERITIES = ("critical", "error", "warn", "info", "debug")

_METHODS = frozenset({*SEVERITIES, "failure", "emit"})

_LOGS = re.compile(rf"Logger|\b(?:{'|'.join(sorted(LOGGERS))})\s*\.|^[A-Z]+ = \"{{", re.MULTILINE)

_NOT_THE_DAEMON = ("devnet", "cli", "client")


@frozen(kw_only=True)
class Event:
    """
    @ivar module: Below C{sandbox_billing}, with dots: the end of C{from}.
    @ivar severity: A C{failure} is critical and has a traceback.
    @ivar text: The constant; None where it is none.
    @ivar given: The keywords, but C{failure}, and their expressions; C{**} for what is unknown.
    """

    module: str
    line: int
    severity: str
    text: str | None
    given: tuple[tuple[str, ast.expr], ...]
    traceback: bool

    @property
    def used(self) -> tuple[str, ...]:
        """The names between the braces of the text."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.text or "") if name)

    @property
    def names(self) -> tuple[str, ...]:
        """The keywords."""
        return tuple(name for name, _ in self.given)

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.module}:{self.line}"


def constants_of(trees: Iterable[ast.Module]) -> dict[str, str]:
    """Texts by the names they have at the top of a module, such as C{ACCESS}."""
    found = {}
    for tree in trees:
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                    found[name] = text
    return found


def events_of(tree: ast.AST, module: str, constants: dict[str, str]) -> Iterator[Event]:
    """The calls of loggers in a module, in the order of its lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=of) | ast.Attribute(attr=of))):
                if of in LOGGERS and node.func.attr in _METHODS:
                    yield _event(node, node.func.attr, module, constants)


def _event(call: ast.Call, method: str, module: str, constants: dict[str, str]) -> Event:
    text: str | None = None
    match call.args:
        case [ast.Constant(value=str(found)), *_]:
            text = found
        case [ast.Name(id=name), *_] if name.isupper():
            text = constants.get(name)
    return Event(
        module=module,
        line=call.lineno,
        severity="critical" if method == "failure" else method,
        text=text,
        given=tuple(
            ("**" if keyword.arg is None else keyword.arg, keyword.value)
            for keyword in call.keywords
            if method != "failure" or keyword.arg != "failure"
        ),
        traceback=method == "failure",
    )


@cache
def trees(package: Path = PACKAGE) -> dict[str, ast.Module]:
    """The modules that can have to do with a log, by their names below the package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        text = path.read_text("utf-8")
        # Nine modules of ten have not, and walking them takes seconds.
        if _LOGS.search(text):
            found[".".join(path.relative_to(package).with_suffix("").parts)] = ast.parse(text)
    return found


@cache
def events(package: Path = PACKAGE) -> tuple[Event, ...]:
    """Of the whole package."""
    modules = trees(package)
    constants = constants_of(modules.values())
    return tuple(
        event
        for module, tree in modules.items()
        for event in sorted(events_of(tree, module, constants), key=lambda one: one.line)
    )


def fields_as_rst() -> list[str]:
    """The table of fields."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 50 30", ""]
    lines += ["   * - field", "     - what it is", "     - form"]
    for one in FIELDS:
        lines += [f"   * - ``{one.name}``", f"     - {one.meaning}", f"     - {FORMS[one.form]}"]
    return [*lines, ""]


def events_as_rst() -> list[str]:
    """The tables of events, the worst first; the fields that the text does not name besides."""
    found = [one for one in events() if not one.module.startswith(_NOT_THE_DAEMON)]
    lines: list[str] = []
    for severity in SEVERITIES:
        rows = sorted(
            {_row(one) for one in found if one.severity == severity},
            key=lambda row: (row[1], row[0]),
        )
        lines += [f".. _log-events-{severity}:", "", f".. rubric:: {severity}", ""]
        lines += [".. list-table::", "   :header-rows: 1", "   :widths: 55 20 25", ""]
        lines += ["   * - event", "     - from", "     - more fields"]
        for text, module, more in rows:
            lines += [f"   * - {text}", f"     - ``{module}``", f"     - {more}"]
        lines.append("")
    return lines


def _row(event: Event) -> tuple[str, str, str]:
    more = [name for name in event.names if name not in event.used]
    told = [f"``{name}``" for name in sorted(more)] + (["a traceback"] if event.traceback else [])
    return f"``{event.text}``", event.module, ", ".join(told)
