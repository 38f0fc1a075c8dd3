"""What the end of a batch writes: each charge's next state, and where it goes from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from attrs import evolve

from sandbox_billing.adapters.redis.commit import Expectation, Read, Reply, holds
from sandbox_billing.adapters.redis.draft import NOW, Draft, stored_form
from sandbox_billing.adapters.redis.hours import count_hour
from sandbox_billing.adapters.redis.letters import report
from sandbox_billing.adapters.redis.store import Store, raw, stored, text
from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.interfaces import Ruling, Stored
from sandbox_billing.ledger.account import Account, BlockRef
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.identity import Address, BatchId, Nonce
from sandbox_billing.ledger.money import Neuron, parse_neuron
from sandbox_billing.ledger.receipt import BatchProof
from sandbox_billing.ledger.second_look import Resolution, verdict_of
from sandbox_billing.ledger.totals import Totals
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
from sandbox_billing.signing.settle_call import batch_call_of


RESOLVED_SECONDS = 86_400
"""How long a resolved batch is kept after it was looked at again (design.md, section 4.6)."""


HELD = 2**40
"""When a debt is ripe that waits for the second look: in no time that comes."""


def resolution(
    draft: Draft,
    batch: Stored[Batch],
    block: BlockRef,
    rulings: Sequence[Ruling],
    now: int,
) -> Expectation:
    """
    Write the end of a batch, or of a part of it.

    @param rulings: Of all charges of the wallets that they are of.
    @return: The witness of this fact.
    @raise BrokenLaw: Something else was ruled than charges of the batch (L6).
    """
    keys = draft.keys
    value, left = parted(batch.value, rulings)
    outcome = keys.outcome(value.id)
    found = [verdict_of(ruling.record.value, ruling.after) for ruling in rulings]
    verdicts = tuple(verdict for verdict in found if verdict is not None)
    form = stored_form(Resolution(batch=value, block=block, verdicts=verdicts))
    draft.expect(holds(keys.batch(batch.value.id), batch.raw))
    if left is None:
        draft.write("DEL", keys.batch(value.id))
        draft.write("ZREM", keys.batches(), value.id)
    else:
        draft.write("SET", keys.batch(left.id), stored_form(left))
    # However long that takes: it is not forgotten before it was looked at again.
    draft.write("SET", outcome, form)
    draft.write("ZADD", keys.unchecked(), block.number, value.id)
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
    _prove(draft, batch.value, rulings)
    return holds(outcome, form)


def _prove(draft: Draft, batch: Batch, rulings: Sequence[Ruling]) -> None:
    """
    Keep what a receipt must show of a batch that was settled under one signature, and that
    goes away with its attempts (wire.md §3).
    """
    states = [ruling.after.state for ruling in rulings]
    settled = {state.transaction for state in states if isinstance(state, Paid | Partial)}
    for attempt in batch.attempts:
        call = batch_call_of(attempt.raw) if attempt.hash in settled else None
        if call is not None:
            proof = BatchProof(
                batch=batch.id,
                lines=tuple("0x" + line.hex() for line in call.lines),
                signature="0x" + call.signature.hex(),
            )
            draft.write("SET", draft.keys.batch_proof(attempt.hash), stored_form(proof))


def parted(batch: Batch, rulings: Sequence[Ruling]) -> tuple[Batch, Batch | None]:
    """
    What of a batch is ruled, under a name that no other part of it has, and what is left.

    @return: The batch itself, and None, when nothing is left.
    @raise BrokenLaw: Something else was ruled than charges of the batch (L6).
    """
    ruled = [ruling.record.value.charge.id for ruling in rulings]
    wallets = {ruling.record.value.charge.owner for ruling in rulings}
    if sorted(ruled) == sorted(batch.charges):
        return batch, None
    left = evolve(
        batch,
        charges=tuple(charge for charge in batch.charges if charge not in set(ruled)),
        wallets=tuple(wallet for wallet in batch.wallets if wallet not in wallets),
    )
    if not ruled or len(left.charges) + len(ruled) != len(batch.charges) or not left.wallets:
        raise BrokenLaw("L6", f"batch {batch.id} holds {batch.charges}, ruled were {ruled}")
    part = evolve(
        batch,
        # It holds less after each part.
        id=BatchId(f"{batch.id}.{len(batch.charges)}"),
        charges=tuple(charge for charge in batch.charges if charge in set(ruled)),
        wallets=tuple(wallet for wallet in batch.wallets if wallet in wallets),
    )
    return part, left


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
            draft.append_charge(ruling.debt, HELD, first=True)
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


async def count(
    store: Store, draft: Draft, batch: Batch, rulings: Sequence[Ruling], gas: Neuron
) -> None:
    """Raise the totals by a batch, or by a part of it; its gas counts with the last one."""
    key = store.keys.totals()
    (form,) = await store.read(Read("GET", key))
    try:
        found = stored(Totals, form)
    except BadInput as why:
        # Only a count: it begins anew, and what there was is told with the reason.
        await report(store, "totals", f"{raw(form)!r}", why)
        found = None
    before = Totals() if found is None else found.value
    draft.expect_stored(key, raw(form))
    states = [ruling.after.state for ruling in rulings]
    after = before.after(states, gas)
    if parted(batch, rulings)[1] is not None:
        after = evolve(after, batches=before.batches, gas=before.gas)
    draft.write("SET", key, stored_form(after))
    await count_hour(store, draft, before, after)


async def skip_used(
    store: Store, draft: Draft, rulings: Sequence[Ruling], accounts: Sequence[Account]
) -> None:
    """Where a nonce was lost, those that the chain has used were given, too (B16)."""
    void = {r.after.charge.owner for r in rulings if isinstance(r.after.state, Open)}
    for account in accounts:
        if account.wallet not in void:
            continue
        key = store.keys.nonce(account.wallet)
        (last,) = await store.read(Read("GET", key))
        draft.expect_stored(key, raw(last))
        if last is None or last_given(account.wallet, last) < account.last_nonce:
            draft.write("SET", key, account.last_nonce)


def last_given(wallet: Address, form: Reply) -> Nonce:
    """
    The last nonce that was given to a wallet, or 0.

    @raise BadInput: What is stored is no nonce.
    """
    if form is None:
        return Nonce(0)
    try:
        return Nonce(parse_neuron(text(form)))
    except BadInput as why:
        raise BadInput(f"the last nonce of {wallet} is stored as {text(form)!r}") from why
