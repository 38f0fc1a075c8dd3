"""The playbook's sections, and the commands in them."""

from __future__ import annotations

import re
import textwrap
from functools import cache

from tests.alerts.rules import ROOT


PLAYBOOK = ROOT / "docs" / "playbook.rst"


@cache
def sections() -> dict[str, str]:
    """Of each alert, the text below its title."""
    parts = re.split(r"^([A-Za-z ]+)\n-{3,}\n", PLAYBOOK.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(name: str) -> list[str]:
    """What a section has one type."""
    found = []
    for block in re.findall(
        r"^\.\. code-block:: console\n\n((?: {3}.*\n|\n)+)", sections()[name], re.MULTILINE
    ):
        found += [line[2:] for line in textwrap.dedent(block).splitlines() if line[:2] == "$ "]
    return found
