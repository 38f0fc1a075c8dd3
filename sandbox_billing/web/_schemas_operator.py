"""
What operators are answered: a part of L{SCHEMAS<sandbox_billing.web._schemas.SCHEMAS>}.

Tests: C{tests.web.test_openapi}, C{tests.web.test_operator}.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox_billing.web._schema_words import (
    ADDRESS,
    COUNT,
    FLAG,
    NEURON,
    SECONDS,
    TEXT,
    TEXTS,
    Schema,
    array,
    record,
)


def _perhaps(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_MAYBE_TEXT, _MAYBE_SECONDS, _MAYBE_COUNT = _perhaps(TEXT), _perhaps(SECONDS), _perhaps(COUNT)
_TOTALS: Mapping[str, Schema] = {
    "amount": NEURON,
    "vouchers": COUNT,
    "batches": COUNT,
    "gas": NEURON,
}
_ATTEMPT = record(
    transaction=TEXT,
    sender=ADDRESS,
    account_nonce=COUNT,
    gas_limit=COUNT,
    fee_cap=NEURON,
    recorded_at=SECONDS,
    empty=FLAG,
)
_ENTRY = record(
    at=SECONDS,
    by=TEXT,
    what=TEXT,
    subject=TEXT,
    amount=NEURON,
    reason=TEXT,
    before=_MAYBE_TEXT,
    previous=_MAYBE_TEXT,
)

OPERATOR_SCHEMAS: Mapping[str, Schema] = {
    "OpenSession": record(
        sandbox=TEXT,
        owner=ADDRESS,
        state={"enum": ["pending", "running"]},
        opened_at=SECONDS,
        started_at=_MAYBE_SECONDS,
        charged_until=SECONDS,
        cpu=COUNT,
        memory_gib=COUNT,
        disk_gib=COUNT,
        rate_per_minute=NEURON,
        hold=NEURON,
        seconds=COUNT,
        stop=_MAYBE_TEXT,
    ),
    "OpenSessions": record(
        total=COUNT, sessions=array({"$ref": "#/components/schemas/OpenSession"}), next=_MAYBE_TEXT
    ),
    "AuditLog": {
        **record(
            total=COUNT,
            entries=array(
                record(
                    number=COUNT,
                    hash=TEXT,
                    form=TEXT,
                    entry=_perhaps(_ENTRY),
                    follows={"type": ["boolean", "null"]},
                    problem=_MAYBE_TEXT,
                )
            ),
            next=_MAYBE_TEXT,
        ),
        "description": (
            "hash is the sha256 of form, in hex; entry.previous is that of the entry before."
        ),
    },
    "OperatorSummary": record(
        as_of=SECONDS,
        provider=ADDRESS,
        contract=ADDRESS,
        chain_id=COUNT,
        sessions=COUNT,
        wallets=record(
            charged=COUNT, mirrored=COUNT, blocked=COUNT, quarantined=_perhaps(array(ADDRESS))
        ),
        queue=record(
            depth=COUNT,
            counted=COUNT,
            unsigned=COUNT,
            signed=COUNT,
            parked=COUNT,
            unreadable=COUNT,
            oldest_at=_MAYBE_SECONDS,
            oldest_age=_MAYBE_COUNT,
            dead=COUNT,
            wallets_waiting=COUNT,
            wallets_in_flight=COUNT,
        ),
        batches=record(
            count=COUNT,
            batches=array(
                record(
                    id=TEXT,
                    created_at=SECONDS,
                    wallets=array(ADDRESS),
                    vouchers=COUNT,
                    attempts=array(_ATTEMPT),
                )
            ),
        ),
        settled=record(
            hours=array(record(begins=SECONDS, **_TOTALS)),
            together=record(**_TOTALS),
            ever=record(**_TOTALS),
        ),
        gas=_perhaps(
            record(
                address=ADDRESS,
                balance=NEURON,
                floor=NEURON,
                batch_cost=NEURON,
                read_at=SECONDS,
                seconds_left=_MAYBE_COUNT,
            )
        ),
        dead_letters=record(
            count=COUNT,
            letters=array(
                record(
                    kind=TEXT,
                    name=TEXT,
                    reason=TEXT,
                    since=SECONDS,
                    wallet=_perhaps(ADDRESS),
                    sandbox=_MAYBE_TEXT,
                    amount=_perhaps(NEURON),
                )
            ),
        ),
        stop_orders=record(
            count=COUNT,
            orders=array(
                record(sandbox=TEXT, reason=TEXT, ordered_at=SECONDS, age=COUNT, attempts=COUNT)
            ),
        ),
        reconcile=record(
            swept_at=_MAYBE_SECONDS,
            differences=array(record(at=SECONDS, sandbox=TEXT, what=TEXT, text=TEXT)),
        ),
        mirror=_perhaps(
            record(
                block=COUNT,
                updated_at=SECONDS,
                age=COUNT,
                contract=TEXT,
                leaving_at=_MAYBE_SECONDS,
            )
        ),
        settled_until=_MAYBE_SECONDS,
        lease=_perhaps(record(holder=TEXT, token=TEXT)),
        pause=_perhaps(record(reason=TEXT, since=SECONDS, by=TEXT)),
        readiness=record(reasons=TEXTS, notices=TEXTS),
    ),
}
