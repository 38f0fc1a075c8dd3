"""
Bytes through the door, both ways, against a Daytona whose answers are written by hand.
"""

from __future__ import annotations

import json
from hashlib import sha256

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from sandbox_billing.adapters.memory.measures import MemoryMeasures
from sandbox_billing.web.root import make_root
from sandbox_billing.web.site import Limits
from tests.web.streams import ADMIN_KEY, StreamTestCase
from tests.web.world import FOREIGN, NOW, SANDBOX, signed_json


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
MEBI = 1024 * 1024


class PlainTests(StreamTestCase):
    """
    Requests and answers.
    """

    async def test_get(self) -> None:
        """It goes to the canonical id, with the admin key and of his only what may pass."""
        await self.serve()
        client = await self.connect()
        headers = {
            **self.token(),
            "X-Daytona-Organization-ID": "other",
            "X-Daytona-Preview-Token": "leak",
            "X-Forwarded-For": "1.2.3.4",
            "Cookie": "a=b",
            "X-Daytona-Source": "sdk-python",
        }
        path = f"{self.box}/files?path=%2Fhome%2Fa%20b&DAYTONA_SANDBOX_AUTH_KEY=x"
        client.send(self.request("GET", path, headers))
        upstream = await self.upstream()
        lines = upstream.head.split("\r\n")
        self.assertEqual(lines[0], f"GET {self.box}/files?path=%2Fhome%2Fa%20b HTTP/1.1")
        self.assertEqual(
            sorted(line.lower() for line in lines[1:]),
            sorted(
                [
                    f"authorization: bearer {ADMIN_KEY}",
                    "connection: close",
                    f"host: {self.behind}",
                    "x-daytona-source: sdk-python",
                ]
            ),
        )
        upstream.send(OK)
        await self.until(lambda: client.body == b"ok")
        self.assertEqual(client.status, 200)
        self.assertEqual(client.header("content-type"), "text/plain")
        self.assertEqual(client.header("server"), "sandbox-billing")
        self.assertIsNotNone(client.header("x-request-id"))
        await self.until(lambda: upstream.half)
        self.assertEqual(self.world.streams.count, 0)

    async def test_measured(self) -> None:
        """A sandbox may answer with any status: it is told by its class, and ours as it is."""
        measures = MemoryMeasures()
        await self.serve()
        self.site.resource = make_root(evolve(self.world.desk, measures=measures))
        for number, line in enumerate((b"200 OK", b"299 Odd", b"555 Odder"), 1):
            client = await self.connect()
            client.send(self.request("GET", f"{self.box}/files"))
            upstream = await self.upstream(number)
            upstream.send(b"HTTP/1.1 " + line + b"\r\nContent-Length: 2\r\n\r\nok")
            await self.until(lambda client=client: client.body == b"ok")
        client = await self.connect()
        client.send(b"GET %b/files HTTP/1.1\r\nHost: x\r\n\r\n" % self.box.encode())
        await self.until(lambda: client.status == 401)
        await self.until(lambda: sum(map(len, measures.seen.values())) == 4)
        route = "/toolbox/{id}/**"
        self.assertEqual(
            {("GET", "2xx"): 2, ("GET", "5xx"): 1, ("GET", "401"): 1},
            {key[2:]: len(found) for key, found in measures.seen.items() if key[1] == route},
        )

    async def test_keep_alive(self) -> None:
        """One client's connection carries many streams, and other requests between them."""
        await self.serve()
        client = await self.connect()
        for number in (1, 2):
            client.taken.clear()
            client.send(self.request("POST", f"{self.box}/process/execute", length=3) + b"abc")
            upstream = await self.upstream(number)
            await self.until(lambda upstream=upstream: upstream.body == b"abc")
            self.assertEqual(upstream.header("content-length"), "3")
            upstream.send(OK)
            await self.until(lambda: client.body == b"ok")
        client.taken.clear()
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await self.until(lambda: client.body == b'{"ok":true}')

    async def test_chunked_both_ways(self) -> None:
        """Lengths that nobody knows yet; each piece is passed on when it comes."""
        await self.serve()
        client = await self.connect()
        client.send(self.request("POST", f"{self.box}/files/upload", chunked=True))
        client.send(b"3\r\nabc\r\n")
        upstream = await self.upstream()
        await self.until(lambda: upstream.body == b"3\r\nabc\r\n")
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await self.until(lambda: client.body == b"2\r\nhi\r\n")
        client.send(b"0\r\n\r\n")
        await self.until(lambda: upstream.body == b"3\r\nabc\r\n0\r\n\r\n")
        upstream.send(b"0\r\n\r\n")
        await self.until(lambda: client.body == b"2\r\nhi\r\n0\r\n\r\n")

    async def test_until_closed(self) -> None:
        """An answer that ends with its connection ends well."""
        await self.serve()
        client = await self.connect()
        client.send(self.request("GET", f"{self.box}/x"))
        upstream = await self.upstream()
        upstream.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await self.until(lambda: client.body == b"9\r\nall of it\r\n")
        upstream.transport.loseConnection()
        await self.until(lambda: client.body == b"9\r\nall of it\r\n0\r\n\r\n")

    async def test_broken_off(self) -> None:
        """An answer that broke off must not look like a whole one."""
        await self.serve()
        for head, part in (
            (b"Content-Length: 10", b"half"),
            (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n"),
        ):
            client = await self.connect()
            count = len(self.daytona.connections)
            client.send(self.request("GET", f"{self.box}/x"))
            upstream = await self.upstream(count + 1)
            upstream.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + part)
            await self.until(lambda client=client: b"half" in client.body)
            upstream.transport.loseConnection()
            await client.closed
            self.assertNotIn(b"0\r\n\r\n", client.body)

    async def test_head(self) -> None:
        """HEAD goes on as HEAD, and tells the length."""
        await self.serve()
        client = await self.connect()
        client.send(self.request("HEAD", f"{self.box}/files/download"))
        upstream = await self.upstream()
        self.assertTrue(upstream.head.startswith("HEAD "))
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")
        await self.until(lambda: client.status == 200)
        self.assertEqual(client.header("content-length"), "77")

    async def test_redirects(self) -> None:
        """They are not followed; they lead through our door or nowhere."""
        await self.serve()
        for location, shown in (
            (f"{self.box}/there?x=1", f"{self.box}/there?x=1"),
            (f"http://{self.behind}{self.box}/there", f"{self.box}/there"),
            ("http://169.254.169.254/latest", None),
            (f"/toolbox/{FOREIGN}/there", None),
            (f"{self.box}/../{FOREIGN}/there", None),
        ):
            client = await self.connect()
            count = len(self.daytona.connections)
            client.send(self.request("GET", f"{self.box}/here"))
            upstream = await self.upstream(count + 1)
            upstream.send(
                f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            await self.until(lambda client=client: client.status == 302)
            self.assertEqual(client.header("location"), shown, location)
        self.assertEqual(len(self.daytona.connections), 5)

    async def test_answers_that_are_none(self) -> None:
        """What is no HTTP, too long, or never comes is 502, and not asked again."""
        await self.serve()
        for said in (
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
            b"",
        ):
            client = await self.connect()
            count = len(self.daytona.connections)
            client.send(self.request("POST", f"{self.box}/process/execute", length=2) + b"{}")
            upstream = await self.upstream(count + 1)
            upstream.send(said)
            upstream.transport.loseConnection()
            await self.until(lambda client=client: client.status == 502)
            self.assertEqual(json.loads(client.body)["statusCode"], 502)
        self.assertEqual(len(self.daytona.connections), 9)

    async def test_unreachable(self) -> None:
        """Nobody listens there."""
        await self.serve()
        self.show(SANDBOX, toolboxProxyUrl="http://127.0.0.1:1/toolbox")
        client = await self.connect()
        client.send(self.request("GET", f"{self.box}/x"))
        await self.until(lambda: client.status == 502)

    async def test_other_places(self) -> None:
        """Legacy toolbox and build logs go where Daytona has them."""
        await self.serve()
        for asked, got in (
            (f"/api/toolbox/{SANDBOX}/toolbox/files", f"/api/toolbox/{SANDBOX}/toolbox/files"),
            (f"/sandboxes/{SANDBOX}/build-logs?follow=true",) * 2,
            (f"/api/sandbox/{SANDBOX}/build-logs?follow=true",) * 2,
        ):
            client = await self.connect()
            count = len(self.daytona.connections)
            client.send(self.request("GET", asked))
            upstream = await self.upstream(count + 1)
            self.assertEqual(upstream.head.split("\r\n")[0], f"GET {got} HTTP/1.1")
            upstream.send(OK)
            await self.until(lambda client=client: client.body == b"ok")

    async def test_no_toolbox_named(self) -> None:
        """Servers that name no toolbox, or name us, are asked at the API."""
        await self.serve()
        for url in ("", "https://sandboxes.example/toolbox", None):
            self.show(SANDBOX, toolboxProxyUrl=url)
            client = await self.connect()
            count = len(self.daytona.connections)
            client.send(self.request("GET", f"{self.box}/files"))
            upstream = await self.upstream(count + 1)
            first = upstream.head.split("\r\n")[0]
            self.assertEqual(first, f"GET /api/toolbox/{SANDBOX}/toolbox/files HTTP/1.1")


class DoorTests(StreamTestCase):
    """
    Who may, and how he is told that he may not.
    """

    async def refused(self, request: bytes, status: int) -> dict[str, object]:
        """Sent, and answered by us."""
        client = await self.connect()
        client.send(request)
        await self.until(lambda: client.status and len(client.body) > 2)
        self.assertEqual(client.status, status, client.taken)
        self.assertEqual(self.daytona.connections, [])
        document = json.loads(client.body)
        assert isinstance(document, dict)
        return document

    async def test_nobody(self) -> None:
        """No proof, no bytes; and the connection survives a body that came too early."""
        await self.serve()
        client = await self.connect()
        body = b"x" * (3 * MEBI)
        client.send(self.request("POST", f"{self.box}/files/upload", {"X": "y"}, length=len(body)))
        client.send(body)
        await self.until(lambda: client.status == 401)
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await self.until(lambda: b'{"ok":true}' in client.taken)
        self.assertEqual(self.daytona.connections, [])

    async def test_not_invited(self) -> None:
        """Who waits to be asked for his body is refused without being asked."""
        await self.serve()
        client = await self.connect()
        headers = {"Expect": "100-continue"}
        client.send(self.request("POST", f"{self.box}/files/upload", headers, length=10**9))
        await self.until(lambda: client.status == 401)
        self.assertNotIn(b"100 Continue", client.taken)

    async def test_invited(self) -> None:
        """And is asked when Daytona takes it."""
        await self.serve()
        client = await self.connect()
        headers = {**self.token(), "Expect": "100-continue"}
        client.send(self.request("POST", f"{self.box}/files/upload", headers, length=3))
        await self.until(lambda: b"100 Continue\r\n\r\n" in client.taken)
        client.send(b"abc")
        upstream = await self.upstream()
        await self.until(lambda: upstream.body == b"abc")
        self.assertIsNone(upstream.header("expect"))

    async def test_strangers(self) -> None:
        """Another's is 403, none is 404."""
        await self.serve()
        await self.refused(self.request("GET", f"/toolbox/{FOREIGN}/x"), 403)
        await self.refused(self.request("GET", "/toolbox/none/x"), 404)

    async def test_narrow_token(self) -> None:
        """A token for another sandbox of the same wallet."""
        await self.serve()
        headers = self.token_for(only=FOREIGN)
        await self.refused(self.request("GET", f"{self.box}/x", headers), 403)

    async def test_stopped_or_blocked(self) -> None:
        """409 while a stop is pending, 402 for a wallet that may not run anything."""
        await self.serve()
        self.world.doors.stops[SANDBOX] = "operator"
        told = await self.refused(self.request("GET", f"{self.box}/x"), 409)
        self.assertEqual(told["error"], "stop pending")
        self.world.doors.stops.clear()
        wallet = self.world.intake.sandboxes[SANDBOX][0]
        self.world.doors.blocked[wallet] = "insufficient_balance"
        told = await self.refused(self.request("GET", f"{self.box}/x"), 402)
        self.assertEqual(told["code"], "blocked")

    async def test_nobody_pays(self) -> None:
        """409 for one that only its label gives to somebody, until it was metered once."""
        await self.serve()
        doors = self.world.doors
        doors.metered.clear()
        doors.recorded.clear()
        told = await self.refused(self.request("GET", f"{self.box}/x"), 409)
        self.assertIn("not metered", told["error"])
        self.assertEqual(self.daytona.connections, [])
        doors.recorded.add(SANDBOX)
        client = await self.connect()
        client.send(self.request("GET", f"{self.box}/x"))
        await self.upstream()

    async def test_too_many(self) -> None:
        """As many streams as there may be, and no more until one ends."""
        await self.serve()
        self.world.streams.most_of_wallet = 1
        first, second = await self.connect(), await self.connect()
        first.send(self.request("GET", f"{self.box}/x"))
        upstream = await self.upstream()
        second.send(self.request("GET", f"{self.box}/x"))
        await self.until(lambda: second.status == 429)
        upstream.send(OK)
        await self.until(lambda: first.status == 200)
        second.taken.clear()
        second.send(self.request("GET", f"{self.box}/x"))
        await self.upstream(2)


class SignedBodyTests(StreamTestCase):
    """
    Bodies that a wallet signed (wire.md §4).
    """

    def signed(self, body: bytes, **changes: object) -> dict[str, str]:
        """With the verb of the toolbox."""
        return self.world.signed("toolbox", SANDBOX, body, **changes)

    async def test_small(self) -> None:
        """Read whole, compared, sent on as it was."""
        await self.serve()
        body = b'{"command":  "ls"}'
        client = await self.connect()
        headers = {**self.signed(body), "Content-Type": "application/json"}
        path = f"{self.box}/process/execute"
        client.send(self.request("POST", path, headers, length=len(body)) + body)
        upstream = await self.upstream()
        await self.until(lambda: upstream.body == body)

    async def test_small_and_other(self) -> None:
        """Another body than the signed one is 401 before anything is sent."""
        await self.serve()
        body = b'{"command":"rm"}'
        client = await self.connect()
        headers = {**self.signed(b'{"command":"ls"}'), "Content-Type": "application/json"}
        path = f"{self.box}/process/execute"
        client.send(self.request("POST", path, headers, length=len(body)) + body)
        await self.until(lambda: client.status == 401)
        self.assertEqual(self.daytona.connections, [])

    async def test_large(self) -> None:
        """Hashed on its way: the last 64 KiB wait for the rest to be right."""
        await self.serve()
        body = bytes(range(256)) * (8 * 1024)
        client = await self.connect()
        path = f"{self.box}/files/upload"
        client.send(self.request("POST", path, self.signed(body), length=len(body)))
        client.send(body[:-1])
        upstream = await self.upstream()
        await self.until(lambda: len(upstream.body) == len(body) - 1 - 64 * 1024)
        await deferLater(reactor, 0.02)
        self.assertEqual(len(upstream.body), len(body) - 1 - 64 * 1024)
        client.send(body[-1:])
        await self.until(lambda: upstream.body == body)
        upstream.send(OK)
        await self.until(lambda: client.status == 200)

    async def test_large_and_other(self) -> None:
        """The end never arrives, the connection to Daytona is cut, and the client is told."""
        await self.serve()
        body = b"x" * (2 * MEBI)
        for chunked in (False, True):
            client = await self.connect()
            count = len(self.daytona.connections)
            path, headers = f"{self.box}/files/upload", self.signed(body)
            other = body[:-1] + b"y"
            if chunked:
                client.send(self.request("POST", path, headers, chunked=True))
                client.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(other), other))
            else:
                client.send(self.request("POST", path, headers, length=len(other)) + other)
            upstream = await self.upstream(count + 1)
            await self.until(lambda client=client: client.status == 401)
            self.assertEqual(json.loads(client.body)["error"], "signature does not match request")
            await self.until(lambda upstream=upstream: upstream.ended or upstream.half)
            self.assertNotIn(b"y", upstream.body)
            self.assertFalse(upstream.body.endswith(b"0\r\n\r\n"))

    async def test_expired_meanwhile(self) -> None:
        """A body that comes after its signature's time proves nothing, and uses up nothing."""
        await self.serve()
        body = b'{"command":"ls"}'
        client = await self.connect()
        headers = {**self.signed(body), "Content-Type": "application/json"}
        path = f"{self.box}/process/execute"
        client.send(self.request("POST", path, headers, length=len(body)) + body[:-1])
        await self.until(lambda: self.world.desk.room.taken)
        self.world.wall.moment = NOW + 300
        client.send(body[-1:])
        await self.until(lambda: client.status == 401)
        self.assertEqual(self.world.guard.calls.asked, [])
        self.assertEqual(self.daytona.connections, [])
        await self.until(lambda: not self.world.desk.room.taken)

    async def test_slow(self) -> None:
        """A body that must be whole first has as long as any that is collected."""
        clock, body_seconds = Clock(), Limits().body_seconds
        await self.serve(clock)
        client = await self.connect()
        headers = self.signed(b"{}")
        client.send(self.request("POST", f"{self.box}/process", headers, length=9) + b"{")
        await self.until(lambda: body_seconds in (x.getTime() for x in clock.getDelayedCalls()))
        clock.advance(body_seconds)
        await self.until(lambda: client.status == 408)
        client.transport.loseConnection()
        await self.until(lambda: not self.world.desk.room.taken)
        # One that is only streamed has not.
        client = await self.connect()
        client.send(self.request("POST", f"{self.box}/process", length=9) + b"{")
        upstream = await self.upstream()
        await self.until(lambda: upstream.body == b"{")
        clock.advance(body_seconds)
        client.send(b"12345678")
        await self.until(lambda: upstream.body == b"{12345678")

    async def test_no_room(self) -> None:
        """What strangers' bodies may take together is bounded; a token's are not kept."""
        await self.serve()
        room = self.world.desk.room
        room.most_of_peer = MEBI
        first, second = await self.connect(), await self.connect()
        path = f"{self.box}/files/upload"
        first.send(self.request("POST", path, self.signed(b""), length=MEBI) + b"x")
        await self.until(lambda: room.taken == MEBI)
        second.send(self.request("POST", path, self.signed(b""), length=1))
        await self.until(lambda: second.status == 503)
        self.assertEqual(second.header("retry-after"), "5")
        self.assertEqual(room.taken, MEBI)
        third = await self.connect()
        third.send(self.request("POST", path, length=1) + b"y")
        await self.upstream()
        first.transport.abortConnection()
        await self.until(lambda: not room.taken)
        fourth = await self.connect()
        fourth.send(self.request("POST", path, self.signed(b"z"), length=1) + b"z")
        upstream = await self.upstream(2)
        await self.until(lambda: upstream.body == b"z")
        self.assertEqual(room.taken, 0)

    async def test_unsigned_payload(self) -> None:
        """An empty payload stands for any body here, unless it is strict."""
        await self.serve()
        body = b"z" * (2 * MEBI)
        message = self.world.message(action="toolbox", resource_id=SANDBOX)
        client = await self.connect()
        headers = signed_json(message)
        client.send(self.request("POST", f"{self.box}/files/upload", headers, length=len(body)))
        client.send(body)
        upstream = await self.upstream()
        await self.until(lambda: upstream.body == body)
        self.assertEqual(sha256(upstream.body).digest(), sha256(body).digest())
