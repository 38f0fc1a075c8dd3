"""
Random stories of what no daemon can mend by itself: a store that comes back without what was
broadcast, and blocks that go after they were confirmed.  And two daemons that die for hours.

The books cannot be right here at every point.  What must hold (L{after_loss}): the chain pays
for no second twice, whatever is forgotten; and whose books and chain tell different stories is
in quarantine, with an alarm: never in silence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, Paid, Partial
from tests.simulation.books import StoredBooks
from tests.simulation.chance import PEOPLE, Chance
from tests.simulation.checker import l1
from tests.simulation.moves import moves_of
from tests.simulation.settings import RECOVERY, SIM_POLICY
from tests.simulation.store import Saved
from tests.simulation.stories import Story
from tests.simulation.world import KEYS, World


FINAL = 64 + 20
"""Blocks, so also seconds, until outcomes have been looked at again."""

SETTLING = 12
"""Blocks from a settlement to its outcome in the books, in an ordinary turn."""

ALARMS = (
    "Redis has started anew",
    "block .* was replaced",
    ".*is quarantined",
    ".*needs a human",
    "charge .* has another outcome now",
    "a transaction of .* is on its way and not stored",
)


class Violent(Chance):
    """Something happens, once; it goes on for a while, and everybody goes home."""

    async def script(self, story: Story) -> None:
        """All of it."""
        world = story.world
        world.expected += ALARMS
        self.last = self.seconds
        self.seconds = self.random.uniform(0.5, 0.9) * self.seconds
        await Chance.script(self, story)

    async def calm(self) -> None:
        """The worst of it comes when ordinary misfortune is over."""
        await self.strike()
        world = self.story.world
        world.board.decide = None
        await world.sleep(self.random.uniform(5, 40))
        world.mining = True
        world.refuse()
        world.net.withholds = lambda _: False
        for who in PEOPLE:
            world.acknowledge(who)
        if not world.living:
            world.birth()
        # Not everybody can be let go: who is in quarantine may do nothing.
        await world.sleep(FINAL + 60)

    async def strike(self) -> None:
        """What nobody can mend."""
        raise NotImplementedError


class Lost(Violent):
    """Redis comes back as it was some time ago, under another name."""

    async def strike(self) -> None:
        world = self.story.world
        saved = world.keyspace.saved()
        for _ in range(self.random.randint(1, 6)):
            await self.random.choice((self.wish_create, self.wish_stop, self.deposit))()
            await world.sleep(self.random.uniform(0.1, 12))
        if self.random.random() < 0.5:
            for daemon in world.living:
                world.crash(daemon.life)
        come_back(world, saved)


def come_back(world: World, saved: Saved) -> None:
    """The store starts anew as it was once."""
    world.keyspace.restore(saved)
    world.remembered = frozenset(StoredBooks.of(world).members(KEYS.accounts()))
    world.version += 1
    world.window(RECOVERY, "Redis comes back without its newest writes")


class Deep(Violent):
    """Blocks go that were confirmed."""

    async def strike(self) -> None:
        world = self.story.world
        depth = self.random.randint(SIM_POLICY.confirmations + 1, 40)
        world.reorg(min(depth, len(world.net.blocks) - 8), keep=self.random.random() < 0.5)
        world.window(RECOVERY, f"{depth} blocks go")


class Turns(Chance):
    """
    Two daemons on one Redis, killed and revived at random for thousands of turns.

    @ivar turns: How many.
    """

    turns = 5_000

    def __init__(self, seed: int, *, long: bool = False) -> None:
        Chance.__init__(self, seed, long=long)
        deadly = {"kill", "shutdown", "freeze", "power"}
        self.acts = [
            (weight * 4 if act.__name__ in deadly else weight, act) for weight, act in self.acts
        ]

    def over(self) -> bool:
        """When there were enough."""
        return self.story.world.turns >= self.turns

    async def script(self, story: Story) -> None:
        """There are always two, but for the second it takes to start one."""
        self.random.random()
        await Chance.script(self, story)
        story.world.note(f"{story.world.turns} turns, {story.world.deaths} deaths")


# --- what must hold -------------------------------------------------------------------


def after_loss(world: World) -> list[str]:
    """Every broken law, where books could not stay right."""
    books = StoredBooks.of(world)
    found = [*l1(world, books), *_twice(world), *_silent(world, books)]
    # A turn that read a batch before the loss and its charges after it.
    torn = "assert seal is not None"
    return found + [f"surprise: {text}" for text in world.surprises if torn not in text]


def _signed(world: World) -> dict[tuple[Address, int, str], ChargeRecord]:
    """All that was ever signed, remembered or not."""
    signed = {}
    for written in world.keyspace.everything:
        for step in written.commit.writes:
            if step.name == "SET" and step.key.startswith("billing:charge:"):
                record = decode(ChargeRecord, step.arguments[0])  # type: ignore[arg-type]
                if record.seal is not None:
                    name = (record.charge.owner, int(record.seal.nonce), record.seal.usage_hash)
                    signed[name] = record
    return signed


def _twice(world: World) -> Iterator[str]:
    """L2 on chain: no second, and no create, was paid for by two vouchers."""
    signed = _signed(world)
    paid: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for move in moves_of(world)[0]:
        record = signed.get((move.who, move.nonce, move.usage_hash))
        if record is None:
            yield f"L6: nobody ever signed nonce {move.nonce} of {move.who}"
            continue
        charge = record.charge
        if charge.kind is ChargeKind.DEBT:
            continue
        period = (charge.period_start, charge.period_end) if charge.units else (0, 1)
        name = charge.sandbox if charge.units else f"{charge.sandbox}:create"
        for start, end in paid[name]:
            if period[0] < end and start < period[1]:
                yield f"L2: {name} was paid twice for {period} and {(start, end)}"
        paid[name].append(period)


def _silent(world: World, books: StoredBooks) -> Iterator[str]:
    """Whose books are not as the chain has it is in quarantine."""
    values: Any = world.keyspace.values()
    settled = {(m.who, m.nonce): m for m in moves_of(world)[0]}
    told = {
        (r.charge.owner, int(r.seal.nonce)): r for r in books.charges.values() if r.seal is not None
    }
    wrong: dict[Address, str] = {}
    for number, move in settled.items():
        who = number[0]
        state = told[number].state if number in told else None
        on_its_way = move.block > world.net.head.ref.number - SETTLING
        forgotten = world.remembered is not None and who.hex not in world.remembered
        if not isinstance(state, Paid | Partial) and not on_its_way and not forgotten:
            wrong[who] = f"nonce {number[1]} took {move.paid} and the books have {state}"
    for number, record in told.items():
        if isinstance(record.state, Paid | Partial) and number not in settled:
            wrong[number[0]] = f"{record.charge.id} is {record.state} and the chain has nothing"
    for who, why in wrong.items():
        if values.get(KEYS.blocked(who)) != QUARANTINED.encode():
            yield f"L6: silence: {who}: {why}"
