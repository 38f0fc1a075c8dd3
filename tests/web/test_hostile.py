"""
Clients that mean harm, on real sockets, while others are served.

They are plain sockets in a thread: nothing of Twisted helps them to behave.
"""

from __future__ import annotations

import os
import resource
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.web.streams import StreamTestCase


SLOWEST_SECONDS = 20.0
"""What others may have to wait for an answer, on a machine that does other work, too."""

PATIENCE_SECONDS = 200.0
"""For what takes a second or two: who sends a byte now and then is never idle."""

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def resident_mib() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class HostileTestCase(StreamTestCase):
    """
    An attack, and somebody else who keeps asking meanwhile.
    """

    timeout = 600

    def attacker(self) -> socket.socket:
        """A connection."""
        made = socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=120)
        self.attackers.append(made)
        return made

    @contextmanager
    def attackers_end(self) -> Iterator[None]:
        """Close whatever they have opened."""
        self.attackers: list[socket.socket] = []
        try:
            yield
        finally:
            for one in self.attackers:
                one.close()

    async def during(self, attack: Callable[[], Any]) -> Any:
        """
        Run an attack in a thread and be served all the while.

        @return: What it returned.
        """
        client = await self.connect()
        ended: list[Any] = []
        running = deferToThread(attack).addBoth(ended.append)
        answers = 0
        while not ended or answers < 20:
            began = reactor.seconds()
            client.taken.clear()
            client.send(HEALTH)
            await self.until(lambda: client.body == b'{"ok":true}')
            self.assertLess(reactor.seconds() - began, SLOWEST_SECONDS)
            answers += 1
            await deferLater(reactor, 0.005)
        await running
        if hasattr(ended[0], "raiseException"):
            ended[0].raiseException()
        return ended[0]

    async def streamed(self) -> None:
        """A stream goes through, from its head to its end."""
        client = await self.connect()
        count = len(self.daytona.connections)
        client.send(self.request("POST", f"{self.box}/process/execute", length=2) + b"{}")
        upstream = await self.upstream(count + 1)
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await self.until(lambda: client.body == b"ok")


class SlowTests(HostileTestCase):
    """
    Slowloris and its kin.
    """

    def drip(self, head: bytes, count: int) -> int:
        """
        Send a byte now and then on many connections, until they are cut.

        @return: How many were.
        """
        with self.attackers_end():
            began = time.monotonic()
            alive = {self.attacker() for _ in range(count)}
            for one in alive:
                one.sendall(head)
                one.setblocking(False)
            while alive and time.monotonic() - began < PATIENCE_SECONDS:
                for one in tuple(alive):
                    try:
                        one.send(b"x")
                        gone = one.recv(4096) == b""
                    except BlockingIOError:
                        gone = False
                    except OSError:
                        gone = True
                    if gone:
                        alive.discard(one)
                time.sleep(0.02)
            return count - len(alive)

    async def test_headers(self) -> None:
        """Headers that never end are cut at their deadline, however they drip (V1)."""
        await self.serve(headers_seconds=1.0, linger_seconds=0.2)
        cut = await self.during(lambda: self.drip(b"GET /x HTTP/1.1\r\nX-A: ", 200))
        self.assertEqual(cut, 200)
        await self.until(lambda: len(self.site.channels) <= 1)

    async def test_bodies(self) -> None:
        """So are bodies of requests that are read whole."""
        await self.serve(body_seconds=1.0, linger_seconds=0.2)
        head = b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        cut = await self.during(lambda: self.drip(head, 200))
        self.assertEqual(cut, 200)

    async def test_streams(self) -> None:
        """A stream for which nobody is proven is no way to stay: 401, then seconds."""
        await self.serve(linger_seconds=0.5)
        head = self.request("POST", f"{self.box}/files/upload", {"X": "y"}, length=10**9)
        cut = await self.during(lambda: self.drip(head, 200))
        self.assertEqual(cut, 200)
        self.assertEqual(self.daytona.connections, [])
        await self.streamed()


