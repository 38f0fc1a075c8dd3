"""How the documents are built: C{sphinx-build -W -b html docs build/docs}, without a network."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles


# The tree, not what is installed; the modules beside this one are C{docs.*}, as to the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sandbox_billing import __version__


project = "sandbox_billing"
author = "the authors of sandbox_billing"
project_copyright = "the authors of sandbox_billing; MIT licence"
version = release = __version__
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"sandbox_billing {__version__}"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
templates_path: list[str] = []

MADE = {
    "settings-table": "settings_table.as_rst",
    "log-fields": "log_events.fields_as_rst",
    "log-events": "log_events.events_as_rst",
    "http-reference": "http_reference.as_rst",
    "command-reference": "cli_reference.commands_as_rst",
    "daemon-options": "cli_reference.daemon_as_rst",
    "keys-table": "keys_table.as_rst",
    "metrics-table": "metrics_table.as_rst",
}
"""What stands for a directive: the function, of a module beside this one, that gives its lines."""


class Made(SphinxDirective):
    """Text that is made from the code each time, so that it cannot say anything else."""

    source: ClassVar[str]

    def run(self) -> list[nodes.Node]:
        """Have the lines read as if they stood there; they are made anew in each build."""
        module, _, name = self.source.partition(".")
        lines = StringList(getattr(import_module(f"docs.{module}"), name)(), source=self.source)
        self.env.note_reread()
        holder = nodes.section()
        holder.document = self.state.document
        nested_parse_with_titles(self.state, lines, holder, self.content_offset)
        return holder.children


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    for name, source in MADE.items():
        app.add_directive(name, type(f"Made_{name}", (Made,), {"source": source}))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
