"""
C{kill -9} at moments that nobody has chosen, of the daemon and of its Redis server.

The moments come from a seed, which is printed; C{KILL_SEED=n} takes the same ones again.
Ten kills, or fifty with C{bin/test --long}.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence
from random import Random

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.devnet.world import ALICE, BOB, MALLORY, TOKEN
from sandbox_billing.ledger.laws import standing
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord, Merged, Paid, Partial
from sandbox_billing.services.second_look import DEPTH
from tests.blackbox.audit import Account, money, seconds
from tests.blackbox.crowd import Killer, User
from tests.blackbox.scene import INTERVAL_SECONDS, PRICES, STOP_DELAY_SECONDS, Scene, cost
from tests.redis_server import new_server


LONG = bool(os.environ.get("LONG_TESTS"))

KILLS = 50 if LONG else 10

SEED = int(os.environ.get("KILL_SEED") or secrets.randbelow(1_000_000))

SHORT_OF_MONEY = PRICES.create_fee + cost(2 * INTERVAL_SECONDS + STOP_DELAY_SECONDS)
"""What lasts a few seconds."""

PEOPLE = (("alice", ALICE, TOKEN), ("bob", BOB, SHORT_OF_MONEY), ("mallory", MALLORY, TOKEN // 2))


class RandomKillTests(TestCase):
    """A daemon and a Redis server that die again and again, on a chain that has accidents."""

    timeout = 900 + 60 * KILLS
    records: Sequence[ChargeRecord] = ()

    async def test_random_kills(self) -> None:
        """
        Whatever dies whenever: the books are those of a run without kills, but for what L13
        allows, by the chain's events, the stored books and Daytona's own log.
        """
        began = time.monotonic()
        scene = await Scene.open(self, LIFECYCLE_PER_HOUR="100000", MAX_SANDBOXES_PER_WALLET="5")
        redis = new_server()
        self.addCleanup(redis.stop)
        scene.redis_port = redis.port
        scene.settings["REDIS_ADDR"] = f"127.0.0.1:{redis.port}"
        killer = Killer(scene=scene, redis=redis, chance=Random(f"{SEED}:killer"))
        users = []
        for name, secret, money_in in PEOPLE:
            wallet = await scene.user(name, secret, money_in)
            chance = Random(f"{SEED}:{name}")
            users.append(
                User(
                    wallet=wallet,
                    killer=killer,
                    chance=chance,
                    top_up=SHORT_OF_MONEY,
                    paid_in=money_in,
                )
            )
        scene.start()
        try:
            await self.live(scene, killer, users)
        except AssertionError as why:
            told = self.report(scene, killer, users, time.monotonic() - began)
            raise AssertionError(f"{told}: {why}") from why
        problems = await self.compare(scene, killer, users)
        told = self.report(scene, killer, users, time.monotonic() - began)
        self.assertEqual(problems, [], told)
        sys.stdout.write(told + "\n")

    async def live(self, scene: Scene, killer: Killer, users: list[User]) -> None:
        """Users go on until the last kill is survived, then delete what they have."""
        ended: list[bool] = []
        lives = [Deferred.fromCoroutine(user.live(lambda: bool(ended))) for user in users]
        lives.append(Deferred.fromCoroutine(killer.accidents(lambda: bool(ended))))
        quiet: list[bool] = []
        watching = Deferred.fromCoroutine(killer.watch(lambda: bool(quiet)))
        try:
            await killer.ready()
            await killer.kill(KILLS)
            # On a slow machine nobody may have lived long enough for that before.
            await scene.until("a charge", lambda: self.charged(scene, users))
        finally:
            ended.append(True)
            await gatherResults(lives)
        await gatherResults([Deferred.fromCoroutine(user.leave()) for user in users])
        for user in users:
            # Of what it ran dry of while nobody looked, nothing may be left owing.
            await user.deposit()
        await scene.until("all windows to be closed", lambda: not self.open(killer))
        quiet.append(True)
        await watching
        await self.quiet(scene, [user.wallet for user in users])

    async def charged(self, scene: Scene, users: list[User]) -> bool:
        """Whether any time of a run is."""
        return any([await scene.charged_seconds(user.wallet) for user in users])

    @staticmethod
    def open(killer: Killer) -> bool:
        """Whether nobody was seen to work since a kill."""
        return any(window.until == float("inf") for window in killer.windows)

    async def quiet(self, scene: Scene, wallets: list[Wallet]) -> None:
        """Until nothing is under way (L11)."""
        patterns = ("billing:compute:*", "stop:sandbox:*", "billing:batches:*", "voucher:0x*")
        # A debt is collected once its reason has been looked at twice.
        for _ in range(DEPTH + 2):
            await scene.world.chain.run(scene.world.blocks.mine)

        async def is_quiet() -> bool:
            if any(scene.keys(pattern) for pattern in patterns):
                return False
            # One who never came to anything has no charges.
            charges = [r for wallet in wallets for r in await scene.records(wallet)]
            return all(isinstance(r.state, Paid | Partial | Merged) for r in charges)

        try:
            await scene.until("quiet", is_quiet)
        except AssertionError as why:
            left = {p.decode() for pattern in patterns for p in scene.keys(pattern)}
            raise AssertionError(f"left {sorted(left)}: {why}") from why

    async def compare(self, scene: Scene, killer: Killer, users: list[User]) -> list[str]:
        """Everything that the three records do not agree on."""
        problems, everything = [], []
        for user in users:
            account = await Account.of(scene, user.wallet, user.paid_in)
            problems += money(account)
            if account.records:
                fewer = evolve(account, records=account.records[1:])
                self.assertTrue(list(money(fewer)), "nobody misses a charge")
            problems += [f"{user.wallet.name} was told {one}" for one in user.wrong]
            everything += account.records
        self.records = everything
        timed = [r for r in everything if r.charge.units and not isinstance(r.state, Merged)]
        self.assertTrue(timed, "nothing ran")
        for moved in (-3600, 3600):
            charge = timed[0].charge
            times = {
                name: UnixSeconds(getattr(charge, name) + moved)
                for name in ("period_start", "period_end")
            }
            shifted = [evolve(timed[0], charge=evolve(charge, **times)), *everything]
            self.assertTrue(list(seconds(scene, shifted, [])), "nobody sees a wrong period")
        return problems + list(seconds(scene, everything, killer.windows))

    def report(self, scene: Scene, killer: Killer, users: list[User], took: float) -> str:
        """What it came to, in a few lines."""
        rows = scene.world.simulator.records.values()
        spans = [b - a for row in rows for a, b in row.shown.intervals if b is not None]
        charged = sum(charge.units for charge in standing(self.records))
        answers = {user.wallet.name: dict(user.told) for user in users}
        return (
            f"KILL_SEED={SEED}: {len(killer.done)} kills in {took:.0f} s: {killer.done};"
            f" of transactions {dict(killer.accident)};"
            f" {len(rows)} sandboxes ran {len(spans)} times, {sum(spans):.0f} s,"
            f" of which {charged} are charged; answers {answers}"
        )
