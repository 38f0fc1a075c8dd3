"""
Methods and paths out of Daytona's published OpenAPI files, for C{daytona_routes.txt}.

Run by hand when there is a new release to classify, never by a test::

    python -m tests.web.data.extract_routes api-v0.149.0.yaml api-v0.190.0.yaml ...

Lines that the list has keep their policy; a new one gets C{?}, which the test refuses.
A file called C{toolbox-...} describes what stands below C{/toolbox/{sandboxId}}.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path


LIST = Path(__file__).with_name("daytona_routes.txt")

_PATH = re.compile(r"^  (?:'|\")?(/[^:'\"]*)(?:'|\")?:\s*$")
_METHOD = re.compile(r"^    (get|post|put|patch|delete|head|options):\s*$")


def routes_of(text: str) -> Iterator[tuple[str, str]]:
    """
    Methods and paths, in the file's order.

    @param text: A YAML file as the generator writes it: paths two blanks deep.
    """
    _, _, below = text.partition("\npaths:\n")
    path = ""
    for line in below.splitlines():
        if line and not line.startswith(" "):
            return
        if found := _PATH.match(line):
            path = found[1]
        elif found := _METHOD.match(line):
            yield found[1].upper(), path


def main(files: list[Path]) -> None:
    """Write the list anew."""
    lines = LIST.read_text("utf-8").splitlines() if LIST.exists() else []
    notes = [line for line in lines if line.startswith("#") or not line]
    known: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for line in lines:
        if line not in notes:
            policy, method, path, *versions = line.split()
            known[method, path] = (policy, [v for v in versions if v == "later"])
    for file in files:
        kind, _, version = file.stem.partition("-")
        short = ".".join(version.removeprefix("v").split(".")[:2])
        below = "/toolbox/{sandboxId}" if kind == "toolbox" else "/api"
        for method, path in routes_of(file.read_text("utf-8")):
            policy, versions = known.setdefault((method, below + path), ("?", []))
            versions.append(short)
    rows = sorted((path, method, *found) for (method, path), found in known.items())
    written = [
        f"{policy:<9} {method:<6} {path} {' '.join(versions)}".rstrip()
        for path, method, policy, versions in rows
    ]
    LIST.write_text("\n".join([*notes, *written]) + "\n", "utf-8")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
