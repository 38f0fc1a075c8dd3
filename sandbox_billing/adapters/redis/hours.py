"""What was settled by the hour: a part of the fact that ends a batch."""

from __future__ import annotations

from sandbox_billing.adapters.redis.commit import Read
from sandbox_billing.adapters.redis.draft import Draft, stored_form
from sandbox_billing.adapters.redis.store import Store, pieces
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.overview import HOUR_SECONDS, KEPT_HOURS, Hour
from sandbox_billing.ledger.totals import Totals


async def count_hour(store: Store, draft: Draft, before: Totals, after: Totals) -> None:
    """
    Count for this hour what the totals are raised by; the same write compares the totals as they
    were read before, so nobody else counts meanwhile.
    """
    key, now = store.keys.hours(), store.wall.now()
    begins = UnixSeconds(now - now % HOUR_SECONDS)
    (reply,) = await store.read(Read("ZRANGEBYSCORE", key, (begins, begins)))
    earlier = Totals()
    for form in pieces(reply):
        try:
            earlier = decode(Hour, form).totals
        except BadInput:
            # Only a count, and only of this hour: it begins anew.
            continue
    hour = Hour(begins=begins, totals=earlier.plus(after.since(before)))
    draft.write("ZREMRANGEBYSCORE", key, "-inf", begins - KEPT_HOURS * HOUR_SECONDS)
    draft.write("ZREMRANGEBYSCORE", key, begins, begins)
    draft.write("ZADD", key, begins, stored_form(hour))
