"""
The golden scenarios: small scripts of what people do, whatever dies meanwhile.

Each ends when its people have what they wanted and nothing is on its way any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from sandbox_billing.devnet.daytona import Timings
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from sandbox_billing.ledger.token import Allowance, TokenId
from tests.fixtures import ALICE, BOB, FEE, PER_SECOND
from tests.services.lives import PROVIDER
from tests.simulation.checker import Quiet
from tests.simulation.settings import DEARER, HOLD, INTERVAL, SWEEP
from tests.simulation.stories import Story


Script: TypeAlias = Callable[[Story], Awaitable[None]]

PLENTY = 10**7
MANY = tuple(Address(f"0x{n:040x}") for n in range(0xC0, 0xC5))


@frozen
class Scenario:
    """
    @ivar daemons: How many live at first.
    @ivar create_seconds: How long Daytona takes for it.
    """

    name: str
    script: Script
    daemons: int = 1
    create_seconds: float = 1.3

    def timings(self) -> Timings:
        """Off the whole second, so that nothing happens between two worlds' seconds alone."""
        return Timings(create_seconds=self.create_seconds, start_seconds=0.7, stop_seconds=0.6)


async def create_tick_stop(story: Story) -> None:
    """Create, run for more than an interval, stop, settle."""
    await story.fund(ALICE, PLENTY)
    await story.create(ALICE)
    await story.world.sleep(INTERVAL + SWEEP + 3)
    await story.end(ALICE)
    await story.quiet(Quiet())


async def create_broke_stop(story: Story) -> None:
    """Run dry while Daytona will not stop it; a debt; then a deposit clears it."""
    world = story.world
    await story.fund(ALICE, FEE + HOLD)
    await story.create(ALICE)
    world.refuse("stop", "delete")
    world.window(INTERVAL + 12, "Daytona refuses to stop anything")
    await world.sleep(INTERVAL + 12)
    world.refuse()
    for _ in range(60):
        if not story.running(ALICE):
            break
        await world.sleep(1)
    await story.end(ALICE)
    await story.quiet(Quiet())
    world.deposit(ALICE, PLENTY)
    await world.sleep(4)
    await story.quiet(Quiet())


async def settle_many(story: Story) -> None:
    """Several wallets in one batch, and one of them cannot pay all of it."""
    world = story.world
    for who in MANY:
        world.deposit(who, FEE + HOLD + PER_SECOND if who == MANY[0] else PLENTY)
        world.acknowledge(who)
    await world.sleep(4)
    for who in MANY:
        await story.create(who)
    await world.sleep(INTERVAL)
    for who in MANY:
        await story.end(who)
    await story.quiet(Quiet())


async def refund_during_settlement(story: Story) -> None:
    """Everything is asked back while a batch is under way."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    await story.create(ALICE)
    await world.sleep(INTERVAL + 2)
    for _ in range(20):
        if world.net.pool:
            break
        await world.sleep(0.5)
    slot = world.net.head.state.slot(PROVIDER, ALICE)
    world.request_refund(ALICE, slot.balance)
    for _ in range(40):
        await world.sleep(1)
        if not story.running(ALICE):
            break
    await story.end(ALICE)
    await story.quiet(Quiet())


async def revoke(story: Story) -> None:
    """The acknowledgement is taken back under way, and given again."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    await story.create(ALICE)
    await world.sleep(INTERVAL + 3)
    world.acknowledge(ALICE, yes=False)
    for _ in range(60):
        await world.sleep(1)
        if not story.running(ALICE):
            break
    await story.end(ALICE)
    await story.quiet(Quiet())
    world.acknowledge(ALICE)
    await world.sleep(4)
    await story.quiet(Quiet())


async def price_change(story: Story) -> None:
    """The price doubles; one user acknowledges it, the other does not."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    await story.fund(BOB, PLENTY)
    await story.create(ALICE)
    await story.create(BOB)
    await world.sleep(SWEEP + 3)
    world.register(DEARER)
    await world.sleep(6)
    world.acknowledge(ALICE)
    await world.sleep(INTERVAL)
    for _ in range(40):
        if not story.running(BOB):
            break
        await world.sleep(1)
    await story.end(ALICE)
    await story.end(BOB)
    await story.quiet(Quiet())
    world.acknowledge(BOB)
    await world.sleep(4)
    await story.quiet(Quiet())


async def two_workers(story: Story) -> None:
    """As the first, with another daemon standing by."""
    await create_tick_stop(story)


async def restart(story: Story) -> None:
    """A shutdown in the middle of a run, and another daemon later."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    await story.create(ALICE)
    await world.sleep(SWEEP + 2)
    for daemon in world.living:
        world.window(3, "a shutdown")
        daemon.stop().addErrback(world.surprised)
    await world.sleep(3)
    world.birth()
    await world.sleep(INTERVAL)
    await story.end(ALICE)
    await story.quiet(Quiet())


