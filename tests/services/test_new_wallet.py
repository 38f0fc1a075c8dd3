"""
A wallet's first request while the watcher is in the middle of a step (design.md §4.8).
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from sandbox_billing.adapters.redis.chain import RedisChainMirror
from sandbox_billing.ledger.identity import Address
from tests.fixtures import ALICE, WorldCase


class NewWalletTests(WorldCase):
    """A door adds an account between two reads of the watcher."""

    def test_deposit_during_a_step(self) -> None:
        """
        The watcher has listed the wallets for its step to H; a wallet is mirrored as of the
        block before; its deposit stands in between.  It is read all the same.
        """
        world = self.world
        real = RedisChainMirror.wallets
        gate: Deferred[None] = Deferred()
        listed: list[tuple[Address, ...]] = []

        async def wallets_then_wait(mirror: RedisChainMirror) -> tuple[Address, ...]:
            found = await real(mirror)
            if not listed and world.process.journal.mirror is mirror:
                listed.append(found)
                await gate
            return found

        world.deposit(100_000)
        world.acknowledge()
        world.process.turns["reconciler"].stopService()
        patched = self.patch(RedisChainMirror, "wallets", wallets_then_wait)
        world.net.mine(2)
        world.until(lambda: bool(listed), 3)
        funds = world.run(world.process.parts.admission.funds(ALICE), 3)
        self.assertEqual(funds.account.value.balance, 0)
        patched.restore()
        gate.callback(None)
        world.advance(5)
        self.assertEqual(world.funds().account.value.balance, world.slot().balance)
        self.assertTrue(world.funds().account.value.acknowledged)
        self.assertNotIn("watcher", world.process.troubles())
