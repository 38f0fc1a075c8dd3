"""
Copies of a running Redis server, and servers that begin with one: what docs/backup.rst says,
done by the same commands.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from attrs import evolve

from sandbox_billing.devnet.redis import RedisServer
from tests.redis_server import Respite


PATIENCE_SECONDS = 120.0

APPEND_ONLY_FOLDER = "appendonlydir"

SNAPSHOT = "dump.rdb"


def asked(server: RedisServer, *command: str | int) -> Any:
    """One command."""
    client = Respite(server.port)
    try:
        return client.call(*command)
    finally:
        client.close()


def info(server: RedisServer, section: str) -> dict[str, str]:
    """A section of INFO."""
    lines = asked(server, "INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def wait_for(server: RedisServer, section: str, **wanted: str) -> None:
    """Until a section says so; blocking, for a server of our own with little in it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not wanted.items() <= (found := info(server, section)).items():
        assert time.monotonic() < deadline, f"waited in vain for {wanted}: {found}"
        time.sleep(0.02)


def replica_has_all(server: RedisServer, patience_ms: int) -> bool:
    """
    Whether a replica has all that was written so far.

    WAIT asks for what its own connection has written: on one that has written nothing it is
    content with any replica, however far behind.
    """
    client = Respite(server.port)
    try:
        client.call("PUBLISH", "moving", "now")
        return client.call("WAIT", 1, patience_ms) == 1
    finally:
        client.close()


def copy_append_only(server: RedisServer, place: Path) -> Path:
    """
    Copy the folder of the append-only file while the server goes on writing to it.

    No rewrite may begin meanwhile: it would take files away that are being copied.
    """
    (_name, percentage) = asked(server, "CONFIG", "GET", "auto-aof-rewrite-percentage")
    asked(server, "CONFIG", "SET", "auto-aof-rewrite-percentage", 0)
    try:
        wait_for(server, "persistence", aof_rewrite_in_progress="0", aof_rewrite_scheduled="0")
        copied = place / APPEND_ONLY_FOLDER
        shutil.copytree(server.options.directory / APPEND_ONLY_FOLDER, copied)
        return copied
    finally:
        asked(server, "CONFIG", "SET", "auto-aof-rewrite-percentage", percentage.decode())


def copy_snapshot(server: RedisServer, place: Path) -> Path:
    """Have the server write a snapshot, and copy it."""
    asked(server, "BGSAVE")
    wait_for(server, "persistence", rdb_bgsave_in_progress="0", rdb_last_bgsave_status="ok")
    return Path(shutil.copy2(server.options.directory / SNAPSHOT, place))


def restore_append_only(server: RedisServer, copied: Path) -> None:
    """Start a server that is down with the copied folder in the place of its own."""
    mine = server.options.directory / APPEND_ONLY_FOLDER
    shutil.rmtree(mine, ignore_errors=True)
    shutil.copytree(copied, mine)
    server.start()
    wait_for(server, "persistence", loading="0")


def restore_snapshot(server: RedisServer, copied: Path) -> None:
    """
    Start a server that is down with a snapshot.

    With its append-only file on it would not look at the snapshot, and begin empty: so it is
    started without, told to write one, and started again as it always is.
    """
    shutil.rmtree(server.options.directory / APPEND_ONLY_FOLDER, ignore_errors=True)
    shutil.copy2(copied, server.options.directory / SNAPSHOT)
    options = server.options
    server.options = evolve(options, appendonly=False)
    server.start()
    wait_for(server, "persistence", loading="0")
    asked(server, "CONFIG", "SET", "appendonly", "yes")
    wait_for(
        server,
        "persistence",
        aof_enabled="1",
        aof_rewrite_in_progress="0",
        aof_rewrite_scheduled="0",
        aof_last_bgrewrite_status="ok",
    )
    server.stop()
    server.options = options
    server.start()
    wait_for(server, "persistence", loading="0")
