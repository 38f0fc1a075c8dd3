"""
Tests for C{sandbox-billing provider register --redis}: a process beside a running daemon.
"""

from __future__ import annotations

import json
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.devnet.world import ALICE, PROVIDER, TOKEN
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.voucher import ChargeRecord, Paid, Partial
from tests.blackbox.scene import (
    INTERVAL_SECONDS,
    PRICES,
    RATE,
    RECONCILE_SECONDS,
    Scene,
)
from tests.cli.stage import SECONDS, Desk
from tests.redis_server import Respite


DEARER = 2 * RATE


class DrainCase(TestCase):
    """A daemon with a sandbox that runs, and a provider who wants more for it."""

    timeout = 1800

    async def begin(self) -> None:
        """Until a period was charged."""
        self.scene = await Scene.open(self)
        self.scene.start()
        self.alice = await self.scene.user("alice", ALICE, TOKEN)
        self.base = await self.scene.ready()
        self.client = self.scene.client(self.base, self.alice)
        self.sandbox = await self.scene.created(self.client)
        await self.charged(INTERVAL_SECONDS)
        self.desk = Desk(url=self.scene.world.chain.url, folder=self.folder())

    def folder(self) -> Path:
        """Somewhere to work."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        return folder

    async def charged(self, seconds: int) -> None:
        """Until so many seconds are charged."""

        async def enough() -> bool:
            return await self.scene.charged_seconds(self.alice) >= seconds

        await self.scene.until(f"{seconds} s to be charged", enough)

    def register(self, *more: str) -> subprocess.Popen[str]:
        """Start the command that doubles the prices."""
        return self.change(
            *("--price-cpu", str(2 * PRICES.per_cpu_per_minute)),
            *("--price-mem", str(2 * PRICES.per_memory_gib_per_minute)),
            *more,
        )

    def change(self, *terms: str) -> subprocess.Popen[str]:
        """Start the command."""
        deployment = self.scene.world.deployment
        assert deployment is not None
        return self.desk.start(
            *("provider", "register", "--json", "--yes"),
            *terms,
            SETTLEMENT_CONTRACT=deployment.proxy,
            PROVIDER_KEY="0x" + PROVIDER.hex(),
            REDIS_ADDR=f"127.0.0.1:{self.scene.world.redis.port}",
        )

    async def ended(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Wait for its end."""
        out, err = await deferToThread(process.communicate, timeout=SECONDS)
        return process.returncode, out, err

    def pause(self) -> Any:
        """What stands in C{billing:paused}, read past every adapter."""
        asked = Respite(self.scene.world.redis.port)
        try:
            raw: Any = asked.call("GET", "billing:paused")
        finally:
            asked.close()
        return None if raw is None else json.loads(raw)

    async def paused(self) -> Any:
        """Wait until one stands."""
        return await self.scene.until("the pause", self.pause)

    def version(self) -> int:
        """The signer version on chain; blocking."""
        found: int = self.service()[4]
        return found

    def url(self) -> str:
        """The URL on chain; blocking."""
        found: str = self.service()[0]
        return found

    def service(self) -> Any:
        """The registration; blocking."""
        wallet = self.alice
        return wallet.contract.functions.services(
            wallet.w3.to_checksum_address(self.scene.world.provider.hex)
        ).call()

    async def records(self, since: int | None = None) -> list[ChargeRecord]:
        """Charges, of the time before a moment only."""
        found = await self.scene.records(self.alice)
        return [r for r in found if since is None or r.charge.period_start < since]


class ChangeTests(DrainCase):
    """The price of what runs changes."""

    async def test_story(self) -> None:
        """Kept out meanwhile, all of before paid, and every second charged once across it."""
        await self.begin()
        # While nothing is mined the drain does not end: the pause stands until it was looked at.
        self.scene.holding = True
        process = self.register()
        since = (await self.paused())["since"]
        status, shown = await self.client.create()
        self.assertEqual(status, 503, shown)
        self.assertIn("admissions are paused", shown["error"])
        await self.scene.until("the notice", self.noticed)
        self.scene.release()
        status, out, err = await self.ended(process)
        self.assertEqual(status, 0, f"{out}\n{err}")
        told = json.loads(out)
        self.assertEqual((told["signer_version"], told["drained"]), ("2", True))
        self.assertEqual(told["unsettled"], [])
        self.assertIsNone(self.pause())
        before = await self.records(since)
        self.assertTrue(all(isinstance(r.state, Paid) for r in before), before)
        self.assertGreaterEqual(max(r.charge.period_end for r in before), since)
        self.assertEqual({r.charge.rate for r in before if r.charge.units}, {RATE})
        await deferToThread(self.alice.acknowledge)
        await self.scene.until("a second at the new price", self._dearer)
        status, shown = await self.client.act("stop", self.sandbox)
        self.assertEqual(status, 200, shown)
        await self.scene.until("its end", lambda: self.scene.stopped(self.sandbox))
        await self.scene.until("all to be settled", lambda: self.scene.all_settled(self.alice))
        await self.compare(self.alice)

    async def noticed(self) -> bool:
        """Whether /readyz names the pause, and calls the daemon ready all the same."""
        status, shown = await self.scene.get(self.base, "/readyz")
        return status == 200 and "provider register" in shown.get("notices", {}).get(
            "admissions", ""
        )

    async def _dearer(self) -> bool:
        return DEARER in {record.charge.rate for record in await self.records()}

    async def compare(self, wallet: Wallet) -> None:
        """No second is lost or charged twice, and what is on chain is what was charged."""
        records = await self.records()
        l2_disjoint(standing(records))
        compute = sorted(
            (one for one in standing(records) if one.units), key=lambda c: c.period_start
        )
        for one, following in pairwise(compute):
            self.assertEqual(one.period_end, following.period_start)
        rates = [charge.rate for charge in compute]
        self.assertEqual((rates, set(rates)), (sorted(rates), {RATE, DEARER}))
        seconds = sum(charge.units for charge in compute)
        ran = self.scene.world.simulator.running_seconds(self.sandbox)
        self.assertLessEqual(seconds, ran + 0.001)
        # Both ends of a run are rounded to whole seconds, against the charge.
        late = 2 * self.scene.late_seconds()
        self.assertGreaterEqual(seconds, ran - 2 * RECONCILE_SECONDS - 2 - late)
        events = await deferToThread(self.scene.settled, wallet)
        paid = sum(int(event["args"]["totalFee"]) for event in events)
        self.assertEqual(paid, sum(one.amount for one in standing(records)))
        self.assertEqual(l6_books(records).settled, paid)
        self.assertFalse(any(isinstance(record.state, Partial) for record in records))


