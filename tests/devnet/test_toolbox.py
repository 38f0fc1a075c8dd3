"""
The simulated toolbox over HTTP, its answers canned: who gets in, and what an SDK is answered.
"""

from __future__ import annotations

import io
import json
import time

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import FileBodyProducer, ResponseFailed
from twisted.web.iweb import UNKNOWN_LENGTH

from sandbox_billing.devnet.daytona.faults import Fault, FaultKind
from sandbox_billing.devnet.daytona.toolbox import QUERY_TOKEN
from sandbox_billing.devnet.daytona.toolbox_box import Box, Follower, Log
from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT
from sandbox_billing.devnet.daytona.toolbox_routes import ROUTES
from tests.devnet.toolbox_bench import KEY, ToolboxCase


class DoorTests(ToolboxCase):
    """Who is let in, and to what."""

    async def test_key(self) -> None:
        """The admin key opens every sandbox; nothing else opens any."""
        other = await self.created()
        for id in (self.sandbox, other):
            url = f"{self.service.proxy_url}/toolbox/{id}/version"
            self.assertEqual((await self.send("GET", url)).status, 200)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "admin-key"}):
                reply = await self.send("GET", url, headers=headers)
                self.assertEqual(reply.status, 401)
                self.assertEqual(reply.json["statusCode"], 401)

    async def test_leaked_token(self) -> None:
        """A preview token that gets here works, so that a test sees it leak; another's does not."""
        token = self.simulator.records[self.sandbox].preview_token
        url = self.url("version")
        leaks = {"X-Daytona-Preview-Token": token}
        self.assertEqual((await self.send("GET", url, headers=leaks)).status, 200)
        query = f"{url}?{QUERY_TOKEN}={token}"
        self.assertEqual((await self.send("GET", query, headers={})).status, 200)
        stranger = self.simulator.records[await self.created()]
        other = {"X-Daytona-Preview-Token": stranger.preview_token}
        self.assertEqual((await self.send("GET", url, headers=other)).status, 401)

    async def test_nowhere(self) -> None:
        """No sandbox, a name instead of an id, no route, another letter case, no path."""
        proxy = self.service.proxy_url
        for path, status in (
            ("/toolbox/nothing/version", 401),
            (f"/toolbox/{self.simulator.records[self.sandbox].name}x/version", 401),
            (f"/toolbox/{self.sandbox}/nothing", 404),
            (f"/toolbox/{self.sandbox}/Version", 404),
            (f"/TOOLBOX/{self.sandbox}/version", 400),
            (f"/toolbox/{self.sandbox}", 400),
            ("/", 400),
        ):
            with self.subTest(path=path):
                self.assertEqual((await self.send("GET", proxy + path)).status, status)

    async def test_legacy(self) -> None:
        """The API's own host has it too, in any letter case, for an id that there is."""
        base = f"{self.service.url}/api/toolbox"
        path = f"{self.sandbox}/toolbox/process/execute"
        for url in (f"{base}/{path}", f"{self.service.url}/API/Toolbox/{path}"):
            reply = await self.send("POST", url, {"command": "echo legacy"})
            self.assertEqual(reply.json, {"exitCode": 0, "result": "legacy\n"})
        self.assertEqual((await self.send("GET", f"{base}/{path}", headers={})).status, 401)
        self.assertEqual((await self.send("GET", f"{base}/none/toolbox/version")).status, 404)

    async def test_recorded(self) -> None:
        """Every header that came is there to be looked at."""
        await self.ask("GET", "version", headers={**KEY, "Cookie": "a=b", "X-Wallet": "leak"})
        headers = self.simulator.received[-1].headers
        self.assertEqual((headers["cookie"], headers["x-wallet"]), (("a=b",), ("leak",)))

    async def test_not_started(self) -> None:
        """A stopped sandbox has no address; its files are there again after a start."""
        await self.ask("POST", "files/upload?path=kept", files={"file": io.BytesIO(b"kept")})
        await self.api("POST", f"/sandbox/{self.sandbox}/stop")
        reply = await self.ask("GET", "version")
        self.assertEqual(reply.status, 400)
        self.assertIn("Is the Sandbox started?", reply.json["message"])
        record = self.simulator.records[self.sandbox]
        await self.until(lambda: not record.pending, "stopped")
        await self.api("POST", f"/sandbox/{self.sandbox}/start")
        await self.until(lambda: record.runs, "started")
        self.assertEqual((await self.ask("GET", "files/download?path=kept")).body, b"kept")

    async def test_stopped_meanwhile(self) -> None:
        """A command that runs when its sandbox stops is answered 502, at once."""
        waiting = self.asked("sleep 5000")
        box = self.service.toolbox.box(self.simulator.records[self.sandbox])
        await self.until(lambda: box.connections, "asked")
        await self.api("POST", f"/sandbox/{self.sandbox}/stop")
        await self.until(lambda: waiting.called, "answered")
        self.assertEqual((await waiting).status, 502)

    def asked(self, command: str) -> Deferred[object]:
        """Not awaited."""
        return Deferred.fromCoroutine(self.ask("POST", "process/execute", {"command": command}))


