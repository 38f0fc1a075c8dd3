"""What outlives sessions and intents: parts of facts that several others write, too."""

from __future__ import annotations

from attrs import evolve

from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.interfaces import SandboxRecord
from sandbox_billing.ledger.hold import Intent, hold_field
from sandbox_billing.ledger.identity import Address, SandboxId, create_charge_id
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.run import Run


KEPT_SECONDS = 30 * 86_400
"""How long a sandbox is remembered after its end (wire.md, section 6)."""


KEPT_RUNS = 5_000
"""Of one sandbox: a start each hour for half a year."""


def end_intent(draft: Draft, intent: Intent) -> None:
    """An intent and its hold are gone; harmless when they were."""
    keys = draft.keys
    draft.write("DEL", keys.intent(intent.reference))
    draft.write("ZREM", keys.intents(), intent.reference)
    if intent.sandbox is not None:
        draft.write("SREM", keys.intents_of(intent.sandbox), intent.reference)
    draft.conceal(intent.owner, hold_field(intent.reference))
    draft.spend(intent.allowance, hold_field(intent.reference), None)


def ripen_create(draft: Draft, wallet: Address, sandbox: SandboxId, now: int) -> None:
    """A create charge that still waits for its sandbox to start is ripe."""
    draft.write("ZADD", draft.keys.charges(wallet), "XX", "LT", now, create_charge_id(sandbox))
    draft.offer(wallet, now)
    draft.touch(wallet)


def write_run(draft: Draft, sandbox: SandboxId, run: Run) -> None:
    """Write down a run that has ended; of those that fell out their charges tell."""
    draft.write("RPUSH", draft.keys.runs(sandbox), stored_form(run))
    draft.write("LTRIM", draft.keys.runs(sandbox), -KEPT_RUNS, -1)


def outlive(draft: Draft, sandbox: SandboxId, now: int) -> None:
    """A sandbox is gone: what is known of it is kept for a while."""
    draft.write("HSETNX", draft.keys.sandbox(sandbox), "destroyed_at", now)
    draft.write("EXPIRE", draft.keys.sandbox(sandbox), KEPT_SECONDS)
    draft.write("EXPIRE", draft.keys.runs(sandbox), KEPT_SECONDS)


WISHED = "end_wished"
"""The field of a record whose sandbox's owner asked for its end, and got no answer."""


def wish_end(draft: Draft, sandbox: SandboxId) -> None:
    """Whoever ends what runs now: its owner wished so.  For what has a record."""
    draft.write("HSET", draft.keys.sandbox(sandbox), WISHED, 1)


def start_over(draft: Draft, sandbox: SandboxId) -> None:
    """It was asked to run again."""
    draft.write("HDEL", draft.keys.sandbox(sandbox), WISHED)


def write_record(
    draft: Draft, session: Session, record: SandboxRecord | None, *, create_charged: bool
) -> None:
    """The sandbox's record at the opening of a session; its first reference stays."""
    key = draft.keys.sandbox(session.sandbox)
    reference = session.reference if record is None else record.reference
    draft.write(
        "HSET",
        key,
        *("v", 1, "owner", session.owner.hex, "reference", reference),
        *("create_charged", int(create_charged), "charged_until", session.charged_until),
    )
    if session.allowance is not None:
        draft.write("HSET", key, "allowance", stored_form(session.allowance))
    elif record is not None and record.allowance is not None:
        draft.write("HDEL", key, "allowance")
    if record is not None and record.destroyed_at is not None:
        draft.write("HDEL", key, "destroyed_at")
    draft.write("PERSIST", key)


def raised(session: Session, record: SandboxRecord | None) -> Session:
    """No session begins before what was charged already (L2)."""
    if record is None:
        return session
    return evolve(
        session,
        opened_at=UnixSeconds(max(session.opened_at, record.charged_until)),
        charged_until=UnixSeconds(max(session.charged_until, record.charged_until)),
    )


def told(session: Session, intent: Intent | None, record: SandboxRecord | None) -> Session:
    """
    The session with the token that it counts for: the intent's.

    Adopted, it is what was started last and was thought to have ended: that one's.
    """
    if intent is not None:
        return evolve(session, allowance=intent.allowance)
    return evolve(session, allowance=None if record is None else record.allowance)
