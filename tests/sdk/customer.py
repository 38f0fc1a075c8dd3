"""
What a customer writes with Daytona's own SDK, run inside that SDK's environment.

Knows nothing of us: an address and a token in the environment are all it gets.  Says what
came out as one JSON object.  The same text runs with every release of the SDK.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from typing import Any

from daytona import (
    CreateSandboxFromSnapshotParams,
    Daytona,
    DaytonaNotFoundError,
    SessionExecuteRequest,
)


MIDDLE = b"\x00\x01 not text \xff" * 40_000


def said(found: Any) -> str:
    """The output of a command, whatever this release calls it."""
    for name in ("output", "stdout", "result"):
        text = getattr(found, name, None)
        if text:
            return str(text)
    return str(found)


def terminal(sandbox: Any) -> str:
    """What a shell in a pseudo-terminal answers."""
    heard = bytearray()
    name = f"pty-{uuid.uuid4().hex[:8]}"
    shell = sandbox.process.create_pty_session(id=name)
    shell.wait_for_connection(timeout=120)
    shell.send_input("echo answer-$((40+2))\n")
    shell.send_input("exit 3\n")
    ended = shell.wait(on_data=heard.extend, timeout=120)
    return f"{'answer-42' in heard.decode(errors='replace')} {ended.exit_code}"


def followed(sandbox: Any) -> str:
    """The log of a command, followed while it runs."""
    sandbox.process.create_session("work")
    begun = sandbox.process.execute_session_command(
        "work",
        SessionExecuteRequest(command="echo one; sleep 0.4; echo two", run_async=True),
    )
    heard: list[str] = []
    follow = sandbox.process.get_session_command_logs_async
    asyncio.run(follow("work", begun.cmd_id, heard.append, heard.append))
    sandbox.process.delete_session("work")
    return " ".join("".join(heard).split())


def listed(daytona: Any) -> list[str]:
    """The ids of all sandboxes; pages in old releases, an iterator in new ones."""
    found = daytona.list()
    return sorted(one.id for one in getattr(found, "items", found))


def gone(daytona: Any, sandbox: Any) -> bool:
    """Whether a deleted sandbox is not found any more."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            shown = daytona.get(sandbox.id)
        except DaytonaNotFoundError:
            return True
        if "destroyed" in str(shown.state).lower():
            return True
        time.sleep(0.2)
    return False


def main() -> None:
    """A life: create, work, stop, start, delete."""
    told: dict[str, Any] = {}
    daytona = Daytona()
    sandbox = daytona.create(
        CreateSandboxFromSnapshotParams(
            labels={"team": "red"}, env_vars={"COLOUR": "blue"}, auto_stop_interval=30
        ),
        timeout=180,
    )
    told["id"] = sandbox.id
    told["labels"] = sandbox.labels
    told["exec"] = said(sandbox.process.exec("echo hello; exit 0")).strip()
    told["exit_code"] = sandbox.process.exec("exit 7").exit_code
    told["code_run"] = said(sandbox.process.code_run("print(6 * 7)")).strip()
    sandbox.fs.upload_file(MIDDLE, "middle.bin")
    told["file"] = sandbox.fs.download_file("middle.bin") == MIDDLE
    told["files"] = "middle.bin" in [one.name for one in sandbox.fs.list_files(".")]
    told["followed"] = followed(sandbox)
    told["terminal"] = terminal(sandbox)
    told["new_labels"] = sandbox.set_labels({"team": "green"})
    told["listed"] = listed(daytona)
    told["got"] = daytona.get(sandbox.id).id
    sandbox.stop(timeout=180)
    told["stopped"] = "stopped" in str(daytona.get(sandbox.id).state).lower()
    sandbox.start(timeout=180)
    told["started"] = said(sandbox.process.exec("echo again")).strip()
    sandbox.delete(timeout=180)
    told["gone"] = gone(daytona, sandbox)
    json.dump(told, sys.stdout)


main()
