"""Parts of several defects."""

from __future__ import annotations

from itertools import count
from typing import Any

from sandbox_billing.adapters.redis.commit import absent
from sandbox_billing.ledger.hold import Intent
from tests.traps.trap import Patch


SESSIONS = "sandbox_billing.adapters.redis.sessions."


def fresh_ids() -> Patch:
    """
    A charge is named anew each time it is made, not by what it is for.

    A part of every charge that is made twice: under its one name it would be recognised.
    """
    number = count(1)

    def fresh(original: Any) -> Any:
        return lambda sandbox, start: f"{original(sandbox, start)}:{next(number)}"

    return Patch("sandbox_billing.ledger.metering.compute_charge_id", fresh)


def unguarded() -> Patch:
    """Session and record may have become anything since they were read."""
    return Patch(SESSIONS + "Sessions._guard", lambda _: lambda sessions, draft, session: None)


def unseen() -> list[Patch]:
    """Seconds that nobody saw it run are charged, and the journal stores it."""
    return [
        Patch("sandbox_billing.services.generator.l3_observed", lambda _: lambda until, seen: None),
        Patch(
            SESSIONS + "field_at_least",
            lambda _: lambda key, name, moment: absent("billing:nothing"),
        ),
    ]


def reserved_too_late() -> list[Patch]:
    """The reservation of a create is made when Daytona has answered."""
    waiting: dict[str, Any] = {}

    def reserve(original: Any) -> Any:
        async def later(admission: Any, intent: Intent, quote: Any, **how: Any) -> None:
            if intent.action == "create" and not how:
                waiting[intent.reference] = quote
            else:
                await original(admission, intent, quote, **how)

        return later

    def opened(original: Any) -> Any:
        async def now(creating: Any, intent: Intent, made: Any) -> Any:
            admission = creating.at.admission
            await admission.doors.reserve(intent, await admission.funds(intent.owner))
            return await original(creating, intent, made)

        return now

    return [
        Patch("sandbox_billing.services.admission.Admission.reserve", reserve),
        Patch("sandbox_billing.services.creating.Creating._meter", opened),
    ]