class FaultTests(ToolboxCase):
    """Accidents on demand."""

    async def test_answers(self) -> None:
        """A status, once, and not for what it was not meant for."""
        self.simulator.fail_next(503, route="toolbox")
        self.assertEqual((await self.api("GET", "/sandbox")).status, 200)
        self.assertEqual((await self.ask("GET", "version")).status, 503)
        self.assertEqual((await self.ask("GET", "version")).status, 200)

    async def test_broken(self) -> None:
        """A body that is cut, an answer that is lost after its effect, one that never comes."""
        self.simulator.faults.add(Fault(kind=FaultKind.CUT, route="toolbox"))
        with self.assertRaises(ResponseFailed):
            await self.ask("GET", "version")
        self.simulator.lose_reply_next(route="toolbox")
        with self.assertRaises(ResponseFailed):
            await self.ask("POST", "files/upload-v2?path=kept", data=b"kept")
        self.assertEqual((await self.ask("GET", "files/download?path=kept")).body, b"kept")
        self.simulator.hang_next(route="toolbox")
        hanging = Deferred.fromCoroutine(self.ask("GET", "version"))
        await self.until(lambda: self.simulator.hanging, "asked")
        await self.service.stopService()
        with self.assertRaises(ResponseFailed):
            await hanging
        self.assertEqual(self.simulator.hanging, 0)


class ActivityTests(ToolboxCase):
    """What counts as use."""

    async def test_touch(self) -> None:
        """Each request is activity, unless it says that it is none."""
        record = self.simulator.records[self.sandbox]
        record.last_activity_at = 0
        none = {**KEY, "X-Daytona-Skip-Last-Activity-Update": "true"}
        await self.ask("GET", "version", headers=none)
        self.assertEqual(record.last_activity_at, 0)
        await self.ask("GET", "version")
        self.assertGreater(record.last_activity_at, 0)


class ExecuteTests(ToolboxCase):
    """Commands and programs."""

    async def test_table(self) -> None:
        """The few that are known, and the many that are not; nothing is run."""
        for command, expected in (
            ("echo a  'b c'", (0, "a b c\n")),
            ("pwd", (0, "/home/daytona\n")),
            ("false", (1, "")),
            ("exit 7", (7, "")),
            ("touch /tmp/x && ls /tmp", (0, "")),
            ("cat nothing", (1, "cat: nothing: No such file or directory\n")),
            ("echo 'unclosed", (2, "sh: No closing quotation\n")),
            # As 0.149 of the SDK sends "echo old".
            ("sh -c \"echo 'ZWNobyBvbGQ=' | base64 -d | sh\"", (0, "old\n")),
        ):
            with self.subTest(command=command):
                self.assertEqual(await self.run_command(command), expected)

    async def test_slow(self) -> None:
        """A command takes its time, or is ended by its own."""
        begun = time.monotonic()
        self.assertEqual(await self.run_command("sleep 0.3"), (0, ""))
        self.assertGreaterEqual(time.monotonic() - begun, 0.3)
        body = {"command": "sleep 50", "timeout": 1}
        reply = await self.ask("POST", "process/execute", body)
        self.assertEqual((reply.status, reply.json["statusCode"]), (408, 408))

    async def test_wrong(self) -> None:
        """What is no command is refused, and says so in Daytona's form."""
        for body in ({}, {"command": " "}, {"command": 1}, {"command": "a", "envs": {"a": 1}}, []):
            with self.subTest(body=body):
                reply = await self.ask("POST", "process/execute", body)
                self.assertEqual(reply.status, 400)
                self.assertEqual(reply.json["path"], f"/toolbox/{self.sandbox}/process/execute")
        reply = await self.ask("POST", "process/execute", data=b"{")
        self.assertEqual(reply.status, 400)

    async def test_code(self) -> None:
        """A program prints its constants."""
        body = {"code": "x = 1\nprint('a', 2)\nprint(x)", "language": "python"}
        reply = await self.ask("POST", "process/code-run", body)
        self.assertEqual(reply.json["result"], "a 2\n\n")
        self.assertEqual(reply.json["artifacts"], {"charts": []})
        reply = await self.ask("POST", "process/code-run", {**body, "language": "cobol"})
        self.assertEqual(reply.status, 400)


