"""A user's life with the daemon, and a pauper's, and a stranger's."""

from __future__ import annotations

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.client.chain_reads import JsonRpcChain
from sandbox_billing.client.verify import Proof, verify
from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import ALICE, BOB, MALLORY, TOKEN
from sandbox_billing.ledger.identity import Address
from tests.blackbox.scene import (
    INTERVAL_SECONDS,
    PRICES,
    RECONCILE_SECONDS,
    STOP_DELAY_SECONDS,
    Scene,
    cost,
    preimage_hash,
)


CAROL = DEVELOPMENT_KEYS[6]
"""A well-known development key."""

BOB_DEPOSIT = PRICES.create_fee + cost(14)
"""Enough to be admitted (fee, an interval, the stop), and for a few seconds more."""


class StoryTests(TestCase):
    """One daemon from its start to its SIGTERM."""

    timeout = 600

    async def test_story(self) -> None:
        """Everybody pays for exactly what ran, and nothing runs that nobody pays for."""
        # A machine that is busy for three seconds is nothing for the log of this one.
        scene = await Scene.open(self, LEASE_SEC="60")
        scene.start()
        alice = await scene.user("alice", ALICE, TOKEN)
        bob = await scene.user("bob", BOB, BOB_DEPOSIT)
        carol = await scene.user("carol", CAROL, TOKEN, acknowledge=False)
        mallory = await scene.user("mallory", MALLORY, 0)
        base = await scene.ready()
        for wallet in (carol, mallory):
            await self.refused_unpaid(scene, scene.client(base, wallet))
        at_alice = scene.client(base, alice)
        hers = await scene.created(at_alice)
        his = await scene.created(scene.client(base, bob))
        await self.kept_out(scene, scene.client(base, mallory), hers)
        await self.create_fee_settled(scene, alice)
        await scene.until(
            "three periods of alice", lambda: self.charged(scene, alice, 3 * INTERVAL_SECONDS)
        )
        before = await scene.charged_seconds(alice)
        status, shown = await at_alice.act("stop", hers)
        self.assertEqual(status, 200, shown)
        await scene.until("alice's run to end", lambda: scene.stopped(hers))
        await scene.until("bob's run to end", lambda: scene.stopped(his))
        seconds = await scene.books(alice, hers, paid_in=TOKEN, lost_seconds=2 * RECONCILE_SECONDS)
        self.assertGreater(seconds, before, "the tail was not charged")
        await scene.books(bob, his, paid_in=BOB_DEPOSIT, lost_seconds=2 * RECONCILE_SECONDS)
        await self.stopped_for_money(scene, bob, his, base)
        for wallet in (alice, bob):
            await self.receipts_hold(scene, base, wallet)
        await self.ends_well(scene)

    async def charged(self, scene: Scene, wallet: Wallet, seconds: int) -> bool:
        """Whether so many seconds are charged."""
        return await scene.charged_seconds(wallet) >= seconds

    async def refused_unpaid(self, scene: Scene, client: Client) -> None:
        """Without an acknowledgement, or without money, Daytona is not even asked."""
        status, shown = await client.create()
        self.assertEqual(status, 402, shown)
        code = "insufficient_balance" if client.wallet.name == "mallory" else "not_acknowledged"
        self.assertEqual(shown["code"], code)
        if code == "insufficient_balance":
            required = PRICES.create_fee + cost(INTERVAL_SECONDS + STOP_DELAY_SECONDS) + 1
            self.assertEqual(shown["error"], "insufficient balance")
            self.assertEqual(shown["balance"], "0")
            self.assertAlmostEqual(int(shown["required"]), required, delta=1)
        else:
            self.assertEqual(shown["error"], "TEE signer not acknowledged")
        self.assertEqual(scene.writes(), [])
        self.assertFalse(scene.world.simulator.records)

    async def kept_out(self, scene: Scene, stranger: Client, sandbox: str) -> None:
        """Another's sandbox cannot be seen or moved; one that is not there is not found."""
        before = scene.writes()
        for verb in ("start", "stop", "archive"):
            status, shown = await stranger.act(verb, sandbox)
            self.assertEqual(status, 403, (verb, shown))
        self.assertEqual((await stranger.delete(sandbox))[0], 403)
        self.assertEqual((await stranger.show(sandbox))[0], 403)
        self.assertEqual((await stranger.show("no-such-sandbox"))[0], 404)
        self.assertEqual((await stranger.listed())[0], 200)
        after = [one for one in scene.writes() if sandbox in one and one not in before]
        self.assertEqual([one for one in after if "last-activity" not in one], [])

    async def create_fee_settled(self, scene: Scene, wallet: Wallet) -> None:
        """The first voucher is the create fee, and its preimage can be asked for."""
        await scene.until("a first voucher on-chain", lambda: deferToThread(scene.settled, wallet))
        first = (await deferToThread(scene.settled, wallet))[0]["args"]
        self.assertEqual((first["nonce"], first["totalFee"]), (1, PRICES.create_fee))
        (fee,) = [one for one in await scene.records(wallet) if one.charge.kind.value == "create"]
        self.assertEqual(fee.charge.period_start, fee.charge.period_end)
        self.assertEqual(preimage_hash(fee), bytes(first["usageHash"]))

    async def stopped_for_money(
        self, scene: Scene, wallet: Wallet, sandbox: str, base: str
    ) -> None:
        """Bob was stopped by us, in time, leaves no keys, and cannot start again."""
        self.assertIn(f"POST /api/sandbox/{sandbox}/stop", scene.writes())
        await scene.until("the stop order to go", lambda: not scene.keys("stop:sandbox:*"))
        self.assertEqual(scene.keys("billing:compute:*"), [])
        balance, _pending, _at = await deferToThread(wallet.balances)
        self.assertLess(balance, cost(INTERVAL_SECONDS + STOP_DELAY_SECONDS))
        status, shown = await scene.client(base, wallet).act("start", sandbox)
        self.assertEqual((status, shown["error"]), (402, "insufficient balance"))

    async def receipts_hold(self, scene: Scene, base: str, wallet: Wallet) -> None:
        """
        What the daemon says that it charged is what the chain says; of what was paid in full
        every claim is proven, by nothing but receipts and a node.
        """
        status, page = await scene.client(base, wallet).ask(
            "GET", "/api/receipts?limit=200", verb="GET:/api/receipts?limit=200"
        )
        self.assertEqual((status, page["next"]), (200, None), page)
        verdicts = await deferToThread(
            verify,
            page["receipts"],
            JsonRpcChain(scene.world.chain.url, Address(wallet.contract.address)),
            user=Address(wallet.account.address),
            provider=wallet.provider,
            first_block=0,
        )
        refuted = [
            f"{judged.id}: {finding}"
            for judged in verdicts.receipts
            for finding in judged.findings
            if finding.proof is Proof.REFUTED
        ]
        self.assertEqual(refuted, [])
        (whole,) = verdicts.history
        self.assertIs(whole.proof, Proof.PROVEN, whole)
        kinds = {one["kind"] for one in page["receipts"] if one["status"] == "paid"}
        self.assertEqual(kinds, {"create", "compute"})
        for judged in verdicts.receipts:
            assert judged.receipt is not None
            if judged.receipt.status.value == "paid":
                self.assertIs(judged.proof, Proof.PROVEN, judged)

    async def ends_well(self, scene: Scene) -> None:
        """SIGTERM ends it with 0; its log was JSON and held nothing unexpected."""
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0, scene.daemon.said()[-2000:])
        failures = [line for line in scene.daemon.lines() if line["level"] in ("error", "critical")]
        self.assertEqual(failures, [])
        self.assertEqual(scene.daemon.err, b"")
