"""How the documents are built: C{sphinx-build -W -b html docs build/docs}, without a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from sandbox_billing import __version__


sys.path.insert(0, str(Path(__file__).parent))

project = "sandbox_billing"
author = "the authors of sandbox_billing"
project_copyright = "the authors of sandbox_billing; MIT licence"
version = release = __version__
html_theme = "furo"
html_title = f"sandbox_billing {__version__}"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
templates_path: list[str] = []


class SettingsTable(SphinxDirective):
    """C{.. settings-table::}: every setting, from the code itself."""

    def run(self) -> list[nodes.Node]:
        """Write the table and have it read as if it stood there."""
        import settings_table

        from sandbox_billing import configuration

        self.env.note_dependency(configuration.__file__)
        lines = StringList(settings_table.as_rst(), source=configuration.__file__)
        holder = nodes.container()
        self.state.nested_parse(lines, self.content_offset, holder)
        return holder.children


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("settings-table", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
