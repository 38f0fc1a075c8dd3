"""
What bodies look like, in JSON Schema 2020-12: the named parts of our OpenAPI document.

Bodies are said as L{payloads<sandbox_billing.web.payloads>} reads them.  Of replies only
what we ourselves promise is said: Daytona adds fields with every release.

Tests: C{tests.web.test_openapi}.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox_billing.ledger.controls import Which
from sandbox_billing.web._schema_words import (
    ADDRESS,
    COUNT,
    EMPTY,
    FLAG,
    NEURON,
    SECONDS,
    SIZE,
    STORED,
    STORED_TEXTS,
    TEXT,
    TEXTS,
    Schema,
    array,
    optional,
    page_of,
    record,
    ref,
)
from sandbox_billing.web._schemas_controls import CONTROL_SCHEMAS, LIMITS
from sandbox_billing.web._schemas_operator import OPERATOR_SCHEMAS
from sandbox_billing.web._schemas_orders import ORDER_SCHEMAS
from sandbox_billing.web._schemas_webhooks import WEBHOOK_SCHEMAS


_URL = record(url=TEXT)

_SESSION: Mapping[str, Schema] = {
    "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "wallet": ADDRESS,
    "scopes": array({"enum": ["read", "manage", "toolbox"]}),
    "spend_limit": {"anyOf": [NEURON, {"type": "null"}]},
    "spent": {"anyOf": [NEURON, {"type": "null"}]},
    "sandbox": {"type": ["string", "null"]},
    "issued_at": SECONDS,
    "expires_at": SECONDS,
}

_PERHAPS_TEXT: Schema = {"type": ["string", "null"]}
_PERHAPS_SECONDS: Schema = {"anyOf": [SECONDS, {"type": "null"}]}
_TURNS: Schema = {
    "type": "object",
    "additionalProperties": record(
        last_good_turn=_PERHAPS_SECONDS, trouble=_PERHAPS_TEXT, every={"type": "number"}
    ),
}
_PARTS: Schema = {
    "type": "object",
    "additionalProperties": record(ok=FLAG, reason=_PERHAPS_TEXT, checked_at=_PERHAPS_SECONDS),
}
_PERIOD: Mapping[str, Schema] = {"period_start": SECONDS, "period_end": SECONDS, "units": COUNT}
_RECEIPT: Schema = {
    **record(
        **_PERIOD,
        version={"const": 1},
        id=TEXT,
        chain_id=COUNT,
        contract=ADDRESS,
        provider=ADDRESS,
        user=ADDRESS,
        signer={"anyOf": [ADDRESS, {"type": "null"}]},
        sandbox=TEXT,
        kind={"enum": ["create", "compute", "debt", "imported"]},
        rate_per_minute=NEURON,
        fee=NEURON,
        nonce={"anyOf": [NEURON, {"type": "null"}]},
        usage_hash=_PERHAPS_TEXT,
        signature=_PERHAPS_TEXT,
        status={
            "enum": ["open", "signed", "parked", "paid", "partial", "dead", "merged", "forgiven"]
        },
        paid=NEURON,
        owed=NEURON,
        transaction=_PERHAPS_TEXT,
        block={"type": ["integer", "null"]},
        collects=array(record(**_PERIOD, id=TEXT, amount=NEURON, rate_per_minute=NEURON)),
        batch={
            "anyOf": [
                record(id=TEXT, index=COUNT, lines=array(TEXT), signature=TEXT),
                {"type": "null"},
            ]
        },
    ),
    "description": "A voucher, what it is for, and where it was settled.",
}

_MAYBE_SECONDS: Schema = {"anyOf": [SECONDS, {"type": "null"}]}
_MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_AMOUNTS: Mapping[str, Schema] = {
    "seconds": COUNT,
    "compute": NEURON,
    "create_fees": NEURON,
    "charged": NEURON,
    "settled": NEURON,
    "owed": NEURON,
    "pending": NEURON,
    "forgiven": NEURON,
}
_RUN = record(
    reference=_MAYBE_TEXT,
    opened_at=SECONDS,
    started_at=_MAYBE_SECONDS,
    ended_at=_MAYBE_SECONDS,
    seconds=COUNT,
    cpu=_MAYBE_COUNT,
    memory_gib=_MAYBE_COUNT,
    disk_gib=_MAYBE_COUNT,
    rate_per_minute=NEURON,
    cost=NEURON,
    open=FLAG,
)

_CREATE = {
    **optional(
        EMPTY,
        name={**STORED, "minLength": 1, "maxLength": 128},
        snapshot=STORED,
        user=STORED,
        env=STORED_TEXTS,
        labels=STORED_TEXTS,
        public=FLAG,
        networkBlockAll=FLAG,
        networkAllowList=STORED,
        domainAllowList=STORED,
        target=STORED,
        cpu=SIZE,
        memory=SIZE,
        disk=SIZE,
        gpu={"const": 0},
        buildInfo={
            **record(EMPTY, dockerfileContent=STORED),
            "properties": {
                "dockerfileContent": STORED,
                "contextHashes": {"anyOf": [array(STORED), {"type": "null"}]},
            },
        },
        # Wishes, which are never refused.
        autoStopInterval={},
        autoArchiveInterval={},
        autoDeleteInterval={},
        autoPauseInterval={},
        ttlMinutes={},
    ),
    "description": (
        "Sizes are cores and GiB. A field that is not named here is dropped when it is "
        "empty, and refused when it is not. snapshot and buildInfo exclude each other."
    ),
}

_SIZES = dict.fromkeys(("cpu", "gpu", "memory", "disk"), SIZE)

SCHEMAS: Mapping[str, Schema] = {
    "Error": {
        **record(
            error=TEXT,
            statusCode={"type": "integer", "minimum": 400, "maximum": 599},
            message=TEXT,
            path=TEXT,
            timestamp={
                "type": "string",
                "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
            },
        ),
        "description": "message is error again, where Daytona's SDKs look for it.",
    },
    "CannotPay": {
        "allOf": [
            ref("Error"),
            {
                "anyOf": [
                    record(
                        balance=NEURON,
                        required=NEURON,
                        exposure=NEURON,
                        code={
                            "enum": ["insufficient_balance", "not_acknowledged", "debt", "blocked"]
                        },
                    ),
                    record(
                        limit=NEURON,
                        spent=NEURON,
                        reserved=NEURON,
                        required=NEURON,
                        which={"enum": [which.value for which in Which]},
                        left=NEURON,
                        resets_at=_MAYBE_SECONDS,
                        code={"const": "spend_limit"},
                    ),
                ]
            },
        ]
    },
    "Alive": record(ok={"const": True}),
    "Ready": {
        **record(ready=FLAG, reasons=TEXTS, services=_TURNS, dependencies=_PARTS),
        "properties": {
            "ready": FLAG,
            "reasons": TEXTS,
            "notices": TEXTS,
            "services": _TURNS,
            "dependencies": _PARTS,
        },
    },
    "Info": record(
        contract_address=ADDRESS,
        provider_address=ADDRESS,
        chain_id=COUNT,
        rpc_url=TEXT,
        create_fee=NEURON,
        compute_price_per_sec=NEURON,
        price_per_cpu_per_min=NEURON,
        price_per_mem_gb_per_min=NEURON,
        voucher_interval_sec=COUNT,
        min_balance=NEURON,
        ssh_gateway_host=TEXT,
    ),
    "Provider": record(
        address=ADDRESS,
        url=TEXT,
        tee_signer=ADDRESS,
        price_per_cpu_per_min=NEURON,
        price_per_cpu_per_sec=NEURON,
        price_per_mem_gb_per_min=NEURON,
        price_per_mem_gb_per_sec=NEURON,
        create_fee=NEURON,
        signer_version=COUNT,
    ),
    "Providers": array(ref("Provider")),
    "Snapshot": record(id=TEXT, name=TEXT, general={"const": True}, errorReason={"type": "null"}),
    "SnapshotPage": page_of(ref("Snapshot")),
    "Regions": array(record(id=TEXT, name=TEXT)),
    "Configuration": record(
        version=TEXT, defaultSnapshot=TEXT, proxyToolboxUrl=TEXT, dashboardUrl=TEXT
    ),
    "Login": {
        **record(False, message=TEXT, signature=TEXT),
        "description": "An EIP-4361 message, and its EIP-191 signature in hex.",
    },
    "SessionToken": record(**_SESSION),
    "NewSessionToken": record(
        token={"type": "string", "pattern": "^sbt_[0-9A-Za-z_-]{43}$"}, **_SESSION
    ),
    "SessionTokens": record(tokens=array(ref("SessionToken"))),
    "Revoked": record(revoked=COUNT),
    **WEBHOOK_SCHEMAS,
    "Settlement": record(
        user=ADDRESS,
        provider=ADDRESS,
        total_fee=NEURON,
        nonce=NEURON,
        status=COUNT,
        tx_hash=TEXT,
        block=COUNT,
        timestamp=SECONDS,
    ),
    "Settlements": record(
        current_block=COUNT,
        since=COUNT,
        total=COUNT,
        page=COUNT,
        page_size=COUNT,
        events=array(ref("Settlement")),
    ),
    "Receipt": _RECEIPT,
    "ReceiptPage": record(receipts=array(ref("Receipt")), next=_PERHAPS_TEXT),
    "Account": record(
        wallet=ADDRESS,
        provider=ADDRESS,
        chain_id=COUNT,
        contract=ADDRESS,
        block=COUNT,
        as_of=SECONDS,
        balance=NEURON,
        pending_refund=NEURON,
        refund_unlock_at=_MAYBE_SECONDS,
        acknowledged=FLAG,
        signer_version=_MAYBE_COUNT,
        exposure=record(total=NEURON, holds=NEURON, accrued=NEURON, charges=NEURON, debts=NEURON),
        available=NEURON,
        burn_rate_per_minute=NEURON,
        runs_dry_at=_MAYBE_SECONDS,
        blocked=_MAYBE_TEXT,
        running=COUNT,
        provider_leaving_at=_MAYBE_SECONDS,
        limits=LIMITS,
        auto_resume=FLAG,
        grace_since=_MAYBE_SECONDS,
        waiting_to_resume=array(TEXT),
    ),
    **CONTROL_SCHEMAS,
    **OPERATOR_SCHEMAS,
    **ORDER_SCHEMAS,
    "Usage": {
        **record(
            wallet=ADDRESS,
            group={"enum": ["sandbox", "day", "label"]},
            to=SECONDS,
            totals=record(**_AMOUNTS),
            rows=array(record(key=TEXT, **_AMOUNTS)),
            **{"from": SECONDS},
        ),
        "description": "charged = settled + owed + pending + forgiven, in every row.",
    },
    "SandboxUsage": record(
        sandbox=TEXT,
        owner=ADDRESS,
        to=SECONDS,
        totals=record(**_AMOUNTS),
        runs=array(_RUN),
        transitions=array(record(at=SECONDS, state=TEXT, why=_MAYBE_TEXT)),
        **{"from": SECONDS},
    ),
    "CreateSandbox": _CREATE,
    "ReplaceLabels": {
        **record(EMPTY, labels=STORED_TEXTS),
        "description": "The user's labels, all of them; ours stay whatever is said here.",
    },
    "Resize": {
        **optional(EMPTY, cpu=SIZE, memory=SIZE, disk=SIZE),
        "description": "Cores and GiB; one of them at least is above 0.",
    },
    "NetworkSettings": {
        **optional(
            {"type": "null"},
            networkBlockAll=FLAG,
            networkAllowList={**TEXT, "maxLength": 16_384},
            domainAllowList={**TEXT, "maxLength": 16_384},
        ),
        "description": "One of them at least.",
    },
    "Sandbox": {
        **record(
            id=TEXT,
            labels=TEXTS,
            toolboxProxyUrl=TEXT,
            kvm=FLAG,
            networkBlockAll=FLAG,
        ),
        "properties": {
            "id": TEXT,
            "name": TEXT,
            "labels": TEXTS,
            "toolboxProxyUrl": TEXT,
            "kvm": FLAG,
            "networkBlockAll": FLAG,
            "state": {"type": "string", "description": "New ones may come with any release."},
            **_SIZES,
        },
        "description": "Daytona's Sandbox, with our toolbox in the place of its own.",
    },
    "Sandboxes": {
        "anyOf": [
            record(items=array(ref("Sandbox")), nextCursor={"type": ["string", "null"]}),
            array(ref("Sandbox")),
        ],
        "description": "An array, if the Daytona behind is older than v0.180.",
    },
    "SandboxPage": page_of(ref("Sandbox")),
    "Done": record(ok={"const": True}),
    "Nothing": {"type": "object", "maxProperties": 0},
    "SshAccess": record(token=TEXT, sshCommand=TEXT),
    "SignedPreview": record(
        sandboxId=TEXT, port={"type": "integer", "minimum": 1}, token=TEXT, url=TEXT
    ),
    "Url": _URL,
    "Telemetry": {"description": "Daytona's own."},
    "OpenAPI": record(openapi=TEXT, info={"type": "object"}, paths={"type": "object"}),
}
