"""
The random long mode: a seed makes people, their wishes, and everything that goes wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

from attrs import evolve

from sandbox_billing.devnet.daytona import Timings
from sandbox_billing.ledger.identity import Address, SandboxId
from tests.fixtures import FEE, PRICES
from tests.services.lives import PROVIDER
from tests.simulation.checker import Quiet
from tests.simulation.clock import Life
from tests.simulation.faults import CRASHES, Fault, FaultKind, Spot
from tests.simulation.settings import DEARER, HOLD, RECOVERY, SIM_POLICY
from tests.simulation.stories import Story
from tests.simulation.world import World


PEOPLE = tuple(Address(f"0x{n:040x}") for n in range(0xA1, 0xA4))
PLENTY = 10**7

SECONDS = (40, 110)
LONG_SECONDS = (300, 900)

_AMOUNTS: dict[FaultKind, tuple[float, float]] = {
    FaultKind.DELAY_BEFORE: (0.05, 8.0),
    FaultKind.DELAY_AFTER: (0.05, 8.0),
    FaultKind.PAUSE: (1.0, 20.0),
    FaultKind.STALE: (1, 6),
    FaultKind.ROLLBACK: (1, 1000),
}


class Misfortune:
    """
    Decides what befalls each call.

    Every call may be met, rarely; a few methods, others in each story, often: else those
    that are called once a story would hardly ever be.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rate = random.choice((0.0005, 0.002, 0.006))
        self.crashes = random.random() < 0.7
        self._unlucky: dict[Spot, float] = {}

    def __call__(self, spot: Spot, number: int, life: Life) -> Fault | None:
        random = self.random
        rate = self._unlucky.get(spot)
        if rate is None:
            # Methods with the worst luck, decided as they are met first.
            rate = self._unlucky[spot] = random.choice((0.15, *[0.0] * 9)) or self.rate
        if random.random() >= rate:
            return None
        kind = random.choice(spot.kinds())
        if kind in CRASHES and not (self.crashes and random.random() < 0.5):
            return None
        low, high = _AMOUNTS.get(kind, (0, 0))
        return Fault(kind, random.uniform(low, high))


