"""
A gibibyte up and one down through the toolbox, and what the daemon's memory makes of it.

Baselines: the same bytes without the daemon in between, and the daemon's own memory before.
The daemon is a process of its own; what takes and gives the bytes shares this one with
the client.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool

from benchmarks.proxy import TWISTD, Server, _created
from benchmarks.report import Figure, Stopwatch, asked_count, table
from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import ALICE, TOKEN, World


SIZE_MIB = 1024
MIB = 1024 * 1024
PIECE = b"\x00" * 65536


class Source:
    """Writes so many bytes, as fast as they are taken."""

    def __init__(self, transport: Any, size: int) -> None:
        self._transport = transport
        self._left = size
        self._held = True
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """Go on."""
        self._held = False
        while not self._held and self._left:
            piece = PIECE[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)
        if not self._left:
            self.stopProducing()

    def pauseProducing(self) -> None:
        """Wait."""
        self._held = True

    def stopProducing(self) -> None:
        """No more."""
        self._held, self._left = True, 0
        self._transport.unregisterProducer()


class Peer(Protocol):
    """
    One end: reads a head, then as many bytes as the head's C{Content-Length} says.

    @ivar whole: Fires with how many that were.
    """

    transport: Any

    def __init__(self) -> None:
        self._head = b""
        self._length: int | None = None
        self._count = 0
        self.whole: Deferred[int] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Count it."""
        if self._length is None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            found = re.search(rb"(?i)content-length: *(\d+)", head)
            self._length = int(found[1]) if found else 0
        self._count += len(data)
        if self._count >= self._length and not self.whole.called:
            self.whole.callback(self._count)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """Too early, perhaps."""
        if not self.whole.called:
            self.whole.errback(reason)


class Insides(Peer):
    """
    What stands in for a sandbox's toolbox: takes everything, or gives as much as it is asked.
    """

    def connectionMade(self) -> None:
        """Wait for what is asked."""
        self.whole.addCallbacks(self._answer, lambda _: None)

    def _answer(self, count: int) -> None:
        asked = re.search(rb"size=(\d+)", self._head)
        size = int(asked[1]) if asked else 0
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        Source(self.transport, size)


async def transfer(
    reactor: Any, port: int, path: str, headers: dict[str, str], *, up: int = 0, down: int = 0
) -> None:
    """
    @param up: Bytes to send.
    @param down: Bytes to be given.
    @raise RuntimeError: Fewer came.
    """
    peer: Peer = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Peer())
    target = f"POST {path}" if up else f"GET {path}?size={down}"
    lines = [f"{target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if up:
        lines.append(f"Content-Length: {up}")
    peer.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    Source(peer.transport, up)
    count = await peer.whole
    peer.transport.loseConnection()
    if count != down:
        raise RuntimeError(f"{count} bytes came of {down}: {peer._head[:300]!r}")


def peak_mib(pid: int) -> float:
    """The most memory that a process has had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


async def measure(reactor: Any, size_mib: int) -> list[Figure]:
    """@param size_mib: Up, and down."""
    world = World(reactor)
    pool: Any = HTTPConnectionPool(reactor, persistent=False)
    http: Any = HTTPClient(Agent(reactor, pool=pool))
    daemon: Server | None = None
    world.startService()  # type: ignore[no-untyped-call]
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    insides = await endpoint.listen(Factory.forProtocol(Insides))
    with tempfile.TemporaryDirectory(prefix="bench-streaming-") as name:
        try:
            await world.up()
            twistd = [str(TWISTD), "-n", "--pidfile=", "sandbox-billing"]
            command = [*twistd, "--endpoint", "tcp:0:interface=127.0.0.1"]
            daemon = Server(Path(name), command, world.environment())
            alice = world.wallet("alice", ALICE)
            await deferToThread(lambda: (alice.deposit(TOKEN), alice.acknowledge()))
            port = await daemon.port(reactor)
            sandbox = await _created(reactor, Client(http, f"http://127.0.0.1:{port}", alice))
            inside = insides.getHost().port
            world.daytona.simulator.toolbox_base = f"http://127.0.0.1:{inside}/toolbox"
            return await _figures(reactor, daemon, port, inside, alice, sandbox, size_mib)
        finally:
            if daemon is not None:
                await deferToThread(daemon.end)
            await insides.stopListening()
            await maybeDeferred(world.stopService)
            # Connections that have just been told to end.
            await deferLater(reactor, 0.05)


async def _figures(
    reactor: Any,
    daemon: Server,
    port: int,
    inside: int,
    alice: Wallet,
    sandbox: str,
    size_mib: int,
) -> list[Figure]:
    path, size = f"/toolbox/{sandbox}/files", size_mib * MIB

    async def through(**changes: int) -> None:
        await transfer(reactor, port, path, alice.headers("toolbox", sandbox), **changes)

    await through(up=MIB + 1)
    await through(down=MIB)
    before = Figure(what="memory at its most, before", value=peak_mib(daemon.pid), unit="MiB")
    watches = {(to, way): Stopwatch() for to in ("directly", "relayed") for way in ("up", "down")}
    for (to, way), watch in watches.items():
        if to == "directly":
            work = transfer(reactor, inside, path, {}, **{way: size})
        else:
            work = through(**{way: size})
        await watch.time(size_mib, Deferred.fromCoroutine(work))
    after = Figure(what="memory at its most, after", value=peak_mib(daemon.pid), unit="MiB")
    found = {
        key: Figure(what=f"{key[1]}, {key[0]}", value=watch.rate, unit="MiB/s")
        for key, watch in watches.items()
    }
    return [
        before,
        evolve(after, baseline=before),
        *(
            figure if to == "directly" else evolve(figure, baseline=found["directly", way])
            for (to, way), figure in found.items()
        ),
    ]


def main() -> None:
    """The command."""
    size = asked_count("streaming", SIZE_MIB, "MiB in each direction")

    def run(reactor: Any) -> Deferred[None]:
        async def bench() -> None:
            print(table(await measure(reactor, size)))

        return Deferred.fromCoroutine(bench())

    react(run)


if __name__ == "__main__":
    main()
