"""
What C{docs/upgrading.rst} and C{docs/moving.rst} say, done: web processes are exchanged behind one
socket, a second worker with the same key takes over from one that hangs, Redis goes elsewhere.

That a worker takes over from one that was killed is in L{tests.blackbox.test_process}; that a stale
token changes nothing, in C{tests.ports.journal} and L{tests.services.test_lease_keeper}.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from typing import Any

from attrs import define, field
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from sandbox_billing.devnet.redis import RedisServer
from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import ALICE, TOKEN
from tests.blackbox.audit import Account, money
from tests.blackbox.backup import asked, info, replica_has_all, wait_for
from tests.blackbox.crowd import NO_ANSWER, pause
from tests.blackbox.process import PLUGIN_FOLDER, TWISTD, Child
from tests.blackbox.scene import RECONCILE_SECONDS, Scene
from tests.redis_server import new_server


FIRST_SOCKET = 3
"""The first one that systemd hands over."""

PAUSE_SECONDS = 0.25

PASSED_ON = 'export LISTEN_PID=$$; exec "$@"'
"""systemd names the process that the sockets are for."""


@define(eq=False)
class Load:
    """
    Somebody who asks all the time, on a new connection each time or on one that is kept.

    @ivar told: How often each status was the answer; None for none.
    @ivar odd: Every answer that was no 200.
    """

    client: Client
    told: Counter[int | None] = field(factory=Counter)
    odd: list[str] = field(factory=list)
    over: bool = False

    async def go_on(self) -> None:
        """Until it is over."""
        while not self.over:
            try:
                status, shown = await self.client.listed()
            except NO_ANSWER:
                self.told[None] += 1
            else:
                self.told[status] += 1
                if status != 200:
                    self.odd.append(f"{status} {shown}")
            await pause(PAUSE_SECONDS)


class MovingTests(TestCase):
    """One world, in which everything but the sandbox is exchanged."""

    timeout = 600

    async def test_moving(self) -> None:
        """Web, worker and Redis are exchanged under load; the run is charged once, as a whole."""
        scene = await Scene.open(self)
        assert scene.mining is not None
        scene.mining.interval = 0.3
        redis = self.on(scene, new_server())
        alice = await scene.user("alice", ALICE, TOKEN)
        worker = self.worker(scene)
        await scene.until("a worker", lambda: "is the worker now" in worker.said())
        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.addCleanup(listening.close)
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        webs = [self.web(scene, listening)]
        for web in webs:
            await scene.until("web", lambda w=web: self.listens(w))
        await scene.until("readiness", lambda: self.is_ready(scene, base))
        sandbox = await scene.created(scene.client(base, alice))
        loads = self.loads(scene, base, alice)
        asking = [Deferred.fromCoroutine(load.go_on()) for load in loads]
        await self.exchange_webs(scene, webs, listening)
        await scene.until("both to go on", lambda: all(load.told[200] > 10 for load in loads))
        for load in loads:
            load.over = True
        for ended in asking:
            await ended
        for load in loads:
            self.assertEqual(set(load.told), {200}, (load.told, load.odd[:5]))
        worker = await self.exchange_hung_worker(scene, worker)
        redis = await self.move_redis(scene, redis, [worker, *webs])
        self.on(scene, redis)
        scene.start()
        base = await scene.ready()
        moved = await scene.charged_seconds(alice)
        await scene.until("a charge", lambda: self.charged(scene, alice, moved))
        self.assertEqual((await scene.client(base, alice).act("stop", sandbox))[0], 200)
        await scene.books(alice, sandbox, paid_in=TOKEN, lost_seconds=2 * RECONCILE_SECONDS)
        self.assertEqual(list(money(await Account.of(scene, alice, TOKEN))), [])

    # -- web -----------------------------------------------------------------------------

    async def exchange_webs(
        self, scene: Scene, webs: list[Child], listening: socket.socket
    ) -> None:
        """One after another: the new one is there before the old one is told to end."""
        for place, old in enumerate(webs):
            webs[place] = self.web(scene, listening)
            await scene.until("the new one", lambda w=webs[place]: self.listens(w))
            self.assertEqual(await old.terminate(), 0, old.said()[-2000:])

    def loads(self, scene: Scene, base: str, wallet: Wallet) -> list[Load]:
        """One that closes each connection, and one that keeps one open."""
        pool: Any = HTTPConnectionPool(reactor, persistent=True)
        self.addCleanup(pool.closeCachedConnections)
        kept: Any = HTTPClient(Agent(reactor, pool=pool))
        return [Load(Client(http, base, wallet)) for http in (scene.http, kept)]

    def web(self, scene: Scene, listening: socket.socket) -> Child:
        """One that takes requests from the socket, as systemd would hand it over."""
        child = Child.start(
            self,
            [
                *("/bin/sh", "-c", PASSED_ON, "sh"),
                *(str(TWISTD), "-n", "--pidfile=", "sandbox-billing", "--role", "web"),
                *("--endpoint", "systemd:domain=INET:index=0"),
            ],
            {
                "PYTHONPATH": str(PLUGIN_FOLDER),
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "web",
                **scene.environment(),
            },
            files={0: "w", 1: "r", 2: "r", FIRST_SOCKET: listening.fileno()},
        )
        scene.daemons.append(child)
        return child

    def listens(self, web: Child) -> bool:
        """
        Whether it takes requests; it may not have ended instead.

        It has the socket before: were the other one stopped then, and this one's start took longer
        than it leaves the socket alone for, users were told 503.
        """
        self.assertIsNone(web.status, web.said()[-3000:])
        return web.port() is not None and "billing for provider" in web.said()

    async def is_ready(self, scene: Scene, base: str) -> bool:
        """Whether whoever answers is."""
        status, _shown = await scene.get(base, "/readyz")
        return status == 200

    # -- the worker ------------------------------------------------------------------------

    def worker(self, scene: Scene) -> Child:
        """A worker, the one of the moment or standing by."""
        child = scene.start("--role", "worker")
        scene.daemon = None
        return child

    async def exchange_hung_worker(self, scene: Scene, old: Child) -> Child:
        """
        A second one with the same key stands by, takes over from one that hangs, and is not
        disturbed when that one comes back (L10).
        """
        new = self.worker(scene)
        await scene.until("the other one", lambda: "stands by" in new.said())
        self.assertNotIn("is the worker now", new.said())
        os.kill(old.pid, signal.SIGSTOP)
        scene.upheavals.append(time.time())
        await scene.until("the second worker", lambda: "is the worker now" in new.said())
        token = scene.keys("billing:fence:*")
        os.kill(old.pid, signal.SIGCONT)
        await scene.until("the old one to notice", lambda: "the lease is lost" in old.said())
        self.assertEqual(token, scene.keys("billing:fence:*"))
        self.assertEqual(await old.terminate(), 0, old.said()[-2000:])
        # Once, and once more for each time that a busy machine held it up for too long.
        lost = new.said().count("the lease is lost")
        taken = new.said().count('"message": "this process is the worker now')
        self.assertIn(taken, (lost, lost + 1))
        self.assertGreater(taken, 0)
        return new

    # -- Redis -------------------------------------------------------------------------------

    async def move_redis(self, scene: Scene, old: RedisServer, daemons: list[Child]) -> RedisServer:
        """A replica follows, everything is stopped, the replica is promoted, the old one ends."""
        new = new_server()
        asked(new, "REPLICAOF", "127.0.0.1", old.port)
        await deferToThread(lambda: wait_for(new, "replication", master_link_status="up"))
        for child in daemons:
            self.assertEqual(await child.terminate(), 0, child.said()[-2000:])
        self.assertTrue(await deferToThread(replica_has_all, old, 30_000))
        asked(new, "REPLICAOF", "NO", "ONE")
        self.assertEqual(lasting(old), lasting(new))
        old.stop()
        return new

    def on(self, scene: Scene, redis: RedisServer) -> RedisServer:
        """The daemons that are started from now on use this one, and so does the auditor."""
        self.addCleanup(redis.stop)
        scene.redis_port = redis.port
        scene.settings["REDIS_ADDR"] = f"127.0.0.1:{redis.port}"
        return redis

    async def charged(self, scene: Scene, wallet: Wallet, before: int) -> bool:
        """Whether more is charged than that."""
        return await scene.charged_seconds(wallet) > before


def lasting(server: RedisServer) -> set[bytes]:
    """The keys that do not expire: each server forgets the others when it gets round to it."""
    names: Any = asked(server, "KEYS", "*")
    return {name for name in names if asked(server, "TTL", name) == -1}


class ReplicaTests(SynchronousTestCase):
    """A replica before it is promoted."""

    def test_behind(self) -> None:
        """One that hangs has not everything; when it goes on it has."""
        old, new = new_server(), new_server()
        self.addCleanup(old.stop)
        self.addCleanup(new.stop)
        asked(new, "REPLICAOF", "127.0.0.1", old.port)
        wait_for(new, "replication", master_link_status="up")
        self.assertTrue(replica_has_all(old, 30_000))
        process = int(info(new, "server")["process_id"])
        os.kill(process, signal.SIGSTOP)
        try:
            asked(old, "SET", "late", 1)
            self.assertFalse(replica_has_all(old, 200))
        finally:
            os.kill(process, signal.SIGCONT)
        self.assertTrue(replica_has_all(old, 30_000))
        self.assertEqual(asked(new, "GET", "late"), b"1")
