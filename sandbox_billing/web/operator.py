"""
What operators look at: the routes that change nothing.

All of it is stored; the answer to the summary is kept for a moment, so that many who look cost
no more than one.

Tests: C{tests.web.test_operator}.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IDoors, IOverview, IReadiness, IWallClock, Overview
from sandbox_billing.ledger.account import Mirror
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.overview import HOUR_SECONDS, KEPT_HOURS, recent
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web import _operator_forms as forms
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._kept import Kept
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.payloads import whole
from sandbox_billing.web.terms import Terms


BAD_HOURS = "hours must be 24 or 168"
SUMMARY_KEPT_SECONDS = 2.0

_DAY_HOURS = 24
_LIMIT, _MOST = 50, 200
_MOST_ENTRIES = 10**9


@frozen(kw_only=True)
class OperatorDesk:
    """
    For wallets of C{ADMIN_ADDRESSES}: the router lets nobody else in.

    @ivar kept: What the overview was a moment ago.
    """

    overview: IOverview = field(validator=provides(IOverview))
    doors: IDoors = field(validator=provides(IDoors))
    readiness: IReadiness = field(validator=provides(IReadiness))
    wall: IWallClock = field(validator=provides(IWallClock))
    kept: Kept[Overview]
    terms: Terms

    async def sessions(self, asked: Asked) -> Answer:
        """Open sessions of all wallets, by sandbox."""
        limit = whole(asked.query, "limit", _LIMIT, least=1, most=_MOST)
        cursor = asked.query.get("cursor")
        after = None if cursor is None else SandboxId(cursor)
        page = await self.overview.sessions(after, limit)
        return Answer(document=forms.sessions_form(page, self.wall.now()))

    async def audit(self, asked: Asked) -> Answer:
        """What operators decided, the newest first, with what it takes to check the chain."""
        limit = whole(asked.query, "limit", _LIMIT, least=1, most=_MOST)
        upto = None
        if "cursor" in asked.query:
            upto = whole(asked.query, "cursor", 0, least=0, most=_MOST_ENTRIES)
        return Answer(document=forms.audit_form(await self.overview.audit(upto, limit)))

    async def summary(self, asked: Asked) -> Answer:
        """How everything stands."""
        hours = whole(asked.query, "hours", _DAY_HOURS, least=1, most=KEPT_HOURS)
        if hours not in (_DAY_HOURS, KEPT_HOURS):
            raise BadInput(BAD_HOURS)
        seen, mirror = await self.kept.get(), await self.doors.mirror()
        now = self.wall.now()
        return Answer(
            document={
                "as_of": now,
                "provider": checksum(self.terms.provider),
                "contract": checksum(self.terms.contract),
                "chain_id": self.terms.chain_id,
                "sessions": seen.sessions,
                "wallets": {
                    "charged": seen.wallets,
                    "mirrored": seen.mirrored,
                    "blocked": seen.blocked,
                    "quarantined": None
                    if seen.quarantined is None
                    else [checksum(wallet) for wallet in seen.quarantined],
                },
                "queue": forms.queue_form(seen, now),
                "batches": {
                    "count": seen.batch_count,
                    "batches": [forms.batch_form(batch) for batch in seen.batches],
                },
                **_settled(seen, hours, now),
                "dead_letters": {
                    "count": seen.dead_count + seen.letter_count,
                    "letters": [
                        *(forms.dead_form(dead) for dead in seen.dead),
                        *(forms.letter_form(letter) for letter in seen.letters),
                    ],
                },
                "stop_orders": {
                    "count": seen.stop_count,
                    "orders": [forms.stop_form(order, now) for order in seen.stops],
                },
                **await self._standing(seen, None if mirror is None else mirror.value, now),
            }
        )

    async def _standing(
        self, seen: Overview, mirror: Mirror | None, now: UnixSeconds
    ) -> dict[str, Any]:
        state = await self.doors.door_state()
        pause = None if state.pause is None else state.pause.value
        return {
            "reconcile": {
                "swept_at": state.swept_at,
                "differences": [forms.difference_form(one) for one in seen.differences],
            },
            "mirror": forms.mirror_form(mirror, now),
            "settled_until": state.settled_until,
            "lease": None
            if seen.holder is None
            else {"holder": seen.holder[0], "token": seen.holder[1]},
            "pause": None
            if pause is None
            else {"reason": pause.reason, "since": pause.since, "by": pause.by},
            "readiness": {
                "reasons": dict(self.readiness.reasons()),
                "notices": dict(self.readiness.notices()),
            },
        }


def _settled(seen: Overview, hours: int, now: UnixSeconds) -> dict[str, Any]:
    this_hour = now - now % HOUR_SECONDS
    known = recent(seen.hours, now)
    first = UnixSeconds(this_hour - (hours - 1) * HOUR_SECONDS)
    # Another process may be ahead of this one's clock.
    shown = [hour for hour in known if first <= hour.begins <= this_hour]
    return {
        "settled": {
            "hours": forms.hours_form(shown, first, hours),
            "together": forms.totals_form(forms.together(shown)),
            "ever": forms.totals_form(seen.totals),
        },
        "gas": forms.purse_form(seen.purse, known, now),
    }
