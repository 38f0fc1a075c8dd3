"""
What C{sandbox-billing import-go} refuses before it plans anything: on a real Redis.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from sandbox_billing.adapters.memory.chain_faults import LogGap
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import SystemClock
from sandbox_billing.cli.import_go_world import PAUSE_SECONDS, Moving
from sandbox_billing.cli.reconcile_world import Scales
from sandbox_billing.configuration import read_configuration
from sandbox_billing.devnet.world import SIGNER
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.account import ServiceRecord
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.signing.eip55 import checksum
from tests.adapters.test_memory_chain import MemoryStage, client
from tests.blackbox.process import until
from tests.cli.go_stage import GoSystem
from tests.redis_server import Respite, shared_server


NOW = 1_800_000_000

SETTINGS = {
    "DAYTONA_API_URL": "http://127.0.0.1:1",
    "DAYTONA_ADMIN_KEY": "none",
    "SETTLEMENT_CONTRACT": "0x" + "12" * 20,
    "RPC_URL": "http://127.0.0.1:1",
    "CHAIN_ID": "16602",
    "CONFIRMATIONS": "1",
    "MOCK_TEE": "true",
    "MOCK_APP_PRIVATE_KEY": "0x" + SIGNER.hex(),
}


class Nothing:
    """A Daytona with an empty list."""

    async def sweep(self) -> tuple[Any, ...]:
        """All pages."""
        return ()


class RefusalTests(TestCase):
    """One command after the other, none of which writes."""

    timeout = 120

    async def setUp(self) -> None:
        """A Redis that the Go system has used, and a chain."""
        server = shared_server()
        self.redis = Respite(server.port)
        self.addCleanup(self.redis.close)
        self.redis.call("FLUSHALL")
        self.keyspace = RedisKeyspace(
            host="127.0.0.1", port=server.port, clock=reactor, wall=SystemClock()
        )
        self.addCleanup(lambda: ensureDeferred(self.keyspace.close()))
        await self.keyspace.connect()
        self.stage = MemoryStage()
        self.chain = client(self.stage)
        self.provider, self.user = self.stage.provider.of, self.stage.user.of
        self.go = GoSystem(call=self.redis.call, provider=self.provider)
        self.go.older_session("box", self.user, start=NOW, last=NOW, price="7")
        self.clock = Clock()
        self.moving = self.command()

    def command(self) -> Moving:
        """Another process."""
        runtime: Any = Nothing()
        inventory: Any = None
        pool: Any = None
        journal = Journal.over(
            self.keyspace, self.provider, SystemClock(), interval_seconds=60, lease_seconds=30
        )
        service = ServiceRecord(
            provider=self.provider,
            url="",
            signer=self.stage.signer.address,
            prices=Prices(),
            signer_version=1,
        )
        scales = Scales(
            reactor=self.clock,
            pool=pool,
            settings=read_configuration({**SETTINGS, "PROVIDER_ADDRESS": checksum(self.provider)}),
            provider=self.provider,
            service=service,
            journal=journal,
            inventory=inventory,
            chain=self.chain,
            runtime=runtime,
            say=lambda _text: None,
        )
        return Moving(scales=scales, keyspace=self.keyspace)

    async def shown(self, between: Any = lambda: None) -> Any:
        """@param between: What happens between the two looks."""
        work = Deferred.fromCoroutine(self.moving.shown())

        def waits() -> bool:
            return bool(work.called or self.clock.getDelayedCalls())

        await until(reactor, "the pause between the looks, or an end", waits)
        between()
        self.clock.advance(PAUSE_SECONDS)
        return await work

    async def refused(self, error: type[Exception], **how: Any) -> str:
        """@return: Why."""
        before = self.redis.call("DBSIZE")
        why = await self.assertFailure(Deferred.fromCoroutine(self.shown(**how)), error)
        self.assertEqual(self.redis.call("DBSIZE"), before)
        return str(why)

    async def test_worker(self) -> None:
        """A daemon holds the lease."""
        other = self.command().scales.journal
        self.assertTrue(await other.lease.acquire())
        self.assertIn("holds the lease", await self.refused(Refused))

    async def test_connected(self) -> None:
        """A client that waits for vouchers, as the Go system does, is connected."""
        waiting = Respite(shared_server().port)
        self.addCleanup(waiting.close)
        waiting._socket.sendall(b"BLPOP voucher:queue:some 0\r\n")

        async def listed() -> bool:
            return any("cmd=blpop" in line for line in await self.keyspace.clients())

        await until(reactor, "it to wait", listed)
        self.assertIn("still connected", await self.refused(Refused))

    async def test_started_meanwhile(self) -> None:
        """So is one that was started while the plan was read, and has changed nothing yet."""
        shown = await self.shown()
        other = Respite(shared_server().port)
        self.addCleanup(other.close)
        other.call("CLIENT", "SETINFO", "LIB-NAME", "go-redis(,go1.21)")
        work = Deferred.fromCoroutine(self.moving.carry_out(shown))
        self.assertIn("still connected", str(await self.assertFailure(work, Refused)))
        self.assertEqual(self.redis.call("TYPE", "billing:compute:box"), b"hash")

    async def test_stopped(self) -> None:
        """
        Who is stopped while he writes does not say that nothing was done; before, he does; the
        lease is given up, and the next run has the rest.
        """
        self.go.older_session("case", self.user, start=NOW, last=NOW, price="7")
        shown = await self.shown()
        clock: Any = reactor
        work: Deferred[int]

        async def stopped(at: str, error: type[BaseException]) -> BaseException:
            nonlocal work

            def say(text: str) -> None:
                if text.startswith(at):
                    clock.callLater(0, work.cancel)

            moving = evolve(self.moving, scales=evolve(self.moving.scales, say=say))
            work = Deferred.fromCoroutine(moving.carry_out(shown))
            return await self.assertFailure(work, error)

        await stopped("reading", CancelledError)
        why = await stopped("session", UnknownOutcome)
        self.assertIn("2 writes were made, or one more; run it again", str(why))
        self.moving = self.command()
        self.assertGreater(await self.moving.carry_out(await self.shown()), 0)
        for sandbox in ("box", "case"):
            self.assertEqual(b"string", self.redis.call("TYPE", f"billing:compute:{sandbox}"))

    async def test_library(self) -> None:
        """So is one that says which library it is of."""
        other = Respite(shared_server().port)
        self.addCleanup(other.close)
        other.call("CLIENT", "SETINFO", "LIB-NAME", "go-redis(,go1.21)")
        self.assertIn("still connected", await self.refused(Refused))

    async def test_changes(self) -> None:
        """A Go system that is on its way elsewhere changes what was seen."""

        def charge() -> None:
            self.redis.call("HSET", "billing:compute:box", "last_voucher_at", NOW + 60)

        self.assertIn("change under us", await self.refused(Refused, between=charge))

    async def test_expires(self) -> None:
        """What ends by itself is no sign of a Go system: it was stopped minutes ago."""
        self.redis.call("SET", "nonce:abc", 1, "EX", 300)
        shown = await self.shown(lambda: self.redis.call("DEL", "nonce:abc"))
        self.assertEqual(shown.found.requests, 1)
        self.assertGreater(await self.moving.carry_out(shown), 0)

    async def test_only_shown(self) -> None:
        """While the Go system runs the plan can be looked at: what stands in the way is told."""
        self.redis.call("SET", f"settler:pending-tx:{checksum(self.provider)}", "{}")
        other = self.command().scales.journal
        self.assertTrue(await other.lease.acquire())
        before = self.redis.call("DBSIZE")
        shown = await self.moving.shown(only=True)
        self.assertEqual(len(shown.obstacles), 2, shown.obstacles)
        self.assertEqual([one.go.sandbox for one in shown.plan.sessions], ["box"])
        self.assertEqual(self.redis.call("DBSIZE"), before)

    async def test_pending(self) -> None:
        """The newest version has a transaction under way."""
        self.redis.call("SET", f"settler:pending-tx:{checksum(self.provider)}", "{}")
        self.assertIn("transaction under way", await self.refused(Refused))

    async def test_not_understood(self) -> None:
        """Everything that is not understood, at once."""
        self.go.push(self.go.queue, "{}", "5")
        why = await self.refused(BadInput)
        self.assertIn(f"{self.go.queue} 0", why)
        self.assertIn(f"{self.go.queue} 1", why)

    async def test_forgetful(self) -> None:
        """A Redis that throws keys away."""
        self.redis.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        self.addCleanup(self.redis.call, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.assertIn("noeviction", await self.refused(BadInput))

    async def test_transaction(self) -> None:
        """What the signer has sent is not final: nobody knows what it settles."""
        self.stage.fund(100)
        attempt = await self.chain.prepare([self.stage.line(1, 30)], None)
        await self.chain.broadcast(attempt)
        self.assertIn("on its way", await self.refused(Transient))
        self.stage.net.mine()
        self.assertIn("blocks deep", await self.refused(Transient))

    async def test_left_out(self) -> None:
        """No node tells of a voucher that was settled: it could be charged once more."""
        self.stage.fund(100)
        attempt = await self.chain.prepare([self.stage.line(1, 30)], None)
        await self.chain.broadcast(attempt)
        for _ in range(3):
            self.stage.net.mine()
        self.chain.fault = LogGap("VoucherSettled")
        self.go.call("DEL", "billing:compute:box")
        self.go.older_session("box", self.user, start=NOW, last=NOW, price="7")
        self.assertIn("no node tells", await self.refused(Transient))
