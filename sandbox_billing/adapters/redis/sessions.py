"""
The life of a session as facts: opened, begun, ticked, closed.

Doors and the worker write the same facts; the worker adds its token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from attrs import evolve, frozen

from sandbox_billing.adapters.redis.commit import (
    Outcome,
    Read,
    absent,
    field_at_least,
    field_is,
    holds,
)
from sandbox_billing.adapters.redis.costs import (
    ask_to_fold,
    count_days,
    count_end,
    count_fee,
    ended_before,
    expect_cost,
    keep_for_later,
    leave,
    with_fee,
)
from sandbox_billing.adapters.redis.draft import Draft, digest, stored_form
from sandbox_billing.adapters.redis.idempotency import mark_opened
from sandbox_billing.adapters.redis.records import (
    WISHED,
    end_intent,
    outlive,
    raised,
    ripen_create,
    start_over,
    told,
    write_record,
    write_run,
)
from sandbox_billing.adapters.redis.store import (
    Store,
    Timing,
    mapping,
    raw,
    sandbox_record,
    stored,
    text,
)
from sandbox_billing.errors import BadInput, BrokenLaw
from sandbox_billing.interfaces import SandboxRecord, Stale, Stored
from sandbox_billing.ledger.hold import Intent, session_field, session_value
from sandbox_billing.ledger.identity import SandboxId, create_charge_id
from sandbox_billing.ledger.metering import Session, Tick, day_of, due_at
from sandbox_billing.ledger.money import Neuron, parse_neuron
from sandbox_billing.ledger.run import BY_OWNER, OBSERVED, changed_run, ended_run
from sandbox_billing.ledger.spending import fee_field, run_field, spending_value, spent_by
from sandbox_billing.ledger.voucher import Charge, ChargeRecord, Open


_TRIES = 8
"""A fact that others overtake so often is left to its caller's next turn."""


@frozen(kw_only=True)
class _Opening:
    """What an opening rests on, as read in one step."""

    session: Stored[Session] | None
    record: SandboxRecord | None
    cost: bytes | None
    costs: int
    blocked: bytes | None
    intent: bytes | None


