"""
What really moved on chain, read from its blocks alone.

Our contract says it in its events.  The deployed one does not (K3): there the blocks are
lived again from the state before each, and must end in the state after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from sandbox_billing.adapters.memory.blocks import Block
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import Address
from tests.services.lives import PROVIDER
from tests.simulation.world import World


@frozen(kw_only=True)
class Move:
    """
    What a voucher did.

    @ivar paid: neuron that left its wallet for the provider.
    @ivar lost: neuron of its wallet's refund that became nobody's (K1).
    @ivar at: Wall seconds of its block.
    """

    who: Address
    nonce: int
    fee: int
    usage_hash: str
    paid: int
    lost: int
    transaction: str
    block: int
    at: int

    @property
    def excess(self) -> int:
        """neuron beyond the fee (K2)."""
        return max(0, self.paid - self.fee)


@frozen
class Told:
    """
    An event of a wallet's, in its block.

    @ivar at: Wall seconds.
    """

    at: int
    name: str
    who: Address
    fields: dict[str, Any]


def told(world: World, *names: str) -> Iterator[Told]:
    """Events of some names, in their order."""
    for block in world.net.blocks:
        for log in block.logs:
            if log.event.name in names and log.event.user is not None:
                yield Told(block.ref.timestamp, log.event.name, log.event.user, log.event.fields)


def moves_of(world: World) -> tuple[list[Move], list[str]]:
    """Every voucher that was settled; and what cannot be so (L1)."""
    moves: list[Move] = []
    wrong: list[str] = []
    before = world.net.blocks[0]
    for block in world.net.blocks[1:]:
        if block.logs:
            wrong += _live_again(before, block, moves)
        before = block
    return moves, wrong


def _live_again(before: Block, block: Block, moves: list[Move]) -> Iterator[str]:
    flawed = before.state.behaviour is Behaviour.FLAWED
    purses: dict[Address, tuple[int, int]] = {}
    for log in block.logs:
        event, who = log.event, log.event.user
        if who is None or event.provider != PROVIDER:
            continue
        slot = before.state.slot(PROVIDER, who)
        balance, pending = purses.get(who, (slot.balance, slot.pending))
        fields: Any = event.fields
        if event.name == "Deposited":
            purses[who] = balance + fields["amount"], pending
        elif event.name == "RefundRequested":
            amount = fields["amount"]
            purses[who] = balance + pending - amount, amount
        elif event.name == "RefundWithdrawn":
            purses[who] = balance, 0
        elif event.name == "VoucherSettled":
            fee, lost = fields["fee"], 0
            if not flawed:
                paid = fields["paid"]
                rest = max(0, paid - balance)
                purses[who] = max(0, balance - paid), pending - rest
            elif fee <= balance:
                # K1: the refund is trimmed to what is left of the balance.
                paid, left = fee, balance - fee
                purses[who], lost = (left, min(pending, left)), max(0, pending - left)
            else:
                # K2: everything is taken, however small the fee.
                paid = balance + pending
                purses[who] = 0, 0
            moves.append(
                Move(
                    who=who,
                    nonce=fields["nonce"],
                    fee=fee,
                    usage_hash=fields["usage_hash"],
                    paid=paid,
                    lost=lost,
                    transaction=log.transaction,
                    block=block.ref.number,
                    at=block.ref.timestamp,
                )
            )
    for who, purse in purses.items():
        slot = block.state.slot(PROVIDER, who)
        if purse != (slot.balance, slot.pending):
            has = (slot.balance, slot.pending)
            yield f"L1: {who} has {has} after block {block.ref.number} and should have {purse}"
