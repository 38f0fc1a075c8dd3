"""
C{/process/pty} and C{/process/interpreter}: what is typed to, over WebSockets.
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

from sandbox_billing.devnet.daytona.toolbox_box import Context
from sandbox_billing.devnet.daytona.toolbox_call import Answered, Call
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError, bad, missing
from sandbox_billing.devnet.daytona.toolbox_paths import HOME
from sandbox_billing.devnet.daytona.toolbox_process_routes import envs_of, needed, seconds_of
from sandbox_billing.devnet.daytona.toolbox_pty import ENVIRONMENT, EXIT_CONTROL, Pty
from sandbox_billing.devnet.daytona.toolbox_websocket import WebSocket, offered


_TIMED_OUT = 4008
_POLICY = 1008


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
    id = needed(body, "id")
    if id in call.box.terminals:
        raise ToolboxError(409, f"PTY session with ID '{id}' already exists")
    box = call.box
    pty = Pty(
        id=id,
        cwd=str(body.get("cwd") or HOME),
        envs={"TERM": "xterm-256color", **envs_of(body)},
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
        code, envs, seconds = needed(body, "code"), envs_of(body), seconds_of(body)
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
