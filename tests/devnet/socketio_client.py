"""
The reference client of Socket.IO, as a program: what it hears, one JSON value a line.

    python socketio_client.py URL TOKEN
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import socketio


PATIENCE_SECONDS = 120

EVENTS = ("sandbox.created", "sandbox.state.updated", "sandbox.desired-state.updated")


def _say(*what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _listen(url: str, token: str) -> None:
    client = socketio.AsyncClient(reconnection=False, request_timeout=PATIENCE_SECONDS)
    client.on("connect", lambda: _say("connected"))
    client.on("connect_error", lambda why: _say("refused", why))
    client.on("disconnect", lambda *why: _say("disconnected"))
    for name in EVENTS:
        client.on(name, lambda payload, name=name: _say(name, payload))
    try:
        # A second, where nothing is said: too little for a machine that is busy.
        await client.connect(
            url,
            auth={"token": token},
            transports=["websocket"],
            socketio_path="/api/socket.io/",
            wait_timeout=PATIENCE_SECONDS,
        )
    except socketio.exceptions.ConnectionError as why:
        _say("failed", str(why))
        return
    await client.wait()


if __name__ == "__main__":
    asyncio.run(_listen(*sys.argv[1:]))
