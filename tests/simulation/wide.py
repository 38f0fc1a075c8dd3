"""
Wider random stories: what operators do, clocks that are set, a store that starts anew,
the contract as it is deployed, and a second process that only lets people in.
"""

from __future__ import annotations

from sandbox_billing.adapters.memory.chain_faults import GoodDay, LogGap
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import Stale
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.voucher import Forgiven
from tests.fixtures import PRICES
from tests.simulation.chance import PEOPLE, Chance
from tests.simulation.settings import DEARER, RECOVERY, SIM_POLICY
from tests.simulation.stories import Story
from tests.simulation.world import World


UNTOLD = r".*nonce \d+ is used, no event says for what"

NOT_LED = r"what happened to \S+ in block \d+ does not lead to its state"


class Wide(Chance):
    """
    One of them.

    @ivar behaviour: Of the contract.
    @ivar web: Whether a process that is no worker lets people in, too.
    """

    behaviour = Behaviour.FIXED

    def __init__(self, seed: int, *, long: bool = False) -> None:
        Chance.__init__(self, seed, long=long)
        self.web = self.random.random() < 0.5
        self.acts += [
            (0.6, self.pause),
            (0.6, self.lift),
            (0.8, self.forgive),
            (0.6, self.step_clocks),
            (0.5, self.restart_store),
            (0.5, self.lose_logs),
            (0.5, self.rotate),
        ]

    def world(self) -> World:
        """Where it happens."""
        world = Chance.world(self)
        if self.behaviour is Behaviour.FIXED:
            return world
        return World(
            random=world.random,
            timings=world.simulator.timings,
            policy=world.policy,
            behaviour=self.behaviour,
        )

    async def script(self, story: Story) -> None:
        """All of it."""
        if self.web:
            story.world.birth(web=True)
        await Chance.script(self, story)

    async def calm(self) -> None:
        """Clocks are right, logs are whole, refunds are small and nothing is paused."""
        world = self.story.world
        world.board.decide = None
        world.step_clocks(0)
        self._logs(GoodDay())
        await self.lift()
        if not any(daemon.keeper for daemon in world.living):
            world.birth()
        for who in PEOPLE if self.behaviour is Behaviour.FLAWED else ():
            # What is asked back stands in the way of what is owed (D1).
            world.request_refund(who, 1)
        await Chance.calm(self)

    # operators

    async def pause(self) -> None:
        """Nobody is let in any more."""
        world = self.story.world
        now = world.wall.now()
        if await world.operator.pause.paused() is None:
            await world.operator.pause.pause(
                Pause(since=now, reason="the price changes", by="operator")
            )

    async def lift(self) -> None:
        """As before."""
        operator = self.story.world.operator
        stands = await operator.pause.paused()
        if stands is not None:
            await operator.pause.lift(stands)

    async def forgive(self) -> None:
        """Write off what somebody owes and no voucher collects."""
        world = self.story.world
        who = self.somebody()
        for debt in await world.operator.forgiving.debts(who):
            word = Forgiven(seal=None, reason="a gift", by="operator", at=world.wall.now())
            try:
                await world.operator.forgiving.forgive(debt, word, fenced=False)
            except (Stale, BrokenLaw):
                world.note(f"{debt.value.charge.id} cannot be forgiven")

    async def rotate(self) -> None:
        """Another key: registered, and every daemon started anew with it."""
        world = self.story.world
        world.rotate()
        world.register(DEARER if self.dearer else PRICES)
        for daemon in world.living:
            world.window(10, "a shutdown for another key")
            daemon.stop().addErrback(world.surprised)
            delay = self.random.uniform(0, 6)
            web = daemon.web
            world.clock.callLater(delay, lambda web=web: world.birth(web=web))
        for who in PEOPLE:
            if self.random.random() < 0.7:
                world.acknowledge(who)

    # what goes wrong outside

    async def step_clocks(self) -> None:
        """Of the machine that the daemons run on: forward, back, or right again."""
        self.story.world.step_clocks(self.random.choice((0, -30, -7, -2, 2, 7, 30)))

    async def restart_store(self) -> None:
        """Redis starts anew, and has lost nothing."""
        world = self.story.world
        world.keyspace.starts += 1
        world.expected.append("Redis has started anew")
        world.window(RECOVERY, "Redis starts anew")

    async def lose_logs(self) -> None:
        """Nodes answer without some of the events, for a while."""
        world, seconds = self.story.world, self.random.uniform(2, 20)
        name = self.random.choice(("VoucherSettled", "Deposited", "RefundRequested"))
        world.window(seconds + SIM_POLICY.mirror_max_age, f"no logs of {name}", chain=True)
        if name == "VoucherSettled":
            # Money moved and nobody says for what: that is a human's.
            world.expected.append(UNTOLD)
        if self.behaviour is Behaviour.FLAWED:
            # What moved in a block is replayed from its logs, and a node keeps some back.
            world.expected.append(NOT_LED)
        self._logs(LogGap(name))
        world.clock.callLater(seconds, self._logs, GoodDay())

    def _logs(self, day: GoodDay) -> None:
        for daemon in self.story.world.daemons:
            if daemon.node is not None:
                daemon.node.fault = day


class Flawed(Wide):
    """Against the contract as it is deployed today, with people who want their money back."""

    behaviour = Behaviour.FLAWED

    def __init__(self, seed: int, *, long: bool = False) -> None:
        Wide.__init__(self, seed, long=long)
        self.acts.append((2, self.refund))

    async def script(self, story: Story) -> None:
        """Whether a race was one, the laws say."""
        story.world.expected.append("a race set off a flaw")
        await Wide.script(self, story)
