"""
Traps around the mirror, the quarantine and the undoing, found by a second review.

Each waits somewhere on purpose: the races are between a read and the write after it.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.task import deferLater

from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.interfaces import BlockedWallet, CannotPay
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.services.creating import Creating
from sandbox_billing.services.watcher import Watcher
from tests.fixtures import ALICE, BOB, FEE, HOLD, World, WorldCase
from tests.services.test_traps import DEARER


class WatchingTests(WorldCase):
    """L{sandbox_billing.services.watcher} and its neighbours."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**7)

    def slowly(self, cls: type, name: str, seconds: float) -> None:
        """Let a method wait before it begins."""
        original, clock = getattr(cls, name), self.world.clock

        async def patched(me: Any, *arguments: Any, **options: Any) -> Any:
            await deferLater(clock, seconds)
            return await original(me, *arguments, **options)

        self.patch(cls, name, patched)

    def broken(self, sandbox: SandboxId) -> None:
        """A session and its record disagree: law L2."""
        self.world.keyspace._values[f"billing:sandbox:{sandbox}"][b"charged_until"] = b"1"

    def head(self) -> int:
        """The mirror's block."""
        world = self.world
        stored = world.now(world.eyes.mirror.mirror())
        assert stored is not None
        return stored.value.block.number

    def test_grace_beside_a_batch(self) -> None:
        """A batch resolved in the step that raises the version costs nobody his grace."""
        world = self.world
        sandbox = world.create()
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.until(lambda: world.net.pool != [], 120)
        self.slowly(Watcher, "_affected", 2)
        world.register(prices=DEARER)
        world.net.withholds = lambda transaction: False
        world.advance(world.policy.ack_grace - 10)
        self.assertIsNone(world.order(sandbox))
        world.until(lambda: world.order(sandbox) == "not_acknowledged", 30)

    def test_revoke_while_the_mirror_is_behind(self) -> None:
        """A revoke stops at once, also between the order and the mirror's step."""
        world = self.world
        sandbox = world.create()
        world.register(prices=DEARER)
        world.advance(5)
        world.acknowledge()
        world.advance(6)
        self.slowly(Watcher, "_step", 3)
        world.acknowledge(acknowledged=False)
        world.until(lambda: world.state(sandbox) != "started", 15)

    def test_broken_session_of_a_leaver(self) -> None:
        """A broken law in what a leaver runs does not stop the mirror for everybody (§5)."""
        world = self.world
        sandbox = world.create()
        world.advance(10)
        self.broken(sandbox)
        world.request_refund(5)
        before = self.head()
        world.advance(30)
        self.assertGreater(self.head(), before + 20)

    def test_broken_session_beside_a_new_price(self) -> None:
        """A sandbox that cannot be repriced does not keep its wallet from being judged."""
        world = self.world = World().start()
        self.addCleanup(world.simulator.close)
        world.fund(70_000)
        one, two = world.create(), world.create()
        world.advance(10)
        self.broken(one)
        world.register(prices=DEARER)
        world.acknowledge()
        world.until(lambda: world.funds().blocked is not None, 600)
        world.until(lambda: world.order(two) is not None, 5)
        # What is broken stays for a human; the case's own laws are not for it.
        world.keyspace._values[f"billing:sandbox:{one}"][b"charged_until"] = str(
            world.session(one).charged_until
        ).encode()

    def test_crowd_of_new_wallets(self) -> None:
        """Wallets that are mirrored while everybody is read again hold no step up."""
        world = self.world
        world.create()
        node = world.process.node
        reading, clock = type(node).accounts, world.clock

        async def slow(chain: Any, wallets: Any, at: Any) -> Any:
            if BOB in wallets:
                await deferLater(clock, 4)
            return await reading(chain, wallets, at)

        world.know(BOB)
        self.patch(type(node), "accounts", slow)
        world.register(prices=DEARER)
        before = self.head()
        for number in range(15):
            world.advance(2)
            wallet = Address(f"0x{number + 99:040x}")
            world.run(world.process.parts.admission.funds(wallet))
        self.assertGreater(self.head(), before + 10)

    def test_quarantine_and_a_debt(self) -> None:
        """What else becomes of a quarantined wallet, a deposit included, lifts nothing."""
        world = self.world = World().start()
        self.addCleanup(world.simulator.close)
        world.fund(40_000)
        world.create()
        world.advance(20)
        journal = world.process.journal
        world.now(journal.funds.block(BlockedWallet(world.funds(), QUARANTINED)))
        world.withdraw(world.slot().balance - 100)
        world.advance(100)
        self.assertEqual(world.funds().blocked, QUARANTINED)
        world.fund(10**6)
        world.advance(150)
        self.assertEqual(world.funds().blocked, QUARANTINED)

    def test_undone_with_a_lost_reply(self) -> None:
        """What a sweep had metered meanwhile costs nothing, also when no delete is answered."""
        world = self.world
        world.process.turns["settler"].stopService()
        sandbox = world.create()
        world.advance(5)
        admission, intake = world.process.parts.admission, world.process.intake
        quote = world.run(admission.quote(ALICE, Resources(cpu=1, memory_gib=1), creating=True))
        intent = intake.lifecycle.intent("create", ALICE, None, quote)
        world.simulator.lose_reply_next(route="delete")
        world.run(Creating(intake.lifecycle)._undo(intent, sandbox))
        world.kill()
        world.advance(3)
        world.restart()
        world.until(lambda: world.quiet, 700)
        self.assertEqual(world.state(sandbox), "gone")
        self.assertEqual(world.amounts(), {})

    def test_undone_after_a_restart(self) -> None:
        """What was refused to the user is deleted and not charged, whoever dies meanwhile."""
        world = self.world = World().start()
        self.addCleanup(world.simulator.close)
        world.fund(FEE + HOLD)
        snapshots = world.simulator.snapshots
        first = next(iter(snapshots))
        snapshots[first] = evolve(snapshots[first], cpu=4, memory=8)
        world.simulator.faults.add(
            Fault(kind=FaultKind.STATUS, status=409, route="delete", count=2)
        )
        self.fails(CannotPay, world.process.intake.create(ALICE, {}, auto_stop_minutes=None))
        world.restart()
        world.until(lambda: world.state(SandboxId("sb-1")) == "gone", 120)
        world.until(lambda: world.quiet, 400)
        self.assertEqual(world.amounts(), {})
        self.assertEqual(dict(world.funds().exposure.fields), {})
        self.assertIsNone(world.funds().blocked)
