"""Where pages are played: a folder like a checkout, and a devnet in a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.request import Request, urlopen

from attrs import define, field

from tests.blackbox.process import PLUGIN_FOLDER, TREE
from tests.commands.terminal import Terminal


SDK = TREE / "build" / "sdk" / "0.226.1" / "bin" / "python"

_WAITS = re.compile(r"(?:waiting for a block|upon it)$")


@define(eq=False)
class Stage:
    """
    A folder with C{.venv} and C{bin} as a checkout has them, and whatever goes on in terminals.

    @ivar terminals: By their names.
    """

    folder: Path
    terminals: dict[str, Terminal] = field(factory=dict)
    _one: Any = field(factory=Lock)

    @classmethod
    def set_up(cls) -> Stage:
        """An empty one."""
        folder = Path(tempfile.mkdtemp(prefix="sandbox-billing-commands-"))
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "bin").mkdir()
        # Beside the commands of a checkout, which install what is installed already.
        (folder / "bin" / "sandbox-billing").symlink_to(
            folder / ".venv" / "bin" / "sandbox-billing"
        )
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        """What a new terminal has set: nothing of ours."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(PLUGIN_FOLDER),
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }

    def terminal(self, name: str, text: str) -> Terminal:
        """The one of that name; what is typed there first goes on for all pages."""
        with self._one:
            if name not in self.terminals:
                self.terminals[name] = Terminal.open(text, self.folder, self.environment)
            return self.terminals[name]

    def name(self, wanted: str) -> str:
        """
        What a page's mark C{with TEXT = NAME} may name.

        @raise KeyError: There is no such thing.
        """
        if wanted == "the SDK":
            return f"env -u PYTHONPATH {SDK}"
        return {
            "proxy port": lambda: self.banner("billing proxy").rpartition(":")[2],
            "alice's key": lambda: "0x" + (4).to_bytes(32, "big").hex(),
            "bob's key": lambda: "0x" + (5).to_bytes(32, "big").hex(),
            "the chain": lambda: self.banner("chain"),
        }[wanted]()

    def banner(self, what: str) -> str:
        """A line of what the devnet prints when it is up."""
        terminal = self.terminals["devnet"]
        pattern = re.compile(rf"^    {re.escape(what)} +(\S+)", re.MULTILINE)
        found: re.Match[str] = terminal.until(f"its {what}", pattern.search)
        return found[1]

    def hurry(self, said: str) -> None:
        """A block at once for a command that waits for one: the devnet makes one a second."""
        if "devnet" in self.terminals and _WAITS.search(said.rstrip()):
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": []})
            headers = {"Content-Type": "application/json"}
            asked = Request(self.banner("chain"), data=body.encode(), headers=headers)
            with urlopen(asked, timeout=30) as answer:
                answer.read()

    def strike(self) -> list[str]:
        """
        Ctrl-C in all terminals.

        @return: Which did not end well.
        """
        bad = []
        for name, terminal in self.terminals.items():
            status = terminal.interrupt()
            if status != 0:
                bad.append(f"{name} ended with {status}: {terminal.said()[-2000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)
        return bad
