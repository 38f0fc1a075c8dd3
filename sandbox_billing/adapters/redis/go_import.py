"""
Carrying over what the Go implementation left: each thing in one write that also puts its key,
or its entry, away (C{go:imported:…}), so that it is here or there and never in both.

Each write compares what it rests on with what was read and bears the lease's token: a Go system
that still runs, or a daemon, is found out, and whoever dies in between runs it again.

Tests: L{tests.adapters.test_go_import}.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from attrs import evolve, frozen

from sandbox_billing.adapters.redis.audit import append
from sandbox_billing.adapters.redis.commit import (
    Read,
    absent,
    field_is,
    holds,
    list_begins,
    list_ends,
    set_size,
)
from sandbox_billing.adapters.redis.costs import leave
from sandbox_billing.adapters.redis.draft import NOW, Draft, stored_form
from sandbox_billing.adapters.redis.go_store import STOPS, GoFound
from sandbox_billing.adapters.redis.idempotency import mark_opened
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.rebuilding import ACCEPTED, DEBT_SECONDS
from sandbox_billing.adapters.redis.records import write_record
from sandbox_billing.adapters.redis.store import mapping, raw, sandbox_record, stored, text
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.go_forms import Ghost
from sandbox_billing.ledger.go_judge import VoucherStep
from sandbox_billing.ledger.go_plan import GoPlan, SessionStep, WalletStep
from sandbox_billing.ledger.hold import charge_field, session_field, session_value
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.metering import due_at
from sandbox_billing.ledger.money import Neuron, UnixSeconds, add
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeRecord,
    DeadLettered,
    Open,
    Paid,
    Partial,
    Signed,
)


BY = "import-go"

_NOTHING = Neuron(0)


@frozen(kw_only=True)
class GoImporter:
    """
    @ivar found: What the plan rests on.
    @ivar accounts: Of every wallet of the plan: at the mirror's block, where it stands.
    @ivar interval_seconds: VOUCHER_INTERVAL_SEC.
    """

    journal: Journal
    found: GoFound
    plan: GoPlan
    accounts: Mapping[Address, Account]
    interval_seconds: int
    now: UnixSeconds

    async def steps(self) -> AsyncIterator[str]:
        """
        Carry the plan out, a write at a time.

        Nonces first: whatever is signed from then on is above them.  Sessions before vouchers:
        what their neighbours prove is decided already.

        @return: What was done, after each.
        @raise Transient: C{Stale}: somebody else has written; C{LeaseLost}.
        """
        for wallet in self.plan.wallets:
            if await self._wallet(wallet):
                yield f"wallet {wallet.wallet}: vouchers go on above nonce {wallet.nonce}"
        for session in self.plan.sessions:
            await self._session(session)
            yield f"session {session.go.sandbox}: charged until {session.session.charged_until}"
        for ghost in self.plan.ghosts:
            await self._ghost(ghost)
            yield f"session {ghost.sandbox}: put away: it is nobody's"
        for voucher in self.plan.vouchers:
            await self._voucher(voucher)
            yield f"{voucher.entry.key} {voucher.entry.place}: {_became(voucher)}"
        for sandbox, reason in self.plan.stops:
            if await self._stop(sandbox, reason):
                yield f"stop of {sandbox}: ordered ({reason})"
        for sandbox in self.plan.idle_stops:
            await self._idle_stop(sandbox)
            yield f"stop of {sandbox}: put away: it does not run"
        for key, (kind, items) in self.found.leftovers.items():
            await self._put_away(key, kind, items)
            yield f"{key}: put away"

    # -- wallets ---------------------------------------------------------------------------

    async def _wallet(self, step: WalletStep) -> bool:
        """@return: Whether there was anything to do."""
        store, wallet = self.journal.store, step.wallet
        keys = store.keys
        head, account = await store.read(
            Read("GET", keys.mirror()), Read("GET", keys.account(wallet))
        )
        given = None if step.given is None else b"%d" % step.given
        draft = store.draft(f"import {wallet}")
        raised = step.given is None or step.nonce > step.given
        if head is None and account is None:
            # The watcher's first step reads every wallet that is known.
            draft.expect(absent(keys.mirror()), absent(keys.account(wallet)))
            draft.write_accounts([self.accounts[wallet]])
        elif account is None:
            mirror = await self.journal.doors.mirror()
            assert mirror is not None, "it was read"
            await self.journal.doors.add_account(mirror, self.accounts[wallet])
            # Known to the mirror, it has a nonce: the chain's.
            given = given or await self._nonce(wallet)
        elif not raised and step.accept is None:
            return False
        draft.expect_stored(keys.nonce(wallet), given)
        if raised:
            draft.write("SET", keys.nonce(wallet), step.nonce)
        what, subject = "import-go", f"wallet {wallet}"
        if step.accept is not None:
            what, subject = ACCEPTED, f"{wallet}:{step.accept}"
        reason = f"vouchers of the Go system's time; the next is above nonce {step.nonce}"
        await self._carry_out(draft, what, subject, _NOTHING, reason)
        return True

    async def _nonce(self, wallet: Address) -> bytes | None:
        store = self.journal.store
        (nonce,) = await store.read(Read("GET", store.keys.nonce(wallet)))
        return raw(nonce)

    # -- sessions --------------------------------------------------------------------------

    async def _session(self, step: SessionStep) -> None:
        store, session = self.journal.store, step.session
        keys, sandbox = store.keys, session.sandbox
        key = keys.session(sandbox)
        fields, blocked = await store.read(
            Read("HGETALL", keys.sandbox(sandbox)), Read("GET", keys.blocked(session.owner))
        )
        record = sandbox_record(sandbox, mapping(fields))
        draft = store.draft(f"import the session of {sandbox}")
        draft.expect_stored(keys.blocked(session.owner), raw(blocked))
        if record is None:
            draft.expect(absent(keys.sandbox(sandbox)))
        else:
            draft.expect(field_is(keys.sandbox(sandbox), "charged_until", record.charged_until))
        self._take(draft, key, self.found.hashes[sandbox])
        # The Go system has charged its create fee, or nobody knows: it is not charged again.
        write_record(draft, session, record, create_charged=True)
        mark_opened(draft, session.reference, sandbox)
        draft.write("SET", key, stored_form(session))
        draft.write("SADD", keys.sessions(), sandbox)
        draft.write("HDEL", keys.seen(), sandbox)
        draft.expose(session.owner, session_field(sandbox), session_value(session))
        draft.recount(session.owner)
        leave(draft, session.owner, sandbox)
        draft.write("ZADD", keys.due(), due_at(session, self.interval_seconds), sandbox)
        reason = step.stop or (None if blocked is None else (raw(blocked) or b"").decode())
        if reason:
            draft.order_stop(sandbox, reason, self.now)
            draft.warn_of_stop(session.owner, reason, [sandbox])
        why = f"charged until {session.charged_until}, {session.rate} neuron a minute"
        await self._carry_out(draft, BY, f"session {sandbox}", _NOTHING, why)

    async def _ghost(self, ghost: Ghost) -> None:
        store = self.journal.store
        draft = store.draft(f"put away the session {ghost.sandbox}")
        key = store.keys.session(SandboxId(ghost.sandbox))
        self._take(draft, key, self.found.hashes[ghost.sandbox])
        await self._carry_out(draft, BY, f"session {ghost.sandbox}", _NOTHING, "nobody's")

    def _take(self, draft: Draft, key: str, fields: Mapping[str, str]) -> None:
        """Put a hash away that is as it was read."""
        flat = [part for pair in fields.items() for part in pair]
        draft.expect(*(field_is(key, name, value) for name, value in fields.items()))
        draft.write("DEL", key)
        draft.write("RPUSH", draft.keys.imported(key), *flat)

    # -- vouchers --------------------------------------------------------------------------

    async def _voucher(self, step: VoucherStep) -> None:
        store, entry = self.journal.store, step.entry
        draft = store.draft(f"import {entry.key} {entry.place}")
        draft.expect(list_begins(entry.key, entry.raw))
        draft.write("LTRIM", entry.key, 1, -1)
        draft.write("RPUSH", draft.keys.imported(entry.key), entry.raw)
        subject = f"{entry.key} {entry.place}"
        if step.record is not None:
            self._charge(draft, step.record)
            subject = step.record.charge.id
        if step.debt is not None:
            draft.append_charge(step.debt, self.now + DEBT_SECONDS, first=True)
        moved = [step.record.state] if step.record is not None else []
        if any(isinstance(state, Paid | Partial) for state in moved):
            await self._count(
                draft, [state for state in moved if isinstance(state, Paid | Partial)]
            )
        await self._carry_out(draft, BY, subject, entry.voucher.fee, _became(step))

    def _charge(self, draft: Draft, record: ChargeRecord) -> None:
        """A charge in whatever state it is, with everything that must know of it."""
        keys, charge, wallet = draft.keys, record.charge, record.charge.owner
        if isinstance(record.state, Open):
            draft.append_charge(charge, self.now)
            return
        draft.expect(absent(keys.charge(charge.id)))
        draft.write("SET", keys.charge(charge.id), stored_form(record))
        draft.write("ZADD", keys.usage(wallet), charge.created_at, charge.id)
        draft.write("SADD", keys.wallets(), wallet.hex)
        match record.state:
            case Signed():
                draft.write("RPUSH", keys.pending(), charge.id)
                # Sealed ones that wait for a batch have score 0: all of them are seen (L5).
                draft.write("ZADD", keys.first(wallet), NOW, charge.id)
                draft.offer(wallet, self.now)
                draft.expose(wallet, charge_field(charge), str(charge.amount))
            case DeadLettered():
                draft.write("ZADD", keys.dead(), self.now, charge.id)
            case Paid() | Partial():
                pass
            case _:
                raise BrokenLaw("L6", f"{charge.id} would be imported as {record.state!r}")

    async def _count(self, draft: Draft, states: Sequence[Paid | Partial]) -> None:
        """The counter is the sum of the entries (Q-8)."""
        store = self.journal.store
        key = store.keys.totals()
        (form,) = await store.read(Read("GET", key))
        found = stored(Totals, form)
        before = Totals() if found is None else found.value
        moved = (s.seal.fee if isinstance(s, Paid) else s.paid for s in states)
        draft.expect_stored(key, raw(form))
        after = evolve(
            before, vouchers=before.vouchers + len(states), fees=add(before.fees, *moved)
        )
        draft.write("SET", key, stored_form(after))

    # -- the rest --------------------------------------------------------------------------

    async def _stop(self, sandbox: SandboxId, reason: str) -> bool:
        """@return: False where its session was carried over with an order of ours."""
        store = self.journal.store
        draft = store.draft(f"import the stop of {sandbox}")
        owner, ordered = await store.read(
            Read("HGET", store.keys.sandbox(sandbox), ("owner",)),
            Read("EXISTS", store.keys.stop(sandbox)),
        )
        if ordered != b"0":
            return False
        draft.expect(holds(STOPS + sandbox, self.found.orders[sandbox]))
        draft.expect(absent(draft.keys.stop(sandbox)))
        draft.order_stop(sandbox, reason, self.now)
        if owner is not None:
            draft.warn_of_stop(Address(text(owner)), reason, [sandbox])
        await self._carry_out(draft, BY, f"stop {sandbox}", _NOTHING, reason)
        return True

    async def _idle_stop(self, sandbox: SandboxId) -> None:
        key, form = STOPS + sandbox, self.found.orders[sandbox]
        draft = self.journal.store.draft(f"put away the stop of {sandbox}")
        draft.expect(holds(key, form), absent(draft.keys.stop(sandbox)))
        draft.write("DEL", key)
        draft.write("RPUSH", draft.keys.imported(key), form)
        await self._carry_out(draft, BY, f"stop {sandbox}", _NOTHING, "it does not run")

    async def _put_away(self, key: str, kind: str, items: Sequence[bytes]) -> None:
        draft = self.journal.store.draft(f"put away {key}")
        match kind:
            case "string":
                draft.expect(holds(key, items[0]))
            case "list":
                draft.expect(list_begins(key, items[0]), list_ends(key, items[-1]))
            case _:
                draft.expect(set_size(key, len(items)))
        draft.write("DEL", key)
        draft.write_all("RPUSH", draft.keys.imported(key), list(items))
        await self._carry_out(draft, BY, key, _NOTHING, "not needed")

    async def _carry_out(
        self, draft: Draft, what: str, subject: str, amount: Neuron, reason: str
    ) -> None:
        entry = AuditEntry(
            at=self.now, by=BY, what=what, subject=subject, amount=amount, reason=reason
        )
        store = self.journal.store
        form = await append(store, draft, entry)
        witness = list_ends(store.keys.audit(), form)
        await store.carry_out(draft.commit(token=store.token.now(), witness=witness))


def _became(step: VoucherStep) -> str:
    if step.record is None:
        return "worth nothing"
    charge: Charge = step.record.charge
    match step.record.state:
        case Open():
            return f"{charge.id}, to be signed"
        case Signed(seal=seal):
            return f"{charge.id}, signed with nonce {seal.nonce}"
        case Paid() | Partial():
            return f"{charge.id}, settled on chain"
        case DeadLettered(reason=reason):
            return f"{charge.id}, for a human: {reason}"
        case state:
            raise BrokenLaw("L6", f"{charge.id} would be imported as {state!r}")
