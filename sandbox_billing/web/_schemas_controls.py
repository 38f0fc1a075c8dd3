"""
What bodies of a wallet's settings look like: a part of
L{SCHEMAS<sandbox_billing.web._schemas.SCHEMAS>}.

Tests: C{tests.web.test_openapi}.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox_billing.ledger.controls import MOST_LIMITED
from sandbox_billing.web._schema_words import FLAG, NEURON, TEXT, Schema, array, record


_PERHAPS: Schema = {"anyOf": [NEURON, {"type": "null"}]}

LIMITS: Schema = record(
    per_day=_PERHAPS,
    total=_PERHAPS,
    spent_today=NEURON,
    spent_total=_PERHAPS,
    sandboxes={
        "type": "object",
        "additionalProperties": record(limit=NEURON, spent=NEURON),
    },
)
"""As an account shows them, with what was spent."""

_SET: Schema = {
    **record(),
    "required": [],
    "properties": {
        "per_day": _PERHAPS,
        "total": _PERHAPS,
        "sandboxes": {
            "type": ["object", "null"],
            "additionalProperties": _PERHAPS,
            "maxProperties": MOST_LIMITED,
        },
    },
    "additionalProperties": False,
}

CONTROL_SCHEMAS: Mapping[str, Schema] = {
    "ChangeSettings": {
        **record(),
        "required": [],
        "properties": {"auto_resume": FLAG, "limits": _SET},
        "additionalProperties": False,
        "description": "What is left out stays as it is.",
    },
    "Settings": record(
        auto_resume=FLAG,
        limits=record(
            per_day=_PERHAPS,
            total=_PERHAPS,
            sandboxes={"type": "object", "additionalProperties": NEURON},
        ),
    ),
    "Resumed": record(
        resumed=array(TEXT),
        failed={"type": "object", "additionalProperties": TEXT},
    ),
}
