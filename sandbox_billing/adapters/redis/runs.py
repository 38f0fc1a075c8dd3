"""What sandboxes ran."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.letters import report
from sandbox_billing.adapters.redis.store import Store, mapping, sandbox_record, stored, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import SandboxHistory
from sandbox_billing.ledger._codec import decode_once
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.run import Run, run_of


_AT_ONCE = 500
"""Read in one step: a server answers nobody else meanwhile."""


async def read_runs(
    store: Store, sandbox: SandboxId, since: int, most: int
) -> SandboxHistory | None:
    """See L{sandbox_billing.interfaces.IHistory.ran}."""
    keys = store.keys
    # With the newest ones: what ends meanwhile is in both, or in none.
    fields, session, newest = await store.read(
        Read("HGETALL", keys.sandbox(sandbox)),
        Read("GET", keys.session(sandbox)),
        Read("LRANGE", keys.runs(sandbox), (-_AT_ONCE, -1)),
    )
    record = sandbox_record(sandbox, mapping(fields))
    if record is None:
        return None
    page = forms = texts(newest)
    ended = await _readable(store, sandbox, forms)
    for read in range(_AT_ONCE, most + _AT_ONCE, _AT_ONCE):
        if len(page) < _AT_ONCE or (ended and (ended[0].ended_at or 0) <= since):
            break
        (reply,) = await store.read(
            Read("LRANGE", keys.runs(sandbox), (-read - _AT_ONCE, -read - 1))
        )
        # What ends meanwhile shifts them by one.
        known, page = set(page), texts(reply)
        forms = [form for form in page if form not in known]
        ended = [*await _readable(store, sandbox, forms), *ended]
    found = [run for run in ended if (run.ended_at or 0) > since]
    opened = stored(Session, session)
    if opened is not None:
        found.append(run_of(opened.value))
    if len(found) > most:
        raise BadInput(f"more than {most} runs: ask for a later beginning")
    return SandboxHistory(
        runs=tuple(found), charged_until=record.charged_until, destroyed_at=record.destroyed_at
    )


async def _readable(store: Store, sandbox: SandboxId, forms: Sequence[str]) -> list[Run]:
    found = []
    for form in forms:
        try:
            found.append(decode_once(Run, form))
        except BadInput as why:
            # Its charges tell of it.
            await report(store, "run", sandbox, why)
    return found
