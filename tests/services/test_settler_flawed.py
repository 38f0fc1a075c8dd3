"""
What is stored and not mined, on the contract that is deployed today: never sent again blindly
(failures.md, D1 and D2; law L12).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sandbox_billing.adapters.memory.chain_faults import GoodDay, Swallowed
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.voucher import Paid, Partial, Signed
from sandbox_billing.services.resolver import RETRY_SECONDS
from sandbox_billing.services.sending import BUMP_SECONDS_FLAWED, RESEND_SECONDS
from tests.fixtures import ALICE, BOB, FEE, OTHER_SIGNER, SIGNER, World
from tests.services.lives import Life
from tests.services.test_flawed import RICH, FlawedCase, Forgetful


class ResendTests(FlawedCase):
    """A refund that everybody sees, between a broadcast and the next one."""

    def attempts(self) -> list[Attempt]:
        """Of all batches."""
        found = self.world.now(self.world.eyes.queue.batches())
        return [attempt for batch in found for attempt in batch.value.attempts]

    def dropped(self) -> None:
        """A first attempt is stored, and no node has it."""
        world = self.world
        world.fund(RICH)
        world.process.node.fault = Swallowed()
        world.create()
        world.until(lambda: self.attempts() != [], 60)
        world.advance(1)
        self.assertEqual([], world.net.pool)

    def untouched(self) -> None:
        """No flaw was set off, and the voucher waits for the refund as it was sealed."""
        self.assertEqual((), self.races)
        self.assertEqual(0, self.world.earned)
        self.assertEqual(0, self.world.net.head.state.nobodys)
        self.assertIsInstance(self.state(), Signed)
        self.assertEqual(1, self.state().seal.nonce)

    def test_dropped_then_refund(self) -> None:
        """What a node dropped is not sent again once a refund has come: L12 with our own hand."""
        world = self.world
        self.dropped()
        world.request_refund(RICH - 1)
        world.advance(10)
        world.process.node.fault = GoodDay()
        world.advance(90)
        self.untouched()
        self.unlock()
        world.deposit(RICH)
        world.until(lambda: isinstance(self.state(), Paid), 120)
        self.assertEqual(1, self.state().seal.nonce)

    def test_stored_not_sent(self) -> None:
        """We died between storing and sending; meanwhile everything was asked back."""
        world = self.world
        world.fund(RICH)
        life, through = world.process.life, Life.through

        async def dying(
            this: Life, name: str, call: Callable[[], Awaitable[Any]], *, counted: bool
        ) -> Any:
            if name == "broadcast" and this is life:
                life.dead = True
            return await through(this, name, call, counted=counted)

        self.patch(Life, "through", dying)
        world.create()
        world.until(lambda: life.dead, 60)
        world.advance(1)
        self.assertEqual(1, len(self.attempts()))
        world.request_refund(world.slot().balance)
        world.advance(600)
        world.restart()
        world.advance(90)
        self.untouched()

    def test_outbid(self) -> None:
        """What is in the pool already is outbid at once, by a call that settles nothing."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.request_refund(RICH - 1)
        world.advance(2)
        first, last = self.attempts()
        self.assertEqual((False, True), (first.empty, last.empty))
        self.assertEqual(first.account_nonce, last.account_nonce)
        self.assertEqual([last.hash], [waiting.name for waiting in world.net.pool])
        world.advance(2 * BUMP_SECONDS_FLAWED)
        self.assertEqual({True}, {attempt.empty for attempt in self.attempts()[1:]})
        self.assertGreater(len(self.attempts()), 2, "T-7: it is bumped as any other")
        self.mined()
        world.until(lambda: self.attempts() == [], 60)
        self.untouched()

    def test_the_rest_goes_on(self) -> None:
        """Others whose vouchers were outbid with it are paid by the next transaction."""
        world = self.world
        world.fund(RICH)
        world.fund(RICH, BOB)
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.create(BOB)
        world.until(lambda: world.net.pool != [], 60)
        world.request_refund(RICH - 1)
        world.advance(2)
        self.mined()
        world.until(lambda: world.books(BOB).settled >= FEE, 120)
        self.assertEqual(RICH - 1, world.slot().pending)
        self.assertEqual((), self.races)

    def test_by_himself(self) -> None:
        """Whoever did so once goes out by himself: doing it again has nobody wait with him."""
        world = self.world
        world.fund(RICH)
        world.fund(RICH, BOB)
        self.signed()
        world.request_refund(RICH - 1)
        world.advance(2)
        self.mined()
        world.until(lambda: self.attempts() == [], 60)
        # Made smaller, so that it goes out again, beside somebody else's.
        world.request_refund(10)
        world.process.turns["settler"].stopService()
        world.create(BOB)
        world.advance(RETRY_SECONDS)
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.process.turns["settler"].startService()
        world.advance(4)
        found = [batch.value.wallets for batch in world.now(world.eyes.queue.batches())]
        self.assertEqual({(ALICE,), (BOB,)}, set(found))

    def test_mined_after_all(self) -> None:
        """The earlier bytes were mined before they could be outbid: booked as what they are."""
        world = self.world
        world.fund(RICH)
        self.signed()
        world.process.node.fault = Swallowed()
        world.request_refund(RICH // 2)
        world.request_refund(RICH - 1)
        world.advance(3)
        self.assertTrue(self.attempts()[-1].empty)
        self.mined()
        world.process.node.fault = GoodDay()
        world.until(lambda: isinstance(self.state(), Paid), 60)
        (race,) = self.races
        self.assertEqual(self.state().seal.nonce, race.nonce)
        world.until(lambda: self.attempts() == [], 60)

    def test_of_an_earlier_key(self) -> None:
        """What an earlier key sent cannot be outbid by ours: it is not sent again either."""
        world = self.world
        self.dropped()
        world.request_refund(RICH - 1)
        world.kill()
        world.register(signer=OTHER_SIGNER.address)
        world.acknowledge()
        world.advance(4)
        world.restart(signer=OTHER_SIGNER)
        world.advance(120)
        self.assertEqual({SIGNER.address}, {a.sender for a in self.attempts()})
        self.untouched()


class PlaceTests(FlawedCase):
    """Where one transaction may be in flight."""

    def setUp(self) -> None:
        self.world = World(behaviour=Behaviour.FLAWED, max_in_flight=1).start()

    def test_mined_and_unproven(self) -> None:
        """What is mined and waits for its proof takes nobody's place."""
        world = self.world
        world.fund(RICH)
        world.fund(RICH, BOB)
        self.signed()
        world.withdraw(RICH - 3_000)
        node = Forgetful(world)
        self.mined()
        world.advance(RESEND_SECONDS)
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled >= FEE, 60)
        self.assertIsInstance(self.state(), Signed)
        node.forgets = False
        world.until(lambda: isinstance(self.state(), Partial), 400)
