"""
C{kill -9} in the middle of everything, and the same books afterwards (L13).

The moments are not left to chance: the daemon dies while Daytona carries out what
it asked for, or while its transaction lies in the pool of a chain that stands still.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from web3.types import RPCEndpoint

from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import ALICE, BOB, MALLORY, TOKEN
from tests.blackbox.crowd import NO_ANSWER
from tests.blackbox.process import together
from tests.blackbox.scene import (
    INTERVAL_SECONDS,
    PRICES,
    RECONCILE_SECONDS,
    STOP_DELAY_SECONDS,
    Scene,
    cost,
)


NORMAL_LOSS = 2 * RECONCILE_SECONDS
KILLED_LOSS = 3 * RECONCILE_SECONDS
"""A period may end up to one reconcile period earlier (L13)."""

BOB_DEPOSIT = PRICES.create_fee + cost(2 * INTERVAL_SECONDS + 2 + STOP_DELAY_SECONDS)
"""He runs dry two seconds into a period, so that a tail is left to charge."""


class KillTests(TestCase):
    """One world each; the daemon dies in it again and again."""

    timeout = 600

    async def test_kills(self) -> None:
        """Wherever it dies, the next daemon goes on: three lives, at once."""
        await together(life=self.life(), running_dry=self.running_dry(), unsent=self.unsent())

    async def cut_off(self, scene: Scene, asked: Any) -> None:
        """Let a request be cut off by the daemon's death."""
        request = Deferred.fromCoroutine(asked)
        try:
            answer = await request
        except NO_ANSWER:
            pass
        else:
            self.fail(f"the daemon lived to answer {answer}")
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.end(), -9)

    async def life(self) -> None:
        """
        Killed in its create, twice with a transaction under way, and in its stop, a run is
        charged as if nothing had happened.
        """
        scene = await Scene.open(self)
        alice = await scene.user("alice", ALICE, TOKEN)
        scene.start()
        base = await scene.ready()
        sandbox, unseen = await self.killed_in_create(scene, scene.client(base, alice))
        await self.killed_before_mining(scene, alice)
        await self.killed_and_transaction_lost(scene, alice)
        base = await self.killed_in_stop(scene, alice, sandbox)
        await scene.books(alice, sandbox, paid_in=TOKEN, lost_seconds=unseen + KILLED_LOSS)
        fees = [r for r in await scene.records(alice) if r.charge.kind.value == "create"]
        self.assertEqual(len(fees), 1)
        status, _shown = await scene.client(base, alice).delete(sandbox)
        self.assertEqual(status, 200)

    async def killed_in_create(self, scene: Scene, client: Client) -> tuple[str, float]:
        """
        Daytona makes the sandbox, nobody hears of it; the next daemon finds it by its reference.

        @return: The sandbox, and for how long at most nobody looked.
        """
        await self.admitted(scene, client)
        scene.kill_at("create")
        await self.cut_off(scene, client.create())
        died_at = time.monotonic()
        base = await scene.reborn()
        ((sandbox, _record),) = scene.world.simulator.records.items()
        await scene.until("a session", lambda: scene.keys(f"billing:compute:{sandbox}"))
        unseen = time.monotonic() - died_at
        status, shown = await scene.client(base, client.wallet).listed()
        self.assertEqual((status, len(shown.get("items", shown))), (200, 1))
        return sandbox, unseen

    async def admitted(self, scene: Scene, client: Client) -> None:
        """Until the daemon has seen the deposit; an impossible create asks without creating."""

        async def seen() -> bool:
            status, shown = await client.create({"disk": 10_000})
            self.assertIn(status, (400, 402), shown)
            return status == 400

        await scene.until("the deposit to be seen", seen)

    async def killed_before_mining(self, scene: Scene, wallet: Wallet) -> None:
        """The transaction is mined while nobody listens: it is found, and not sent again."""
        await scene.transaction_held()
        assert scene.daemon is not None
        await scene.daemon.kill()
        before = await deferToThread(wallet.last_nonce)
        scene.release()
        await scene.until("the voucher to settle", lambda: self.nonce_above(wallet, before))
        await scene.reborn()
        await scene.until(
            "a voucher of the new daemon", lambda: self.nonce_above(wallet, before + 1)
        )

    async def killed_and_transaction_lost(self, scene: Scene, wallet: Wallet) -> None:
        """The pool forgets the transaction: the next daemon sends the very same bytes."""
        await scene.transaction_held()
        assert scene.daemon is not None
        await scene.daemon.kill()
        # On a busy machine there may be another behind it.
        for lost in reversed(await scene.world.chain.run(self.pooled, scene)):
            dropped = await scene.world.chain.run(scene.world.blocks.drop_transaction, lost)
            self.assertTrue(dropped)
        scene.release()
        await scene.reborn()
        found = await scene.until(
            "the same transaction again",
            lambda: scene.world.chain.run(scene.world.blocks.transaction, lost),
        )
        self.assertTrue(found)

    @staticmethod
    def pooled(scene: Scene) -> list[bytes]:
        """Hashes of the transactions in the pool, by account nonce."""
        return [one.hash for one in sorted(scene.world.blocks.pool, key=lambda one: one.nonce)]

    async def nonce_above(self, wallet: Wallet, nonce: int) -> bool:
        """Whether the contract has settled a later voucher."""
        return await deferToThread(wallet.last_nonce) > nonce

    async def killed_in_stop(self, scene: Scene, wallet: Wallet, sandbox: str) -> str:
        """Daytona stops it, nobody hears of it: the run ends at the last observation."""
        assert scene.daemon is not None
        base = f"http://127.0.0.1:{scene.daemon.port()}"
        scene.kill_at("stop")
        await self.cut_off(scene, scene.client(base, wallet).act("stop", sandbox))
        base = await scene.reborn()
        await scene.until("the run to end", lambda: scene.stopped(sandbox))
        return base

    async def running_dry(self) -> None:
        """
        Killed while it stops a sandbox for want of money, and ended by SIGTERM with the last
        voucher under way, it leaves a pauper's sandbox stopped and its books closed.
        """
        scene = await Scene.open(self)
        bob = await scene.user("bob", BOB, BOB_DEPOSIT)
        scene.start()
        base = await scene.ready()
        sandbox = await scene.created(scene.client(base, bob))
        scene.kill_at("stop")
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.end(), -9)
        self.assertTrue(scene.keys(f"stop:sandbox:{sandbox}"))
        scene.holding = True
        await scene.reborn()
        await scene.until("the run to end", lambda: scene.stopped(sandbox))
        await self.terminated_with_a_transaction(scene)
        await scene.books(bob, sandbox, paid_in=BOB_DEPOSIT, lost_seconds=KILLED_LOSS)
        await scene.until("the order to go", lambda: not scene.keys("stop:sandbox:*"))
        self.assertEqual(scene.keys("billing:compute:*"), [])
        self.assertEqual(await scene.daemon.terminate(), 0)

    async def terminated_with_a_transaction(self, scene: Scene) -> None:
        """SIGTERM does not wait for the chain; the next daemon does."""
        await scene.transaction_held()
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0, scene.daemon.said()[-2000:])
        scene.start()
        await scene.until("the daemon to listen", scene.daemon.port)
        scene.release()
        await scene.ready()

    async def unsent(self) -> None:
        """
        Killed with its transaction stored and never heard by the node, it sends these bytes;
        killed while it refuses a pauper or a stranger, it has changed nothing.
        """
        scene = await Scene.open(self)
        alice = await scene.user("alice", ALICE, TOKEN)
        mallory = await scene.user("mallory", MALLORY, 0)
        scene.start()
        base = await scene.ready()
        await self.killed_while_refusing_a_pauper(scene, mallory, base)
        base = await scene.reborn()
        # Before there is anything to send: no attempt may come that was heard.
        await self.spoil(alice, 1000)
        sandbox = await scene.created(scene.client(base, alice))
        await self.killed_unheard(scene, alice)
        base = await scene.reborn()
        scene.kill_at("get")
        await self.cut_off(scene, scene.client(base, mallory).act("stop", sandbox))
        base = await scene.reborn()
        status, _shown = await scene.client(base, mallory).act("stop", sandbox)
        self.assertEqual(status, 403)
        status, shown = await scene.client(base, alice).delete(sandbox)
        self.assertEqual(status, 200, shown)
        await scene.books(alice, sandbox, paid_in=TOKEN, lost_seconds=NORMAL_LOSS)

    async def killed_while_refusing_a_pauper(self, scene: Scene, wallet: Wallet, base: str) -> None:
        """Whether or not it came to an answer, nothing is held and nothing was made."""
        assert scene.daemon is not None
        asked = Deferred.fromCoroutine(scene.client(base, wallet).create())
        asked.addErrback(lambda failure: failure.trap(*NO_ANSWER))
        scene.daemon.shot()
        await asked
        await scene.daemon.end()
        self.assertEqual(scene.writes(), [])
        self.assertEqual(scene.keys("billing:intent:*"), [])

    async def killed_unheard(self, scene: Scene, wallet: Wallet) -> None:
        """The attempt is stored; the node never got it."""
        await scene.until("an attempt to be stored", lambda: self.attempted(scene))
        assert scene.daemon is not None
        await scene.daemon.kill()
        self.assertEqual(await scene.world.chain.run(scene.unmined), 0)
        stored = await self.attempted(scene)
        await self.spoil(wallet, 0)
        await scene.reborn()
        await scene.until(
            "the stored transaction",
            lambda: scene.world.chain.run(scene.world.blocks.transaction, stored),
        )

    async def spoil(self, wallet: Wallet, times: int) -> None:
        """Have the node not hear so many of the next transactions."""
        fail = RPCEndpoint("devnet_failNext")
        values = ["eth_sendRawTransaction", "unheard", times]
        await deferToThread(wallet.w3.provider.make_request, fail, values)

    async def attempted(self, scene: Scene) -> bytes | None:
        """The hash of a stored attempt."""
        for batch in await (await scene.history()).queue.batches():
            for attempt in batch.value.attempts:
                return bytes.fromhex(attempt.hash.removeprefix("0x"))
        return None
