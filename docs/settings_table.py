"""
The settings as tables: for the documents, for the README, and as an example environment.

C{configuration.SETTINGS} is the single source.  C{python docs/settings_table.py} writes
the README's table and the example anew; C{tests.test_docs} holds both to the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox_billing.configuration import REQUIRED, SETTINGS, Setting


ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
EXAMPLE = ROOT / "systemd" / "environment.example"

BEGIN = "<!-- settings: written by docs/settings_table.py -->"
END = "<!-- end of settings -->"


def default_of(setting: Setting) -> str:
    """In words where there is no value."""
    if setting.default is REQUIRED:
        return "required"
    return str(setting.default) or "none"


def rows() -> list[tuple[str, str, str]]:
    """Name, default, and what it is for."""
    return [(setting.name, default_of(setting), setting.help) for setting in SETTINGS]


def as_rst() -> list[str]:
    """The lines of a C{list-table}."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 34 24 42", ""]
    lines += ["   * - variable", "     - default", "     - what it is"]
    for name, default, text in rows():
        default = default if default in ("required", "none") else f"``{default}``"
        lines += [f"   * - ``{name}``", f"     - {default}", f"     - {text}"]
    return [*lines, ""]


def as_markdown() -> str:
    """The README's table, between its markers."""
    lines = [BEGIN, "", "| variable | default | what it is |", "|---|---|---|"]
    for name, default, text in rows():
        default = default if default in ("required", "none") else f"`{default}`"
        lines.append(f"| `{name}` | {default} | {text} |")
    lines += ["", END]
    return "\n".join(lines)


def as_environment() -> str:
    """An environment file: what is required is empty, the rest stands at its default."""
    lines = [
        "# Settings of sandbox-billing: copy to /etc/sandbox-billing/environment, mode 0640.",
        "# Leave secrets empty: they are files of their own (docs/installing.rst).",
        "# Written by docs/settings_table.py; docs/operations.rst explains.",
        "# A name that nobody reads, and an empty value that is required, end the daemon",
        "# with status 78 and are all listed at once.",
        "",
    ]
    for name, default, text in rows():
        if text:
            lines.append(f"# {text}")
        given = "" if default in ("required", "none") else default
        lines += [f"{'' if default == 'required' else '#'}{name}={given}", ""]
    return "\n".join(lines)


def in_readme(text: str) -> str:
    """
    @param text: The README.
    @return: The same with today's table.
    """
    between = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    return between.sub(lambda _found: as_markdown(), text)


if __name__ == "__main__":
    README.write_text(in_readme(README.read_text("utf-8")), "utf-8")
    EXAMPLE.write_text(as_environment(), "utf-8")