class TransferTests(ToolboxCase):
    """Files over HTTP."""

    async def test_bulk(self) -> None:
        """Up as the SDKs send, and down as they read; what is missing is an error of its own."""
        form = {
            "files[0].path": (None, b"/home/daytona/a b.txt"),
            "files[0].file": ("ignored", b"first\r\n--"),
            "files[1].path": (None, b"sub/two"),
            "files[1].file": ("ignored", b""),
        }
        boundary, body = "edge", b""
        for name, (filename, content) in form.items():
            kind = "" if filename is None else f'; filename="{filename}"'
            head = f'--edge\r\nContent-Disposition: form-data; name="{name}"{kind}\r\n\r\n'
            body += head.encode() + content + b"\r\n"
        headers = {**KEY, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        url = "files/bulk-upload"
        reply = await self.ask("POST", url, headers=headers, data=body + b"--edge--\r\n")
        self.assertEqual(reply.status, 200, reply.body)
        paths = ["/home/daytona/a b.txt", "sub/two", "nothing"]
        reply = await self.ask("POST", "files/bulk-download", {"paths": paths})
        self.assertTrue(reply.headers["content-type"].startswith("multipart/form-data; boundary="))
        self.assertEqual(reply.length, UNKNOWN_LENGTH)
        self.assertIn(b'name="file"; filename="/home/daytona/a b.txt"', reply.body)
        self.assertIn(b"\r\n\r\nfirst\r\n--\r\n--", reply.body)
        self.assertIn(b'name="error"; filename="nothing"', reply.body)
        cut = await self.ask("POST", url, headers=headers, data=body[:-20])
        self.assertEqual(cut.status, 400)
        self.assertIn("unexpected end", cut.json["errors"][0])

    async def test_single(self) -> None:
        """One file, as a form or bare; its download tells its length."""
        for path in ("upload", "upload-v2"):
            reply = await self.ask(
                "POST", f"files/{path}?path=one", files={"file": io.BytesIO(path.encode())}
            )
            self.assertEqual(reply.status, 200, reply.body)
            reply = await self.ask("GET", "files/download?path=one")
            self.assertEqual(reply.body, path.encode())
            self.assertEqual(reply.length, len(path))
        await self.ask("POST", "files/upload-v2?path=bare", data=b"bare")
        self.assertEqual((await self.ask("GET", "files/download?path=bare")).body, b"bare")

    async def test_chunked(self) -> None:
        """A body of unknown length arrives whole."""

        producer = FileBodyProducer(io.BytesIO(b"c" * 300_000))
        producer.length = UNKNOWN_LENGTH
        reply = await self.ask("POST", "files/upload-v2?path=chunked", data=producer)
        self.assertEqual(reply.status, 200)
        self.assertEqual((await self.ask("GET", "files/info?path=chunked")).json["size"], 300_000)

    async def test_manage(self) -> None:
        """Folders, moves, searches, replacements, deletions."""
        ask = self.ask
        self.assertEqual((await ask("POST", "files/folder?path=d&mode=755")).status, 201)
        await ask("POST", "files/upload-v2?path=d/a.txt", data=b"one\ntwo\n")
        self.assertEqual((await ask("GET", "files/find?path=d&pattern=two")).json[0]["line"], 2)
        body = {"files": ["d/a.txt", "none"], "pattern": "two", "newValue": "three"}
        results = (await ask("POST", "files/replace", body)).json
        self.assertEqual([each["success"] for each in results], [True, False])
        self.assertEqual((await ask("POST", "files/move?source=d/a.txt&destination=b")).status, 200)
        self.assertEqual((await ask("GET", "files/download?path=b")).body, b"one\nthree\n")
        found = (await ask("GET", "files/search?path=/home/daytona&pattern=*")).json["files"]
        self.assertEqual(found, ["/home/daytona/b", "/home/daytona/d"])
        self.assertEqual((await ask("POST", "files/permissions?path=b&mode=600")).status, 200)
        self.assertEqual((await ask("DELETE", "files?path=d")).status, 400)
        self.assertEqual((await ask("DELETE", "files?path=d&recursive=true")).status, 204)
        self.assertEqual(len((await ask("GET", "files")).json), 1)
        for path in ("files/info", "files/info?path=none", "files/info?path=/../x"):
            self.assertIn((await ask("GET", path)).status, (400, 403, 404))


class SessionTests(ToolboxCase):
    """Sessions whose commands are canned."""

    async def test_life(self) -> None:
        """Created once, used in order, listed, deleted."""
        ask = self.ask
        self.assertEqual((await ask("POST", "process/session", {"sessionId": "s"})).status, 201)
        self.assertEqual((await ask("POST", "process/session", {"sessionId": "s"})).status, 409)
        # Long enough to be asked about on a busy machine, too.
        slow = {"command": "sleep 2", "runAsync": True}
        begun = await ask("POST", "process/session/s/exec", slow)
        self.assertEqual(begun.status, 202)
        first = begun.json["cmdId"]
        reply = await ask("GET", f"process/session/s/command/{first}")
        self.assertNotIn("exitCode", reply.json)
        done = (await ask("POST", "process/session/s/exec", {"command": "echo x"})).json
        self.assertEqual((done["exitCode"], done["stdout"], done["stderr"]), (0, "x\n", ""))
        reply = await ask("GET", f"process/session/s/command/{first}")
        self.assertEqual(reply.json["exitCode"], 0, "the second waited for the first")
        self.assertEqual(len((await ask("GET", "process/session/s")).json["commands"]), 2)
        self.assertEqual((await ask("DELETE", "process/session/s")).status, 204)
        self.assertEqual((await ask("GET", "process/session/s")).status, 404)

    async def test_logs(self) -> None:
        """Taken apart for new SDKs, marked for old ones, streamed when followed."""
        await self.ask("POST", "process/session", {"sessionId": "s"})
        run = await self.ask("POST", "process/session/s/exec", {"command": "cat none"})
        path = f"process/session/s/command/{run.json['cmdId']}/logs"
        text = "cat: none: No such file or directory\n"
        plain = (await self.ask("GET", path)).json
        self.assertEqual(plain, {"output": text, "stdout": "", "stderr": text})
        old = await self.ask("GET", path, headers={**KEY, "X-Daytona-SDK-Version": "0.149.0"})
        self.assertEqual(old.body, b"\x02\x02\x02" + text.encode())
        followed = await self.ask("GET", f"{path}?follow=true")
        self.assertEqual(followed.body, old.body)
        self.assertEqual(followed.headers["content-type"], "text/plain; charset=utf-8")


class BuildTests(ToolboxCase):
    """Logs of builds."""

    async def test_follow(self) -> None:
        """They are streamed until the build has ended, to whoever has the key."""
        body = {"buildInfo": {"dockerfileContent": "FROM x"}}
        id = (await self.api("POST", "/sandbox", body)).json["id"]
        url = f"{self.service.proxy_url}/sandboxes/{id}/build-logs"
        self.assertEqual((await self.send("GET", url, headers={})).status, 401)
        reply = await self.send("GET", f"{url}?follow=true")
        self.assertIn(b"pending_build", reply.body)
        self.assertTrue(reply.body.endswith(b"started\n"), reply.body)
        missing = f"{self.service.proxy_url}/sandboxes/none/build-logs"
        self.assertEqual((await self.send("GET", missing)).status, 404)


class LogTests(ToolboxCase):
    """L{Log} and L{Follower}."""

    def test_bound(self) -> None:
        """The newest are kept, and a reader who was held misses no more than what was lost."""
        log, got, ended = Log(limit=10), [], []
        follower = Follower(log, got.append, lambda: ended.append(True))
        follower.start()
        log.add(STDOUT, b"aaaa")
        follower.hold(True)
        for letter in (b"b", b"c", b"d"):
            log.add(STDERR, letter * 4)
        log.end()
        self.assertEqual((len(got), ended), (1, []))
        follower.hold(False)
        marked = [b"\x01\x01\x01aaaa", b"\x02\x02\x02cccc", b"\x02\x02\x02dddd"]
        self.assertEqual((got, ended), (marked, [True]))
        self.assertEqual(log.followers, [])

    def test_activity(self) -> None:
        """An open connection counts every 50 s, one that says it is none does not."""
        clock, touched = Clock(), []
        box = Box(id="", clock=clock, touch=lambda: touched.append(1), files=None, host=None)

        def cut() -> None:
            pass

        box.enter(lambda: None, counts=False)
        clock.advance(100)
        self.assertEqual(len(touched), 0)
        box.enter(cut, counts=True)
        for _ in range(4):
            clock.advance(50)
        self.assertEqual(len(touched), 5)
        box.leave(cut)
        self.assertEqual(clock.getDelayedCalls(), [])


class CannedTests(ToolboxCase):
    """The rest."""

    async def test_answers(self) -> None:
        """Each route of the table answers something that is no fault of the simulator."""
        for route in ROUTES:
            path = route.pattern.replace(":", "3000")
            with self.subTest(method=route.method, path=path):
                body = None if route.method == "GET" else {"path": "x", "languageId": "python"}
                reply = await self.ask(route.method, f"{path}?path=x", body)
                self.assertLess(reply.status, 500, reply.body)
                if reply.status >= 400:
                    told = json.loads(reply.body)
                    self.assertTrue(told.get("statusCode") == reply.status or told["errors"])