class Chance:
    """One random story."""

    def __init__(self, seed: int, *, long: bool = False) -> None:
        self.random = random = Random(seed)
        self.story: Story
        self.seconds = random.uniform(*(LONG_SECONDS if long else SECONDS))
        self.dearer = False
        self.poor = random.random() < 0.3
        self.acts: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (3, self.wish_create),
            (3, self.wish_stop),
            (1.5, self.wish_start),
            (1, self.wish_delete),
            (1.5, self.deposit),
            (0.7, self.revoke),
            (1, self.acknowledge),
            (1, self.refund),
            (0.4, self.reprice),
            (0.6, self.stop_behind),
            (0.4, self.remove_behind),
            (1, self.front_run),
            (1, self.reorg),
            (0.5, self.no_blocks),
            (0.4, self.underpriced),
            (0.7, self.shutdown),
            (0.7, self.kill),
            (0.5, self.power),
            (0.5, self.freeze),
            (0.5, self.slow),
            (0.6, self.refuse),
        ]

    def world(self) -> World:
        """Where it happens."""
        random = self.random
        timings = Timings(
            create_seconds=random.uniform(0.2, 4),
            start_seconds=random.uniform(0.2, 3),
            stop_seconds=random.uniform(0.2, 3),
            lookup_cache_seconds=random.choice((0, 0, 5, 10)),
        )
        policy = evolve(
            SIM_POLICY,
            batch_max=random.choice((1, 2, 50)),
            max_in_flight=random.choice((1, 5)),
            batch_wait=random.choice((0, 0, 3)),
        )
        return World(random=Random(random.random()), timings=timings, policy=policy)

    async def script(self, story: Story) -> None:
        """All of it."""
        self.story, world, random = story, story.world, self.random
        world.board.decide = Misfortune(random)
        for who in PEOPLE:
            world.deposit(who, random.choice((PLENTY, PLENTY, FEE + HOLD, 3 * HOLD)))
            world.acknowledge(who)
        await world.sleep(random.uniform(0, 8))
        weights = [weight for weight, _ in self.acts]
        while not self.over():
            (act,) = random.choices(self.acts, weights)
            world.note(act[1].__name__)
            await act[1]()
            await world.sleep(random.expovariate(1 / 2.5))
        await self.calm()

    def over(self) -> bool:
        """Whether enough has happened."""
        return self.story.world.clock.seconds() >= self.seconds

    async def calm(self) -> None:
        """Nothing goes wrong any more, and everybody goes home."""
        world, story = self.story.world, self.story
        world.board.decide = None
        world.mining = True
        world.refuse()
        world.net.withholds = lambda _: False
        for who in PEOPLE:
            if not self.poor:
                world.deposit(who, PLENTY)
            world.acknowledge(who)
        await world.sleep(25)
        if not world.living:
            world.birth()
        for who in PEOPLE:
            await story.end(who)
        # A daemon that was frozen in the middle of a create may wake only now and finish it.
        await world.sleep(60)
        for who in PEOPLE:
            await story.end(who)
        await story.quiet(Quiet(), 400)

    # people

    def somebody(self) -> Address:
        """One of them."""
        return self.random.choice(PEOPLE)

    async def wish_create(self) -> None:
        """Ask once, as people do."""
        who = self.somebody()
        if len(self.story.running(who)) < 3:
            await self.story.ask(lambda i: i.create(who, {}, auto_stop_minutes=None))

    def _one(self, who: Address) -> SandboxId | None:
        records = self.story.world.simulator.records.values()
        mine = [r.id for r in records if r.labels.get("daytona-owner") == who.hex and r.visible]
        return SandboxId(self.random.choice(mine)) if mine else None

    async def wish_stop(self) -> None:
        """Running or not."""
        who = self.somebody()
        sandbox = self._one(who)
        if sandbox is not None:
            await self.story.ask(lambda i: i.stop(who, sandbox))

    async def wish_start(self) -> None:
        """Running or not."""
        who = self.somebody()
        sandbox = self._one(who)
        if sandbox is not None:
            await self.story.ask(lambda i: i.start(who, sandbox))

    async def wish_delete(self) -> None:
        """Running or not."""
        who = self.somebody()
        sandbox = self._one(who)
        if sandbox is not None:
            await self.story.ask(lambda i: i.delete(who, sandbox))

    async def deposit(self) -> None:
        """Some, or a little."""
        self.story.world.deposit(self.somebody(), self.random.choice((PLENTY, HOLD, 100)))

    async def revoke(self) -> None:
        """Take the word back."""
        self.story.world.acknowledge(self.somebody(), yes=False)

    async def acknowledge(self) -> None:
        """Give it."""
        self.story.world.acknowledge(self.somebody())

    async def refund(self) -> None:
        """All, some, or not after all."""
        who, state = self.somebody(), self.story.world.net.head.state
        slot = state.slot(PROVIDER, who)
        share = self.random.choice((0, 0.5, 1))
        self.story.world.request_refund(who, int((slot.balance + slot.pending) * share))

    async def reprice(self) -> None:
        """Dearer, or cheap again; who still agrees says so at once."""
        self.dearer = not self.dearer
        self.story.world.register(DEARER if self.dearer else PRICES)
        for who in PEOPLE:
            if self.random.random() < 0.6:
                self.story.world.acknowledge(who)

    # what goes wrong outside

    def _running(self) -> SandboxId | None:
        found = [s for who in PEOPLE for s in self.story.running(who)]
        return self.random.choice(found) if found else None

    async def stop_behind(self) -> None:
        """By itself."""
        sandbox = self._running()
        if sandbox is not None:
            self.story.world.simulator.stop_behind(sandbox)
            self.story.world.version += 1

    async def remove_behind(self) -> None:
        """By somebody with Daytona's own key."""
        sandbox = self._running()
        if sandbox is not None:
            self.story.world.simulator.remove_behind(sandbox)
            self.story.world.version += 1

    async def front_run(self) -> None:
        """Somebody submits our vouchers first."""
        for _ in range(6):
            if any(t.sender is not None for t in self.story.world.net.pool):
                self.story.world.front_run()
                return
            await self.story.world.sleep(0.4)

    async def reorg(self) -> None:
        """Less deep than what we wait for."""
        random = self.random
        depth = random.randint(1, SIM_POLICY.confirmations)
        self.story.world.reorg(depth, keep=random.random() < 0.5)

    async def no_blocks(self) -> None:
        """The chain stands still."""
        seconds = self.random.uniform(2, 25)
        world = self.story.world
        world.window(seconds + SIM_POLICY.mirror_max_age, "no blocks", chain=True)
        world.mining = False
        world.clock.callLater(seconds, setattr, world, "mining", True)

    async def underpriced(self) -> None:
        """Nobody mines what offers no more than ours does, for a while."""
        net = self.story.world.net
        waiting = [t.fee_cap for t in net.pool if t.sender is not None]
        cap = max(waiting, default=10**10)
        net.withholds = lambda t: t.sender is not None and t.fee_cap <= cap
        if self.random.random() < 0.8:
            self.story.world.clock.callLater(
                self.random.uniform(3, 30), setattr, net, "withholds", lambda _: False
            )

    # what befalls us

    async def shutdown(self) -> None:
        """As in a deployment: one ends well, another begins."""
        world = self.story.world
        if world.living:
            daemon = self.random.choice(world.living)
            world.window(10, "a shutdown")
            daemon.stop().addErrback(world.surprised)
            delay = self.random.uniform(0, 4)
            world.clock.callLater(delay, lambda: world.birth(web=daemon.web))

    async def kill(self) -> None:
        """SIGKILL."""
        world = self.story.world
        if world.living:
            world.crash(self.random.choice(world.living).life)

    async def power(self) -> None:
        """The machine dies."""
        self.story.world.lose_power(self.random.uniform(1, 1000))

    async def freeze(self) -> None:
        """SIGSTOP, and SIGCONT later."""
        world = self.story.world
        if world.living:
            world.pause(self.random.choice(world.living).life, self.random.uniform(2, 30))

    async def refuse(self) -> None:
        """Daytona is not in the mood."""
        world = self.story.world
        seconds = self.random.uniform(2, 25)
        routes = self.random.choice((("stop",), ("stop", "delete"), ("create", "start")))
        world.window(seconds + RECOVERY, f"{routes} are refused")
        world.refuse(*routes)
        world.clock.callLater(seconds, world.refuse)

    async def slow(self) -> None:
        """Daytona takes its time."""
        engine = self.story.world.simulator.engine
        engine.timings = evolve(
            engine.timings,
            create_seconds=self.random.uniform(0.2, 6),
            stop_seconds=self.random.uniform(0.2, 4),
        )
