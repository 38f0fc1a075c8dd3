"""
What a wallet's own limits count, as parts of the facts that open, charge and close sessions.

An open session carries what its sandbox has cost, so a period that is charged writes nothing
of this, but for the day that ends with it.
"""

from __future__ import annotations

from attrs import evolve

from sandbox_billing.adapters.redis.commit import Reply, field_absent, field_is
from sandbox_billing.adapters.redis.draft import NOW, Draft, stored_form
from sandbox_billing.adapters.redis.records import KEPT_SECONDS, WISHED
from sandbox_billing.interfaces import SandboxRecord
from sandbox_billing.ledger.controls import FOLD_AT, RESUMABLE, Resumable
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.metering import Session, day_of, day_share
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron
from sandbox_billing.ledger.spending import fee_field, run_field
from sandbox_billing.ledger.voucher import Charge


UNSEEN_SECONDS = 900
"""Longer than between two sweeps while Daytona answers, and one of them lost."""


def expect_cost(draft: Draft, session: Session, cost: bytes | None) -> None:
    """
    What its sandbox has cost is as it was read; added up with others' since, it would count twice.

    @param cost: None when nothing was there.
    """
    key, sandbox = draft.keys.costs(session.owner), session.sandbox
    draft.expect(field_absent(key, sandbox) if cost is None else field_is(key, sandbox, cost))


def ask_to_fold(draft: Draft, wallet: Address, costs: int) -> None:
    """
    The worker looks at the wallet, and adds up what is gone, also where it has no limit.

    @param costs: How many of its sandboxes have cost something.
    """
    if costs > FOLD_AT:
        draft.write("ZADD", draft.keys.limited(), NOW, wallet.hex)


def with_fee(session: Session, record: SandboxRecord | None, fee: Charge | None) -> Session:
    """The session with the fee that is charged as it opens, if it is."""
    charged = record is not None and record.create_charged
    if fee is None or charged:
        return session
    return evolve(session, life_spent=neuron(session.life_spent + fee.amount))


def count_fee(draft: Draft, session: Session, fee: Charge) -> None:
    """@param session: With the fee."""
    draft.write("HSET", draft.keys.costs(session.owner), session.sandbox, str(session.life_spent))
    draft.cost(session.owner, day_of(fee.created_at), fee_field(fee), fee.amount)


def count_days(draft: Draft, before: Session, after: Session) -> None:
    """What a run has cost on the days that are over when it is charged so far."""
    for day in range(day_of(before.charged_until), day_of(after.charged_until)):
        share = day_share(before, after.charged_until, day)
        draft.cost(after.owner, day, run_field(after), share)


def count_end(draft: Draft, before: Session, last: Session, forgiven: Neuron) -> None:
    """
    What a run has cost in all, for its sandbox and for its days.

    @param forgiven: Of its creation, neuron.
    """
    life_spent = neuron(max(0, last.life_spent - forgiven))
    key = draft.keys.costs(last.owner)
    if life_spent:
        draft.write("HSET", key, last.sandbox, str(life_spent))
    else:
        draft.write("HDEL", key, last.sandbox)
    count_days(draft, before, last)
    draft.cost(last.owner, day_of(last.charged_until), run_field(last), last.day_spent)


def ended_before(last: Session, ordered_at: Reply) -> bool:
    """
    Whether it was last seen running so long before its order that it was not our stop that ended
    it: while Daytona does not answer, what has stopped by itself is rated on and ordered to stop.

    @param ordered_at: As stored; what cannot be read says nothing.
    """
    if last.started_at is None or not isinstance(ordered_at, bytes) or not ordered_at.isdigit():
        return False
    return last.charged_until + UNSEEN_SECONDS < int(ordered_at)


def keep_for_later(draft: Draft, last: Session, why: str | None, now: UnixSeconds) -> None:
    """
    What is stopped by our order for want of money is remembered, and goes on when there is
    some again; what its owner ends is not.

    @param why: The worker ends it; None where it is its owner, or he wished so, or where it is
        gone.
    """
    keys, sandbox = draft.keys, last.sandbox
    if why not in RESUMABLE or last.started_at is None:
        leave(draft, last.owner, sandbox)
        return
    # Wished meanwhile: closed again as that.
    draft.expect(field_absent(keys.sandbox(sandbox), WISHED))
    place = keys.resumable(last.owner)
    kept = Resumable(sandbox=sandbox, reason=why, since=now)
    draft.write("HSET", place, sandbox, stored_form(kept))
    draft.write("EXPIRE", place, KEPT_SECONDS)
    draft.write("ZADD", keys.resume_due(), now, last.owner.hex)


def leave(draft: Draft, wallet: Address, sandbox: SandboxId) -> None:
    """It does not go on by itself."""
    draft.write("HDEL", draft.keys.resumable(wallet), sandbox)
