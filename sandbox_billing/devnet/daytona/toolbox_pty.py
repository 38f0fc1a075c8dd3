"""
A terminal that WebSockets attach to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from sandbox_billing.devnet.daytona.toolbox_host import Host, Spec, Terminal
from sandbox_billing.devnet.daytona.toolbox_websocket import NORMAL, WebSocket


EXIT_CONTROL = "X-Daytona-Pty-Exit-Control"
ENVIRONMENT = "X-Daytona-Pty-Envs~"

# What Daytona says of an exit that is not clean, which also closes with another code.
_REASONS = {130: "Ctrl+C", 137: "SIGKILL", 143: "SIGTERM"}
_FAILED = 1011


@define(eq=False, kw_only=True)
class Pty:
    """
    @ivar lazy: Its shell starts when someone attaches.
    @ivar forget: Called when its shell has ended.
    """

    id: str
    cwd: str
    envs: Mapping[str, str]
    columns: int
    rows: int
    lazy: bool
    created_at: str
    host: Host
    forget: Callable[[Pty], object]
    _terminal: Terminal | None = None
    # Attached, and whether they want to be told of the exit.
    _sockets: dict[WebSocket, bool] = field(factory=dict)
    _holding: set[WebSocket] = field(factory=set)

    def document(self) -> dict[str, Any]:
        """The PtySessionInfo."""
        return {
            "id": self.id,
            "cwd": self.cwd,
            "envs": dict(self.envs),
            "cols": self.columns,
            "rows": self.rows,
            "lazyStart": self.lazy,
            "active": self._terminal is not None,
            "createdAt": self.created_at,
        }

    def start(self) -> None:
        """@raise ToolboxError: 400 when there is no such folder."""
        if self._terminal is None:
            spec = Spec(text="", cwd=self.cwd, envs=self.envs)
            self._terminal = self.host.terminal(
                spec, self._output, columns=self.columns, rows=self.rows
            )
            self._terminal.ended.addCallback(self._ended)

    def _output(self, number: int, data: bytes) -> None:
        for socket in list(self._sockets):
            socket.send(data)

    def attach(self, socket: WebSocket, *, tells_exit: bool) -> None:
        """
        Both ways from here.

        @param tells_exit: The client knows the control message of an exit.
        """
        self._sockets[socket] = tells_exit
        socket.on_message = self._typed
        socket.on_hold = lambda held: self._hold(socket, held)
        socket.send(json.dumps({"type": "control", "status": "connected"}))
        self.start()

    def detach(self, socket: WebSocket) -> None:
        """The shell runs on."""
        self._sockets.pop(socket, None)
        self._hold(socket, False)

    def _typed(self, message: str | bytes) -> None:
        if self._terminal is not None:
            self._terminal.write(message.encode() if isinstance(message, str) else message)

    def _hold(self, socket: WebSocket, held: bool) -> None:
        """The slowest reader decides."""
        before = bool(self._holding)
        if held:
            self._holding.add(socket)
        else:
            self._holding.discard(socket)
        if self._terminal is not None and bool(self._holding) is not before:
            self._terminal.hold(bool(self._holding))

    def resize(self, columns: int, rows: int) -> None:
        """Characters."""
        self.columns, self.rows = columns, rows
        if self._terminal is not None:
            self._terminal.resize(columns=columns, rows=rows)

    def kill(self) -> None:
        """Its shell and all that it started."""
        if self._terminal is not None:
            self._terminal.kill()
        else:
            self._ended(137)

    def _ended(self, code: int) -> int:
        self.forget(self)
        self._terminal = None
        told: dict[str, Any] = {"exitCode": code}
        if code:
            plain = f"signal {code - 128}" if code > 128 else "non-zero exit"
            told["exitReason"] = _REASONS.get(code, plain)
        sockets, self._sockets = self._sockets, {}
        for socket, tells_exit in sockets.items():
            if tells_exit:
                socket.send(json.dumps({"type": "control", "status": "exited", **told}))
            socket.close(_FAILED if code else NORMAL, json.dumps(told))
        return code
