"""Worker facts of charges: who is ready, what is signed, and batches until they are resolved."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import (
    Outcome,
    Read,
    Write,
    absent,
    field_absent,
    holds,
)
from sandbox_billing.adapters.redis.draft import NOW, REVISION, Draft, stored_form
from sandbox_billing.adapters.redis.expelling import expel
from sandbox_billing.adapters.redis.letters import (
    DAMAGED_SECONDS,
    readable,
    report,
)
from sandbox_billing.adapters.redis.resolution import (
    count,
    last_given,
    resolution,
    skip_used,
)
from sandbox_billing.adapters.redis.store import Store, raw, stored, text, texts
from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.interfaces import (
    NOTHING,
    BlockedWallet,
    IVoucherQueue,
    Promise,
    Ruling,
    Stale,
    Stored,
    StoredQueue,
    WalletFunds,
)
from sandbox_billing.ledger.account import Account, BlockRef
from sandbox_billing.ledger.batch import Attempt, Batch, Stage
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.hold import QUARANTINED, charge_field
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId
from sandbox_billing.ledger.laws import l5_rising
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.settlement import sealed
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, DeadLettered, Open


@implementer(IVoucherQueue)
@frozen
class RedisVoucherQueue:
    """
    A wallet with charges is in C{ready} or in flight, or about to be put right by C{ready}.
    """

    store: Store

    async def ready(self, now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        keys = self.store.keys
        (reply,) = await self.store.read(
            Read("ZRANGEBYSCORE", keys.ready(), ("-inf", now, "LIMIT", 0, limit))
        )
        offered = [Address(name) for name in texts(reply)]
        reads = []
        for wallet in offered:
            reads.append(Read("ZRANGEBYSCORE", keys.first(wallet), ("-inf", now, "LIMIT", 0, 1)))
            reads.append(Read("ZRANGEBYSCORE", keys.charges(wallet), ("-inf", now, "LIMIT", 0, 1)))
            reads.append(Read("HEXISTS", keys.in_flight(), (wallet.hex,)))
        replies = await self.store.read_many(reads)
        found = []
        for place, wallet in enumerate(offered):
            first, charges, in_flight = replies[3 * place : 3 * place + 3]
            if in_flight == b"0" and (first or charges):
                found.append(wallet)
            else:
                await self._put_right(wallet)
        return tuple(found)

    async def _put_right(self, wallet: Address) -> None:
        """Offer a wallet when it has something ripe; not at all when it has nothing to offer."""
        keys, spelled = self.store.keys, wallet.hex
        first, charges, in_flight, revision = await self.store.read(
            Read("ZRANGE", keys.first(wallet), (0, 0, "WITHSCORES")),
            Read("ZRANGE", keys.charges(wallet), (0, 0, "WITHSCORES")),
            Read("HEXISTS", keys.in_flight(), (spelled,)),
            Read("HGET", keys.exposure(wallet), (REVISION,)),
        )
        scores = [int(texts(reply)[1]) for reply in (first, charges) if reply]
        draft = self.store.draft(f"offer {wallet} when it has something ripe")
        # Whatever adds or ripens a charge raises the revision: then nothing is put right.
        draft.expect_revision(wallet, raw(revision) or b"")
        if in_flight == b"1" or not scores:
            draft.write("ZREM", keys.ready(), spelled)
        else:
            draft.write("ZADD", keys.ready(), min(scores), spelled)
        await self.store.attempt(draft.commit(token=self.store.token.now()))

    async def queue(self, wallet: Address, now: UnixSeconds, limit: int) -> StoredQueue:
        keys = self.store.keys
        account, first, charges, in_flight, nonce, revision, *flags = await self.store.read(
            Read("GET", keys.account(wallet)),
            Read("ZRANGEBYSCORE", keys.first(wallet), ("-inf", now)),
            Read("ZRANGEBYSCORE", keys.charges(wallet), ("-inf", now, "LIMIT", 0, limit)),
            Read("HGET", keys.in_flight(), (wallet.hex,)),
            Read("GET", keys.nonce(wallet)),
            Read("HGET", keys.exposure(wallet), (REVISION,)),
            Read("EXISTS", keys.paused()),
            Read("GET", keys.blocked(wallet)),
            Read("ZRANGEBYSCORE", keys.first(wallet), (now + 1, "+inf", "LIMIT", 0, 1)),
        )
        paused, blocked, held = flags
        # One that may be signed holds up its wallet (L5); an open one does not.
        records = list(await self._records([ChargeId(name) for name in texts(first)]))
        # Debts are collected first; nothing is while one waits for its second look.
        later = [] if held else texts(charges)
        records += await self._open_records(wallet, [ChargeId(name) for name in later])
        # All sealed ones are read, whatever the limit: a nonce above one that still waits
        # would make that one void (L5).
        records.sort(key=_order)
        return StoredQueue(
            wallet=wallet,
            account=stored(Account, account),
            revision=raw(revision) or b"",
            records=tuple(records[:limit]),
            in_flight=None if in_flight is None else BatchId(text(in_flight)),
            last_nonce=last_given(wallet, nonce),
            paused=paused == b"1",
            blocked=None if blocked is None else text(blocked),
        )

    async def _records(self, ids: Sequence[ChargeId]) -> tuple[Stored[ChargeRecord], ...]:
        keys = [self.store.keys.charge(charge) for charge in ids]
        found = await self.store.values(ChargeRecord, keys)
        missing = [charge for charge, record in zip(ids, found, strict=True) if record is None]
        if missing:
            raise BrokenLaw("L6", f"charges have disappeared: {missing}")
        return tuple(record for record in found if record is not None)

    async def _open_records(
        self, wallet: Address, ids: Sequence[ChargeId]
    ) -> list[Stored[ChargeRecord]]:
        """Those that can be read; the others are dead letters, and the wallet goes on."""
        keys = self.store.keys
        forms = await self.store.read_many([Read("GET", keys.charge(charge)) for charge in ids])
        found = []
        for charge, form in zip(ids, forms, strict=True):
            try:
                record = stored(ChargeRecord, form)
            except BadInput as why:
                later = self.store.wall.now() + DAMAGED_SECONDS
                aside = Write("ZADD", keys.charges(wallet), ("XX", later, charge))
                await report(self.store, "charge", charge, why, aside)
                continue
            if record is None:
                raise BrokenLaw("L6", f"charges have disappeared: {[charge]}")
            found.append(record)
        return found

    async def rest(self, queue: StoredQueue, until: UnixSeconds) -> None:
        keys, wallet, account = self.store.keys, queue.wallet, queue.account
        draft = self.store.draft(f"let {wallet} rest")
        draft.expect_stored(keys.account(wallet), None if account is None else account.raw)
        # As in putting right: whatever offers the wallet changes one of the two.
        draft.expect_revision(wallet, queue.revision)
        draft.write("ZADD", keys.ready(), "XX", until, wallet.hex)
        await self.store.attempt(draft.commit(token=self.store.token.now()))

    async def set_aside(self, wallet: Address, until: UnixSeconds) -> None:
        draft = self.store.draft(f"set {wallet} aside")
        draft.write("ZADD", self.store.keys.ready(), "XX", until, wallet.hex)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))

    async def sign(self, batch: Batch, promises: Sequence[Promise]) -> Stored[Batch]:
        keys = self.store.keys
        if batch.charges != tuple(p.record.value.charge.id for p in promises):
            raise BrokenLaw("L6", f"batch {batch.id} does not hold what is signed for it")
        draft = self.store.draft(f"sign batch {batch.id}")
        for promise in promises:
            charge = promise.record.value.charge
            draft.expect(holds(keys.charge(charge.id), promise.record.raw))
            after = sealed(promise.record.value, promise.seal, promise.rest)
            draft.write("SET", keys.charge(charge.id), stored_form(after))
            draft.write("ZREM", keys.charges(charge.owner), charge.id)
            draft.write("ZREM", keys.first(charge.owner), charge.id)
            if promise.rest is not None:
                draft.expose(charge.owner, charge_field(charge), str(after.charge.amount))
                draft.append_charge(promise.rest, promise.rest.created_at, first=True)
        form, key = stored_form(batch), keys.batch(batch.id)
        draft.expect(absent(key))
        for wallet in batch.wallets:
            mine = [p for p in promises if p.record.value.charge.owner == wallet]
            await self._number(draft, wallet, mine)
            draft.expect(field_absent(keys.in_flight(), wallet.hex))
            draft.write("HSET", keys.in_flight(), wallet.hex, batch.id)
            draft.write("ZREM", keys.ready(), wallet.hex)
        draft.write("SET", key, form)
        draft.write("ZADD", keys.batches(), batch.created_at, batch.id)
        token = self.store.token.now()
        await self.store.carry_out(draft.commit(token=token, witness=holds(key, form)))
        return Stored(batch, form)

    async def _number(self, draft: Draft, wallet: Address, mine: Sequence[Promise]) -> None:
        """Give the wallet's nonces of a batch, each above all that were given before (L5)."""
        keys = draft.keys
        l5_rising([promise.seal.nonce for promise in mine])
        last, waiting = await self.store.read(
            Read("GET", keys.nonce(wallet)),
            # Sealed charges that wait for a batch have score 0.
            Read("ZRANGEBYSCORE", keys.first(wallet), (0, 0)),
        )
        draft.expect_stored(keys.nonce(wallet), None if last is None else text(last).encode())
        fresh = [p.seal.nonce for p in mine if isinstance(p.record.value.state, Open)]
        if not fresh:
            return
        # First: an operator who offers a dead letter again raises the nonce with it.
        given = last_given(wallet, last)
        if last is not None and fresh[0] <= given and not await self._signed(mine):
            raise Stale(f"{wallet} was given nonces up to {given} meanwhile")
        left_out = set(texts(waiting)) - {p.record.value.charge.id for p in mine}
        if left_out:
            raise BrokenLaw("L5", f"sealed charges would be overtaken: {sorted(left_out)}")
        draft.write("SET", keys.nonce(wallet), fresh[-1])

    async def _signed(self, mine: Sequence[Promise]) -> bool:
        """Whether these promises are stored already: this is a repeat."""
        found = await self._records([promise.record.value.charge.id for promise in mine])
        return all(
            record.value == sealed(promise.record.value, promise.seal, promise.rest)
            for record, promise in zip(found, mine, strict=True)
        )

    async def batches(self) -> tuple[Stored[Batch], ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("ZRANGE", keys.batches(), (0, -1)))
        named = [(name, keys.batch(BatchId(name))) for name in texts(members)]
        return tuple(await readable(self.store, "batch", Batch, named))

    async def batch_records(self, batch: Batch) -> tuple[Stored[ChargeRecord], ...]:
        try:
            return await self._records(batch.charges)
        except BrokenLaw as why:
            # Whatever is wrong with one: it can be taken out.
            raise BadInput(str(why)) from why

    async def expel(self, batch: Stored[Batch]) -> Stored[Batch] | None:
        return await expel(self.store, batch)

    async def shrink(self, batch: Stored[Batch], keep: int) -> Stored[Batch]:
        _never_sent(batch.value)
        keys, records = self.store.keys, await self._records(batch.value.charges)
        kept, released = records[:keep], records[keep:]
        staying = dict.fromkeys(r.value.charge.owner for r in kept)
        after = evolve(
            batch.value,
            wallets=tuple(staying),
            charges=tuple(r.value.charge.id for r in kept),
        )
        key, form = keys.batch(after.id), stored_form(after)
        draft = self.store.draft(f"shrink {after.id} to {keep}")
        draft.expect(holds(key, batch.raw))
        draft.write("SET", key, form)
        for record in released:
            charge = record.value.charge
            draft.expect(holds(keys.charge(charge.id), record.raw))
            draft.write("ZADD", keys.first(charge.owner), NOW, charge.id)
            draft.touch(charge.owner)
        for wallet in set(batch.value.wallets) - staying.keys():
            draft.write("HDEL", keys.in_flight(), wallet.hex)
            draft.offer(wallet, self.store.wall.now())
        token = self.store.token.now()
        await self.store.carry_out(draft.commit(token=token, witness=holds(key, form)))
        return Stored(after, form)

    async def condemn(self, batch: Stored[Batch], reason: str, funds: WalletFunds) -> None:
        _never_sent(batch.value)
        (record,) = await self._records(batch.value.charges)
        keys, charge, now = self.store.keys, record.value.charge, self.store.wall.now()
        state = DeadLettered(seal=record.value.seal, reason=reason)
        form = stored_form(record.value.become(state))
        draft = self.store.draft(f"condemn {charge.id}")
        draft.expect(holds(keys.batch(batch.value.id), batch.raw))
        draft.expect(holds(keys.charge(charge.id), record.raw))
        draft.expect_funds(funds)
        draft.write("DEL", keys.batch(batch.value.id))
        draft.write("ZREM", keys.batches(), batch.value.id)
        draft.write("HDEL", keys.in_flight(), charge.owner.hex)
        draft.write("SET", keys.charge(charge.id), form)
        draft.write("ZADD", keys.dead(), now, charge.id)
        draft.finish_charge(charge)
        draft.block(funds, QUARANTINED, now)
        draft.offer(charge.owner, now)
        witness = holds(keys.charge(charge.id), form)
        await self.store.carry_out(draft.commit(token=self.store.token.now(), witness=witness))

    async def drop_attempts(self, batch: Stored[Batch], sender: Address) -> Stored[Batch] | None:
        left = tuple(a for a in batch.value.attempts if a.sender != sender)
        after = evolve(batch.value, attempts=left)
        keys, key = self.store.keys, self.store.keys.batch(after.id)
        token = self.store.token.now()
        draft = self.store.draft(f"drop attempts of {after.id}")
        draft.expect(holds(key, batch.raw))
        if not after.charges and not left:
            draft.write("DEL", key)
            draft.write("ZREM", keys.batches(), after.id)
            await self.store.carry_out(draft.commit(token=token, witness=absent(key)))
            return None
        form = stored_form(after)
        draft.write("SET", key, form)
        await self.store.carry_out(draft.commit(token=token, witness=holds(key, form)))
        return Stored(after, form)

    async def record_attempt(self, batch: Stored[Batch], attempt: Attempt) -> Stored[Batch]:
        keys, after = self.store.keys, batch.value.with_attempt(attempt)
        key, form = keys.batch(after.id), stored_form(after)
        draft = self.store.draft(f"record an attempt of {after.id}")
        draft.expect(holds(key, batch.raw))
        draft.write("SET", key, form)
        token = self.store.token.now()
        await self.store.carry_out(draft.commit(token=token, witness=holds(key, form)))
        recorded = Stored(after, form)
        await self.on_disk(recorded)
        return recorded

    async def on_disk(self, batch: Stored[Batch]) -> None:
        keys = self.store.keys
        expected = holds(keys.batch(batch.value.id), batch.raw)
        await self.store.keyspace.wait_for_disk(keys.on_disk(), [expected])

    async def resolve(
        self,
        batch: Stored[Batch],
        block: BlockRef,
        rulings: Sequence[Ruling],
        accounts: Sequence[Account],
        blocked: Sequence[BlockedWallet],
        races: Sequence[Race] = (),
        *,
        gas: Neuron = NOTHING,
    ) -> None:
        draft = self.store.draft(f"resolve {batch.value.id}")
        now = self.store.wall.now()
        witness = resolution(draft, batch, block, rulings, now)
        await skip_used(self.store, draft, rulings, accounts)
        await count(self.store, draft, batch.value, rulings, gas)
        # Not offered again: what goes back to the queue waits for its C{retry_at}.
        draft.write_accounts(accounts)
        for race in races:
            draft.write("HSET", draft.keys.races(), race.charge, stored_form(race))
        for each in blocked:
            draft.expect_funds(each.funds)
            draft.block(each.funds, each.reason, now)
        done = await self.store.attempt(draft.commit(token=self.store.token.now(), witness=witness))
        if done.outcome is Outcome.STALE:
            raise Stale(f"cannot resolve {batch.value.id}: gone, or a wallet opened something")


def _never_sent(batch: Batch) -> None:
    if batch.stage() is not Stage.SIGNED:
        raise BrokenLaw("L10", f"batch {batch.id} may have been sent as it was")


def _order(record: Stored[ChargeRecord]) -> tuple[int, int, str]:
    """Sealed ones by nonce, then debts, then the rest by age: as they will be planned."""
    seal, charge = record.value.seal, record.value.charge
    if seal is not None:
        return (0, seal.nonce, charge.id)
    return (1 if charge.kind is ChargeKind.DEBT else 2, charge.created_at, charge.id)
