"""Appending to the audit: in the same write as what was decided."""

from __future__ import annotations

from attrs import evolve

from sandbox_billing.adapters.redis.commit import Read, absent, list_ends
from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.adapters.redis.store import Store
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry, chained


async def append(store: Store, draft: Draft, entry: AuditEntry) -> bytes:
    """
    Add an entry to a fact: it follows the last one that stands, or nothing is written.

    The same entry at the end already is a repeat: then it is not added again.

    @return: The entry's stored form: the list ends with it when the fact was carried out.
    """
    key = store.keys.audit()
    (reply,) = await store.read(Read("LRANGE", key, (-1, -1)))
    last = reply[0] if isinstance(reply, list) and reply else None
    assert last is None or isinstance(last, bytes)
    draft.expect(absent(key) if last is None else list_ends(key, last))
    if last is not None and _is(last, entry):
        return last
    form = stored_form(chained(entry, last))
    draft.write("RPUSH", key, form)
    return form


def _is(form: bytes, entry: AuditEntry) -> bool:
    try:
        return evolve(decode(AuditEntry, form), previous=None) == entry
    except BadInput:
        return False
