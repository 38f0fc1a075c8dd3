"""
Tests of C{sandbox-billing import-go}: a real Redis in the Go system's format, and a real daemon
that goes on with it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.devnet.world import ALICE, BOB, CHAIN_ID, SIGNER, TOKEN
from sandbox_billing.ledger.go_forms import NOBODY
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.voucher import DeadLettered, Paid
from sandbox_billing.signing.eip712 import EIP712Domain, usage_hash
from sandbox_billing.signing.key import SigningKey
from tests.blackbox.process import TREE, Child
from tests.blackbox.scene import PRICES, Scene
from tests.cli.go_stage import GoSystem
from tests.cli.test_reconcile import PATIENT
from tests.redis_server import Respite


COMMAND = (sys.executable, "-m", "sandbox_billing.cli.main", "import-go", "--json")

DYING = """
import os, signal
from sandbox_billing.adapters.redis.go_import import GoImporter
from sandbox_billing.cli.main import main

write = GoImporter._voucher

async def dying(self, step):
    await write(self, step)
    os.kill(os.getpid(), signal.SIGKILL)

GoImporter._voucher = dying
main()
"""
"""The command, killed when it has carried over its first voucher."""

PRICE = PRICES.per_cpu_per_minute // 60 + PRICES.per_memory_gib_per_minute // 60
"""neuron a second of the smallest sandbox, as the Go system rounds: each part down."""

PREPAID_SECONDS = 12
"""From the beginning of the test."""


class ImportGoTests(TestCase):
    """One provider's change from the Go system to the daemon."""

    timeout = 600

    async def test_change(self) -> None:
        """
        The start refuses before and goes on after: with each session where it is charged, each
        signed voucher as it is, and every neuron of the queue.
        """
        scene = await Scene.open(self)
        redis = Respite(scene.world.redis.port)
        self.addCleanup(redis.close)
        alice = await scene.user("alice", ALICE, TOKEN)
        bob = await scene.user("bob", BOB, TOKEN)
        older, newer = [await self.sandbox(scene, wallet) for wallet in (alice, bob)]
        began = int(time.time())
        owed = self.fill(scene, redis, alice, bob, older, newer, began)

        daemon = scene.start()
        self.assertEqual(await daemon.end(), 78)
        self.assertIn("import-go", daemon.said())
        scene.daemon = None

        killed = Child.start(
            self,
            [sys.executable, "-c", DYING, "import-go", "--yes", "--json"],
            self.settings(scene),
        )
        self.assertEqual(await killed.end(), -9, killed.said()[-3000:])
        # Nobody else's turn comes before the dead command's lease has ended.
        redis.call("DEL", f"billing:lease:{scene.world.provider}")
        done = await self.run_it(scene, "--yes")
        # The first one was carried over by the command that was killed after it.
        self.assertEqual(int(done["before"]), owed - 30 * PRICE)
        self.assertEqual(sum(map(int, done["after"].values())), int(done["before"]))
        self.assertEqual(scene.keys("voucher:queue:*") + scene.keys("voucher:dlq:*"), [])
        await self.goes_on(scene, redis, alice, bob, older, newer, began)

    def settings(self, scene: Scene) -> dict[str, str]:
        """Of the command: the daemon's."""
        return {**scene.environment(), "PYTHONPATH": str(TREE)}

    async def sandbox(self, scene: Scene, wallet: Wallet) -> str:
        """One that the Go system has made, running."""
        labels = {"daytona-owner": wallet.account.address}
        made = await scene.world.simulator.create({"labels": labels})
        found = str(made["id"])
        await scene.until(
            "a sandbox", lambda: str(scene.world.simulator.find(found).raw) == "started"
        )
        return found

    def fill(
        self,
        scene: Scene,
        redis: Respite,
        alice: Wallet,
        bob: Wallet,
        older: str,
        newer: str,
        now: int,
    ) -> int:
        """@return: What all vouchers in the lists are worth."""
        assert scene.world.deployment is not None
        go = GoSystem(
            call=redis.call,
            provider=scene.world.provider,
            domain=EIP712Domain(CHAIN_ID, Address(scene.world.deployment.proxy)),
            signer=SigningKey.from_bytes(SIGNER),
        )
        go.older_session(older, alice.address, start=now - 90, last=now - 30, price=str(PRICE))
        go.newer_session(newer, bob.address, prepaid=now + PREPAID_SECONDS, price=str(PRICE))
        self.first = (now - 60, now - 30, 30)
        self.advance = (now + PREPAID_SECONDS - 60, now + PREPAID_SECONDS, 60)
        fee = PRICES.create_fee
        go.push(
            go.queue,
            go.voucher(older, alice.address, self.first, 30 * PRICE, nonce=8),
            go.voucher(older, alice.address, (now - 90, now - 60, 30), 30 * PRICE, nonce=7),
            go.voucher(newer, bob.address, (self.advance[0], self.advance[0], 0), fee),
            go.voucher(newer, bob.address, self.advance, 60 * PRICE),
            go.voucher("a-sandbox-that-is-gone", bob.address, (now - 999, now - 998, 1), 17),
        )
        go.push(go.queue, go.voucher("a-ghost", NOBODY, (now - 99, now - 98, 1), 5))
        go.push(go.dead, go.voucher(older, alice.address, (now - 300, now - 290, 10), 9, nonce=3))
        go.call("SET", f"billing:nonce:{alice.address}:{scene.world.provider}", 8)
        go.call("SET", f"billing:reserved:{alice.address}:{scene.world.provider}", 12345)
        go.call("RPUSH", "billing:events", "{}")
        go.call("SET", "stop:sandbox:gone-as-well", "insufficient_balance")
        return 120 * PRICE + fee + 17 + 5 + 9

    async def run_it(self, scene: Scene, *options: str) -> Any:
        """@return: The command's document."""
        child = Child.start(self, [*COMMAND, *options], self.settings(scene))
        self.assertEqual(await child.end(), 0, child.said()[-4000:])
        return json.loads(child.out)

    async def goes_on(
        self,
        scene: Scene,
        redis: Respite,
        alice: Wallet,
        bob: Wallet,
        older: str,
        newer: str,
        began: int,
    ) -> None:
        """The daemon, and the books."""
        child = scene.start()
        base = f"http://127.0.0.1:{await scene.until('the daemon to listen', child.port)}"

        async def only_dead() -> bool:
            _status, shown = await scene.get(base, "/readyz")
            return set(shown["reasons"]) == {"dead letters"}

        # What the Go system set aside is a human's, and readiness says so.
        await scene.until("the daemon to be ready but for that", only_dead)

        async def settled(wallet: Wallet, count: int) -> bool:
            return len(await deferToThread(scene.settled, wallet)) >= count

        await scene.until("alice's to settle", lambda: settled(alice, 3))
        events = [event["args"] for event in await deferToThread(scene.settled, alice)]
        told = [(one["nonce"], one["totalFee"], one["usageHash"]) for one in events[:2]]
        self.assertEqual(
            told,
            [
                (7, 30 * PRICE, usage_hash(older, began - 90, began - 60, 30)),
                (8, 30 * PRICE, usage_hash(older, *self.first)),
            ],
        )
        await scene.until("bob's to settle", lambda: settled(bob, 4))

        async def booked() -> bool:
            carried = [r for r in await scene.records(bob) if r.charge.usage_hash is not None]
            return all(isinstance(record.state, Paid) for record in carried)

        await scene.until("that to be booked", booked)
        records = [*await scene.records(alice), *await scene.records(bob)]
        charges = [record.charge for record in records]
        l2_disjoint(standing(records))
        l6_books(records)
        states = {r.charge.owner: r.state for r in records if r.charge.usage_hash is not None}
        self.assertIsInstance(states[alice.address], DeadLettered)
        self.assertIsInstance(states[bob.address], Paid)
        ours = sorted(c.period_start for c in charges if c.sandbox == older and c.units)
        self.assertEqual(ours[:3], [began - 90, began - 60, began - 30])
        ours = sorted(c.period_start for c in charges if c.sandbox == newer and c.units)
        self.assertEqual(ours[:2], [self.advance[0], began + PREPAID_SECONDS])
        child = Child.start(
            self,
            [sys.executable, "-m", "sandbox_billing.cli.main", "reconcile", "--json"],
            {**self.settings(scene), **PATIENT},
        )
        status = await child.end()
        self.assertEqual((status, json.loads(child.out)["differences"]), (0, []))
