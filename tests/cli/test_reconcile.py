"""
Tests of C{sandbox-billing reconcile}: a real server, chain and daemon, and what can go wrong.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.devnet.world import ALICE, TOKEN
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.voucher import ChargeKind
from tests.blackbox.process import TREE, Child, until
from tests.blackbox.scene import PRICES, Scene, cost
from tests.redis_server import Respite


COMMAND = (sys.executable, "-m", "sandbox_billing.cli.main", "reconcile", "--json")

PATIENT = {"RECONCILE_INTERVAL_SEC": "10"}
"""What a daemon that is busy has not finished between two looks is no difference."""

DYING = """
import os, signal
from sandbox_billing.adapters.redis.rebuilding import Rebuilder
from sandbox_billing.cli.main import main
from sandbox_billing.ledger.comparison import Accept

apply = Rebuilder.apply

async def dying(self, difference):
    if isinstance(difference.repair, Accept):
        os.kill(os.getpid(), signal.SIGKILL)
    await apply(self, difference)

Rebuilder.apply = dying
main()
"""
"""The command, killed before it writes that nothing is forgotten."""


class ReconcileCase(TestCase):
    """A world with a daemon that has charged something."""

    timeout = 600

    async def opened(self) -> tuple[Scene, Wallet, str, str]:
        """@return: The scene, a wallet, its running sandbox, and where the daemon listens."""
        scene = await Scene.open(self)
        alice = await scene.user("alice", ALICE, TOKEN)
        scene.start()
        base = await scene.ready()
        sandbox = await scene.created(scene.client(base, alice))
        await scene.until("two vouchers to settle", lambda: self.settled(scene, alice, 2))
        return scene, alice, sandbox, base

    async def settled(self, scene: Scene, wallet: Wallet, count: int) -> bool:
        """Whether so many vouchers are."""
        return len(await deferToThread(scene.settled, wallet)) >= count

    async def run_it(self, scene: Scene, *options: str, status: int) -> Any:
        """@return: The command's document."""
        child = Child.start(
            self,
            [*COMMAND, *options],
            {**scene.environment(), **PATIENT, "PYTHONPATH": str(TREE)},
        )
        ended = await child.end()
        self.assertEqual(ended, status, child.said()[-4000:])
        return json.loads(child.out)

    def redis(self, scene: Scene, *command: str | bytes | int) -> Any:
        """One command to the server."""
        asked = Respite(scene.world.redis.port)
        try:
            return asked.call(*command)
        finally:
            asked.close()

    def kinds(self, document: Any) -> set[str]:
        """Of the differences."""
        return {one["kind"] for one in document["differences"]}

    async def repaired(self, scene: Scene) -> None:
        """Rebuild, and nothing is left to be rebuilt."""
        document = await self.run_it(scene, "--rebuild", "--yes", status=0)
        self.assertGreater(document["repaired"], 0)
        document = await self.run_it(scene, status=0)
        self.assertEqual(document["differences"], [])

    async def go_on(
        self, scene: Scene, wallet: Wallet, sandbox: str, *, restart: bool = False
    ) -> None:
        """
        The daemon goes on, the run ends, and nothing was charged twice.

        @param restart: It may have been stopped.
        """
        before = len(await deferToThread(scene.settled, wallet))
        scene.start()
        base = await scene.ready()
        if restart:

            async def started() -> bool:
                status, _shown = await scene.client(base, wallet).act("start", sandbox)
                return status == 200

            await scene.until("the sandbox to start", started)
        await scene.until("more vouchers", lambda: self.settled(scene, wallet, before + 2))
        status, _shown = await scene.client(base, wallet).act("stop", sandbox)
        self.assertEqual(status, 200)
        await scene.until("the run to end", lambda: scene.stopped(sandbox))
        await scene.until("all to be settled", lambda: scene.all_settled(wallet))
        records = await scene.records(wallet)
        l2_disjoint(standing(records))
        l6_books(records)
        events = await deferToThread(scene.settled, wallet)
        nonces = [int(event["args"]["nonce"]) for event in events]
        self.assertEqual(nonces, sorted(set(nonces)))
        hashes = [bytes(event["args"]["usageHash"]) for event in events]
        self.assertEqual(len(hashes), len(set(hashes)), "a period was settled twice")
        paid = sum(int(event["args"]["totalFee"]) for event in events)
        balance, _pending, _at = await deferToThread(wallet.balances)
        self.assertEqual(balance, TOKEN - paid)
        # The chain remembers what Redis may have forgotten.
        ran = scene.world.simulator.running_seconds(sandbox)
        self.assertLessEqual(paid, PRICES.create_fee + cost(int(ran) + 1))
        compute = [c for c in standing(records) if c.kind is ChargeKind.COMPUTE]
        self.assertLessEqual(sum(c.units for c in compute), ran + 0.001)
        document = await self.run_it(scene, status=0)
        self.assertEqual(document["differences"], [])


