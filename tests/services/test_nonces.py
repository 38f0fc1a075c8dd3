"""Which nonces are given to whom (B16)."""

from __future__ import annotations

from attrs import evolve

from sandbox_billing.adapters.memory.contract import Contract
from sandbox_billing.ledger.voucher import Paid
from tests.fixtures import ALICE, BOB, FEE, WorldCase
from tests.services.lives import PROVIDER


def long_ago(contract: Contract) -> None:
    """Forty vouchers of hers were settled before we were."""
    slot = contract.state.slot(PROVIDER, ALICE)
    contract.state.slots[(PROVIDER, ALICE)] = evolve(slot, last_nonce=40)


class NumberedTests(WorldCase):
    """A wallet's first voucher."""

    def test_above_the_chain_s(self) -> None:
        """Of a wallet that has settled elsewhere, no voucher is wasted on a used nonce."""
        world = self.world
        world.net.act(long_ago)
        world.fund(10**6)
        world.create()
        world.until(lambda: any(r.seal is not None for r in world.charges()))
        given = [r.seal.nonce for r in world.charges() if r.seal is not None]
        self.assertEqual([41], given)
        world.until(lambda: any(isinstance(r.state, Paid) for r in world.charges()), 60)

    def test_nothing_is_lost(self) -> None:
        """Nor is it taken for one whose nonces were lost, when all that it did is to pay in."""
        world = self.world
        world.net.act(long_ago)
        world.deposit(10**6)
        world.fund(10**6, BOB)
        self.assertIsNotNone(world.funds().account)
        world.restart()
        world.create(BOB)
        world.until(lambda: world.books(BOB).settled >= FEE, 60)
        self.assertIsNone(world.funds().blocked)
        self.assertEqual(world.now(world.eyes.letters.letters()), ())
