"""
The simulated toolbox over WebSockets, as another implementation of them sees it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sandbox_billing.devnet.daytona.toolbox_pty import ENVIRONMENT, EXIT_CONTROL
from tests.devnet.toolbox_bench import KEY, ToolboxCase


class HandshakeTests(ToolboxCase):
    """What becomes a WebSocket."""

    async def test_subprotocols(self) -> None:
        """The one that is known is answered, wherever it stands; others are not."""
        environment = ENVIRONMENT + urlsafe_b64encode(b"{}").decode().rstrip("=")
        for number, (names, chosen) in enumerate(
            (
                ([EXIT_CONTROL], EXIT_CONTROL),
                ([environment, EXIT_CONTROL], EXIT_CONTROL),
                ([environment], None),
                (None, None),
            )
        ):
            path = f"process/pty/create-connect?id=p{number}&cols=100&rows=30"
            socket = await self.socket(path, subprotocols=names)
            self.assertEqual(socket.connection.subprotocol, chosen)

    async def test_refused(self) -> None:
        """No key, a sandbox that is stopped, no such session: an answer of HTTP."""
        path = "process/session/none/command/none/logs?follow=true"
        self.assertEqual(await self.refusal(path), 404)
        url = self.url("process/interpreter/execute")
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "not a key",
        }
        self.assertEqual((await self.send("GET", url, headers=upgrade)).status, 401)
        self.assertEqual((await self.send("GET", url, headers={**KEY, **upgrade})).status, 400)
        self.assertEqual((await self.send("GET", url)).status, 426)
        self.simulator.stop_behind(self.sandbox)
        self.assertEqual(await self.refusal(path), 400)

    async def refusal(self, path: str) -> int:
        """The status."""
        try:
            await self.socket(path)
        except InvalidStatus as refused:
            return refused.response.status_code
        raise AssertionError("there is a WebSocket")


class TerminalTests(ToolboxCase):
    """PTYs that only echo."""

    async def test_connect(self) -> None:
        """The way of old SDKs: create it lazily, then attach; the close tells its exit."""
        body = {"id": "p", "cols": 90, "rows": 20, "envs": {"A": "b"}, "lazyStart": True}
        self.assertEqual((await self.ask("POST", "process/pty", body)).status, 201)
        self.assertEqual((await self.ask("POST", "process/pty", body)).status, 409)
        self.assertIs((await self.ask("GET", "process/pty/p")).json["active"], False)
        socket = await self.socket("process/pty/p/connect")
        connected = json.loads(await socket.receive())
        self.assertEqual(connected, {"type": "control", "status": "connected"})
        info = (await self.ask("GET", "process/pty")).json["sessions"]
        self.assertEqual([(each["id"], each["active"]) for each in info], [("p", True)])
        resized = await self.ask("POST", "process/pty/p/resize", {"cols": 120, "rows": 40})
        self.assertEqual((resized.json["cols"], resized.json["rows"]), (120, 40))
        await socket.send(b"echo \xc3\xa9\r")
        await socket.send("exit 7\r")
        shown = b"".join(self.raw(each) for each in await socket.rest())
        self.assertEqual(shown.decode(), "$ echo é\r\né\r\n$ exit 7\r\n")
        code, reason = socket.closed
        self.assertEqual(code, 1011)
        self.assertEqual(json.loads(str(reason)), {"exitCode": 7, "exitReason": "non-zero exit"})
        self.assertEqual((await self.ask("GET", "process/pty/p")).status, 404)

    def raw(self, message: str | bytes) -> bytes:
        """A terminal's output is never text."""
        assert isinstance(message, bytes)
        return message

    async def test_exit_control(self) -> None:
        """The way of 0.226: one request, and a message before the close."""
        path = "process/pty/create-connect?id=p&cols=80&rows=24"
        socket = await self.socket(path, subprotocols=[EXIT_CONTROL])
        await socket.send(b"exit\r")
        told = [json.loads(each) for each in await socket.rest() if isinstance(each, str)]
        self.assertEqual([each["status"] for each in told], ["connected", "exited"])
        self.assertEqual(told[-1]["exitCode"], 0)
        self.assertEqual(socket.closed[0], 1000)

    async def test_several(self) -> None:
        """Who is attached sees the same; who leaves does not end it; a kill ends it for all."""
        await self.ask("POST", "process/pty", {"id": "p"})
        first, second = [await self.socket("process/pty/p/connect") for _ in range(2)]
        third = await self.socket("process/pty/p/connect")
        third.connection.close()
        await first.send(b"echo x\r")
        self.assertEqual((await self.ask("DELETE", "process/pty/p")).status, 200)
        shown = await gatherResults(
            [Deferred.fromCoroutine(each.rest()) for each in (first, second)]
        )
        for each in shown:
            text = b"".join(part for part in each if isinstance(part, bytes))
            self.assertTrue(text.endswith(b"echo x\r\nx\r\n$ "), text)
        self.assertEqual(json.loads(str(second.closed[1]))["exitCode"], 137)

    async def test_missing(self) -> None:
        """A terminal that is not there is told in a message."""
        socket = await self.socket("process/pty/none/connect")
        self.assertEqual(json.loads(await socket.receive())["status"], "error")

    async def test_wrong(self) -> None:
        """Sizes and environments that cannot be."""
        for body in ({"id": "p", "cols": 5000}, {"id": "p", "rows": "x"}, {}, {"id": ""}):
            self.assertEqual((await self.ask("POST", "process/pty", body)).status, 400)
        for names in ([ENVIRONMENT + "AAAA"], [ENVIRONMENT + urlsafe_b64encode(b"[1]").decode()]):
            with self.assertRaises(InvalidStatus):
                await self.socket("process/pty/create-connect?id=p", subprotocols=names)
        self.assertEqual((await self.ask("GET", "process/pty")).json, {"sessions": []})

    async def test_stop(self) -> None:
        """A stop of the sandbox ends every terminal, and what is attached to it."""
        socket = await self.socket("process/pty/create-connect?id=p")
        await self.api("POST", f"/sandbox/{self.sandbox}/stop")
        await socket.rest()
        self.assertIsNotNone(socket.closed[0])

    async def test_activity(self) -> None:
        """An open terminal keeps its sandbox in use, a closed one does not."""
        box = self.service.toolbox.box(self.simulator.records[self.sandbox])
        socket = await self.socket("process/pty/create-connect?id=p")
        await self.until(lambda: len(box.connections) == 1, "connected")
        socket.connection.close()
        await self.until(lambda: not box.connections, "left")


