"""What every L{IChainMirror}, L{IFunds}, L{IStopOrders}, L{ILease}, L{IReplayGuard} and
L{IHistory} must do."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    BlockedWallet,
    IChainMirror,
    IFunds,
    IHistory,
    ILease,
    IReplayGuard,
    IStopOrders,
    LeaseLost,
    Stale,
    StopOrder,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from tests.ports.journal import (
    LEASE_SECONDS,
    OWNER,
    PROVIDER,
    SB,
    STRANGER,
    T0,
    JournalCase,
    MakeWorld,
    World,
    account,
    meddle,
    mirror,
    mirrored,
    pending,
    running,
    service,
    settlement,
    ticked,
)


class MirrorCase(JournalCase):
    """Worker facts of the chain mirror, and what history makes of them."""

    async def test_interfaces(self) -> None:
        """The ports are provided as declared."""
        verifyObject(IChainMirror, self.world.journal.mirror)
        verifyObject(IHistory, self.world.journal.history)

    async def test_step(self) -> None:
        """Head, accounts, events and services move in one write."""

        async def scenario(world: World, sure: Any) -> None:
            port = world.journal.mirror
            await mirrored(world, account(), account(STRANGER))
            head = await port.mirror()
            after, news = mirror(12), account(balance=Neuron(5), block=12)
            other = service(STRANGER)
            await sure(
                lambda: port.step(
                    head,
                    after,
                    [news],
                    [settlement()],
                    [other, service()],
                    known=[OWNER, STRANGER],
                )
            )
            found = await world.other.doors.mirror()
            self.assertEqual(found and found.value, after)
            self.assertEqual(set(await port.wallets()), {OWNER, STRANGER})
            funds = await world.other.doors.funds(OWNER)
            self.assertEqual(funds.account and funds.account.value, news)
            self.assertEqual(await world.other.history.providers(), (service(), other))

        await self.same_books(scenario)

    async def test_step_from_elsewhere(self) -> None:
        """The mirror moves on from where it stands only, at the first step too."""
        head = await mirrored(self.world)
        port = self.world.journal.mirror
        await self.unchanged(Stale, lambda: port.step(None, mirror(12), (), (), ()))
        known = await port.wallets()
        await port.step(head, mirror(11), (), (), (), known=known)
        await self.unchanged(Stale, lambda: port.step(head, mirror(12), (), (), (), known=known))

    async def test_step_past_a_new_wallet(self) -> None:
        """A wallet that was mirrored while the step was read is not stepped over (§4.8)."""
        head = await mirrored(self.world)
        port, doors = self.world.journal.mirror, self.world.other.doors
        known = await port.wallets()
        await doors.add_account(head, account(STRANGER))
        await self.unchanged(
            Stale, lambda: port.step(head, mirror(11), [account()], (), (), known=known)
        )
        # The block stays: nothing happened to anybody.
        await port.step(head, mirror(10, updated_at=T0 + 5), (), (), ())
        head = await port.mirror()
        await port.step(head, mirror(11), (), (), (), known=await port.wallets())

    async def test_long_step(self) -> None:
        """
        Thousands of events come in parts before the head; all accounts come with it, however
        many: they must not be seen under an older head.
        """
        wallets = [Address(f"0x{number:040x}") for number in range(3_000)]
        head = await mirrored(self.world, *(account(wallet) for wallet in wallets))
        sizes = _Sizes(self.world.faults.inner)
        self.world.faults.inner = sizes  # type: ignore[assignment]
        news = [account(w, acknowledged=False, block=11) for w in wallets]
        events = [settlement(n, at=n) for n in range(1, 1_101)]
        providers = [service(wallet) for wallet in wallets[:600]]
        port = self.world.journal.mirror

        async def step() -> None:
            await port.step(head, mirror(11), news, events, providers, known=wallets)

        await step()
        await step()
        *parts, last = sizes.commits[: len(sizes.commits) // 2]
        self.assertEqual([len(part.writes) for part in parts], [500, 500, 100, 500, 100])
        self.assertFalse({w.key for p in parts for w in p.writes} & {w.key for w in last.writes})
        self.assertLess(len(last.writes), len(wallets) + 20)
        total, _page = await self.world.other.history.settlements(
            OWNER, since=UnixSeconds(0), page=0, page_size=1
        )
        self.assertEqual(total, len(events))
        self.assertEqual(len(await self.world.other.history.providers()), len(providers))
        for wallet in (wallets[0], wallets[-1]):
            funds = await self.world.other.doors.funds(wallet)
            self.assertFalse(funds.account is None or funds.account.value.acknowledged)
        checked = await self.world.journal.funds.to_check(T0, 5_000)
        self.assertEqual(len(checked), len(wallets))

    async def test_settlements(self) -> None:
        """A wallet's settlements are read by time and place, a page at a time."""
        events = [settlement(n, at=n // 2, log_index=n % 2) for n in range(1, 8)]
        other = settlement(1, user=STRANGER)

        async def scenario(world: World, sure: Any) -> None:
            await sure(
                lambda: world.journal.mirror.add_history([*reversed(events), other], [service()])
            )

        await self.same_books(scenario)
        history = self.world.other.history
        all_of_it = await history.settlements(OWNER, since=UnixSeconds(0), page=0, page_size=50)
        self.assertEqual(all_of_it, (7, tuple(events)))
        some = await history.settlements(OWNER, since=UnixSeconds(T0 + 1), page=1, page_size=4)
        self.assertEqual(some, (6, tuple(events[5:])))
        none = await history.settlements(PROVIDER, since=UnixSeconds(0), page=0, page_size=50)
        self.assertEqual(none, (0, ()))

    async def test_charges(self) -> None:
        """Every charge of a wallet is told, oldest first."""
        await ticked(self.world, await ticked(self.world, await running(self.world)))
        records = await self.world.other.history.charges(OWNER)
        self.assertEqual([r.charge.created_at for r in records], [T0, T0 + 60, T0 + 120])
        ids = tuple(r.charge.id for r in records)
        self.assertEqual(await self.world.other.history.pending(), ids)
        self.assertEqual(await self.world.other.history.wallets(), (OWNER,))

    async def test_stale_token(self) -> None:
        """No step of a worker that was replaced changes anything (L10)."""
        head = await mirrored(self.world)
        await self.usurp()
        port = self.world.journal.mirror
        await self.unchanged(
            LeaseLost, lambda: port.step(head, mirror(11), (), (), (), known=[OWNER])
        )
        await self.unchanged(LeaseLost, lambda: port.add_history([settlement()], ()))


class _Sizes:
    """Remembers what is carried out."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.commits: list[Commit] = []

    async def commit(self, commit: Commit) -> Any:
        self.commits.append(commit)
        return await self._inner.commit(commit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class FundsCase(JournalCase):
    """Worker facts of wallets that run dry."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IFunds, self.world.journal.funds)

    async def test_to_check(self) -> None:
        """A wallet is checked when its time has come, or its exposure or account changed."""
        funds = self.world.journal.funds
        self.assertEqual(await funds.to_check(T0, 9), ())
        before = await running(self.world)
        self.assertEqual(await funds.to_check(T0, 9), (OWNER,))
        await funds.check_again(await funds.funds(OWNER), UnixSeconds(T0 + 900))
        self.assertEqual(await funds.to_check(UnixSeconds(T0 + 899), 9), ())
        self.assertEqual(await funds.to_check(UnixSeconds(T0 + 900), 9), (OWNER,))
        await ticked(self.world, before)
        self.assertEqual(await funds.to_check(T0, 9), (OWNER,))
        await funds.check_again(await funds.funds(OWNER), None)
        self.assertEqual(await funds.to_check(UnixSeconds(T0 + 10**6), 9), ())
        await mirrored(self.world)
        self.assertEqual(await funds.to_check(T0, 9), (OWNER,))

    async def test_changed_meanwhile(self) -> None:
        """Nothing is decided on funds that have changed since they were read."""
        funds, before = self.world.journal.funds, await running(self.world)
        read = await funds.funds(OWNER)
        blocked = BlockedWallet(read, "insufficient_balance")
        await ticked(self.world, before)

        async def refused(old: Any) -> None:
            for call in (
                lambda: funds.check_again(old, None),
                lambda: funds.block(evolve(blocked, funds=old)),
                lambda: funds.unblock(old),
            ):
                await self.unchanged(Stale, call)

        await refused(read)
        without_account = await funds.funds(OWNER)
        await mirrored(self.world)
        await refused(without_account)

    async def test_block(self) -> None:
        """A blocked wallet's sandboxes are ordered to stop, all of them."""

        async def scenario(world: World, sure: Any) -> None:
            funds = world.journal.funds
            for name in ("sb-1", "sb-2"):
                await running(world, name)
            await running(world, "sb-3", owner=STRANGER)
            blocked = BlockedWallet(await funds.funds(OWNER), "insufficient_balance")
            await sure(lambda: funds.block(blocked))
            self.assertEqual((await funds.funds(OWNER)).blocked, "insufficient_balance")
            orders = await world.journal.stops.due(T0, 9)
            self.assertEqual({o.sandbox for o in orders}, {"sb-1", "sb-2"})
            await sure(lambda: self._unblock(world))
            self.assertIsNone((await funds.funds(OWNER)).blocked)

        await self.same_books(scenario)

    async def _unblock(self, world: World) -> None:
        await world.journal.funds.unblock(await world.other.doors.funds(OWNER))

    async def test_stale_token(self) -> None:
        """No decision of a worker that was replaced changes anything (L10)."""
        await running(self.world)
        funds = self.world.journal.funds
        read = await funds.funds(OWNER)
        await self.usurp()
        for call in (
            lambda: funds.check_again(read, None),
            lambda: funds.block(BlockedWallet(read, "debt")),
            lambda: funds.unblock(read),
        ):
            await self.unchanged(LeaseLost, call)


class StopsCase(JournalCase):
    """Worker facts of stop orders."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(IStopOrders, self.world.journal.stops)

    async def test_life_of_an_order(self) -> None:
        """An order stands, is counted, and is gone when it is done."""

        async def scenario(world: World, sure: Any) -> None:
            stops = world.journal.stops
            await sure(lambda: stops.order(SB, "insufficient_balance", T0))
            order = StopOrder(SB, "insufficient_balance", T0, 0)
            self.assertEqual(await stops.get(SB), order)
            self.assertEqual(await stops.due(T0, 9), (order,))
            await sure(lambda: stops.attempted(order, UnixSeconds(T0 + 20)))
            self.assertEqual(await stops.due(UnixSeconds(T0 + 19), 9), ())
            (again,) = await stops.due(UnixSeconds(T0 + 20), 9)
            self.assertEqual(again, evolve(order, attempts=1))
            await sure(lambda: stops.order(SB, "not_acknowledged", UnixSeconds(T0 + 5)))
            renewed = evolve(again, reason="not_acknowledged")
            self.assertEqual(await stops.get(SB), renewed)
            self.assertEqual(await stops.due(UnixSeconds(T0 + 19), 9), ())
            await sure(lambda: stops.order(SandboxId("sb-2"), "debt", T0))
            await sure(lambda: stops.done(renewed))
            await sure(lambda: stops.done(renewed))
            self.assertIsNone(await stops.get(SB))

        await self.same_books(scenario)

    async def test_oldest_first(self) -> None:
        """Orders come by age, whatever their next attempt."""
        stops = self.world.journal.stops
        for number in (1, 3, 2):
            at = UnixSeconds(T0 + number)
            await stops.order(SandboxId(f"sb-{number}"), "debt", at)
        first = await stops.get(SandboxId("sb-1"))
        assert first is not None
        await stops.attempted(first, UnixSeconds(T0 + 9))
        due = await stops.due(UnixSeconds(T0 + 9), 9)
        self.assertEqual([order.sandbox for order in due], ["sb-1", "sb-2", "sb-3"])

    async def test_attempt_of_an_order_that_is_done(self) -> None:
        """An order that is done is not brought back by counting an attempt."""
        stops = self.world.journal.stops
        await stops.order(SB, "debt", T0)
        order = await stops.get(SB)
        assert order is not None
        await stops.done(order)
        before = await self.world.dump()
        await stops.attempted(order, T0)
        self.assertEqual(await self.world.dump(), before)

    async def test_done_too_late(self) -> None:
        """An order that was given anew since it was read stands (B9)."""
        stops = self.world.journal.stops
        await stops.order(SB, "insufficient_balance", T0)
        order = await stops.get(SB)
        assert order is not None
        self.overtaken(lambda: stops.order(SB, "not_acknowledged", UnixSeconds(T0 + 1)))
        await stops.done(order)
        renewed = evolve(order, reason="not_acknowledged")
        self.assertEqual(await stops.get(SB), renewed)
        # The same reason, but an order of another time.
        await stops.done(renewed)
        await stops.order(SB, "not_acknowledged", UnixSeconds(T0 + 9))
        await stops.done(renewed)
        self.assertEqual(await stops.get(SB), evolve(renewed, ordered_at=UnixSeconds(T0 + 9)))

    async def test_deleted_by_hand(self) -> None:
        """Where an operator deletes the reason, the order goes."""
        stops = self.world.journal.stops
        await stops.order(SB, "debt", T0)
        await meddle(self.world.keyspace, Write("DEL", f"stop:sandbox:{SB}"))
        self.assertIsNone(await stops.get(SB))
        self.assertEqual(await stops.due(T0, 9), ())
        self.assertEqual(await self.raw("EXISTS", self.world.journal.store.keys.stop(SB)), b"0")

    async def test_stale_token(self) -> None:
        """No order of a worker that was replaced changes anything (L10)."""
        stops = self.world.journal.stops
        await stops.order(SB, "debt", T0)
        order = StopOrder(SB, "debt", T0, 0)
        await self.usurp()
        for call in (
            lambda: stops.order(SB, "other", T0),
            lambda: stops.attempted(order, T0),
            lambda: stops.done(order),
        ):
            await self.unchanged(LeaseLost, call)


class LeaseCase(JournalCase):
    """One worker at a time, and one use of each signed request."""

    async def test_interfaces(self) -> None:
        """The ports are provided as declared."""
        verifyObject(ILease, self.world.journal.lease)
        verifyObject(IReplayGuard, self.world.journal.replay)

    async def test_one_at_a_time(self) -> None:
        """Nobody else becomes the worker while the lease is kept, and at once when not."""
        one, two = self.world.journal.lease, self.world.other.lease
        self.assertFalse(await two.acquire())
        self.assertIsNone(two.token)
        self.assertTrue(await one.renew())
        self.assertFalse(await two.renew())
        await two.give_up()
        self.assertTrue(await one.renew())
        await one.give_up()
        self.assertIsNone(one.token)
        self.assertTrue(await two.acquire())
        self.assertFalse(await one.renew())
        self.assertFalse(await one.acquire())

    async def test_token_rises(self) -> None:
        """Every lease has a higher token, also when the clock stands or steps back."""
        tokens = []
        for moment in (T0, T0, T0 - 100, T0 + 5):
            self.world.wall.moment = moment
            await self.world.journal.lease.give_up()
            self.assertTrue(await self.world.journal.lease.acquire())
            tokens.append(int(self.world.journal.lease.token or b"0"))
        self.assertEqual(tokens, sorted(set(tokens)))

    async def test_lease_runs_out(self) -> None:
        """The lease is a key that expires."""
        key = self.world.journal.store.keys.lease()
        self.assertTrue(0 < int(await self.raw("PTTL", key)) <= 1000 * LEASE_SECONDS)

    async def test_repeated(self) -> None:
        """Acquiring and renewing may be repeated when an answer was lost."""

        async def scenario(world: World, sure: Any) -> None:
            await world.journal.lease.give_up()
            self.assertTrue(await sure(world.journal.lease.acquire))
            self.assertTrue(await sure(world.journal.lease.renew))
            await world.journal.meter.seen({SB: T0})

        await self.same_books_but_token(scenario)

    async def same_books_but_token(self, scenario: Any) -> None:
        """A repeated acquisition may have a higher token than one that was answered."""

        async def settled(world: World, sure: Any) -> None:
            await scenario(world, sure)
            keys = world.journal.store.keys
            await meddle(world.keyspace, Write("DEL", keys.fence()), Write("DEL", keys.lease()))

        await self.same_books(settled)

    async def test_still_ours(self) -> None:
        """A worker whose renewals got no answer takes its own lease again."""
        lease = self.world.journal.lease
        before = lease.token
        self.world.faults.connected = False
        await self.refused(Transient, lease.renew())
        self.world.faults.connected = True
        self.assertTrue(await lease.acquire())
        self.assertGreater(lease.token or b"", before or b"")

    async def test_everything_lost(self) -> None:
        """When the server has lost everything, an old token does not become valid again."""
        keys = self.world.journal.store.keys
        token = self.world.journal.lease.token
        await meddle(self.world.keyspace, Write("DEL", keys.fence()), Write("DEL", keys.lease()))
        await self.unchanged(LeaseLost, lambda: self.world.journal.meter.seen({SB: T0}))
        self.world.wall.moment += 1
        self.assertTrue(await self.world.other.lease.acquire())
        self.assertNotEqual(self.world.other.lease.token, token)
        self.assertFalse(await self.world.journal.lease.renew())

    async def test_first_use(self) -> None:
        """A nonce is used once, by one wallet; another wallet has its own."""
        one, two = self.world.journal.replay, self.world.other.replay
        expires = UnixSeconds(T0 + 300)
        self.assertTrue(await one.first_use(OWNER, "ab" * 16, expires))
        self.assertFalse(await one.first_use(OWNER, "ab" * 16, expires))
        self.assertFalse(await two.first_use(OWNER, "ab" * 16, UnixSeconds(T0 + 999)))
        self.assertTrue(await two.first_use(STRANGER, "ab" * 16, expires))
        key = f"auth:nonce:{OWNER}:" + "ab" * 16
        left = int(await self.raw("PTTL", key))
        self.assertTrue(358_000 < left <= 360_000, left)

    async def test_first_use_unanswered(self) -> None:
        """A use whose outcome is unknown is not counted as allowed, and never used again."""
        from sandbox_billing.adapters.memory import Fault

        guard = self.world.journal.replay
        self.world.faults.faults.append(Fault.REPLY_LOST)
        await self.refused(UnknownOutcome, guard.first_use(OWNER, "cd" * 16, T0))
        self.assertFalse(await guard.first_use(OWNER, "cd" * 16, T0))

    async def test_first_use_too_late(self) -> None:
        """What expired is used no more: that it was may be forgotten already."""
        guard = self.world.journal.replay
        self.assertTrue(await guard.first_use(OWNER, "ef" * 16, T0))
        self.world.wall.moment = T0 + 61
        self.assertFalse(await guard.first_use(OWNER, "ef" * 16, T0))
        self.assertFalse(await guard.first_use(OWNER, "01" * 16, T0))

    async def test_pending_needs_no_lease(self) -> None:
        """Doors stay open while there is no worker at all."""
        await self.world.journal.lease.give_up()
        await pending(self.world)


SUITES = {"Mirror": MirrorCase, "Funds": FundsCase, "Stops": StopsCase, "Lease": LeaseCase}


def worker_suites(name: str, make_world: MakeWorld) -> dict[str, type[JournalCase]]:
    """The suites for one adapter, by name."""
    return {
        f"{name}{port}Tests": type(
            f"{name}{port}Tests", (case,), {"make_world": staticmethod(make_world)}
        )
        for port, case in SUITES.items()
    }