@frozen
class Sessions:
    """
    The facts of both kinds of caller.

    @ivar timing: When periods are full and create charges ripe.
    """

    store: Store
    timing: Timing

    # opening

    async def open(
        self,
        session: Session,
        *,
        intent: Intent | None,
        create_charge: Charge | None,
        stop_reason: str | None,
        token: bytes | None,
    ) -> Session:
        """
        Open a session under an intent, or without one.

        @raise Stale: No session is open and the intent is gone; without an intent: another
            session is open.
        """
        for _ in range(_TRIES):
            found = await self._look(session, intent)
            ours = told(raised(session, found.record), intent, found.record)
            ours = evolve(ours, life_spent=parse_neuron((found.cost or b"0").decode()))
            if found.session is not None:
                if intent is None and found.session.value != ours:
                    break
                if intent is None or found.intent is None:
                    return found.session.value
                draft = self.store.draft("drop an intent that another session made needless")
                draft.expect(holds(self.store.keys.session(session.sandbox), found.session.raw))
                end_intent(draft, intent)
                mark_opened(draft, intent.reference, session.sandbox)
                done = await self.store.attempt(draft.commit(token=token))
                if done.outcome is not Outcome.STALE:
                    return found.session.value
                continue
            if intent is not None and found.intent is None:
                break
            ours = with_fee(await self._resumed(ours), found.record, create_charge)
            draft = self._opening(ours, found, create_charge, stop_reason)
            if intent is not None:
                draft.expect_stored(self.store.keys.intent(intent.reference), found.intent)
                end_intent(draft, intent)
                start_over(draft, ours.sandbox)
            witness = holds(self.store.keys.session(ours.sandbox), stored_form(ours))
            done = await self.store.attempt(draft.commit(token=token, witness=witness))
            if done.outcome is not Outcome.STALE:
                return ours
        raise Stale(f"cannot open a session of {session.sandbox}: overtaken, or without an intent")

    async def _look(self, session: Session, intent: Intent | None) -> _Opening:
        keys, sandbox = self.store.keys, session.sandbox
        reads = [
            Read("GET", keys.session(sandbox)),
            Read("HGETALL", keys.sandbox(sandbox)),
            Read("HGET", keys.costs(session.owner), (sandbox,)),
            Read("HLEN", keys.costs(session.owner)),
            Read("GET", keys.blocked(session.owner)),
        ]
        if intent is not None:
            reads.append(Read("GET", keys.intent(intent.reference)))
        opened, record, cost, costs, blocked, *rest = await self.store.read(*reads)
        return _Opening(
            session=stored(Session, opened),
            record=sandbox_record(sandbox, mapping(record)),
            cost=raw(cost),
            costs=int(text(costs)),
            blocked=raw(blocked),
            intent=raw(rest[0]) if rest else None,
        )

    async def _resumed(self, session: Session) -> Session:
        """
        With what was charged before: where its token counts a session that is not there, that
        one was lost, not ended, and this one goes on with it.
        """
        allowance, name = session.allowance, session_field(session.sandbox)
        if allowance is None:
            return session
        (value,) = await self.store.read(
            Read("HGET", self.store.keys.spending(allowance.token), (name,))
        )
        if value is None:
            return session
        try:
            return evolve(session, spent=spent_by(text(value)))
        except BadInput:
            # Metered it must be; nobody can say that it may go on.
            return evolve(session, spent=allowance.limit)

    def _opening(
        self,
        session: Session,
        found: _Opening,
        create_charge: Charge | None,
        stop_reason: str | None,
    ) -> Draft:
        keys, sandbox, record = self.store.keys, session.sandbox, found.record
        draft = self.store.draft(f"open a session of {sandbox}")
        draft.expect(absent(keys.session(sandbox)))
        draft.expect_stored(keys.blocked(session.owner), found.blocked)
        if record is None:
            draft.expect(absent(keys.sandbox(sandbox)))
        else:
            draft.expect(
                field_is(keys.sandbox(sandbox), "charged_until", record.charged_until),
                field_is(keys.sandbox(sandbox), "create_charged", int(record.create_charged)),
            )
        charged = record is not None and record.create_charged
        expect_cost(draft, session, found.cost)
        ask_to_fold(draft, session.owner, found.costs)
        if create_charge is not None and not charged:
            running = session.started_at is not None
            ripe_at = session.opened_at + (0 if running else self.timing.ripen_seconds)
            draft.append_charge(create_charge, ripe_at)
            draft.spend(session.allowance, fee_field(create_charge), str(create_charge.amount))
            count_fee(draft, session, create_charge)
            charged = True
        reason = stop_reason or (found.blocked and found.blocked.decode())
        if reason:
            draft.order_stop(sandbox, reason, self.store.wall.now())
            draft.warn_of_stop(session.owner, reason, [sandbox])
        write_record(draft, session, record, create_charged=charged)
        mark_opened(draft, session.reference, sandbox)
        draft.write("SET", keys.session(sandbox), stored_form(session))
        draft.write("PERSIST", keys.runs(sandbox))
        draft.write("SADD", keys.sessions(), sandbox)
        draft.write("HDEL", keys.seen(), sandbox)
        draft.expose(session.owner, session_field(sandbox), session_value(session))
        draft.spend(session.allowance, session_field(sandbox), spending_value(session))
        draft.recount(session.owner)
        leave(draft, session.owner, sandbox)
        if session.started_at is not None:
            draft.write("ZADD", keys.due(), due_at(session, self.timing.interval_seconds), sandbox)
        return draft

    # the rest of its life

    async def begin(self, session: Stored[Session], begun: Session, token: bytes | None) -> None:
        """@raise Stale: The session has changed."""
        keys, sandbox = self.store.keys, begun.sandbox
        draft = self.store.draft(f"begin the session of {sandbox}")
        self._move(draft, session, begun)
        ended = changed_run(session.value, begun)
        if ended is not None:
            write_run(draft, sandbox, ended)
        draft.write("ZADD", keys.due(), due_at(begun, self.timing.interval_seconds), sandbox)
        ripen_create(draft, begun.owner, sandbox, self.store.wall.now())
        witness = holds(keys.session(sandbox), stored_form(begun))
        done = await self.store.attempt(draft.commit(token=token, witness=witness))
        if done.outcome is Outcome.STALE:
            _refuse(sandbox, done.failed, broken=(_RECORD,))

    async def tick(self, session: Stored[Session], tick: Tick, token: bytes) -> Stored[Session]:
        """
        Charge a period (L2, L3).

        @raise Stale: The session has changed or was not seen running for so long.
        """
        keys, after = self.store.keys, tick.session
        sandbox = after.sandbox
        draft = self.store.draft(f"charge {sandbox}")
        self._move(draft, session, after)
        broken = [_RECORD]
        if tick.charge is not None:
            broken.append(draft.append_charge(tick.charge, tick.charge.created_at))
        draft.expect(field_at_least(keys.seen(), sandbox, after.charged_until))
        draft.write("ZADD", keys.due(), due_at(after, self.timing.interval_seconds), sandbox)
        form = stored_form(after)
        witness = holds(keys.session(sandbox), form)
        done = await self.store.attempt(draft.commit(token=token, witness=witness))
        if done.outcome is Outcome.STALE:
            _refuse(sandbox, done.failed, broken=broken)
        return Stored(after, form)

    async def close(
        self,
        session: Stored[Session],
        closing: Tick,
        *,
        destroyed: bool,
        forgive_create: bool,
        token: bytes | None,
    ) -> None:
        """
        End a session with its last charge.

        @raise Stale: The session has changed.
        """
        keys, last = self.store.keys, closing.session
        sandbox = last.sandbox
        ended, now = digest(session.raw), self.store.wall.now()
        why, wished = await self._why(last, token)
        run = ended_run(last, why, now)
        # What goes on by itself: what its owner wished to end does not, whoever ends it.
        kept = None if destroyed or token is None or wished else why
        for _ in range(_TRIES):
            draft = self.store.draft(f"close the session of {sandbox}")
            self._guard(draft, session)
            broken = [_RECORD]
            if closing.charge is not None:
                broken.append(draft.append_charge(closing.charge, closing.charge.created_at))
            draft.write("DEL", keys.session(sandbox))
            draft.write("SREM", keys.sessions(), sandbox)
            draft.write("ZREM", keys.due(), sandbox)
            draft.write("HDEL", keys.seen(), sandbox)
            draft.write(
                "HSET", keys.sandbox(sandbox), "charged_until", last.charged_until, "ended", ended
            )
            write_run(draft, sandbox, run)
            draft.conceal(last.owner, session_field(sandbox))
            draft.spend(last.allowance, session_field(sandbox), None)
            draft.spend(last.allowance, run_field(last), str(last.spent))
            place, forgiven = await self._forgive(draft, last) if forgive_create else NOTHING
            count_end(draft, session.value, last, forgiven)
            keep_for_later(draft, last, kept, now)
            if destroyed:
                outlive(draft, sandbox, now)
                ripen_create(draft, last.owner, sandbox, now)
            witness = field_is(keys.sandbox(sandbox), "ended", ended)
            done = await self.store.attempt(draft.commit(token=token, witness=witness))
            if done.outcome is not Outcome.STALE:
                return
            if place is None or done.failed != place:
                _refuse(sandbox, done.failed, broken=broken)
        raise Stale(f"cannot close the session of {sandbox}: its create charge keeps changing")

    async def _why(self, last: Session, token: bytes | None) -> tuple[str, bool]:
        """
        @return: What is known of the reason why it ended, by an order, else by who closes it;
            and whether its owner has asked for its end.
        """
        keys, sandbox = self.store.keys, last.sandbox
        reason, ordered_at, wished = await self.store.read(
            Read("GET", keys.stop_reason(sandbox)),
            Read("HGET", keys.stop(sandbox), ("ordered_at",)),
            Read("HGET", keys.sandbox(sandbox), (WISHED,)),
        )
        if reason is not None and not ended_before(last, ordered_at):
            return text(reason), wished is not None
        return BY_OWNER if token is None else OBSERVED, wished is not None

    async def _forgive(self, draft: Draft, last: Session) -> tuple[int | None, Neuron]:
        """@return: The place of its expectation and its amount; L{NOTHING} to forgive."""
        keys, sandbox = self.store.keys, last.sandbox
        key = keys.charge(create_charge_id(sandbox))
        (found,) = await self.store.values(ChargeRecord, [key])
        if found is None or not isinstance(found.value.state, Open):
            return NOTHING
        charge = found.value.charge
        place = draft.expect(holds(key, found.raw))
        draft.write("DEL", key)
        draft.write("ZREM", keys.charges(charge.owner), charge.id)
        draft.write("ZREM", keys.usage(charge.owner), charge.id)
        draft.finish_charge(charge)
        draft.spend(last.allowance, fee_field(charge), None)
        draft.cost(charge.owner, day_of(charge.created_at), fee_field(charge), None)
        draft.write("HSET", keys.sandbox(sandbox), "create_charged", 0, "create_forgiven", 1)
        return place, charge.amount

    def _guard(self, draft: Draft, session: Stored[Session]) -> None:
        """Session and record are as they were; the record is moved with every session."""
        keys, before = self.store.keys, session.value
        draft.expect(
            holds(keys.session(before.sandbox), session.raw),
            field_is(keys.sandbox(before.sandbox), "charged_until", before.charged_until),
        )

    def _move(self, draft: Draft, session: Stored[Session], after: Session) -> None:
        """The session's next form, with record and exposure."""
        keys, sandbox = self.store.keys, after.sandbox
        self._guard(draft, session)
        draft.write("SET", keys.session(sandbox), stored_form(after))
        draft.write("HSET", keys.sandbox(sandbox), "charged_until", after.charged_until)
        draft.expose(after.owner, session_field(sandbox), session_value(after))
        draft.spend(after.allowance, session_field(sandbox), spending_value(after))
        count_days(draft, session.value, after)
        if (after.rate, after.started_at) != (session.value.rate, session.value.started_at):
            draft.recount(after.owner)


NOTHING = (None, Neuron(0))
"""Nothing is forgiven."""

_RECORD = 1
"""The place of the record among the expectations of C{_guard}."""


def _refuse(sandbox: SandboxId, failed: int | None, *, broken: Sequence[int]) -> NoReturn:
    """
    What it means that a step of a session was not taken.

    @param broken: The expectations that, with the session unchanged, only a broken law breaks.
    """
    if failed in broken:
        raise BrokenLaw(
            "L2", f"session, record and charges of {sandbox} disagree; nothing was charged"
        )
    raise Stale(f"the session of {sandbox} has changed, or was not seen running for so long")
