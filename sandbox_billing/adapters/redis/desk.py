"""An operator's decisions about the queue: door facts, each with its entry in the audit."""

from __future__ import annotations

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.audit import append
from sandbox_billing.adapters.redis.commit import (
    Read,
    field_absent,
    field_is,
    holds,
    list_ends,
)
from sandbox_billing.adapters.redis.draft import NOW, Draft, stored_form
from sandbox_billing.adapters.redis.stops import lift_quarantine
from sandbox_billing.adapters.redis.store import Store, mapping, raw, stored, text, texts
from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.interfaces import (
    DeadCharge,
    IDesk,
    Stored,
    StoredLetter,
    WalletFunds,
)
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import charge_field
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Reference, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds, parse_neuron
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered, Signed


@implementer(IDesk)
@frozen
class RedisDesk:
    """Whoever decides needs no lease: what was read is compared as a whole."""

    store: Store

    async def dead(self) -> tuple[DeadCharge, ...]:
        keys = self.store.keys
        (reply,) = await self.store.read(Read("ZRANGE", keys.dead(), (0, -1, "WITHSCORES")))
        named = mapping(reply)
        forms = await self.store.read_many([Read("GET", keys.charge(ChargeId(n))) for n in named])
        found = []
        for (name, since), form in zip(named.items(), forms, strict=True):
            try:
                record = stored(ChargeRecord, form)
            except BadInput:
                record = None
            moment = UnixSeconds(int(since))
            dead = DeadCharge(id=ChargeId(name), since=moment, record=record, raw=raw(form))
            found.append(dead)
        return tuple(found)

    async def letters(self) -> tuple[StoredLetter, ...]:
        (fields,) = await self.store.read(Read("HGETALL", self.store.keys.letters()))
        found = []
        for name, form in mapping(fields).items():
            try:
                letter = decode(DeadLetter, form)
            except BadInput as why:
                kind, _, rest = name.partition(":")
                now = self.store.wall.now()
                letter = DeadLetter(kind=kind, name=rest, reason=str(why), since=now)
            about = await self._about(letter)
            found.append(StoredLetter(letter=letter, raw=form.encode(), about=about))
        return tuple(sorted(found, key=lambda one: (one.letter.since, one.raw or b"")))

    async def _about(self, letter: DeadLetter) -> bytes | None:
        keys, name = self.store.keys, letter.name
        match letter.kind:
            case "charge":
                key = keys.charge(ChargeId(name))
            case "session":
                key = keys.session(SandboxId(name))
            case "intent":
                key = keys.intent(Reference(name))
            case "batch":
                key = keys.batch(BatchId(name))
            case "outcome":
                key = keys.outcome(BatchId(name.partition(":")[0]))
            case _:
                return None
        (form,) = await self.store.read(Read("GET", key))
        return raw(form)

    async def owner_of(self, charge: ChargeId) -> tuple[Address, Neuron] | None:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.wallets()))
        wallets = [Address(name) for name in texts(members)]
        names = (f"charge:{charge}", f"debt:{charge}")
        reads = [Read("HGET", keys.exposure(w), (name,)) for w in wallets for name in names]
        for place, reply in enumerate(await self.store.read_many(reads)):
            if reply is not None:
                return wallets[place // len(names)], parse_neuron(text(reply))
        return None

    async def retry(self, record: Stored[ChargeRecord], entry: AuditEntry) -> None:
        keys, charge, state = self.store.keys, record.value.charge, record.value.state
        if not isinstance(state, DeadLettered) or state.seal is None:
            raise BrokenLaw("L5", f"charge {charge.id} is no dead letter that was signed")
        wallet, key = charge.owner, keys.charge(charge.id)
        form = stored_form(record.value.become(Signed(state.seal)))
        (last,) = await self.store.read(Read("GET", keys.nonce(wallet)))
        draft = self.store.draft(f"retry {charge.id}")
        draft.expect(holds(key, record.raw), field_absent(keys.in_flight(), wallet.hex))
        draft.expect_stored(keys.nonce(wallet), raw(last))
        # Nonces need not be contiguous.  Whoever is about to sign new ones has read this one:
        # none is given above a charge that he has not seen in the queue (L5).
        given = max(state.seal.nonce, 0 if last is None else int(text(last)))
        draft.write("SET", keys.nonce(wallet), given + 1)
        draft.write("SET", key, form)
        draft.write("ZREM", keys.dead(), charge.id)
        draft.write("RPUSH", keys.pending(), charge.id)
        draft.write("ZADD", keys.first(wallet), NOW, charge.id)
        draft.offer(wallet, self.store.wall.now())
        draft.expose(wallet, charge_field(charge), str(charge.amount))
        await append(self.store, draft, entry)
        await self.store.carry_out(draft.commit(witness=holds(key, form)))

    async def strike(self, letter: StoredLetter, owner: Address | None, entry: AuditEntry) -> None:
        keys, kind, name = self.store.keys, letter.letter.kind, letter.letter.name
        draft = self.store.draft(f"drop the letter about {kind} {name}")
        field = f"{kind}:{name}"
        draft.expect(
            field_absent(keys.letters(), field)
            if letter.raw is None
            else field_is(keys.letters(), field, letter.raw)
        )
        draft.write("HDEL", keys.letters(), field)
        if kind == "charge":
            draft.expect_stored(keys.charge(ChargeId(name)), letter.about)
            if not _readable(letter.about):
                self._take_out(draft, ChargeId(name), owner)
        await self._decide(draft, entry)

    def _take_out(self, draft: Draft, charge: ChargeId, owner: Address | None) -> None:
        keys = draft.keys
        draft.write("DEL", keys.charge(charge))
        draft.write("LREM", keys.pending(), 1, charge)
        draft.write("ZREM", keys.dead(), charge)
        if owner is not None:
            for queue in (keys.charges(owner), keys.first(owner), keys.usage(owner)):
                draft.write("ZREM", queue, charge)
            draft.conceal(owner, f"charge:{charge}")
            draft.conceal(owner, f"debt:{charge}")

    async def release(self, funds: WalletFunds, entry: AuditEntry) -> None:
        keys, wallet = self.store.keys, funds.wallet
        draft = self.store.draft(f"release {wallet}")
        draft.expect(field_absent(keys.letters(), f"wallet:{wallet.hex}"))
        draft.expect_revision(wallet, funds.revision)
        await lift_quarantine(self.store, draft, wallet, funds.exposure.sandboxes())
        await self._decide(draft, entry)

    async def _decide(self, draft: Draft, entry: AuditEntry) -> None:
        form = await append(self.store, draft, entry)
        witness = list_ends(self.store.keys.audit(), form)
        await self.store.carry_out(draft.commit(witness=witness))

    async def entries(self, first: int, count: int) -> tuple[bytes, ...]:
        (found,) = await self.store.read(
            Read("LRANGE", self.store.keys.audit(), (first, first + count - 1))
        )
        return tuple(one.encode() for one in texts(found))


def _readable(form: bytes | None) -> bool:
    try:
        return stored(ChargeRecord, form) is not None
    except BadInput:
        return False
