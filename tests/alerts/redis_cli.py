"""
C{redis-cli} for the playbook's commands, where there is none: C{PORT COMMAND ...}.

Only Python's own library: it is started for each command.
"""

from __future__ import annotations

import socket
import sys
from typing import BinaryIO


def reply(reader: BinaryIO) -> list[str]:
    """Its lines, as redis-cli prints them into a pipe."""
    line = reader.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise SystemExit(f"(error) {rest}")
    if kind == "$":
        return [""] if rest == "-1" else [reader.read(int(rest) + 2)[:-2].decode()]
    if kind == "*":
        return [text for _ in range(int(rest)) for text in reply(reader)]
    return [rest]


def main(port: str, *command: str) -> None:
    """Ask once."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as connection:
        parts = [f"*{len(command)}\r\n".encode()]
        for word in command:
            raw = word.encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
        connection.sendall(b"".join(parts))
        sys.stdout.write("\n".join(reply(connection.makefile("rb"))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