class FollowTests(ToolboxCase):
    """Logs that are followed."""

    async def test_follow(self) -> None:
        """What there was, what comes, and a clean end with the command."""
        await self.ask("POST", "process/session", {"sessionId": "s"})
        for command in ("sleep 0.2", "echo later"):
            body = {"command": command, "runAsync": True}
            begun = (await self.ask("POST", "process/session/s/exec", body)).json
        path = f"process/session/s/command/{begun['cmdId']}/logs"
        socket = await self.socket(f"{path}?follow=true")
        self.assertEqual(await socket.rest(), [b"\x01\x01\x01later\n"])
        self.assertEqual(socket.closed[0], 1000)
        again = await self.socket(path)
        self.assertEqual(await again.rest(), [b"\x01\x01\x01later\n"])
        entrypoint = await self.socket("process/session/entrypoint/logs?follow=true")
        self.assertEqual(await entrypoint.rest(), [])

    async def test_left(self) -> None:
        """Whoever leaves is forgotten; the command goes on."""
        await self.ask("POST", "process/session", {"sessionId": "s"})
        body = {"command": "sleep 50", "runAsync": True}
        begun = (await self.ask("POST", "process/session/s/exec", body)).json
        path = f"process/session/s/command/{begun['cmdId']}/logs?follow=true"
        box = self.service.toolbox.box(self.simulator.records[self.sandbox])
        log = box.session("s").find(begun["cmdId"]).log
        socket = await self.socket(path)
        await self.until(lambda: log.followers, "followed")
        socket.connection.close()
        await self.until(lambda: not log.followers, "forgotten")
        self.assertIsNone(box.session("s").find(begun["cmdId"]).exit_code)


class InterpreterTests(ToolboxCase):
    """Code whose answers are canned."""

    async def ran(self, **body: Any) -> tuple[list[dict[str, Any]], int | None]:
        """@return: The messages, and the close code."""
        socket = await self.socket("process/interpreter/execute")
        await socket.send(json.dumps(body))
        told = [json.loads(each) for each in await socket.rest()]
        return told, socket.closed[0]

    async def test_run(self) -> None:
        """Output, errors, and the end."""
        done = {"type": "control", "text": "completed"}
        output = {"type": "stdout", "text": "1\n"}
        self.assertEqual(await self.ran(code="print(1)"), ([output, done], 1000))
        told, _ = await self.ran(code="print(")
        self.assertEqual((told[0]["type"], told[0]["name"]), ("error", "SyntaxError"))

    async def test_wrong(self) -> None:
        """What cannot be run closes with a policy's code."""
        for body in ({}, {"code": 1}, {"code": "1", "contextId": "none"}):
            self.assertEqual(await self.ran(**body), ([], 1008))
        socket = await self.socket("process/interpreter/execute")
        await socket.send("{")
        with self.assertRaises(ConnectionClosed):
            await socket.receive()

    async def test_contexts(self) -> None:
        """Created, used, listed, deleted."""
        context = (await self.ask("POST", "process/interpreter/context", {})).json
        told, _ = await self.ran(code="print(1)", contextId=context["id"])
        self.assertEqual(told[0]["text"], "1\n")
        path = "process/interpreter/context"
        self.assertEqual((await self.ask("GET", path)).json, {"contexts": [context]})
        self.assertEqual((await self.ask("DELETE", f"{path}/{context['id']}")).status, 200)
        self.assertEqual((await self.ask("DELETE", f"{path}/{context['id']}")).status, 404)
