"""
C{/process}: one command, sessions of them, terminals, and code with variables.
"""

from __future__ import annotations

import binascii
import json
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from sandbox_billing.devnet.daytona.toolbox_box import Context, Follower, Log
from sandbox_billing.devnet.daytona.toolbox_call import Answered, Call, Reply
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad, missing
from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT, Spec
from sandbox_billing.devnet.daytona.toolbox_paths import HOME
from sandbox_billing.devnet.daytona.toolbox_pty import ENVIRONMENT, EXIT_CONTROL, Pty
from sandbox_billing.devnet.daytona.toolbox_websocket import WebSocket, offered


# Of the output of one command, in bytes; the rest is dropped.
RESULT_LIMIT = 16 * 1024 * 1024

_TIMED_OUT = 4008
_POLICY = 1008


def _envs(body: Mapping[str, Any], key: str = "envs") -> dict[str, str]:
    envs = body.get(key) or {}
    if not isinstance(envs, dict) or not all(isinstance(text, str) for text in envs.values()):
        raise bad(f"{key} must be an object of strings")
    if any("\0" in f"{name}{text}" or "=" in name or not name for name, text in envs.items()):
        raise bad(f"{key} has a bad name or value")
    return dict(envs)


def _needed(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise bad(f"{key} is required")
    return value


def _seconds(body: Mapping[str, Any]) -> float | None:
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
    spec = Spec(text=_needed(body, "command"), cwd=body.get("cwd") or None, envs=_envs(body))
    return await _run(call, spec, _seconds(body))


async def code_run(call: Call) -> Any:
    """A program; only in Python."""
    body = call.json()
    if body.get("language", "python") != "python":
        raise bad(f"unsupported language: {body.get('language')}")
    spec = Spec(
        text=_needed(body, "code"),
        is_python=True,
        envs=_envs(body),
        arguments=tuple(map(str, body.get("argv") or ())),
    )
    return {**await _run(call, spec, _seconds(body)), "artifacts": {"charts": []}}


# -- sessions --------------------------------------------------------------------


async def create_session(call: Call) -> None:
    """@raise ToolboxError: 409 for one that there is."""
    call.box.add_session(_needed(call.json(), "sessionId"))


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
    command = call.box.session(call.parameters[0]).submit(_needed(body, "command"))
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


# -- terminals -------------------------------------------------------------------


def _size(value: Any, default: int, name: str) -> int:
    if value is None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise bad(f"{name} must be a number") from None
    if not 0 < number <= 1000:
        raise bad(f"invalid value for {name} - must be less than 1000")
    return number


def _new_pty(call: Call, body: Mapping[str, Any], *, lazy: bool) -> Pty:
    id = _needed(body, "id")
    if id in call.box.terminals:
        raise ToolboxError(409, f"PTY session with ID '{id}' already exists")
    box = call.box
    pty = Pty(
        id=id,
        cwd=str(body.get("cwd") or HOME),
        envs={"TERM": "xterm-256color", **_envs(body)},
        columns=_size(body.get("cols"), 80, "cols"),
        rows=_size(body.get("rows"), 24, "rows"),
        lazy=lazy,
        created_at=call.now,
        host=box.host,
        forget=lambda pty: box.terminals.pop(pty.id, None),
    )
    if not lazy:
        pty.start()
    box.terminals[id] = pty
    return pty


def _pty(call: Call) -> Pty:
    pty = call.box.terminals.get(call.parameters[0])
    if pty is None:
        raise missing("PTY session")
    return pty


async def create_pty(call: Call) -> Any:
    """Its shell runs at once, unless it is lazy."""
    body = call.json()
    return {"sessionId": _new_pty(call, body, lazy=bool(body.get("lazyStart"))).id}


async def list_ptys(call: Call) -> Any:
    """Those whose shell has not ended."""
    return {"sessions": [pty.document() for pty in call.box.terminals.values()]}


async def get_pty(call: Call) -> Any:
    """One."""
    return _pty(call).document()


async def delete_pty(call: Call) -> Any:
    """With all that runs in it."""
    _pty(call).kill()
    return {"message": "PTY session deleted"}


async def resize_pty(call: Call) -> Any:
    """Both sizes at once."""
    body, pty = call.json(), _pty(call)
    pty.resize(_size(body.get("cols"), 80, "cols"), _size(body.get("rows"), 24, "rows"))
    return pty.document()


def _attach(call: Call, pty: Pty) -> None:
    socket = call.upgrade(lambda name: name == EXIT_CONTROL)
    socket.on_closed = lambda: pty.detach(socket)
    pty.attach(socket, tells_exit=EXIT_CONTROL in offered(call.request.requestHeaders))


async def connect_pty(call: Call) -> Any:
    """A terminal that is not there is told over the WebSocket, as Daytona does."""
    pty = call.box.terminals.get(call.parameters[0])
    if pty is not None:
        _attach(call, pty)
    else:
        socket = call.upgrade(lambda name: name == EXIT_CONTROL)
        reason = "Failed to connect to PTY session: PTY session not found"
        socket.send(json.dumps({"type": "control", "status": "error", "error": reason}))
        socket.close()
    return Answered()


async def create_connect_pty(call: Call) -> Any:
    """Both at once, which is of 0.226; the environment comes as a subprotocol."""
    if not call.upgrades:
        raise bad("a WebSocket is required")
    body = {key: call.text(key) for key in ("id", "cols", "rows", "cwd")}
    pty = _new_pty(call, {**body, "envs": _offered_envs(call)}, lazy=True)
    _attach(call, pty)
    return Answered()


def _offered_envs(call: Call) -> Any:
    for name in offered(call.request.requestHeaders):
        if name.startswith(ENVIRONMENT):
            text = name.removeprefix(ENVIRONMENT)
            try:
                return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            except (binascii.Error, ValueError):
                raise bad("invalid PTY environment") from None
    return {}


# -- code with variables ---------------------------------------------------------


async def list_contexts(call: Call) -> Any:
    """Without the default one."""
    return {"contexts": [context.document() for context in call.box.contexts.values()]}


async def create_context(call: Call) -> Any:
    """Only in Python."""
    body = call.json()
    if body.get("language", "python") != "python":
        raise bad(f"unsupported language: {body.get('language')}")
    id = str(uuid.uuid4())
    context = call.box.new_context(id, body.get("cwd") or None, call.now)
    call.box.contexts[id] = context
    return context.document()


async def delete_context(call: Call) -> Any:
    """With what runs in it."""
    context = call.box.context(call.parameters[0], call.now)
    call.box.contexts.pop(context.id, None)
    context.interpreter.kill()
    return {"message": "Context deleted successfully"}


async def interpret(call: Call) -> Any:
    """The first message is the code; the WebSocket ends with it."""
    socket = call.upgrade()
    asked: Deferred[str | bytes] = Deferred()

    def first(message: str | bytes) -> None:
        socket.on_message = lambda message: None
        asked.callback(message)

    def closed() -> None:
        if not asked.called:
            asked.callback(b"")

    socket.on_message, socket.on_closed = first, closed
    message = await asked
    if message:
        await _interpret(call, socket, message)
    return Answered()


async def _interpret(call: Call, socket: WebSocket, message: str | bytes) -> None:
    try:
        body = json.loads(message)
        if not isinstance(body, dict):
            raise bad("not an object")
        context = call.box.context(body.get("contextId") or None, call.now)
        code, envs, seconds = _needed(body, "code"), _envs(body), _seconds(body)
    except ToolboxError as reason:
        socket.close(_POLICY, reason.message)
        return
    except ValueError:
        socket.close(_POLICY, "invalid request")
        return
    timer = None
    if seconds is not None:
        timer = call.clock.callLater(seconds, _time_out, call, socket, context)
    await context.interpreter.run(code, envs, socket.send)
    if timer is not None:
        try:
            timer.cancel()
        except (AlreadyCalled, AlreadyCancelled):
            return
    socket.send(json.dumps({"type": "control", "text": "completed"}))
    socket.close()


def _time_out(call: Call, socket: WebSocket, context: Context) -> None:
    """The variables are lost with the interpreter."""
    socket.close(_TIMED_OUT, "Execution timed out")
    if call.box.default_context is context:
        call.box.default_context = None
    call.box.contexts.pop(context.id, None)
    context.interpreter.kill()
