"""One real Redis server for all tests of a process, emptied for each test."""

from __future__ import annotations

import atexit
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path

from sandbox_billing.devnet.redis import RedisServer, ServerOptions, free_port


def new_server(
    *, appendonly: bool = True, password: str | None = None, more: tuple[str, ...] = ()
) -> RedisServer:
    """A started server in a directory of its own; both are gone at exit, or earlier."""
    directory = Path(tempfile.mkdtemp(prefix="journal-"))
    server = RedisServer(
        ServerOptions(
            directory=directory,
            port=free_port(),
            appendonly=appendonly,
            password=password,
            more=more,
        )
    )
    server.start()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    return server


@cache
def shared_server() -> RedisServer:
    """Started at its first use."""
    return new_server()


class Respite:
    """
    The simplest possible client, blocking: for tests that must not trust the adapter.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._reader = self._socket.makefile("rb")

    def close(self) -> None:
        """Hang up."""
        self._reader.close()
        self._socket.close()

    def call(self, *command: bytes | str | int) -> object:
        """One command; an error reply is raised."""
        parts = [b"*%d\r\n" % len(command)]
        for argument in command:
            raw = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
        self._socket.sendall(b"".join(parts))
        reply = self._reply()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _reply(self) -> object:
        line = self._reader.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self._reader.read(length + 2)[:-2]
        assert kind == b"*", line
        return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