async def again_and_delete(story: Story) -> None:
    """Stop, start again, delete."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    sandbox = await story.create(ALICE)
    await world.sleep(SWEEP + 2)
    await story.end(ALICE)
    if sandbox is not None:
        await story.start(ALICE, sandbox)
    await world.sleep(SWEEP + 2)
    await story.end(ALICE, delete=True)
    await story.quiet(Quiet())


async def by_itself(story: Story) -> None:
    """One ends by itself, one is deleted behind our back."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    await story.fund(BOB, PLENTY)
    hers, his = await story.create(ALICE), await story.create(BOB)
    await world.sleep(SWEEP + 2)
    if hers is not None:
        world.simulator.stop_behind(hers)
    if his is not None:
        world.simulator.remove_behind(his)
    await world.sleep(16)
    await story.end(ALICE)
    await story.end(BOB)
    await story.quiet(Quiet())


async def create_twice_at_once(story: Story) -> None:
    """Two requests at once on money for one."""
    world = story.world
    await story.fund(ALICE, FEE + HOLD + FEE)

    async def ask() -> None:
        await story.ask(lambda i: i.create(ALICE, {}, auto_stop_minutes=None))

    both = [Deferred.fromCoroutine(ask()) for _ in range(2)]
    await gatherResults(both)
    await world.sleep(SWEEP)
    await story.end(ALICE)
    await story.quiet(Quiet())


async def retry_create(story: Story) -> None:
    """One create under a key, asked again until it is answered: one sandbox, one fee (A5)."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    sandbox = await story.create_once(ALICE, "key")
    again = await story.create_once(ALICE, "key")
    await world.sleep(SWEEP + 2)
    made = {
        record.id
        for record in world.simulator.records.values()
        if record.labels.get(OWNER_LABEL) == ALICE.hex
    }
    # A store that forgets, forgets the key as well.
    if not world.rollbacks and (again != sandbox or made != {sandbox}):
        raise AssertionError(f"one key made {sorted(made)} and was told {sandbox}, then {again}")
    await story.end(ALICE)
    if not world.rollbacks and await story.create_once(ALICE, "key") != sandbox:
        raise AssertionError("what has ended was made again")
    await story.quiet(Quiet())


async def mend_and_grow(story: Story) -> None:
    """One fails and is recovered, and somebody makes it bigger behind our back."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    sandbox = await story.create(ALICE)
    await world.sleep(SWEEP + 2)
    if sandbox is not None:
        world.break_sandbox(sandbox)
        await world.sleep(SWEEP + 2)
        await story.recover(ALICE, sandbox)
        await world.sleep(SWEEP + 2)
        world.simulator.edit(world.simulator.records[sandbox], cpu=2, memory=2)
    await world.sleep(SWEEP + 2)
    await story.end(ALICE)
    await story.quiet(Quiet())


async def limited_token(story: Story) -> None:
    """A token with a limit runs a sandbox until that is reached, and asks for more."""
    world = story.world
    await story.fund(ALICE, PLENTY)
    # Room for a create whose answer is lost and whose hold stands for minutes.
    allowance = Allowance(TokenId("ab" * 16), Neuron(2 * (FEE + HOLD)))
    sandbox = await story.create(ALICE, allowance=allowance)
    for _ in range(120):
        if not story.running(ALICE):
            break
        await world.sleep(1)
    await world.sleep(SWEEP)
    if sandbox is not None:
        await story.ask(lambda i: i.start(ALICE, sandbox, allowance=allowance))
    await story.ask(lambda i: i.create(ALICE, {}, auto_stop_minutes=None, allowance=allowance))
    await world.sleep(2)
    await story.end(ALICE)
    await story.quiet(Quiet())


SCENARIOS = (
    Scenario("create-tick-stop", create_tick_stop),
    Scenario("create-broke-stop", create_broke_stop),
    Scenario("settle-many", settle_many),
    Scenario("refund-during-settlement", refund_during_settlement),
    Scenario("revoke", revoke),
    Scenario("price-change", price_change),
    Scenario("two-workers", two_workers, daemons=2),
    Scenario("restart", restart),
    Scenario("again-and-delete", again_and_delete),
    Scenario("by-itself", by_itself),
    Scenario("create-twice-at-once", create_twice_at_once),
    Scenario("retry-create", retry_create),
    Scenario("mend-and-grow", mend_and_grow),
    Scenario("limited-token", limited_token),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
