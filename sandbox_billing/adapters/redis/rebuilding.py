"""
Carrying out what a comparison says: each repair is one fact, with its entry in the audit.

A repair rests on what was read (L{inventory.Found}) and writes nothing if that has changed.
Worker facts, all of them: whoever rebuilds holds the lease.

Tests: L{tests.cli.test_reconcile} and L{tests.adapters.test_rebuilding}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from attrs import evolve, field, frozen

from sandbox_billing.adapters.redis.audit import append
from sandbox_billing.adapters.redis.commit import Read, absent, field_absent, field_is, holds
from sandbox_billing.adapters.redis.draft import NOW, Draft, stored_form
from sandbox_billing.adapters.redis.inventory import Found
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.sessions import Sessions
from sandbox_billing.adapters.redis.stops import lift_quarantine
from sandbox_billing.adapters.redis.store import Timing
from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.comparison import (
    Accept,
    Advance,
    Baseline,
    Difference,
    Enter,
    Expose,
    Mirror,
    RaiseNonce,
    Recount,
    Release,
    Remember,
    Restore,
    Settle,
    Strike,
)
from sandbox_billing.ledger.hold import session_field, session_value
from sandbox_billing.ledger.identity import (
    Address,
    BatchId,
    ChargeId,
    Nonce,
    Reference,
    SandboxId,
)
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.proofs import advanced, settled_as
from sandbox_billing.ledger.shelves import Entry, Index
from sandbox_billing.ledger.spending import spending_value
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, Merged, Open


BY = "reconcile --rebuild"

ACCEPTED = "accept"
"""What the audit calls it that settled vouchers without a charge are known."""

DEBT_SECONDS = 600
"""When a debt is collected that is found or listed again: many blocks stand on its event then."""


@frozen(kw_only=True)
class Rebuilder:
    """
    @ivar timing: The daemon's.
    @ivar accounts: Of wallets that become known again: at the mirror's block, where it stands.
    @ivar _written: Stored forms of what earlier repairs of this run have added.
    """

    journal: Journal
    found: Found
    timing: Timing
    accounts: Mapping[Address, Account]
    now: UnixSeconds
    _written: dict[str, bytes] = field(factory=dict, init=False)

    async def apply(self, difference: Difference) -> None:
        """
        Carry out the repair of a difference.

        @raise Transient: C{Stale}: what it rests on has changed.
        @raise Transient: C{LeaseLost}: another process is the worker.
        """
        repair = difference.repair
        assert repair is not None
        draft = self.journal.store.draft(f"rebuild {difference.subject}")
        match repair:
            case Restore(session=session, intent=intent):
                sessions = Sessions(self.journal.store, self.timing)
                token = self.journal.store.token.now()
                await sessions.open(
                    session, intent=intent, create_charge=None, stop_reason=None, token=token
                )
            case Mirror(wallet=wallet):
                await self._mirror(draft, wallet)
            case Remember(event=event):
                await self.journal.mirror.add_history([event], [])
            case Release():
                await self._release(draft, repair)
            case Settle():
                self._settle(draft, repair)
            case _:
                self._plain(draft, repair)
        await append(self.journal.store, draft, self._entry(difference))
        await self.journal.store.carry_out(draft.commit(token=self.journal.store.token.now()))

    def _plain(
        self,
        draft: Draft,
        repair: RaiseNonce | Advance | Accept | Expose | Enter | Strike | Recount,
    ) -> None:
        keys = draft.keys
        match repair:
            case RaiseNonce(wallet=wallet, to=to):
                key = keys.nonce(wallet)
                draft.expect_stored(key, self.found.raw.get(key))
                draft.write("SET", key, to)
            case Advance():
                self._advance(draft, repair)
            case Expose(wallet=wallet, field=name, value=value):
                key, before = keys.exposure(wallet), self.found.store.exposure.get(wallet, {})
                is_ = before.get(name)
                draft.expect(field_absent(key, name) if is_ is None else field_is(key, name, is_))
                if value is None:
                    draft.conceal(wallet, name)
                else:
                    draft.expose(wallet, name, value)
            case Enter(entry=entry):
                self._guard(draft, entry)
                self._enter(draft, entry)
            case Strike(entry=entry):
                self._guard(draft, entry)
                self._strike(draft, entry)
            case Recount(vouchers=vouchers, fees=fees):
                key = keys.totals()
                draft.expect_stored(key, self.found.raw.get(key))
                totals = evolve(self.found.store.totals, vouchers=vouchers, fees=fees)
                draft.write("SET", key, stored_form(totals))
            case Accept():
                pass
            case _:
                assert_never(repair)

    def _entry(self, difference: Difference) -> AuditEntry:
        what, subject, amount = "rebuild", difference.subject, Neuron(0)
        match difference.repair:
            case Accept(wallet=wallet, upto=upto, amount=amount, before=before):
                what, subject = ACCEPTED, f"{wallet}:{upto}:{before}"
            case Settle(before=charged):
                amount = charged.charge.amount
        return AuditEntry(
            at=self.now,
            by=BY,
            what=what,
            subject=subject,
            amount=amount,
            reason=f"{difference.kind}: {difference.found}; {difference.would}",
        )

    # -- charges and sessions --------------------------------------------------------------

    def _settle(self, draft: Draft, repair: Settle) -> None:
        settled = settled_as(repair.before, repair.event, self.now)
        if settled is None:
            raise BrokenLaw("L6", f"{repair.before.charge.id} has no outcome")
        after, debt = settled
        self._end(draft, after)
        for part in repair.parts:
            self._end(draft, part.become(Merged(after.charge.id)))
        if debt is not None:
            draft.append_charge(debt, self.now + DEBT_SECONDS, first=True)
        if repair.rest is not None:
            draft.append_charge(repair.rest, self.now)
        for new in (debt, repair.rest):
            if new is not None:
                # The next repair may settle it.
                self._written[draft.keys.charge(new.id)] = stored_form(ChargeRecord(new))

    def _end(self, draft: Draft, after: ChargeRecord) -> None:
        """A charge's last state, whether it was stored or not."""
        keys, charge = draft.keys, after.charge
        key = keys.charge(charge.id)
        draft.expect_stored(key, self._written.get(key, self.found.raw.get(key)))
        draft.write("SET", key, stored_form(after))
        draft.write("ZADD", keys.usage(charge.owner), charge.created_at, charge.id)
        draft.write("SADD", keys.wallets(), charge.owner.hex)
        draft.write("ZREM", keys.charges(charge.owner), charge.id)
        draft.write("ZREM", keys.first(charge.owner), charge.id)
        draft.finish_charge(charge)

    def _advance(self, draft: Draft, repair: Advance) -> None:
        keys, sandbox = draft.keys, repair.sandbox
        key, record = keys.session(sandbox), keys.sandbox(sandbox)
        before = self.found.store.shelf.sessions[sandbox]
        after = advanced(before, repair.until)
        draft.expect(holds(key, self.found.raw[key]))
        known = self.found.store.records.get(sandbox)
        if known is None:
            draft.expect(absent(record))
            # Whether its create fee was charged nobody knows any more: it is not, again.
            draft.write("HSET", record, "v", 1, "owner", after.owner.hex)
            draft.write("HSET", record, "reference", after.reference, "create_charged", 1)
        else:
            draft.expect(field_is(record, "charged_until", known.charged_until))
        draft.write("HSET", record, "charged_until", after.charged_until)
        draft.write("SET", key, stored_form(after))
        draft.write("SADD", keys.sessions(), sandbox)
        if after.started_at is not None:
            draft.write("ZADD", keys.due(), after.charged_until, sandbox)
        draft.expose(after.owner, session_field(sandbox), session_value(after))
        draft.spend(after.allowance, session_field(sandbox), spending_value(after))

    # -- wallets ---------------------------------------------------------------------------

    async def _mirror(self, draft: Draft, wallet: Address) -> None:
        account, mirror = self.accounts[wallet], self.found.mirror
        if mirror is not None:
            await self.journal.doors.add_account(mirror, account)
            return
        # The watcher's first step reads every wallet that is known.
        keys = draft.keys
        draft.expect(absent(keys.mirror()), absent(keys.account(wallet)))
        draft.write_accounts([account])
        if wallet not in self.found.store.nonces:
            draft.expect(absent(keys.nonce(wallet)))
            draft.write("SET", keys.nonce(wallet), account.last_nonce)

    async def _release(self, draft: Draft, repair: Release) -> None:
        keys, wallet = draft.keys, repair.wallet
        name = f"{repair.letter.kind}:{repair.letter.name}"
        draft.expect(field_is(keys.letters(), name, stored_form(repair.letter)))
        draft.write("HDEL", keys.letters(), name)
        if not repair.lift:
            return
        sessions = self.found.store.shelf.sessions.values()
        mine = [session.sandbox for session in sessions if session.owner == wallet]
        await lift_quarantine(self.journal.store, draft, wallet, mine)

    # -- indices ---------------------------------------------------------------------------

    def _guard(self, draft: Draft, entry: Entry) -> None:
        """What is listed is stored as it was read, or is as absent."""
        keys = draft.keys
        match entry.index:
            case Index.PENDING | Index.USAGE | Index.CHARGES | Index.FIRST | Index.DEAD:
                key = keys.charge(ChargeId(entry.member))
            case Index.BATCHES | Index.IN_FLIGHT:
                key = keys.batch(BatchId(entry.member))
            case Index.SESSIONS | Index.DUE:
                key = keys.session(SandboxId(entry.member))
            case Index.INTENTS:
                key = keys.intent(Reference(entry.member))
            case Index.ACCOUNTS | Index.BLOCKED | Index.READY | Index.WALLETS:
                return
            case _:
                assert_never(entry.index)
        draft.expect_stored(key, self.found.raw.get(key))

    def _enter(self, draft: Draft, entry: Entry) -> None:
        keys, member = draft.keys, entry.member
        match entry.index:
            case Index.PENDING:
                draft.write("RPUSH", keys.pending(), member)
            case Index.USAGE:
                made = self.found.store.shelf.charges[ChargeId(member)].charge.created_at
                draft.write("ZADD", keys.usage(Address(entry.of)), made, member)
            case Index.CHARGES:
                score = self._ripe_at(self.found.store.shelf.charges[ChargeId(member)])
                draft.write("ZADD", keys.charges(Address(entry.of)), score, member)
                draft.touch(Address(entry.of))
            case Index.FIRST:
                score = self._ripe_at(self.found.store.shelf.charges[ChargeId(member)])
                draft.write("ZADD", keys.first(Address(entry.of)), score, member)
                draft.touch(Address(entry.of))
            case Index.READY:
                draft.write("ZADD", keys.ready(), self.now, member)
            case Index.DEAD:
                draft.write("ZADD", keys.dead(), self.now, member)
            case Index.WALLETS:
                draft.write("SADD", keys.wallets(), member)
            case Index.ACCOUNTS:
                draft.write("SADD", keys.accounts(), member)
            case Index.BLOCKED:
                draft.write("SADD", keys.blocked_wallets(), member)
            case Index.BATCHES:
                made = self.found.store.shelf.batches[BatchId(member)].created_at
                draft.write("ZADD", keys.batches(), made, member)
            case Index.IN_FLIGHT:
                draft.write("HSET", keys.in_flight(), entry.of, member)
            case Index.SESSIONS:
                draft.write("SADD", keys.sessions(), member)
            case Index.DUE:
                until = self.found.store.shelf.sessions[SandboxId(member)].charged_until
                draft.write("ZADD", keys.due(), until, member)
            case Index.INTENTS:
                made = self.found.store.shelf.intents[Reference(member)].created_at
                draft.write("ZADD", keys.intents(), made, member)
            case _:
                assert_never(entry.index)

    def _ripe_at(self, record: ChargeRecord) -> int:
        """When a charge may be signed that is listed again, unix seconds."""
        charge = record.charge
        if not isinstance(record.state, Open):
            return NOW
        if charge.kind is ChargeKind.DEBT:
            # Whether the second look at what it is left of was taken nobody knows.
            return self.now + DEBT_SECONDS
        session = self.found.store.shelf.sessions.get(charge.sandbox)
        if charge.kind is ChargeKind.CREATE and session and session.started_at is None:
            # A create that never starts is not charged.
            return max(self.now, session.opened_at + self.timing.ripen_seconds)
        return self.now

    def _strike(self, draft: Draft, entry: Entry) -> None:
        keys, member = draft.keys, entry.member
        match entry.index:
            case Index.PENDING:
                draft.write("LREM", keys.pending(), 0, member)
            case Index.USAGE:
                draft.write("ZREM", keys.usage(Address(entry.of)), member)
            case Index.CHARGES:
                draft.write("ZREM", keys.charges(Address(entry.of)), member)
            case Index.FIRST:
                draft.write("ZREM", keys.first(Address(entry.of)), member)
            case Index.IN_FLIGHT:
                draft.expect(field_is(keys.in_flight(), entry.of, member))
                draft.write("HDEL", keys.in_flight(), entry.of)
            case Index.SESSIONS:
                draft.write("SREM", keys.sessions(), member)
            case Index.ACCOUNTS:
                draft.expect(absent(keys.account(Address(member))))
                draft.write("SREM", keys.accounts(), member)
            case Index.BLOCKED:
                draft.expect(absent(keys.blocked(Address(member))))
                draft.write("SREM", keys.blocked_wallets(), member)
            case Index.DEAD | Index.BATCHES | Index.DUE | Index.INTENTS:
                named = {
                    Index.DEAD: keys.dead(),
                    Index.BATCHES: keys.batches(),
                    Index.DUE: keys.due(),
                    Index.INTENTS: keys.intents(),
                }
                draft.write("ZREM", named[entry.index], member)
            case Index.READY | Index.WALLETS:
                raise BrokenLaw("L6", f"{entry.index} may keep {member}")
            case _:
                assert_never(entry.index)


async def baselines(journal: Journal) -> tuple[dict[Address, Baseline], tuple[str, ...]]:
    """
    Up to which nonces settled vouchers without a charge were accepted before.

    @return: That, and the names of entries that cannot be read.
    """
    found: dict[Address, Baseline] = {}
    damaged = []
    key = journal.store.keys.audit()
    (lines,) = await journal.store.read(Read("LRANGE", key, (0, -1)))
    for place, line in enumerate(lines if isinstance(lines, list) else []):
        try:
            entry = decode(AuditEntry, line if isinstance(line, bytes) else b"")
            if entry.what != ACCEPTED:
                continue
            # Entries from before there was a moment end with the nonce.
            name, nonce, *moment = entry.subject.split(":")
            wallet, before = Address(name), int(moment[0]) if moment else 0
            last = found.get(wallet, Baseline(Nonce(0), UnixSeconds(0)))
            found[wallet] = Baseline(
                Nonce(max(last.upto, int(nonce))), UnixSeconds(max(last.before, before))
            )
        except (BadInput, ValueError):
            damaged.append(f"audit entry {place + 1}")
    return found, tuple(damaged)
