"""
As many clients as we admit at all, and as many of one address.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import threading

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from sandbox_billing.web.bounds import Limits
from tests.web.test_hostile import HEALTH, HostileTestCase, resident_mib


CROWD = """
import resource, socket, sys
port, peers, each = map(int, sys.argv[1:])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for number in range(each):
    for peer in range(peers):
        where = ("127.0.0.1", port)
        held.append(socket.create_connection(where, 30, (f"127.0.0.{peer + 2}", 0)))
print(len(held), flush=True)
sys.stdin.read()
closed = 0
for one in held:
    one.setblocking(False)
    try:
        closed += one.recv(1) == b""
    except BlockingIOError:
        pass
print(closed, flush=True)
"""
"""
Connections from several addresses, in a process of their own: one has not files enough for
both ends.  Says how many it has; when its input ends, how many of them we have closed.
"""


class CrowdTests(HostileTestCase):
    """
    Ten thousand connections on which nothing is said.
    """

    PEERS, EACH = 5, Limits().connections_of_peer
    OTHERS = 200
    timeout = 900

    @property
    def idle(self) -> int:
        """How many there are."""
        return self.PEERS * self.EACH

    def raise_limit(self) -> None:
        """Our end of each is in this process."""
        needed = self.idle + self.OTHERS
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SkipTest(f"{needed} open files are needed and {hard} may be had")
        if soft != resource.RLIM_INFINITY and soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    async def test_idle(self) -> None:
        """Ten thousand cost some memory and no time; with their end all is given back."""
        self.assertEqual(self.idle, 10_000)
        self.raise_limit()
        await self.serve(connections=self.idle + self.OTHERS)
        before = resident_mib()
        enough = threading.Event()

        def crowd() -> tuple[int, int]:
            given = (self.port.getHost().port, self.PEERS, self.EACH)
            with subprocess.Popen(
                [sys.executable, "-c", CROWD, *map(str, given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as child:
                late = threading.Timer(700, child.kill)
                late.start()
                try:
                    assert child.stdin is not None and child.stdout is not None
                    held = int(child.stdout.readline())
                    enough.wait(600)
                    child.stdin.close()
                    return held, int(child.stdout.readline())
                finally:
                    late.cancel()
                    child.kill()

        async def look() -> float:
            try:
                await self.until(lambda: len(self.site.channels) >= self.idle, 500)
                grown = resident_mib() - before
                await self.streamed()
                return grown
            finally:
                enough.set()

        looking = Deferred.fromCoroutine(look())
        try:
            held, closed = await self.during(crowd)
        finally:
            enough.set()
            grown = await looking
        self.assertEqual((held, closed), (self.idle, 0))
        self.assertLess(grown, 200)
        await self.until(lambda: len(self.site.channels) < 20, 200)

    async def test_one_peer_alone(self) -> None:
        """One address has its share and no more; others still come in."""
        await self.serve(connections=300, connections_of_peer=100)
        with self.attackers_end():
            await deferToThread(lambda: [self.attacker() for _ in range(300)])
            await self.until(lambda: len(self.site.channels) == 100)
            other = await deferToThread(
                socket.create_connection,
                ("127.0.0.1", self.port.getHost().port),
                120,
                ("127.0.0.2", 0),
            )
            self.attackers.append(other)
            other.sendall(HEALTH)
            answer = await deferToThread(other.recv, 4096)
            self.assertIn(b"200 OK", answer)