class ReconcileTests(ReconcileCase):
    """What is found, and what becomes of it."""

    async def test_nothing(self) -> None:
        """While the daemon works nothing is different, and a rebuild is refused."""
        scene, alice, _sandbox, base = await self.opened()
        client = scene.client(base, alice)
        for _ in range(2):
            looking = Deferred.fromCoroutine(self.run_it(scene, status=0))
            other = await scene.created(client)
            status, _shown = await client.act("stop", other)
            self.assertEqual(status, 200)
            document = await looking
            self.assertEqual(document["differences"], [])
        document = await self.run_it(scene, "--rebuild", "--yes", status=1)
        self.assertIn("stop it first", document["error"])

    async def test_everything_lost(self) -> None:
        """After FLUSHALL what runs is metered again, under nonces above the chain's."""
        scene, alice, sandbox, _base = await self.opened()
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0)
        self.redis(scene, "FLUSHALL")
        document = await self.run_it(scene, status=6)
        self.assertLessEqual({"unmetered", "forgotten", "wallet"}, self.kinds(document))
        await self.repaired(scene)
        await self.go_on(scene, alice, sandbox)

    async def test_damaged(self) -> None:
        """Whatever is deleted is seen, put right, and nothing is charged twice."""
        scene, alice, sandbox, _base = await self.opened()
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0)
        wallet, provider = alice.address.hex, scene.world.provider.hex
        (pending,) = scene.keys("voucher:*")[:1] or [b""]
        for command in (
            ("DEL", f"billing:nonce:{wallet}:{provider}"),
            ("DEL", f"billing:compute:{sandbox}"),
            ("HDEL", f"billing:exposure:{wallet}", f"session:{sandbox}"),
            ("HSET", f"billing:exposure:{wallet}", "charge:nobody:1", "5"),
            ("DEL", f"billing:usage:{wallet}"),
            ("DEL", f"billing:events:{wallet}"),
            ("DEL", f"billing:totals:{provider}"),
            ("DEL", f"billing:ready:{provider}"),
            ("DEL", f"billing:accounts:{provider}"),
            ("SADD", f"billing:sessions:{provider}", "ghost"),
            ("ZADD", f"billing:batches:{provider}", "1", "ghost"),
            ("HSET", f"billing:inflight:{provider}", wallet, "ghost"),
        ):
            self.redis(scene, *command)
        if pending:
            self.redis(scene, "DEL", pending)
        document = await self.run_it(scene, status=6)
        expected = {"nonce", "unmetered", "exposure", "index", "history", "totals"}
        self.assertLessEqual(expected, self.kinds(document))
        shown = await self.run_it(scene, "--rebuild", "--dry-run", status=6)
        self.assertEqual(shown["repaired"], 0)
        refused = await self.run_it(scene, "--rebuild", status=1)
        self.assertIn("--dry-run", refused["error"])
        await self.repaired(scene)
        # The record alone: until when it was charged is in its session, too.
        self.redis(scene, "DEL", f"billing:sandbox:{sandbox}")
        document = await self.run_it(scene, status=6)
        self.assertEqual(self.kinds(document), {"charged"})
        await self.repaired(scene)
        await self.go_on(scene, alice, sandbox)

    async def behind(self) -> tuple[Scene, Wallet, str]:
        """A world whose books were set back by several vouchers; nobody works on them."""
        scene, alice, sandbox, _base = await self.opened()
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0)
        before = self.saved(scene)
        scene.start()
        await scene.ready()
        count = len(await deferToThread(scene.settled, alice))
        await scene.until("more vouchers", lambda: self.settled(scene, alice, count + 2))
        self.assertEqual(await scene.daemon.terminate(), 0)
        self.set_back(scene, before)
        return scene, alice, sandbox

    async def test_set_back(self) -> None:
        """Set back by several vouchers, the books are what the chain says, to the neuron."""
        scene, alice, sandbox = await self.behind()
        document = await self.run_it(scene, status=6)
        self.assertLessEqual({"nonce", "unsettled", "charged"}, self.kinds(document))
        await self.repaired(scene)
        await self.go_on(scene, alice, sandbox)

    async def test_quarantined(self) -> None:
        """A daemon on books that are behind quarantines the wallet; a rebuild releases it."""
        scene, alice, sandbox = await self.behind()
        scene.start()
        flag = f"billing:blocked:{alice.address.hex}"
        await scene.until("a quarantine", lambda: self.redis(scene, "GET", flag) == b"quarantined")
        self.assertEqual(await scene.daemon.terminate(), 0)
        document = await self.run_it(scene, status=6)
        self.assertIn("quarantine", self.kinds(document))
        await self.repaired(scene)
        self.assertIsNone(self.redis(scene, "GET", flag))
        await self.go_on(scene, alice, sandbox, restart=True)

    async def test_dies(self) -> None:
        """Killed half-way and run again, it has nothing charged twice."""
        scene, alice, sandbox, _base = await self.opened()
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0)
        before = self.saved(scene)
        scene.start()
        client = scene.client(await scene.ready(), alice)
        # Another run of it: what that was charged for nobody can recognise.
        status, _shown = await client.act("stop", sandbox)
        self.assertEqual(status, 200)
        await scene.until("the run to end", lambda: scene.stopped(sandbox))

        async def started() -> bool:
            status, _shown = await client.act("start", sandbox)
            return status == 200

        await scene.until("the sandbox to start", started)
        count = len(await deferToThread(scene.settled, alice))
        await scene.until("more vouchers", lambda: self.settled(scene, alice, count + 3))
        self.assertEqual(await scene.daemon.terminate(), 0)
        self.set_back(scene, before)
        document = await self.run_it(scene, status=6)
        self.assertLessEqual({"nonce", "forgotten", "charged"}, self.kinds(document))
        child = Child.start(
            self,
            [sys.executable, "-c", DYING, *COMMAND[3:], "--rebuild", "--yes"],
            {**scene.environment(), "PYTHONPATH": str(TREE)},
        )
        self.assertEqual(await child.end(), -signal.SIGKILL, child.said()[-4000:])
        lease = f"billing:lease:{scene.world.provider.hex}"

        async def lapsed() -> bool:
            return self.redis(scene, "EXISTS", lease) == 0

        await until(reactor, "the lease to lapse", lapsed)
        document = await self.run_it(scene, status=6)
        self.assertLessEqual({"nonce", "forgotten"}, self.kinds(document))
        await self.repaired(scene)
        await self.go_on(scene, alice, sandbox)

    def saved(self, scene: Scene) -> dict[bytes, tuple[bytes, int]]:
        """All keys as they are, with what is left of their lives in milliseconds."""
        found = {
            key: (self.redis(scene, "DUMP", key), max(0, self.redis(scene, "PTTL", key)))
            for key in self.redis(scene, "KEYS", "*")
        }
        # Some live for seconds, and may have ended since they were listed.
        return {key: (form, left) for key, (form, left) in found.items() if form is not None}

    def set_back(self, scene: Scene, saved: dict[bytes, tuple[bytes, int]]) -> None:
        """All keys as they were."""
        self.redis(scene, "FLUSHALL")
        for key, (form, left) in saved.items():
            self.redis(scene, "RESTORE", key, left, form)
