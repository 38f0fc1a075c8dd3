"""
What bodies of webhooks look like: a part of L{SCHEMAS<sandbox_billing.web._schemas.SCHEMAS>}.

Tests: C{tests.web.test_openapi}.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox_billing.ledger.notice import Kind
from sandbox_billing.web._schema_words import COUNT, FLAG, SECONDS, TEXT, Schema, array, record, ref


_PERHAPS_SECONDS: Schema = {"type": ["integer", "null"], "minimum": 0}
_KINDS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"enum": [kind.value for kind in Kind]},
}
_WEBHOOK: Mapping[str, Schema] = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "url": TEXT,
    "kinds": {"anyOf": [_KINDS, {"type": "null"}]},
    "created_at": SECONDS,
}

WEBHOOK_SCHEMAS: Mapping[str, Schema] = {
    "RegisterWebhook": {
        **record(False, url=TEXT),
        "properties": {
            "url": {"type": "string", "maxLength": 2048, "pattern": "^https?://"},
            "kinds": {"anyOf": [_KINDS, {"type": "null"}]},
        },
        "description": "Without kinds, all of them, and those to come.",
    },
    "Webhook": record(
        **_WEBHOOK,
        delivered=COUNT,
        given_up=COUNT,
        failures=COUNT,
        failing_since=_PERHAPS_SECONDS,
        retry_at=_PERHAPS_SECONDS,
        last_at=_PERHAPS_SECONDS,
        last={"type": ["string", "null"]},
        disabled={"type": ["string", "null"]},
    ),
    "Webhooks": record(webhooks=array(ref("Webhook"))),
    "NewWebhook": record(
        secret={"type": "string", "pattern": "^whsec_[0-9A-Za-z_-]{43}$"}, **_WEBHOOK
    ),
    "WebhookTest": record(delivered=FLAG, status={"type": ["integer", "null"]}, told=TEXT),
    "Deleted": record(deleted=COUNT),
}
