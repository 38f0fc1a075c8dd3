"""
Tests for C{sandbox-billing queue}: a process beside a daemon, on a real server and a chain.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.interfaces import BlockedWallet, Ruling
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry, broken_at
from sandbox_billing.ledger.causes import CAUSES
from sandbox_billing.ledger.desk import LETTERS
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.laws import l6_books
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.voucher import DeadLettered, Paid
from tests.cli.test_docs import DOCS
from tests.cli.test_provider_drain import DrainCase


class QueueTests(DrainCase):
    """An operator and a dead letter."""

    async def queue(self, *arguments: str, status: int = 0) -> Any:
        """The document of C{queue}, which ends so."""
        process = self.desk.start(
            "queue",
            *arguments,
            PROVIDER_ADDRESS=self.scene.world.provider.hex,
            REDIS_ADDR=f"127.0.0.1:{self.scene.world.redis.port}",
        )
        ended, out, err = await self.ended(process)
        self.assertEqual(ended, status, f"{arguments}: {out}\n{err}")
        return json.loads(out) if "--json" in arguments else out

    async def condemned(self) -> tuple[str, ...]:
        """The daemon is gone, and what it had on its way are dead letters."""
        assert self.scene.daemon is not None
        await self.scene.daemon.kill()
        self.scene.daemon = None
        journal = await self.scene.history()
        await self.scene.until("the lease", journal.lease.acquire)
        (batch,) = await journal.queue.batches()
        rulings = []
        for record in await journal.queue.batch_records(batch.value):
            state = DeadLettered(seal=record.value.seal, reason="refused with status 5")
            after = record.value.become(state)
            rulings.append(Ruling(record=record, after=after, debt=None, retry_at=UnixSeconds(0)))
        mirror = await journal.doors.mirror()
        assert mirror is not None
        blocked = BlockedWallet(await journal.funds.funds(self.alice.address), QUARANTINED)
        await journal.queue.resolve(batch, mirror.value.block, rulings, [], [blocked])
        await journal.lease.give_up()
        return tuple(batch.value.charges)

    async def test_story(self) -> None:
        """
        What became a dead letter while its transaction was on its way is offered again, and
        booked by the event that stands there: paid once.
        """
        await self.begin()
        await self.scene.transaction_held()
        (line,) = (await self.queue("list", "--json"))["wallets"]
        self.assertGreaterEqual(line["in_flight"]["count"], 1)
        self.assertIsNotNone(line["batch"])
        self.assertEqual((await self.queue("parked", "--json"))["parked"], [])
        dead = await self.condemned()
        shown = (await self.queue("dead", "--json"))["charges"]
        self.assertEqual([one["charge"] for one in shown], list(dead))
        self.assertEqual({one["cause"] for one in shown}, {"refused"})
        self.assertIn(dead[0], await self.queue("dead"))
        refused = await self.queue("drop", dead[0], "--reason", "x", "--json", status=1)
        self.assertIn("add --yes", refused["error"])
        self.assertEqual((await self.queue("retry", "nobody", "--json", status=2))["code"], 2)
        await self.queue("drop", dead[0], "--json", status=2)
        await self.queue("drop", dead[0], "--reason", " ", "--json", status=2)
        # It is mined while nobody looks.
        self.scene.release()
        for charge in dead:
            done = await self.queue("retry", charge, "--json", "--by", "olga")
            self.assertEqual(done["done"], "retry")
        wallet = self.alice.address.hex
        await self.queue("release", wallet, "--reason", "mended", "--by", "olga", "--json")
        again = await self.queue("release", wallet, "--reason", "mended", "--json")
        self.assertEqual(again["done"], "nothing")
        self.scene.start()
        base = await self.scene.ready()
        await self.scene.until("the dead letters to be paid", lambda: self.paid(dead))
        # What was released runs on, until its owner stops it.
        self.assertFalse(await self.scene.stopped(self.sandbox))
        await self.scene.client(base, self.alice).act("stop", self.sandbox)
        await self.scene.until("the sandbox to stop", lambda: self.scene.stopped(self.sandbox))
        await self.scene.until("all to be settled", lambda: self.scene.all_settled(self.alice))
        books = l6_books(await self.records())
        events = await deferToThread(self.scene.settled, self.alice)
        self.assertEqual(sum(int(one["args"]["totalFee"]) for one in events), books.settled)
        self.assertEqual((books.settled, books.dead), (books.charged, 0))
        forms = await (await self.scene.history()).desk.entries(0, 99)
        self.assertIsNone(broken_at(forms))
        entries = [decode(AuditEntry, form) for form in forms]
        self.assertEqual([one.what for one in entries], ["retry"] * len(dead) + ["release"])
        self.assertEqual({one.by for one in entries}, {"olga"})

    async def paid(self, charges: tuple[str, ...]) -> bool:
        """Whether all of them are."""
        found = {r.charge.id: r.state for r in await self.records()}
        return all(isinstance(found[charge], Paid) for charge in charges)  # type: ignore[index]


class PageTests(SynchronousTestCase):
    """What C{docs/cli_queue.rst} says of reasons is so."""

    def test_reasons(self) -> None:
        """Every cause and every kind of letter, with its meaning and what to do."""
        page = " ".join((DOCS / "cli_queue.rst").read_text("utf-8").split())
        for cause in CAUSES:
            row = f"* - {cause.name} - {cause.meaning} - {cause.remedy}"
            self.assertIn(row, page, cause.name)
        for kind, (meaning, remedy) in LETTERS.items():
            self.assertIn(f"* - ``{kind}`` - {meaning} - {remedy}", page)
