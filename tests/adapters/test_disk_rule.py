"""
The disk rule of design.md §6 on a real server that is killed: what is broadcast is on disk first.

A killed process loses nothing that it has written to a file; a power cut loses what was not
synced.  So what a server is started with again is a copy of its files: as they were before the
write in question, or as they were when the broadcast was made.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sandbox_billing.adapters.memory.blocks import MemoryBlocks
from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.adapters.redis.commit import Expectation
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.errors import Transient
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.voucher import Paid
from sandbox_billing.services.work import Work
from sandbox_billing.wiring import Parts, make_work
from tests.fixtures import POLICY, PRICES, SIGNER, STAKE, CountedIds
from tests.ports.journal import FEE, OWNER, PROVIDER, Wall, World, running
from tests.redis_server import Respite, new_server
from tests.services.lives import DOMAIN


Hook = Callable[[], None]


def nothing() -> None:
    """Happens."""


class Disk(RedisKeyspace):
    """
    A keyspace during whose wait for the disk something happens.

    @ivar before: Between the write and C{WAITAOF}.
    """

    before: Hook = staticmethod(nothing)

    async def wait_for_disk(self, mark: str, expectations: Sequence[Expectation]) -> None:
        """As it is, with what happens first."""
        self.before()
        await super().wait_for_disk(mark, expectations)


class Outlet(MemoryChain):
    """
    A chain at whose broadcast something happens.

    @ivar at_broadcast: Before the transaction leaves.
    """

    at_broadcast: Hook = staticmethod(nothing)

    async def broadcast(self, attempt: Attempt) -> None:
        """As it is, with what happens first."""
        self.at_broadcast()
        await super().broadcast(attempt)


class NoDaytona:
    """Nothing here runs in a sandbox."""

    async def snapshots(self) -> tuple[()]:
        """None."""
        return ()


class DiskRuleTests(TestCase):
    """One create fee on its way to the chain."""

    timeout = 600

    def setUp(self) -> Deferred[None]:
        """The first life: a charge that is ripe and a mirror that is fresh."""
        return Deferred.fromCoroutine(self._set_up())

    async def _set_up(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server = new_server(more=("--auto-aof-rewrite-percentage", "0"))
        self.addCleanup(self.server.stop)
        self.wall = Wall()
        self.ids = CountedIds()
        self.net = MemoryBlocks(DOMAIN, lambda: self.wall.moment)
        self.net.purses[SIGNER.address] = 10**24
        self.net.act(lambda c: c.register(PROVIDER, SIGNER.address, PRICES, STAKE, ""))
        self.net.act(lambda c: c.deposit(OWNER, PROVIDER, 10**21))
        self.net.act(lambda c: c.acknowledge(OWNER, PROVIDER, True))
        self.net.mine(3)
        await self.live()
        await self.work.watcher.turn()
        head = await self.journal.mirror.mirror()
        assert head is not None
        (account,) = await self.chain.accounts([OWNER], head.value.block)
        await self.journal.doors.add_account(head, account)
        await running(
            World(
                wall=self.wall,
                keyspace=self.keyspace,
                faults=None,  # type: ignore[arg-type]
                journal=self.journal,
                other=self.journal,
                dump=None,  # type: ignore[arg-type]
                close=self.keyspace.close,
            )
        )
        self.wall.moment += POLICY.settle_max_age
        self.net.mine()
        await self.work.watcher.turn()

    async def live(self) -> None:
        """A daemon's worker, on what the server has and what the chain is."""
        self.keyspace = Disk(
            host="127.0.0.1",
            port=self.server.port,
            clock=self.reactor,
            wall=self.wall,
            disk_milliseconds=60_000,
        )
        self.addCleanup(self.keyspace.close)
        await self.keyspace.connect()
        self.journal = Journal.over(
            self.keyspace,
            PROVIDER,
            self.wall,
            owner="worker",
            interval_seconds=60,
            # By the server's clock, which the test does not move.
            lease_seconds=600,
        )
        self.assertTrue(await self.journal.lease.acquire())
        self.chain = Outlet(net=self.net, provider=PROVIDER, sender=SIGNER.address, wall=self.wall)
        self.work: Work = make_work(
            Parts(
                signer=SIGNER,
                journal=self.journal,
                chain=self.chain,
                runtime=NoDaytona(),  # type: ignore[arg-type]
                domain=DOMAIN,
                ids=self.ids,
                clock=self.reactor,
                wall=self.wall,
                policy=evolve(POLICY, provider=PROVIDER),
            )
        )

    async def settled(self) -> None:
        """Let the worker work until the charge is paid."""
        for _ in range(20):
            self.wall.moment += 1
            self.net.mine()
            await self.work.watcher.turn()
            await self.work.settler.turn()
            records = await self.journal.history.charges(OWNER)
            if records and all(isinstance(r.state, Paid) for r in records):
                return
        self.fail(f"not paid: {records}")

    async def batches(self) -> list[Batch]:
        """What is stored and unresolved."""
        return [b.value for b in await self.journal.queue.batches()]

    def written(self) -> None:
        """
        Wait until all that was answered is in a file: while a file is being synced, which takes
        a busy disk long, the server keeps what follows in its memory for up to two seconds.
        """
        asking = Respite(self.server.port)
        self.addCleanup(asking.close)
        deadline = time.monotonic() + 60
        while b"aof_buffer_length:0\r\n" not in cast(bytes, asking.call("INFO", "persistence")):
            if time.monotonic() > deadline:
                self.fail("the server does not write")
            time.sleep(0.01)

    def copy(self) -> Path:
        """The server's files, as they are now."""
        kept = Path(tempfile.mkdtemp(prefix="disk-"))
        self.addCleanup(shutil.rmtree, kept, ignore_errors=True)
        shutil.copytree(self.server.options.directory, kept, dirs_exist_ok=True)
        return kept

    async def start_with(self, files: Path) -> None:
        """The server comes back with these files, and a new life on it."""
        await self.keyspace.close()
        shutil.rmtree(self.server.options.directory)
        shutil.copytree(files, self.server.options.directory)
        self.server.start()
        await self.live()

    async def test_killed_before_the_disk(self) -> None:
        """Killed between the write and WAITAOF: nothing is sent; what is lost changes nothing."""
        self.written()
        before = self.copy()
        self.keyspace.before = self.server.kill
        with self.assertRaises(Transient) as caught:
            await self.work.settler.turn()
        self.assertIn("Redis", str(caught.exception))
        self.assertEqual(self.net.pool, [])
        # The second in which the voucher was signed is lost with it.
        await self.start_with(before)
        self.assertEqual(await self.batches(), [])
        self.assertEqual([r.seal for r in await self.journal.history.charges(OWNER)], [None])
        await self.settled()
        self.assertEqual(self.net.head.state.earnings[PROVIDER], FEE)
        self.assertEqual(self.net.head.counts[SIGNER.address], 1)
        self.assertEqual(await self.journal.letters.letters(), ())

    async def test_killed_before_the_disk_and_nothing_lost(self) -> None:
        """Killed there, and it was on disk after all: the same bytes go out, once."""

        def cut() -> None:
            self.written()
            self.server.kill()

        self.keyspace.before = cut
        with self.assertRaises(Transient):
            await self.work.settler.turn()
        await self.start_with(self.copy())
        (batch,) = await self.batches()
        (attempt,) = batch.attempts
        await self.settled()
        self.assertIsNotNone(self.net.find(attempt.hash))
        self.assertEqual(self.net.head.state.earnings[PROVIDER], FEE)

    async def test_killed_at_the_broadcast(self) -> None:
        """What is on disk when a transaction leaves has its record (T-2); it is paid once."""
        copies: list[Path] = []

        def cut() -> None:
            self.server.kill()
            copies.append(self.copy())

        self.chain.at_broadcast = cut
        try:
            await self.work.settler.turn()
        except Transient as why:
            self.assertIn("Redis", str(why))
        (sent,) = self.net.pool
        await self.start_with(copies[0])
        (batch,) = await self.batches()
        self.assertEqual([a.hash for a in batch.attempts], [sent.name])
        await self.settled()
        self.assertEqual(self.net.head.state.earnings[PROVIDER], FEE)
        self.assertEqual(self.net.head.counts[SIGNER.address], 1)

    async def test_against_the_rule(self) -> None:
        """Were it sent before it is on disk, the loss would be noticed: nobody pays twice."""
        self.written()
        before = self.copy()

        async def at_once(_mark: str, _expectations: Sequence[Expectation]) -> None:
            pass

        self.keyspace.wait_for_disk = at_once  # type: ignore[method-assign]
        await self.work.settler.turn()
        (sent,) = self.net.pool
        self.server.kill()
        await self.start_with(before)
        self.assertEqual(await self.batches(), [])
        # It is ours, it is on its way, and nothing of it is stored.
        with self.assertRaises(Transient) as caught:
            await self.work.settler.turn()
        self.assertIn("account nonce 0", str(caught.exception))
        self.net.mine(3)
        self.wall.moment += 3
        await self.work.watcher.turn()
        await self.work.settler.turn()
        self.assertEqual([t.name for t in self.net.pool], [])
        self.assertEqual(self.net.head.state.earnings[PROVIDER], FEE)
        self.assertIsNotNone(self.net.find(sent.name))
        (letter,) = await self.journal.letters.letters()
        self.assertEqual((letter.kind, letter.name), ("wallet", OWNER.hex))
