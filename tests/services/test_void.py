"""
Tests of C{sandbox_billing.services.resolver} and C{evidence}: nonces that are used, and for what.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.adapters.memory.chain_faults import GoodDay, LogGap, ReadsFail
from sandbox_billing.adapters.memory.contract import Contract
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered, Paid, Signed
from sandbox_billing.services.waiting import PROOF_SECONDS
from tests.fixtures import ALICE, BOB, FEE, PROVIDER, WorldCase


class VoidCase(WorldCase):
    """A voucher whose nonce the contract counts as used while it was on its way."""

    def setUp(self) -> None:
        super().setUp()
        self.world.fund(10**6)

    def burn(self, nonce: int, who: Address = ALICE, *, lost: int = 0) -> None:
        """
        The contract's last nonce moves without an event.

        @param lost: neuron that leave the balance with it.
        """

        def jump(contract: Contract) -> None:
            slot = contract.state.slot(PROVIDER, who)
            after = evolve(slot, last_nonce=nonce, balance=slot.balance - lost)
            contract.state.slots[(PROVIDER, who)] = after
            contract.state.native -= lost

        self.world.net.act(jump)

    def signed(self, who: Address = ALICE) -> None:
        """A first voucher is signed and sent, and not mined yet."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create(who)
        world.until(lambda: any(isinstance(r.state, Signed) for r in world.charges(who)))
        world.until(lambda: world.net.pool != [])

    def mined(self) -> None:
        """What was withheld is mined."""
        self.world.net.withholds = lambda transaction: False


