"""
The table of C{docs/traps.md}: each known failure that is put back into the daemon, and what
notices it.

The traps are the source.  C{python -m docs.traps_table} writes the page anew;
C{tests.test_docs} holds it to them.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from tests.traps.trap import Notice, TrapCase, traps_of


ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "traps.md"
BEGIN, END = "<!-- traps: written by docs/traps_table.py -->", "<!-- end of traps -->"


def _place(path: Path) -> tuple[str, int]:
    """Sorted by group, then by number."""
    found = re.fullmatch(r"test_([a-z])(\d+)", path.stem)
    assert found is not None, path
    return found[1], int(found[2])


def rows() -> list[tuple[str, str, list[str]]]:
    """Id, what is put back, and what notices it."""
    found = []
    for path in sorted((ROOT / "tests" / "traps").glob("test_*.py"), key=_place):
        module = import_module(f"tests.traps.{path.stem}")
        for group in vars(module).values():
            if isinstance(group, type) and issubclass(group, TrapCase) and group is not TrapCase:
                id_ = path.stem.removeprefix("test_").upper()
                found += [(id_, told, [_name(n) for n in by]) for told, by in traps_of(group)]
    return found


def _name(notice: Notice) -> str:
    """A test method without the package they share; or a story."""
    if isinstance(notice, str):
        return f"`{notice.removeprefix('tests.')}`"
    return str(notice).removeprefix("tests.")


def as_markdown() -> str:
    """The table."""
    lines = ["| id | what is put back | noticed by |", "|---|---|---|"]
    lines += [f"| {id_} | {told} | {', '.join(by)} |" for id_, told, by in rows()]
    return "\n".join(lines)


def written(page: str) -> str:
    """
    @param page: The page.
    @return: The same with today's table between its markers.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{as_markdown()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
