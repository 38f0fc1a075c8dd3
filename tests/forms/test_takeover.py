"""
A worker of this version takes over what one of the version before has left in Redis.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.devnet.world import ALICE, BOB, MALLORY
from tests.blackbox.audit import Account, money
from tests.blackbox.scene import RECONCILE_SECONDS, Scene
from tests.forms.record import contents
from tests.forms.shapes import unread
from tests.forms.world import PREVIOUS, read, restored


UNSEEN_SECONDS = 2 * RECONCILE_SECONDS + 2

PEOPLE = (("alice", ALICE), ("bob", BOB), ("carol", MALLORY))


class TakeOverTests(TestCase):
    """The recorded Redis of the version before, its chain, and a daemon of today."""

    timeout = 600

    async def test_takes_over(self) -> None:
        """
        What was under way is settled, what ran is charged to its last observation, users go on,
        and whatever is written meanwhile a process of the version before can read.
        """
        run = read(PREVIOUS, "run.json")
        scene = await restored(self, run)
        wallets = [scene.world.wallet(name, secret) for name, secret in PEOPLE]
        before = {w.address: await scene.records(w) for w in wallets}
        self.assertTrue(scene.keys("billing:batch:*"), "nothing was under way")
        self.assertTrue(scene.keys("billing:compute:*"), "nothing ran")
        self.assertEqual(self.refused(scene), [])
        scene.start()
        base = await scene.ready()
        await scene.until("runs to end", lambda: not scene.keys("billing:compute:*"))
        # Recorded long ago, it is behind until that is settled: nothing is created before.
        await scene.until("what was left to settle", lambda: scene.all_settled(wallets[0]))
        await scene.ready()
        client = scene.client(base, wallets[0])
        made = await scene.created(client)
        # A create fee alone would wait for company.
        await scene.until("a charge", lambda: self.charged(scene, wallets[0], made))
        self.assertEqual((await client.act("stop", made))[0], 200)
        await scene.until("the end of it", lambda: scene.stopped(made))
        for wallet in wallets:
            await scene.until("all to settle", lambda w=wallet: scene.all_settled(w))
        for wallet in wallets:
            paid_in = run["paid_in"][wallet.address.hex]
            account = await Account.of(scene, wallet, paid_in)
            self.assertEqual(list(money(account)), [])
            self.assertTrue(list(money(await Account.of(scene, wallet, paid_in + 1))))
            # Nothing that was charged is gone, and nothing has another amount.
            now = {r.charge.id: r.charge.amount for r in account.records}
            for record in before[wallet.address]:
                self.assertEqual(now[record.charge.id], record.charge.amount)
        charges = [r.charge for wallet in wallets for r in await scene.records(wallet)]
        for row in scene.world.simulator.records.values():
            seconds = sum(charge.units for charge in charges if charge.sandbox == row.id)
            ran = row.truth.seconds(time.time())
            told = f"{row.id == made} {row.truth} {row.shown}"
            self.assertLessEqual(seconds, ran + 1, told)
            # Of the others nobody here has seen the end.
            late = 2 * scene.late_seconds() if row.id == made else 0
            self.assertGreaterEqual(seconds, ran - UNSEEN_SECONDS - late, told)
        self.assertEqual(self.refused(scene), [])

    async def charged(self, scene: Scene, wallet: Wallet, sandbox: str) -> bool:
        """Whether a period of it is."""
        charges = [r.charge for r in await scene.records(wallet)]
        return any(c.units for c in charges if c.sandbox == sandbox)

    def refused(self, scene: Scene) -> list[str]:
        """Stored forms that a process of the version before would not read."""
        types = read(PREVIOUS, "shapes.json")["types"]
        return [
            f"{key}: {form[:200]}"
            for key, form in forms(contents(scene.world.redis.port))
            if not any(not list(unread(types, name, json.loads(form))) for name in types)
        ]


def forms(keys: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Everything in Redis that is a value in the ledger's form."""
    for name, key in keys.items():
        held = [key["holds"]] if isinstance(key["holds"], str) else key["holds"]
        for item in held:
            begin = item.find("{")
            if begin >= 0 and '"v":' in item:
                yield name, item[begin:]
