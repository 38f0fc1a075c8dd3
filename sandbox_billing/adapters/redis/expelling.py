"""
Taking what cannot be read out of a batch, so that the rest of it goes on.

A charge in a batch is sealed: its wallet's later nonces would make the promise void for ever
(L5), so whoever owes it is quarantined in the same fact, until a human has looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from sandbox_billing.adapters.redis.commit import Read, absent, holds
from sandbox_billing.adapters.redis.draft import REVISION, stored_form
from sandbox_billing.adapters.redis.letters import write_letter
from sandbox_billing.adapters.redis.store import Store, exposure, mapping, raw, stored
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Stored, WalletFunds
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, ChargeId
from sandbox_billing.ledger.voucher import ChargeRecord


@frozen(kw_only=True)
class _Found:
    """
    @ivar kept: The charges that can be read.
    @ivar owners: Of those, in their order.
    @ivar lost: The others: their stored form, and what is wrong with it.
    """

    kept: tuple[ChargeId, ...]
    owners: tuple[Address, ...]
    lost: Mapping[ChargeId, tuple[bytes | None, str]]


async def expel(store: Store, batch: Stored[Batch]) -> Stored[Batch] | None:
    """See L{sandbox_billing.interfaces.IVoucherQueue.expel}."""
    keys, now, found = store.keys, store.wall.now(), await _look(store, batch.value.charges)
    draft = store.draft(f"expel what cannot be read from {batch.value.id}")
    for charge, (form, why) in found.lost.items():
        draft.expect_stored(keys.charge(charge), form)
        reason = f"in batch {batch.value.id}: {why}"
        write_letter(draft, DeadLetter(kind="charge", name=charge, reason=reason, since=now))
    after = evolve(batch.value, charges=found.kept, wallets=found.owners)
    key, form_after = keys.batch(after.id), stored_form(after)
    draft.expect(holds(key, batch.raw))
    gone = [wallet for wallet in batch.value.wallets if wallet not in found.owners]
    for funds in await _debtors(store, batch.value.wallets, gone, found):
        draft.expect_revision(funds.wallet, funds.revision)
        draft.block(funds, QUARANTINED, now)
    for wallet in gone:
        # In flight in nothing: it would never be settled again.
        draft.write("HDEL", keys.in_flight(), wallet.hex)
        draft.offer(wallet, now)
    token = store.token.now()
    if not after.charges and not after.attempts:
        draft.write("DEL", key)
        draft.write("ZREM", keys.batches(), after.id)
        await store.carry_out(draft.commit(token=token, witness=absent(key)))
        return None
    draft.write("SET", key, form_after)
    await store.carry_out(draft.commit(token=token, witness=holds(key, form_after)))
    return Stored(after, form_after)


async def _look(store: Store, charges: Sequence[ChargeId]) -> _Found:
    reads = [Read("GET", store.keys.charge(charge)) for charge in charges]
    kept: list[ChargeId] = []
    owners: dict[Address, None] = {}
    lost: dict[ChargeId, tuple[bytes | None, str]] = {}
    for charge, form in zip(charges, await store.read_many(reads), strict=True):
        try:
            record = stored(ChargeRecord, form)
        except BadInput as why:
            lost[charge] = (raw(form), str(why))
            continue
        if record is None:
            lost[charge] = (None, "it has disappeared")
            continue
        kept.append(charge)
        owners[record.value.charge.owner] = None
    return _Found(kept=tuple(kept), owners=tuple(owners), lost=lost)


async def _debtors(
    store: Store, wallets: Sequence[Address], gone: Sequence[Address], found: _Found
) -> list[WalletFunds]:
    """
    Whose charges were lost: by the exposure, which names each until it is final; where that is
    damaged, too, whoever has nothing left in the batch.
    """
    reads = [Read("HGETALL", store.keys.exposure(wallet)) for wallet in wallets]
    debtors = []
    names = {f"{kind}:{charge}" for kind in ("charge", "debt") for charge in found.lost}
    for wallet, reply in zip(wallets, await store.read_many(reads), strict=True):
        fields = mapping(reply)
        if wallet not in gone and names.isdisjoint(fields):
            continue
        debtors.append(
            WalletFunds(
                wallet=wallet,
                account=None,
                exposure=exposure(fields),
                revision=fields.get(REVISION, "").encode(),
                blocked=None,
            )
        )
    return debtors
