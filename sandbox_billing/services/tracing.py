"""
What vouchers really moved on a contract that does not say (failures.md, D7), and what its
flaws took of users by a race.

All that happened to a wallet in the event's block is replayed from the parent block's state,
in log order, and counts only if it ends in the block's own.

Tests: C{tests.services.test_flawed}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from attrs import evolve, field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import Happenings, IChain, IWallClock
from sandbox_billing.ledger.account import Behaviour, BlockRef, Settlement
from sandbox_billing.ledger.deployed import Move, Purse, Race, Taken, replay
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import UnixSeconds, neuron
from sandbox_billing.ledger.settlement import SUCCESS, Evidence
from sandbox_billing.services.evidence import NotYet


GIVE_UP_SECONDS = 3_600
"""
After so long, counted from our first try, a state that no node has is taken to be forgotten:
then a human looks at what is not said to be paid.
"""

PATIENCE_SECONDS = 30
"""The same where what was paid is told: only a race is left to be found."""

_Traced: TypeAlias = Mapping[tuple[Address, int], Taken]


@frozen(kw_only=True)
class Tracer:
    """
    Part of the resolver; asks nothing where the contract has no flaws.

    @ivar _since: Blocks that could not be replayed, and when that was first tried.
    """

    chain: IChain
    wall: IWallClock
    _since: dict[int, UnixSeconds] = field(factory=dict, init=False)
    _log = Logger()

    async def traced(
        self, evidence: Sequence[Evidence], block: BlockRef
    ) -> tuple[list[Evidence], tuple[Race, ...], Mapping[Address, NotYet]]:
        """
        @param block: The confirmed one.
        @return: The evidence with what was paid, and what a flaw took; and wallets of which no
            node can tell that now, with the reason: there is no evidence of theirs.
        @raise Transient: Not even what contract it is can be had.
        """
        waiting: dict[Address, NotYet] = {}
        settlements = [e.settled for e in evidence if e.settled is not None]
        flawed = await self.chain.behaviour(block) is Behaviour.FLAWED
        # What is told needs no replay, but for what a flaw may have done beside it.
        unclear = [s for s in settlements if flawed or s.paid is None]
        taken: dict[tuple[Address, int], Taken] = {}
        for number in sorted({s.block for s in unclear}):
            try:
                taken.update(await self._block(number, settlements))
            except Transient as why:
                here = [s for s in unclear if s.block == number]
                untold = {s.user for s in here if s.paid is None}
                # What is paid in full waits, too: a refund beside it may have been trimmed.
                told = {s.user for s in here} - untold
                for users, patience in ((untold, GIVE_UP_SECONDS), (told, PATIENCE_SECONDS)):
                    later = self._later(number, why, patience) if users else None
                    if later is not None:
                        waiting.update(dict.fromkeys(users, later))
            else:
                self._since.pop(number, None)
        found, races = [], []
        for proof in evidence:
            settled = proof.settled
            if proof.record.charge.owner in waiting:
                continue
            moved = None if settled is None else taken.get((settled.user, settled.nonce))
            if settled is not None and moved is not None:
                proof = evolve(proof, settled=_said(settled, moved))
                if moved.lost or moved.excess:
                    races.append(self._race(proof, settled, moved))
            found.append(proof)
        return found, tuple(races), waiting

    def _later(self, number: int, why: Transient, patience: int) -> NotYet | None:
        """
        @param patience: For how long it is tried, seconds.
        @return: None when it has been tried for long enough.
        """
        now = self.wall.now()
        for old in [n for n, since in self._since.items() if now - since > 2 * GIVE_UP_SECONDS]:
            del self._since[old]
        if now - self._since.setdefault(number, now) < patience:
            return NotYet(f"block {number} cannot be replayed: {why}")
        self._log.critical("no node can replay block {block}: {why}", block=number, why=str(why))
        return None

    async def _block(self, number: int, settlements: Sequence[Settlement]) -> _Traced:
        block = await self.chain.block(number)
        if await self.chain.behaviour(block) is Behaviour.FIXED:
            return {}
        wallets = sorted({s.user for s in settlements if s.block == number})
        parent = await self.chain.block(number - 1)
        before = await self.chain.accounts(wallets, parent)
        after = await self.chain.accounts(wallets, block)
        told = await self.chain.happenings(number, number)
        # A node may have a gap in its logs: what another has told of this block stands there.
        here = [s for s in settlements if s.block == number]
        happened = evolve(told, settlements=tuple(dict.fromkeys((*told.settlements, *here))))
        found: dict[tuple[Address, int], Taken] = {}
        for wallet, was, is_now in zip(wallets, before, after, strict=True):
            moved = replay(Purse.of(was), moves_of(wallet, happened), Purse.of(is_now))
            if moved is None:
                self._log.critical(
                    "what happened to {wallet} in block {block} does not lead to its state",
                    wallet=wallet.hex,
                    block=number,
                )
            else:
                found.update({(wallet, nonce): taken for nonce, taken in moved.items()})
        return found

    def _race(self, proof: Evidence, settled: Settlement, moved: Taken) -> Race:
        race = Race(
            charge=proof.record.charge.id,
            wallet=settled.user,
            nonce=settled.nonce,
            lost=neuron(moved.lost),
            credit=neuron(moved.excess),
            transaction=settled.transaction,
            block=settled.block,
            noted_at=self.wall.now(),
        )
        self._log.critical(
            "a race set off a flaw of the contract on {wallet}: {lost} neuron of its refund are"
            " lost (K1), {credit} neuron were taken too much and are its credit (K2)",
            wallet=race.wallet.hex,
            lost=str(race.lost),
            credit=str(race.credit),
            charge=race.charge,
        )
        return race


def _said(settled: Settlement, moved: Taken) -> Settlement:
    """The event as it would be if that contract said what moved; never more than the fee."""
    if moved.paid >= settled.fee:
        # K2 says "insufficient" of a wallet that has paid, and too much.
        return evolve(settled, status=SUCCESS, paid=settled.fee)
    return evolve(settled, paid=neuron(moved.paid))


def moves_of(wallet: Address, happened: Happenings) -> list[Move]:
    """A wallet's, in log order."""
    found: list[tuple[int, Move]] = [
        (event.log_index, Move(name=event.name, amount=event.amount or 0))
        for event in happened.events
        if event.wallet == wallet
    ]
    found += [
        (
            settled.log_index,
            Move(
                name="VoucherSettled",
                amount=settled.fee,
                nonce=Nonce(settled.nonce),
                in_full=settled.status == SUCCESS,
            ),
        )
        for settled in happened.settlements
        if settled.user == wallet
    ]
    return [move for _index, move in sorted(found, key=lambda one: one[0])]