class VoidTests(VoidCase):
    """Neither paid nor owed under that nonce (design.md §4.6)."""

    def test_money_proves_it(self) -> None:
        """Where the money adds up nothing was paid: the charge gets a new nonce, and is paid."""
        world = self.world
        self.signed()
        (first,) = world.charges()
        self.burn(3)
        self.mined()
        world.until(lambda: world.earned == FEE, 60)
        world.advance(5)
        (record,) = [r for r in world.charges() if r.charge.id == first.charge.id]
        assert isinstance(record.state, Paid), record
        self.assertEqual(record.state.seal.nonce, 4)
        self.assertEqual(world.books().dead, 0)
        self.assertIsNone(world.funds().blocked)

    def test_stored_nonce_follows(self) -> None:
        """What the chain has used counts as given, before anything else is signed (B16)."""
        world = self.world
        self.signed()
        self.burn(9)
        key = world.eyes.store.keys.nonce(ALICE)
        self.assertEqual(world.keyspace.values()[key], b"1")
        self.mined()
        world.until(lambda: int(world.keyspace.values()[key]) >= 9, 60)

    def test_refunds_are_counted(self) -> None:
        """What was withdrawn is not missing."""
        world = self.world
        world.withdraw(1_000)
        self.signed()
        self.burn(1)
        self.mined()
        world.until(lambda: world.earned == FEE, 60)
        self.assertEqual(world.books().dead, 0)

    def test_money_is_missing(self) -> None:
        """A used nonce and missing money contradict: a dead letter, and the wallet waits."""
        world = self.world
        self.signed()
        self.burn(1, lost=FEE)
        self.mined()
        world.until(lambda: world.books().dead == FEE, 60)
        self.assertEqual(world.funds().blocked, QUARANTINED)
        (record,) = [r for r in world.charges() if isinstance(r.state, DeadLettered)]
        assert isinstance(record.state, DeadLettered)
        self.assertIn(f"{FEE} neuron are missing", record.state.reason)
        self.assertEqual(world.earned, 0)

    def test_two_nodes_with_a_gap(self) -> None:
        """Nodes with one log gap outvote no money: what was paid is not charged again."""
        world = self.world
        world.process.node.nodes = 2
        world.process.node.fault = LogGap("VoucherSettled")
        self.signed()
        self.mined()
        world.until(lambda: world.books().dead == FEE, 60)
        world.advance(60)
        self.assertEqual(world.earned, FEE)
        self.assertEqual(world.funds().blocked, QUARANTINED)

    def test_ours_was_mined(self) -> None:
        """
        Nothing that our own transaction settled by replay is void, even where gaps in the logs
        cancel out.
        """
        world = self.world
        world.process.node.fault = LogGap("VoucherSettled")
        self.signed()
        archive = world.process.work.watcher.resolver.witness.archive

        class Gaps:
            """Its logs lack a deposit of as much as the voucher's fee."""

            def __getattr__(self, name: str) -> Any:
                return getattr(world.process.chain, name)

            async def moves(self, *args: Any) -> Any:
                found = await world.process.chain.moves(*args)
                seen.append(found)
                less = found.deposited - FEE if found.deposited else 0
                return evolve(found, deposited=less)

        seen: list[Any] = []
        archive.chain = Gaps()  # type: ignore[assignment]
        self.mined()
        world.until(lambda: world.books().dead == FEE, 60)
        (record,) = [r for r in world.charges() if isinstance(r.state, DeadLettered)]
        assert isinstance(record.state, DeadLettered)
        self.assertTrue(seen)
        self.assertIn("our own transaction", record.state.reason)
        world.advance(60)
        self.assertEqual(world.earned, FEE)

    def test_void_twice(self) -> None:
        """A charge whose second nonce is lost, too, is a human's: it may have been paid."""
        world = self.world
        self.signed()
        self.burn(3)
        (sent,) = [transaction.name for transaction in world.net.pool]
        world.net.withholds = lambda t: t.sender is not None and t.name != sent
        world.until(lambda: any(r.seal and r.seal.nonce == 4 for r in self.first()), 60)
        self.assertTrue(self.first()[0].voided)
        world.until(lambda: world.net.pool != [])
        self.burn(7)
        self.mined()
        world.until(lambda: world.books().dead == FEE, 60)
        state = self.first()[0].state
        assert isinstance(state, DeadLettered)
        self.assertIn("a second time", state.reason)
        self.assertEqual(world.funds().blocked, QUARANTINED)
        self.assertEqual(world.earned, 0)

    def first(self) -> list[ChargeRecord]:
        """The charge that was signed first, as it is now."""
        return [r for r in self.world.charges() if r.charge.id.endswith(":create")]

    def test_nobody_answers(self) -> None:
        """While nothing can be proven the batch is kept, and only its wallets wait."""
        world = self.world
        world.fund(10**6, BOB)
        self.signed()
        self.burn(1)
        archive = world.process.work.watcher.resolver.witness.archive
        asked: list[int] = []

        class Unreachable:
            """Every other read is answered."""

            def __getattr__(self, name: str) -> Any:
                return getattr(world.process.chain, name)

            async def moves(self, *_args: object) -> None:
                asked.append(world.wall.now())
                ReadsFail().read()

        archive.chain = Unreachable()  # type: ignore[assignment]
        self.mined()
        world.until(lambda: len(asked) >= 3)
        self.assertEqual(world.books().dead, 0)
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled == FEE, 60)
        self.assertEqual(world.books().settled, 0)
        # Again and again, ever more seldom.
        self.assertEqual(asked[1] - asked[0], PROOF_SECONDS)
        self.assertEqual(asked[2] - asked[1], 2 * PROOF_SECONDS)
        archive.chain = world.process.chain
        world.until(lambda: world.books().settled >= FEE, 120)

    def test_read_in_parts(self) -> None:
        """A long history is read part by part, while everybody else's mirror goes on."""
        world = self.world
        world.policy = evolve(world.policy, log_range=2)
        world.restart()
        self.signed()
        world.advance(60)
        self.burn(1)
        self.mined()
        world.until(lambda: world.books().settled >= FEE, 200)
        self.assertEqual(world.books().dead, 0)
        ranges = [call[2:] for call in world.process.chain.asked if call[0] == "moves"]
        self.assertGreater(len(ranges), 10)
        ends = [last for _first, last in ranges]
        self.assertEqual(len(ends), len(set(ends)), "read once")

    def test_event_found_after_all(self) -> None:
        """An event that the node had lost is found in the history, and decides (S4)."""
        world = self.world
        self.signed()
        # Somebody else submits it; our node leaves the event out of what it tells.
        world.process.node.fault = LogGap("VoucherSettled")
        self.mined()
        world.advance(8)
        self.assertEqual(world.earned, FEE)
        self.assertEqual(world.books().settled, 0)
        self.assertEqual(world.books().dead, FEE)

    def test_gap_closes(self) -> None:
        """A gap in the logs that closes while proof is sought costs nobody anything."""
        world = self.world
        world.policy = evolve(world.policy, log_range=2)
        world.restart()
        world.advance(40)
        self.signed()
        world.process.node.fault = LogGap("VoucherSettled")
        self.mined()
        world.until(lambda: world.earned == FEE)
        world.advance(4)
        world.process.node.fault = GoodDay()
        world.until(lambda: world.books().settled == FEE, 60)
        self.assertEqual(world.books().dead, 0)
