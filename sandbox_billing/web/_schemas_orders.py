"""
What bodies of operators' orders look like: a part of
L{SCHEMAS<sandbox_billing.web._schemas.SCHEMAS>}.

Tests: C{tests.web.test_openapi}.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox_billing.ledger.order import LONGEST_REASON, Kind, State
from sandbox_billing.web._schema_words import (
    ADDRESS,
    COUNT,
    FLAG,
    NEURON,
    SECONDS,
    SIZE,
    TEXT,
    Schema,
    array,
    record,
    ref,
)


_REASON: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_REASON}
_PERHAPS_REASON: Schema = {"anyOf": [_REASON, {"type": "null"}]}
_PERHAPS_TEXT: Schema = {"type": ["string", "null"]}
_TEXTS: Schema = {"anyOf": [array(TEXT), {"type": "null"}]}
_SIZE: Schema = {"anyOf": [SIZE, {"type": "null"}]}

ORDER_SCHEMAS: Mapping[str, Schema] = {
    "Order": record(
        id={"type": "string", "pattern": "^[0-9a-f]{32}$"},
        kind={"enum": [kind.value for kind in Kind]},
        subject=_PERHAPS_TEXT,
        by=ADDRESS,
        reason=TEXT,
        asked_at=SECONDS,
        state={"enum": [state.value for state in State]},
        ended_at={"anyOf": [SECONDS, {"type": "null"}]},
        result={"type": ["object", "null"]},
        error=_PERHAPS_TEXT,
    ),
    "Orders": record(orders=array(ref("Order")), next=_PERHAPS_TEXT),
    "Reason": {**record(False, reason=_REASON)},
    "PerhapsReason": {
        **record(False),
        "required": [],
        "properties": {"reason": _PERHAPS_REASON},
    },
    "CreateSnapshot": {
        **record(name={"type": "string", "minLength": 1, "maxLength": 255}),
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            "imageName": _PERHAPS_TEXT,
            "entrypoint": _TEXTS,
            "cpu": _SIZE,
            "gpu": _SIZE,
            "gpuType": _TEXTS,
            "memory": _SIZE,
            "disk": _SIZE,
            "buildInfo": {
                "anyOf": [
                    {
                        **record(False, dockerfileContent=TEXT),
                        "properties": {"dockerfileContent": TEXT, "contextHashes": _TEXTS},
                    },
                    {"type": "null"},
                ]
            },
            "regionId": _PERHAPS_TEXT,
            "sandboxClass": _PERHAPS_TEXT,
            "general": {"type": ["boolean", "null"]},
            "reason": _PERHAPS_REASON,
        },
        "additionalProperties": False,
        "description": "Daytona's, with general (true: users may start from it) and reason.",
    },
    "Drain": record(
        paused={
            "anyOf": [record(reason=TEXT, since=SECONDS, by=TEXT), {"type": "null"}],
        },
        left=record(
            sessions=COUNT,
            charges=COUNT,
            wallets=COUNT,
            intents=COUNT,
            amount=NEURON,
            damaged=COUNT,
            excepted=array(record(why=TEXT, charges=COUNT, amount=NEURON)),
        ),
        drained=FLAG,
    ),
}
