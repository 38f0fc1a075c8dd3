"""
The rest of the toolbox, canned: what is known about the machine, git, language servers, a desktop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox_billing.devnet.daytona.toolbox_call import Answered, Call
from sandbox_billing.devnet.daytona.toolbox_errors import bad, missing
from sandbox_billing.devnet.daytona.toolbox_paths import HOME


# One transparent pixel.
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
_DONE = {"message": "done"}
_PROCESSES = ("xvfb", "xfce4", "x11vnc", "novnc")


async def folder(call: Call) -> Any:
    """Of the work and of the user alike."""
    return {"dir": HOME}


async def version(call: Call) -> Any:
    """Of the daemon in the sandbox."""
    return {"version": "v0.190.0"}


async def initialise(call: Call) -> Any:
    """A token for Daytona's telemetry, which nobody keeps."""
    return _DONE


async def ports(call: Call) -> Any:
    """Nothing listens."""
    return {"ports": []}


async def port_in_use(call: Call) -> Any:
    """@raise ToolboxError: 400 for what is no port."""
    if not call.parameters[0].isdigit() or not 3000 <= int(call.parameters[0]) <= 9999:
        raise bad("port out of range (3000-9999)")
    return {"isInUse": False}


async def metrics(call: Call) -> Any:
    """Of 0.226."""
    return {
        "cpuCount": 1,
        "cpuUsedPct": 0.0,
        "memTotal": 2**30,
        "memUsed": 2**28,
        "memCache": 0,
        "diskTotal": 3 * 2**30,
        "diskUsed": 2**28,
        "diskFree": 3 * 2**30 - 2**28,
        "timestamp": call.now,
        "timestampUnix": int(call.wall()),
    }


# -- git -------------------------------------------------------------------------


async def git_status(call: Call) -> Any:
    """Clean, on main, wherever there is a folder."""
    call.box.files.entries(call.need("path"))
    return {
        "currentBranch": "main",
        "fileStatus": [],
        "ahead": 0,
        "behind": 0,
        "branchPublished": False,
    }


async def git_branches(call: Call) -> Any:
    """One."""
    call.need("path")
    return {"branches": ["main"]}


async def git_history(call: Call) -> Any:
    """None."""
    call.need("path")
    return []


async def git_commit(call: Call) -> Any:
    """Nothing is kept."""
    _with_path(call)
    return {"hash": "0" * 40}


async def git_clone(call: Call) -> None:
    """An empty folder: nothing is fetched."""
    call.box.files.folder(_with_path(call), 0o755)


async def git_quiet(call: Call) -> None:
    """Succeeds and does nothing."""
    _with_path(call)


def _with_path(call: Call) -> str:
    path = call.json().get("path")
    if not isinstance(path, str) or not path:
        raise bad("path is required")
    return path


# -- language servers ------------------------------------------------------------


async def lsp_quiet(call: Call) -> None:
    """Started, stopped, opened, closed."""
    if not call.json().get("languageId"):
        raise bad("languageId is required")


async def lsp_completions(call: Call) -> Any:
    """None."""
    return {"isIncomplete": False, "items": []}


async def lsp_symbols(call: Call) -> Any:
    """None."""
    return []


# -- the desktop -----------------------------------------------------------------


async def computer_start(call: Call) -> Any:
    """Also its end: what runs then."""
    states = {
        name: {"running": True, "priority": 1, "autoRestart": True, "pid": 1} for name in _PROCESSES
    }
    return {"message": "Computer use processes started successfully", "status": states}


async def computer_stop(call: Call) -> Any:
    """Nothing runs."""
    return {"message": "Computer use processes stopped successfully", "status": {}}


async def computer_status(call: Call) -> Any:
    """It always runs."""
    return {"status": "active"}


async def process_status(call: Call) -> Any:
    """It always runs."""
    return {"processName": call.parameters[0], "running": True}


async def process_restart(call: Call) -> Any:
    """At once."""
    return {"processName": call.parameters[0], "message": "restarted"}


async def process_logs(call: Call) -> Any:
    """Empty."""
    return {"processName": call.parameters[0], "logs": ""}


async def process_errors(call: Call) -> Any:
    """None."""
    return {"processName": call.parameters[0], "errors": ""}


async def screenshot(call: Call) -> Any:
    """One pixel."""
    return {"screenshot": _PIXEL, "cursorPosition": {"x": 0, "y": 0}, "sizeBytes": 70}


async def display(call: Call) -> Any:
    """One."""
    one = {"id": 0, "x": 0, "y": 0, "width": 1024, "height": 768, "isActive": True}
    return {"displays": [one]}


async def windows(call: Call) -> Any:
    """None."""
    return {"windows": []}


async def mouse(call: Call) -> Any:
    """Where it was moved to, or the corner."""
    body: Mapping[str, Any] = call.json()
    return {
        "x": body.get("x") or body.get("endX") or 0,
        "y": body.get("y") or body.get("endY") or 0,
    }


async def mouse_scroll(call: Call) -> Any:
    """Always."""
    return {"success": True}


async def keyboard(call: Call) -> Any:
    """Nobody reads it."""
    call.json()
    return {}


async def recordings(call: Call) -> Any:
    """None."""
    return {"recordings": []}


async def no_recording(call: Call) -> Answered:
    """@raise ToolboxError: 404, always."""
    raise missing("recording")


async def no_accessibility(call: Call) -> Answered:
    """@raise ToolboxError: 404: this desktop has no tree."""
    raise missing("accessibility tree")
