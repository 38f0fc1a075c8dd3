"""What the end of a batch writes: each charge's next state, and where it goes from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from attrs import frozen

from sandbox_billing.adapters.redis.commit import Expectation, holds
from sandbox_billing.adapters.redis.draft import NOW, Draft, stored_form
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.interfaces import Ruling, Stored
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.voucher import (
    ChargeKind,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Signed,
)


RESOLVED_SECONDS = 86_400
"""How long a resolved batch is kept, to be looked at again (design.md, section 4.6)."""


@frozen(kw_only=True)
class Resolution:
    """
    A resolved batch.

    @ivar block: The block its outcome was read at.
    """

    batch: Batch
    block: BlockRef


def resolution(
    draft: Draft,
    batch: Stored[Batch],
    block: BlockRef,
    rulings: Sequence[Ruling],
    now: int,
) -> Expectation:
    """
    Write the end of a batch.

    @return: The witness of this fact.
    @raise BrokenLaw: The rulings are not of exactly the batch's charges (L6).
    """
    keys, value = draft.keys, batch.value
    ruled = [ruling.record.value.charge.id for ruling in rulings]
    if sorted(ruled) != sorted(value.charges):
        raise BrokenLaw("L6", f"batch {value.id} holds {value.charges}, ruled were {ruled}")
    outcome = keys.outcome(value.id)
    form = stored_form(Resolution(batch=value, block=block))
    draft.expect(holds(keys.batch(value.id), batch.raw))
    draft.write("DEL", keys.batch(value.id))
    draft.write("ZREM", keys.batches(), value.id)
    draft.write("SET", outcome, form, "EX", RESOLVED_SECONDS)
    draft.write("ZREMRANGEBYSCORE", keys.resolved(), "-inf", now - RESOLVED_SECONDS)
    draft.write("ZADD", keys.resolved(), now, value.id)
    for wallet in value.wallets:
        draft.write("HDEL", keys.in_flight(), wallet.hex)
        mine = [r for r in rulings if r.record.value.charge.owner == wallet]
        later = [r.retry_at for r in mine if isinstance(r.after.state, Parked | Signed)]
        if later:
            # Sealed ones hold the queue up: looking at it earlier is of no use.
            draft.write("ZADD", keys.ready(), max(later), wallet.hex)
        else:
            draft.offer(wallet, now)
    for ruling in rulings:
        _rule(draft, ruling, now)
    return holds(outcome, form)


def _rule(draft: Draft, ruling: Ruling, now: int) -> None:
    keys, charge = draft.keys, ruling.record.value.charge
    draft.expect(holds(keys.charge(charge.id), ruling.record.raw))
    draft.write("SET", keys.charge(charge.id), stored_form(ruling.after))
    draft.touch(charge.owner)
    match ruling.after.state:
        case Paid():
            draft.finish_charge(charge)
        case Partial():
            draft.finish_charge(charge)
            if ruling.debt is None:
                raise BrokenLaw("L6", f"the rest of {charge.id} would be forgotten")
            draft.append_charge(ruling.debt, ruling.retry_at, first=True)
        case DeadLettered():
            draft.finish_charge(charge)
            draft.write("ZADD", keys.dead(), now, charge.id)
        case Parked() | Signed():
            draft.write("ZADD", keys.first(charge.owner), NOW, charge.id)
        case Open():
            again = keys.first if charge.kind is ChargeKind.DEBT else keys.charges
            draft.write("ZADD", again(charge.owner), ruling.retry_at, charge.id)
            draft.offer(charge.owner, ruling.retry_at)
        case Merged() | Forgiven():
            raise BrokenLaw("L6", f"no batch makes of {charge.id} a {ruling.after.state}")
        case _:
            assert_never(ruling.after.state)
