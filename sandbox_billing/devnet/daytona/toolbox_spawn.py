"""
Real processes of this machine, for a sandbox with C{--allow-exec}.

B{This is no isolation.}  A command runs as the user who started the devnet; its folder
and its bare environment keep honest scripts apart, nobody else.
"""

from __future__ import annotations

import re
import secrets
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults

from sandbox_billing.devnet.daytona.toolbox_disk import DiskFiles
from sandbox_billing.devnet.daytona.toolbox_errors import bad
from sandbox_billing.devnet.daytona.toolbox_host import OnOutput, Spec
from sandbox_billing.devnet.daytona.toolbox_paths import HOME
from sandbox_billing.devnet.daytona.toolbox_process import Process, sweep
from sandbox_billing.devnet.daytona.toolbox_shells import MarkedShell, WorkerInterpreter
from sandbox_billing.devnet.daytona.toolbox_worker import WORKER


_LEADER = (
    "import os, signal, sys; os.setsid(); signal.signal(signal.SIGPIPE, signal.SIG_DFL);"
    " os.execv(sys.argv[1], sys.argv[1:])"
)
"""
Makes a group of a process, so that all it starts can be ended together.

Python ignores SIGPIPE, and what is ignored is inherited.
"""

_SHELLS = ("/bin/bash", "/bin/sh")
_WRAPPED = re.compile(r"(echo ')([A-Za-z0-9+/=]+)(' \| base64 -d)")


def shell_path() -> str:
    """The best one that there is."""
    return next(path for path in _SHELLS if Path(path).exists())


def localised(command: str, home: Path) -> str:
    """
    A command that names the sandbox's home finds the throw-away folder instead.

    So too inside the base64 in which version 0.149 of the SDK sends commands.
    """

    def inside(found: re.Match[str]) -> str:
        text = b64decode(found[2]).decode("utf-8", "surrogateescape")
        again = localised(text, home).encode("utf-8", "surrogateescape")
        return found[1] + b64encode(again).decode() + found[3]

    return _WRAPPED.sub(inside, command).replace(HOME, str(home))


@define(eq=False)
class SpawnHost:
    """
    @ivar reactor: Spawns.
    @ivar files: Whose folder commands begin in.
    @ivar envs: Of the sandbox itself.
    """

    reactor: Any
    files: DiskFiles
    envs: Mapping[str, str] = field(factory=dict)
    _label: str = field(factory=lambda: f"TOOLBOX_PROCESS={secrets.token_hex(16)}")
    _running: list[Process] = field(factory=list)

    def _environment(self, envs: Mapping[str, str]) -> dict[str, str]:
        home = str(self.files.home)
        bare = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8"}
        name, _, token = self._label.partition("=")
        given = {**self.envs, **envs}
        known = {key: localised(str(text), self.files.home) for key, text in given.items()}
        return {**bare, **known, name: token}

    def _folder(self, cwd: str | None) -> str:
        place = self.files.followed(cwd or HOME)
        if not place.is_dir():
            raise bad(f"chdir {cwd}: no such file or directory")
        return str(place)

    def _spawn(
        self,
        arguments: list[str],
        spec: Spec,
        on_output: OnOutput,
        *,
        terminal: bool = False,
        pipes: dict[int, str] | None = None,
    ) -> Process:
        """@param pipes: As C{spawnProcess} wants them; ours are the three usual ones."""
        process = Process(on_output, self.reactor)
        command = arguments if terminal else [sys.executable, "-ISc", _LEADER, *arguments]
        more: dict[str, Any] = {"usePTY": True} if terminal else {"childFDs": pipes}
        self.reactor.spawnProcess(
            process,
            command[0],
            command,
            env=self._environment(spec.envs),
            path=self._folder(spec.cwd),
            **more,
        )
        self._running.append(process)
        return process

    def run(self, spec: Spec, on_output: OnOutput) -> Process:
        """Without input."""
        text = localised(spec.text, self.files.home)
        arguments = (
            [sys.executable, "-u", "-c", text, *spec.arguments]
            if spec.is_python
            else [shell_path(), "-c", text]
        )
        process = self._spawn(arguments, spec, on_output)
        transport: Any = process.transport
        transport.closeStdin()
        return process

    def terminal(self, spec: Spec, on_output: OnOutput, *, columns: int, rows: int) -> Process:
        """The shell is interactive and reads no profile of this machine."""
        path = shell_path()
        plain = ["--norc", "--noprofile"] if path.endswith("bash") else []
        process = self._spawn([path, *plain, "-i"], spec, on_output, terminal=True)
        process.resize(columns=columns, rows=rows)
        return process

    def shell(self) -> MarkedShell:
        """Commands come on one pipe, their input on another."""
        pipes = {0: "w", 1: "r", 2: "r", 9: "w"}
        process = self._spawn([shell_path()], Spec(text=""), lambda number, data: None, pipes=pipes)
        shell = MarkedShell(process, 9, secrets.token_hex(16).encode())
        shell.start()
        return shell

    def interpreter(self, cwd: str | None) -> WorkerInterpreter:
        """A worker that keeps its variables."""
        arguments = [sys.executable, "-u", "-c", WORKER]
        process = self._spawn(arguments, Spec(text="", cwd=cwd), lambda number, data: None)
        worker = WorkerInterpreter(process)
        worker.start()
        return worker

    def kill(self) -> Deferred[None]:
        """
        Everything that was ever started here, and what it left in the background.

        @return: Fires when all that were started here have been waited for.
        """
        running, self._running = self._running, []
        for process in running:
            process.kill()
        # What is ended may have just started another.
        passes = 5
        while running and passes and sweep(self._label):
            passes -= 1
        return gatherResults([process.reaped for process in running]).addCallback(lambda _: None)
