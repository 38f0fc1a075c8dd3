"""What every L{IWebhooks} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.interfaces import IWebhooks, LeaseLost, Stale
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind
from sandbox_billing.ledger.webhook import Standing, Webhook, WebhookId
from tests.ports.journal import OWNER, STRANGER, T0, JournalCase, MakeWorld, World, meddle
from tests.ports.journal_notices import notice


MOST = 3
START = Standing(after=0)


def webhook(number: int = 1, *, wallet: Address = OWNER, **changes: Any) -> Webhook:
    """One that wants everything."""
    made = Webhook(
        id=WebhookId(f"{number:032x}"),
        wallet=wallet,
        url=f"https://hooks.example/{number}?token=s3cret",
        secret=f"whsec_{number}",
        created_at=UnixSeconds(T0 + number),
    )
    return evolve(made, **changes)


class WebhooksCase(JournalCase):
    """Registered, moved, removed."""

    async def ids(self, wallet: Address = OWNER) -> list[str]:
        """Of a wallet's."""
        return [one.webhook.value.id for one in await self.world.other.webhooks.of(wallet)]

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IWebhooks, self.world.journal.webhooks)

    async def test_life(self) -> None:
        """Kept, moved and removed; all may be repeated after a lost reply."""
        one = webhook(kinds=(Kind.RUNS_DRY, Kind.BLOCKED))
        after = evolve(START, after=9, delivered=1, last="answered 200")

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.webhooks
            self.assertEqual(await port.of(OWNER), ())
            await sure(lambda: port.add(one, most=MOST))
            (kept,) = await world.other.webhooks.of(OWNER)
            self.assertEqual((kept.webhook.value, kept.standing.value), (one, START))
            await sure(lambda: port.move(kept, after))
            (kept,) = await port.of(OWNER)
            self.assertEqual(kept.standing.value, after)
            await sure(lambda: port.add(webhook(2), most=MOST))
            await port.remove(OWNER, webhook(2).id)
            self.assertEqual(await self.ids(), [one.id])

        await self.same_books(scenario)

    async def test_moved_on(self) -> None:
        """What was moved can be moved from where it then stands."""
        port = self.world.journal.webhooks
        await port.add(webhook(), most=MOST)
        (kept,) = await port.of(OWNER)
        kept = await port.move(kept, START.passed_over(8))
        await port.move(kept, START.passed_over(9))
        (kept,) = await port.of(OWNER)
        self.assertEqual(kept.standing.value.after, 9)

    async def test_so_many(self) -> None:
        """A wallet has so many and no more, and may have others for those it removes."""
        port = self.world.journal.webhooks
        for number in range(MOST):
            self.assertTrue(await port.add(webhook(number), most=MOST))
        self.assertFalse(await port.add(webhook(9), most=MOST))
        self.assertTrue(await port.add(webhook(9, wallet=STRANGER), most=MOST))
        self.assertTrue(await port.remove(OWNER, webhook(1).id))
        self.assertTrue(await port.add(webhook(9), most=MOST))
        self.assertEqual(await self.ids(), [webhook(n).id for n in (0, 2, 9)])

    async def test_more_than_fit_meet(self) -> None:
        """Two at once do not get past the bound together."""
        port, other = self.world.journal.webhooks, self.world.other.webhooks
        self.overtaken(lambda: other.add(webhook(2), most=1))
        self.assertFalse(await port.add(webhook(1), most=1))
        self.assertEqual(await self.ids(), [webhook(2).id])

    async def test_own_only(self) -> None:
        """What is another wallet's, or nobody's, is not removed."""
        port = self.world.journal.webhooks
        await port.add(webhook(), most=MOST)
        self.assertFalse(await port.remove(STRANGER, webhook().id))
        self.assertFalse(await port.remove(OWNER, webhook(2).id))
        self.assertEqual(await self.ids(), [webhook().id])

    async def test_removed_meanwhile(self) -> None:
        """One that was removed while it was delivered to does not come back."""
        port, other = self.world.journal.webhooks, self.world.other.webhooks
        await port.add(webhook(), most=MOST)
        (kept,) = await port.of(OWNER)
        await other.remove(OWNER, webhook().id)
        await self.unchanged(Stale, lambda: port.move(kept, START.passed_over(8)))

    async def test_moved_meanwhile(self) -> None:
        """Nobody is moved back by an older reading."""
        port = self.world.journal.webhooks
        await port.add(webhook(), most=MOST)
        (kept,) = await port.of(OWNER)
        await port.move(kept, START.passed_over(9))
        await self.unchanged(Stale, lambda: port.move(kept, START.passed_over(8)))

    async def test_worker_only(self) -> None:
        """Only the worker moves one; whoever was the worker does not."""
        port, other = self.world.journal.webhooks, self.world.other.webhooks
        await other.add(webhook(), most=MOST)
        (kept,) = await port.of(OWNER)
        await self.unchanged(LeaseLost, lambda: other.move(kept, START.passed_over(8)))
        await self.usurp()
        await self.unchanged(LeaseLost, lambda: port.move(kept, START.passed_over(8)))

    async def test_from_then_on(self) -> None:
        """It begins behind the newest notice, also one that was told while it was registered."""
        port, other = self.world.journal.webhooks, self.world.other.notices
        await other.tell(notice(1), "a")
        self.overtaken(lambda: other.tell(notice(2), "b"))
        await port.add(webhook(), most=MOST)
        (kept,) = await port.of(OWNER)
        (newest,) = await other.newest([OWNER])
        self.assertEqual(kept.standing.value.after, newest)

    async def test_unreadable(self) -> None:
        """One of another version is left out, can be removed, and its secret is not logged."""
        port, place = self.world.journal.webhooks, self.world.journal.store.keys.webhooks(OWNER)
        for number in (1, 2):
            await port.add(webhook(number), most=MOST)
        await meddle(self.world.keyspace, Write("HSET", place, (webhook(1).id, '{"v":2,"x":"S"}')))
        self.assertEqual(await self.ids(), [webhook(2).id])
        self.assertTrue(await port.remove(OWNER, webhook(1).id))

    async def test_no_secret_shown(self) -> None:
        """Neither secret nor URL is in what an object shows of itself."""
        await self.world.journal.webhooks.add(webhook(), most=MOST)
        (kept,) = await self.world.journal.webhooks.of(OWNER)
        self.assertNotIn("whsec", repr(kept.webhook.value))
        self.assertNotIn("s3cret", repr(kept.webhook.value))


def webhooks_suite(name: str, make: MakeWorld) -> type[WebhooksCase]:
    """The suite for one adapter."""
    return type(f"{name}WebhooksTests", (WebhooksCase,), {"make_world": staticmethod(make)})
