"""
C{/process}: one command, one program, and sessions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandbox_billing.devnet.daytona.toolbox_box import Follower, Log
from sandbox_billing.devnet.daytona.toolbox_call import Answered, Call, Reply
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad
from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, Spec


# Of the output of one command, in bytes; the rest is dropped.
RESULT_LIMIT = 16 * 1024 * 1024


def envs_of(body: Mapping[str, Any], key: str = "envs") -> dict[str, str]:
    """@raise ToolboxError: 400 for what no process can be given."""
    envs = body.get(key) or {}
    if not isinstance(envs, dict) or not all(isinstance(text, str) for text in envs.values()):
        raise bad(f"{key} must be an object of strings")
    if any("\0" in f"{name}{text}" or "=" in name or not name for name, text in envs.items()):
        raise bad(f"{key} has a bad name or value")
    return dict(envs)


def needed(body: Mapping[str, Any], key: str) -> str:
    """@raise ToolboxError: 400 unless it is text that says something."""
    value = body.get(key)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise bad(f"{key} is required")
    return value


def seconds_of(body: Mapping[str, Any]) -> float | None:
    """C{timeout}; 0 is none."""
    value = body.get("timeout")
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise bad("timeout must be a number")
    return float(value)


async def _run(call: Call, spec: Spec, seconds: float | None) -> dict[str, Any]:
    """Both outputs in the order they came."""
    output = bytearray()

    def take(number: int, data: bytes) -> None:
        output.extend(data[: max(0, RESULT_LIMIT - len(output))])

    running = call.box.host.run(spec, take)
    late = []

    def time_out() -> None:
        late.append(True)
        running.kill()

    timer = None if seconds is None else call.clock.callLater(seconds, time_out)
    code = await running.ended
    if timer is not None and timer.active():
        timer.cancel()
    if late:
        raise ToolboxError(408, "command execution timeout")
    return {"exitCode": code, "result": output.decode("utf-8", "replace")}


async def execute(call: Call) -> Any:
    """A command for the shell; answered when it has ended, whenever that is."""
    body = call.json()
    spec = Spec(text=needed(body, "command"), cwd=body.get("cwd") or None, envs=envs_of(body))
    return await _run(call, spec, seconds_of(body))


async def code_run(call: Call) -> Any:
    """A program; only in Python."""
    body = call.json()
    if body.get("language", "python") != "python":
        raise bad(f"unsupported language: {body.get('language')}")
    spec = Spec(
        text=needed(body, "code"),
        is_python=True,
        envs=envs_of(body),
        arguments=tuple(map(str, body.get("argv") or ())),
    )
    return {**await _run(call, spec, seconds_of(body)), "artifacts": {"charts": []}}


# -- sessions --------------------------------------------------------------------


async def create_session(call: Call) -> None:
    """@raise ToolboxError: 409 for one that there is."""
    call.box.add_session(needed(call.json(), "sessionId"))


async def list_sessions(call: Call) -> Any:
    """All but the entrypoint's."""
    return [session.document() for session in call.box.sessions.values()]


async def get_session(call: Call) -> Any:
    """One."""
    return call.box.session(call.parameters[0]).document()


async def delete_session(call: Call) -> None:
    """With all that runs in it."""
    session = call.box.session(call.parameters[0])
    del call.box.sessions[session.id]
    session.shell.kill()


async def session_execute(call: Call) -> Any:
    """Answered at its end, or 202 at once with C{runAsync}."""
    body = call.json()
    command = call.box.session(call.parameters[0]).submit(needed(body, "command"))
    if body.get("runAsync") or body.get("async"):
        document = json.dumps({"cmdId": command.id}).encode()
        return Reply(body=document, status=202, content_type="application/json; charset=utf-8")
    await command.wait()
    output = _output(command.log, marked=call.demuxes)
    return {"cmdId": command.id, "exitCode": command.exit_code, **output}


def _output(log: Log, *, marked: bool) -> dict[str, str]:
    whole = log.marked().decode("utf-8", "replace") if marked else log.text(STDOUT, STDERR)
    return {"output": whole, "stdout": log.text(STDOUT), "stderr": log.text(STDERR)}


async def session_command(call: Call) -> Any:
    """Its exit code is missing while it runs."""
    return call.box.session(call.parameters[0]).find(call.parameters[1]).document()


async def session_input(call: Call) -> None:
    """A line for the command that runs."""
    session = call.box.session(call.parameters[0])
    command = session.find(call.parameters[1])
    data = call.json().get("data")
    if not isinstance(data, str):
        raise bad("data is required")
    if command.exit_code is not None:
        raise ToolboxError(410, "command has already completed")
    session.shell.write((data if data.endswith("\n") else f"{data}\n").encode())


async def session_logs(call: Call) -> Any:
    """So far, or as it grows."""
    return _logs(call, call.box.session(call.parameters[0]).find(call.parameters[1]).log)


async def entrypoint(call: Call) -> Any:
    """That of an image, of which there is none here."""
    return {"sessionId": "entrypoint", "commands": []}


async def entrypoint_logs(call: Call) -> Any:
    """Empty; following it ends at once."""
    return _logs(call, Log(over=True))


def _logs(call: Call, log: Log) -> Any:
    follow = call.flag("follow")
    if not follow and not call.upgrades:
        if call.demuxes:
            return Reply(body=log.marked())
        return _output(log, marked=False)
    if not follow:
        log = log.so_far()
    return _follow_socket(call, log) if call.upgrades else _follow_stream(call, log)


def _follow_socket(call: Call, log: Log) -> Answered:
    socket = call.upgrade()
    follower = Follower(log, socket.send, socket.close)
    socket.on_closed = follower.stop
    socket.on_hold = follower.hold
    follower.start()
    return Answered()


def _follow_stream(call: Call, log: Log) -> Answered:
    call.begin("text/plain; charset=utf-8")
    follower = Follower(log, call.write, lambda: _end_stream(call))
    call.request.notifyFinish().addBoth(lambda _: follower.stop())
    call.request.registerProducer(_Holder(follower), True)
    follower.start()
    return Answered()


def _end_stream(call: Call) -> None:
    call.request.unregisterProducer()
    call.finish()


class _Holder:
    """Lets a slow reader hold a log."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def pauseProducing(self) -> None:
        """The reader does not keep up."""
        self._follower.hold(True)

    def resumeProducing(self) -> None:
        """It does again."""
        self._follower.hold(False)

    def stopProducing(self) -> None:
        """It has left."""
        self._follower.stop()
