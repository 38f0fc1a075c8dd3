"""What outlives sessions and intents: parts of facts that several others write, too."""

from __future__ import annotations

from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.interfaces import SandboxRecord
from sandbox_billing.ledger.hold import Intent, hold_field
from sandbox_billing.ledger.identity import Address, SandboxId, create_charge_id
from sandbox_billing.ledger.metering import Session
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