def files_on_disk() -> int:
    """How many this process has open that are plain files."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += stat.S_ISREG(os.stat(f"/proc/self/fd/{name}").st_mode)
        except OSError:
            # The listing's own.
            continue
    return found


class BodyTests(HostileTestCase):
    """
    Bodies of requests that are read whole, and that nobody has signed.
    """

    BEGUN = (
        b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nx",
    )

    async def test_one_file_each(self) -> None:
        """
        A body takes no open file beside its connection's.

        Or clients, of whom there may be as many as there are files for, would take those
        with which Redis, Daytona and the chain are reached.
        """
        await self.serve()
        before = files_on_disk()
        with self.attackers_end():
            for begun in self.BEGUN:
                for _ in range(20):
                    (await deferToThread(self.attacker)).sendall(begun)
            await self.until(lambda: len(self.site.channels) >= 40)
            await self.until(lambda: all(one.requests for one in self.site.channels))
            # Fewer: what another test has left open may be collected meanwhile.
            self.assertLessEqual(files_on_disk() - before, 0)
        await self.until(lambda: not self.site.channels)

    async def test_memory(self) -> None:
        """
        All bodies together, and those of one address, have a bound; what is over it is
        told to come again, and what is refused or gone holds nothing.
        """
        await self.serve(all_bodies_bytes=200_000, bodies_of_peer_bytes=120_000)
        head = b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n"

        def begin(source: str) -> socket.socket:
            where = ("127.0.0.1", self.port.getHost().port)
            made = socket.create_connection(where, 120, (source, 0))
            self.attackers.append(made)
            made.sendall(head + b"x" * 60_000)
            return made

        def answer(of: socket.socket) -> bytes:
            of.settimeout(120)
            try:
                return of.recv(12)
            except TimeoutError:
                return b""

        with self.attackers_end():
            kept = []
            for source in ("127.0.0.2", "127.0.0.2", "127.0.0.3"):
                kept.append(await deferToThread(begin, source))
                await self.until(lambda: self.site.bodies.held == 60_000 * len(kept))
            # Of this address: 120,000 are held.
            over = await deferToThread(begin, "127.0.0.2")
            self.assertEqual(await deferToThread(answer, over), b"HTTP/1.1 503")
            # Of all: 180,000 are.
            over = await deferToThread(begin, "127.0.0.4")
            self.assertEqual(await deferToThread(answer, over), b"HTTP/1.1 503")
            self.assertEqual(self.site.bodies.held, 180_000)
            kept[0].close()
            await self.until(lambda: self.site.bodies.held == 120_000)
            # One that ends is answered by the router, and gives back what it held.
            kept[1].sendall(b"x" * 10_000)
            self.assertEqual(await deferToThread(answer, kept[1]), b"HTTP/1.1 401")
            await self.until(lambda: self.site.bodies.held == 60_000)
        await self.until(lambda: self.site.bodies.held == 0)


class OddTests(HostileTestCase):
    """
    Giant heads, halves, resets, and bytes that are no HTTP.
    """

    def send_all(self, what: bytes, count: int, then: Callable[[Any], None]) -> None:
        """On so many connections."""
        with self.attackers_end():
            for _ in range(count):
                one = self.attacker()
                try:
                    one.sendall(what)
                    then(one)
                except OSError:
                    # Cut off, as it should be.
                    pass

    async def test_giant_heads(self) -> None:
        """Heads of megabytes cost nothing but their answer."""
        await self.serve(linger_bytes=10**6, linger_seconds=0.5)
        before = resident_mib()
        for giant in (
            b"GET /" + b"x" * 4_000_000,
            b"GET / HTTP/1.1\r\nX-A: " + b"x" * 4_000_000,
            b"GET / HTTP/1.1\r\n" + b"X-A: x\r\n" * 500_000,
        ):
            await self.during(lambda giant=giant: self.send_all(giant, 30, lambda one: None))
        await self.until(lambda: len(self.site.channels) <= 3)
        self.assertLess(resident_mib() - before, 64)

    async def test_halves_and_resets(self) -> None:
        """Who closes one half, or resets, at any point, leaves nothing behind."""

        def half(one: socket.socket) -> None:
            one.shutdown(socket.SHUT_WR)
            one.recv(10)

        def reset(one: socket.socket) -> None:
            linger = struct.pack("ii", 1, 0)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            one.close()

        await self.serve()
        begun = (
            b"",
            b"GET / HT",
            b"POST /api/sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
            self.request("POST", f"{self.box}/files/upload", {"X": "y"}, length=10**9),
        )
        for what in begun:
            for end in (half, reset):
                await self.during(lambda what=what, end=end: self.send_all(what, 20, end))
        await self.until(lambda: len(self.site.channels) <= len(begun) * 2)
        self.assertEqual(self.world.streams.count, 0)
        await self.streamed()

    async def test_flood_behind_a_stream(self) -> None:
        """Who floods a connection whose answer is not there is not read on."""
        await self.serve()
        client = await self.connect()
        client.send(self.request("POST", f"{self.box}/process/execute", length=2) + b"{}")
        upstream = await self.upstream()
        before = resident_mib()

        sent = 0
        while sent < 64 * 2**20 and not client.ended:
            client.transport.write(b"G" * 2**20)
            sent += 2**20
        await deferLater(reactor, 0.2)
        # What is not taken is the client's to keep: 64 MiB of it in this very process.
        self.assertLess(resident_mib() - before, 64 + 48)
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await self.until(lambda: b"ok" in client.taken)