class StoppedTests(DrainCase):
    """The command ends before its work is done."""

    async def test_interrupted(self) -> None:
        """Ctrl-C while it waits lifts the pause and changes nothing; kill -9 is taken over."""
        await self.begin()
        # Nothing is mined, so nothing is settled: the drain cannot end.
        await self.scene.transaction_held()
        process = self.register()
        await self.paused()
        process.send_signal(signal.SIGINT)
        status, out, err = await self.ended(process)
        self.assertEqual(status, 130, f"{out}\n{err}")
        self.assertIn("the pause is lifted", err)
        self.assertNotIn("stay paused", err)
        self.assertEqual((self.pause(), await deferToThread(self.version)), (None, 1))

        process = self.register()
        first = await self.paused()
        process.kill()
        await self.ended(process)
        self.assertEqual(self.pause(), first)
        await self.told_of(first)
        process = self.register("--drain-timeout", "1", "--take-over")
        status, out, err = await self.ended(process)
        self.assertEqual(status, 1, f"{out}\n{err}")
        self.assertIn("there is still left", json.loads(out)["error"])
        self.assertIn(f"going on under the pause of {first['since']}", err)
        self.assertIsNone(self.pause())

        self.scene.release()
        status, out, err = await self.ended(self.register())
        self.assertEqual(status, 0, f"{out}\n{err}")
        self.assertEqual((self.pause(), await deferToThread(self.version)), (None, 2))
        status, out, err = await self.ended(self.register())
        self.assertEqual(status, 0, f"{out}\n{err}")
        self.assertTrue(json.loads(out)["nothing_to_do"])

    async def told_of(self, stands: Any) -> None:
        """Without the word for it a pause is left alone, and told of at the start and the end."""
        cases: tuple[tuple[tuple[str, ...], int], ...] = (
            ((), 1),
            (("--price-cpu", "0"), 2),
            (("--dry-run",), 0),
        )
        for arguments, expected in cases:
            status, out, err = await self.ended(self.register(*arguments))
            self.assertEqual(status, expected, f"{out}\n{err}")
            for word in ("are", "stay"):
                self.assertIn(f"admissions {word} paused by {stands['by']}", err)
            self.assertIn("--take-over", err)
            self.assertEqual(self.pause(), stands)

    async def test_no_pause_needed(self) -> None:
        """The URL alone is changed under a pause that was left; told so, it is lifted, too."""
        await self.begin()
        process = self.register()
        stands = await self.paused()
        process.kill()
        await self.ended(process)
        cases: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("https://q.example", ()),
            ("https://r.example", ("--take-over",)),
        )
        for url, more in cases:
            status, out, err = await self.ended(self.change("--url", url, *more))
            self.assertEqual(status, 0, f"{out}\n{err}")
            self.assertEqual(json.loads(out)["url"], url)
            self.assertIn(f"admissions are paused by {stands['by']}", err)
            self.assertEqual("admissions stay paused" in err, not more)
            self.assertEqual(self.pause(), None if more else stands)

    async def test_changed_meanwhile(self) -> None:
        """Somebody else's change during the drain is not undone: refused, and the door is open."""
        await self.begin()
        await self.scene.transaction_held()
        process = self.register()
        await self.paused()
        other = self.change("--url", "https://q.example")
        await self.scene.until("the other change", lambda: deferToThread(self.under_way))
        self.scene.release()
        status, out, err = await self.ended(other)
        self.assertEqual(status, 0, f"{out}\n{err}")
        status, out, err = await self.ended(process)
        self.assertEqual(status, 1, f"{out}\n{err}")
        self.assertIn("changed meanwhile by somebody else", json.loads(out)["error"])
        self.assertEqual((self.pause(), await deferToThread(self.version)), (None, 1))
        self.assertEqual(await deferToThread(self.url), "https://q.example")

    def under_way(self) -> bool:
        """Whether a transaction of the provider's is in the pool; blocking."""
        provider = self.scene.world.provider.hex
        pending = self.desk.rpc("eth_getTransactionCount", provider, "pending")
        return int(pending, 16) > self.desk.nonce(provider)

    async def test_wrong_redis(self) -> None:
        """A Redis where this provider's daemon never worked drains nothing: nothing is changed."""
        await self.begin()
        server = Respite(self.scene.world.redis.port)
        self.addCleanup(server.close)
        (mirror,) = self.scene.keys("billing:mirror:*")
        assert self.scene.daemon is not None
        await self.scene.daemon.kill()
        self.scene.daemon = None
        server.call("DEL", mirror)
        status, out, err = await self.ended(self.register())
        self.assertEqual(status, 2, f"{out}\n{err}")
        self.assertIn("look at --redis", json.loads(out)["error"])
        self.assertEqual((self.pause(), await deferToThread(self.version)), (None, 1))
