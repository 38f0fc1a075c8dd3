"""
Authenticated, proxied GETs per second: C{GET /api/sandbox/:id}, each with its own signature.

Baselines: a bare forward to the same simulator (L{benchmarks.forwarder}), and the
simulator asked directly.  Daemon and forwarder are processes of their own; the
simulator and the client share this one.

Beside it two web processes, one silent and one that measures what it does: the cost of
METRICS_ADDR, told by the time of the processor that they use, since it is small.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool

import sandbox_billing
from benchmarks.load import send_all
from benchmarks.report import Figure, Stopwatch, asked_count, table
from sandbox_billing.devnet.wallet import Client
from sandbox_billing.devnet.world import ADMIN_KEY, ALICE, TOKEN, World


REQUESTS = 3_000
CONNECTIONS = 8
ROUNDS = 6
PATIENCE_SECONDS = 180

TWISTD = Path(sys.executable).with_name("twistd")
ROOT = Path(sandbox_billing.__file__).parent.parent
TREE = Path(__file__).resolve().parents[1]
"""Where this package is; after C{ROOT}, so that the daemon is the installed one."""


class Server:
    """A child process that says where it listens."""

    def __init__(
        self, folder: Path, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._output = folder / f"{Path(command[-1]).name[:20] or 'child'}-{time.monotonic_ns()}"
        with self._output.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "PYTHONPATH": f"{ROOT}{os.pathsep}{TREE}",
                    **environment,
                },
            )

    @property
    def pid(self) -> int:
        """The process's."""
        return self._process.pid

    def said(self) -> str:
        """All of it."""
        return self._output.read_text(errors="replace")

    def cpu_seconds(self) -> float:
        """What its reactor's thread has used of the processors, to the nanosecond."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    async def port(self, reactor: Any) -> int:
        """@raise RuntimeError: It ended, or does not say."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", self.said())
            if found:
                return int(found.group(1))
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it does not listen: {self.said()[-2000:]}")
            await deferLater(reactor, 0.05)

    def end(self) -> None:
        """Ask it to end and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE_SECONDS)


def request(path: str, headers: Mapping[str, str]) -> bytes:
    """A GET as it travels."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def measure(reactor: Any, count: int, connections: int = CONNECTIONS) -> list[Figure]:
    """
    @param count: Requests to each server.
    @param connections: At a time.
    """
    world = World(reactor)
    pool: Any = HTTPConnectionPool(reactor, persistent=False)
    http: Any = HTTPClient(Agent(reactor, pool=pool))
    servers: list[Server] = []
    world.startService()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="bench-proxy-") as name:
        folder = Path(name)
        try:
            await world.up()
            return await _figures(reactor, world, http, folder, servers, count, connections)
        finally:
            for server in servers:
                # In a thread: a daemon that ends wants answers from the world in ours.
                await deferToThread(server.end)
            await maybeDeferred(world.stopService)


async def _figures(
    reactor: Any,
    world: World,
    http: Any,
    folder: Path,
    servers: list[Server],
    count: int,
    connections: int,
) -> list[Figure]:
    twistd = [str(TWISTD), "-n", "--pidfile=", "sandbox-billing"]
    endpoint = ["--endpoint", "tcp:0:interface=127.0.0.1"]
    unlimited = {"PEER_PER_SECOND": "1000000", "WALLET_PER_SECOND": "1000000"}
    daemon = Server(folder, [*twistd, *endpoint], {**world.environment(), **unlimited})
    forward = [sys.executable, "-m", "benchmarks.forwarder", world.daytona.url, ADMIN_KEY]
    bare = Server(folder, forward, {})
    web = [*twistd, *endpoint, "--role", "web"]
    silent = Server(folder, web, {**world.environment(), **unlimited})
    measured = Server(
        folder, [*web, "--metrics-addr", "127.0.0.1:0"], {**world.environment(), **unlimited}
    )
    servers += [daemon, bare, silent, measured]
    alice = world.wallet("alice", ALICE)
    await deferToThread(lambda: (alice.deposit(TOKEN), alice.acknowledge()))
    port = await daemon.port(reactor)
    sandbox = await _created(reactor, Client(http, f"http://127.0.0.1:{port}", alice))
    path = f"/api/sandbox/{sandbox}"
    signed = [request(path, alice.headers("list", sandbox)) for _ in range(count)]
    keyed = [request(path, {"Authorization": f"Bearer {ADMIN_KEY}"})] * count
    # A signature opens one request only.
    ours, theirs = (
        [request(path, alice.headers("list", sandbox)) for _ in range(count)] for _ in range(2)
    )
    direct_port = int(world.daytona.url.rpartition(":")[2])
    contest = {
        "simulator, directly": (Stopwatch(), direct_port, keyed),
        "bare forward": (Stopwatch(), await bare.port(reactor), keyed),
        "authenticated, proxied GET": (Stopwatch(), port, signed),
    }
    for server in (silent, measured):
        await _ready(reactor, server, http)
    share = -(-count // ROUNDS)
    busy = {"silent": Stopwatch(), "measured": Stopwatch()}
    for first in range(0, count, share):
        for watch, to, requests in contest.values():
            some = requests[first : first + share]
            await watch.time(len(some), send_all(reactor, to, some, connections))
        for name, server, requests in (("silent", silent, ours), ("measured", measured, theirs)):
            some = requests[first : first + share]
            began = server.cpu_seconds()
            await send_all(reactor, await server.port(reactor), some, connections)
            busy[name].seconds += server.cpu_seconds() - began
            busy[name].done += len(some)
    direct, forwarded, proxied = (
        Figure(what=what, value=watch.rate, unit="/s") for what, (watch, *_) in contest.items()
    )
    web = Figure(what="in a web process", value=busy["silent"].rate, unit="/s of its CPU")
    told = "in a web process that measures"
    return [
        direct,
        evolve(forwarded, baseline=direct),
        evolve(proxied, baseline=forwarded),
        evolve(proxied, baseline=direct),
        web,
        Figure(what=told, value=busy["measured"].rate, unit="/s of its CPU", baseline=web),
    ]


async def _ready(reactor: Any, server: Server, http: Any) -> None:
    """What it needs is there."""
    port = await server.port(reactor)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (await http.get(f"http://127.0.0.1:{port}/readyz")).code != 200:
        if time.monotonic() > deadline:
            raise RuntimeError(f"it is not ready: {server.said()[-2000:]}")
        await deferLater(reactor, 0.1)


async def _created(reactor: Any, client: Client) -> str:
    """A sandbox, as soon as the daemon is ready and has seen the deposit."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        status, shown = await client.create()
        if status == 200:
            return str(shown["id"])
        if status not in (402, 503) or time.monotonic() > deadline:
            raise RuntimeError(f"no sandbox: {status} {shown}")
        await deferLater(reactor, 0.2)


def main() -> None:
    """The command."""
    count = asked_count("proxy", REQUESTS, "requests to each server")

    def run(reactor: Any) -> Deferred[None]:
        async def bench() -> None:
            print(table(await measure(reactor, count)))

        return Deferred.fromCoroutine(bench())

    react(run)


if __name__ == "__main__":
    main()
