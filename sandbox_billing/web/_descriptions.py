"""
What the table does not say of its rows and a client wants to know: bodies, replies, queries.

A row without a line here, or a line without a row, is found by C{tests.web.test_openapi}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from sandbox_billing.web._schema_words import TEXT, Schema


_COUNTED: Schema = {"type": "integer", "minimum": 1, "maximum": 10**9}
_PAGE_SIZE: Schema = {"type": "integer", "minimum": 1, "maximum": 200}
_UNIX: Schema = {"type": "integer", "minimum": 0, "maximum": 10**11}
_ORDER: Schema = {"enum": ["asc", "desc"]}
_MOMENT: Schema = {"type": "string", "description": "ISO 8601, in UTC."}
_LABELS: Schema = {"type": "string", "description": "A JSON object of strings, or null."}
_CLOSED = "but for the ports of the toolbox"

IDEMPOTENT = frozenset({"create", "start", "stop", "archive", "delete"})
"""Verbs of the rows that heed an Idempotency-Key."""

QUERIES: Mapping[str, Schema] = {
    "page": _COUNTED,
    "limit": _PAGE_SIZE,
    "order": _ORDER,
    "verbose": TEXT,
    "labels": _LABELS,
    "force": {"const": "false"},
    "skipStart": {"enum": ["true", "false"]},
    "expiresInMinutes": {"type": "integer", "minimum": 1, "maximum": 10**6},
    "expiresInSeconds": {"type": "integer", "minimum": 1, "maximum": 86_400},
    "token": {"type": "string", "pattern": "^[0-9A-Za-z_.~-]{1,256}$"},
    "from": _MOMENT,
    "to": _MOMENT,
    "since": _UNIX,
    "page_size": _PAGE_SIZE,
}
"""Those that are more than a text."""

PARTS: Mapping[str, Schema] = {
    "id": {"type": "string", "minLength": 1, "maxLength": 128, "description": "An id or a name."},
    "port": {"type": "integer", "minimum": 1, "maximum": 65_535, "description": f"Any {_CLOSED}."},
    "flag": {"enum": ["true", "false"]},
    "token": {"type": "string", "pattern": "^[0-9A-Za-z_.~-]{1,256}$"},
    "trace": {"type": "string", "pattern": "^[0-9A-Za-z-]{1,64}$"},
    "file": {"type": "string", "pattern": "^[a-z_-]{1,32}[.][a-z]{2,4}$"},
    "snapshot": {"type": "string", "minLength": 1},
    "webhook": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "receipt": {"type": "string", "minLength": 1, "maxLength": 400},
    "order": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "path": {"type": "string", "description": "Whatever follows, slashes too."},
}
"""Named segments of a path; C{path} is the table's C{**}."""


@frozen(kw_only=True)
class Described:
    """
    @ivar reply: The name of what 200 answers with; empty for bytes that are not ours, or no JSON.
    @ivar media: What those bytes are.
    @ivar body: The name of what is sent; empty where nothing is.
    @ivar status: Of a success.
    @ivar may_ask: Whether an answer may depend on Daytona.
    @ivar may_refuse: Statuses that this row has beside those of its kind.
    @ivar query: Of the query, what is otherwise than in L{QUERIES}.
    @ivar required: Names of the query that must be there, by Daytona's word.
    @ivar waits: Whether it heeds an Idempotency-Key and waits for what it orders: 202 says the same
        of what is not over yet.
    @ivar also: Other media types that 200 may have, as a text.
    """

    summary: str
    reply: str = "Sandbox"
    body: str = ""
    may_ask: bool = True
    may_refuse: frozenset[int] = frozenset()
    query: Mapping[str, Schema] = field(factory=dict)
    required: frozenset[str] = frozenset()
    also: tuple[str, ...] = ()
    example: Any = None
    media: str = "application/json"
    status: int = 200
    waits: bool = False


_PAID = frozenset({402, 409})
_MOVED = frozenset({409})
_MISSING = frozenset({404})
_UNPROVEN = frozenset({401, 403, 503})
_SPAN = frozenset({"from", "to"})
# Daytona's own to judge.
_PASSED_ON = {"page": TEXT, "limit": TEXT}
_FROM_TO: Mapping[str, Schema] = {
    "from": {"type": "integer", "minimum": 0, "maximum": 10**11, "description": "Unix seconds."},
    "to": {"type": "integer", "minimum": 0, "maximum": 10**11, "description": "Not in the span."},
}
_ONE = "/api/sandbox/{id}"
_SESSION = "/api/auth/session"
_HOOKS = "/api/webhooks"
_SETTINGS = "/api/account/settings"
_PREVIEW = f"{_ONE}/ports/{{port}}/signed-preview-url"
_SEEN = f"{_ONE}/telemetry"

_SIWE = """\
sandboxes.example wants you to sign in with your Ethereum account:
0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A


URI: https://sandboxes.example/
Version: 1
Chain ID: 16602
Nonce: 5f0c1d2e3b4a59687766554433221100
Issued At: 2026-11-23T00:21:46Z
Resources:
- urn:sandbox-billing:provider:0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF
- urn:sandbox-billing:scope:read"""


def _ours(summary: str, reply: str, **more: Any) -> Described:
    return Described(summary=summary, reply=reply, may_ask=False, **more)


_WHY: Mapping[str, Any] = {"reason": "the node behind is changed"}


def _ordered(
    summary: str, body: str = "PerhapsReason", *, asks: bool = False, example: Any = _WHY
) -> Described:
    return Described(
        summary=f"{summary}; for operators",
        reply="Order",
        body=body,
        may_ask=asks,
        may_refuse=frozenset({404, 409}) if asks else _MOVED,
        waits=True,
        example=example,
    )


DESCRIBED: Mapping[tuple[str, str], Described] = {
    ("GET", "/healthz"): _ours("Whether this process lives", "Alive"),
    ("GET", "/readyz"): _ours("Whether it can work, or what does not", "Ready"),
    ("GET", "/openapi.json"): _ours("This document", "OpenAPI"),
    ("GET", "/"): _ours("The page for those who pay", "", media="text/html"),
    ("GET", "/page/{file}"): _ours("A file of it", "", media="*/*", may_refuse=_MISSING),
    ("GET", "/info"): _ours("Prices in force, contract, chain", "Info"),
    ("GET", "/api/providers"): _ours("Every provider of the contract", "Providers"),
    ("GET", "/api/snapshots"): Described(
        summary="Snapshots to start from",
        reply="SnapshotPage",
        query={"sort": {"enum": ["createdAt", "lastUsedAt", "name", "state"]}},
    ),
    ("GET", "/api/snapshots/{snapshot}"): Described(
        summary="One of them, by id or name", reply="Snapshot", may_refuse=_MISSING
    ),
    ("GET", "/api/shared-regions"): Described(summary="Daytona's regions", reply="Regions"),
    ("GET", "/api/config"): Described(
        summary="Daytona's configuration, as SDKs read it", reply="Configuration"
    ),
    ("GET", "/api/account"): _ours(
        "What the wallet has, owes and burns, and when it runs dry",
        "Account",
        may_refuse=frozenset({502}),
    ),
    ("GET", _SETTINGS): _ours("The wallet's limits, and whether it resumes by itself", "Settings"),
    ("PUT", _SETTINGS): _ours(
        "Change them, from now on",
        "Settings",
        body="ChangeSettings",
        # Daytona is asked whose a sandbox is that no record is kept of.
        may_refuse=frozenset({404, 502, 504}),
        example={"auto_resume": True, "limits": {"per_day": "5000000000000000000"}},
    ),
    ("POST", "/api/account/resume"): _ours(
        "Start again what was stopped for want of money",
        "Resumed",
        may_refuse=frozenset({402}),
    ),
    ("GET", "/api/usage"): _ours(
        "What the wallet was charged, by sandbox, day or label",
        "Usage",
        query={
            **_FROM_TO,
            "group": {"enum": ["sandbox", "day", "label"]},
            "label": {"type": "string", "minLength": 1, "maxLength": 256},
            "format": {"enum": ["json", "csv"]},
        },
        also=("text/csv",),
    ),
    ("GET", f"{_ONE}/usage"): Described(
        summary="What one sandbox ran and cost, also after its end",
        reply="SandboxUsage",
        query=_FROM_TO,
    ),
    ("GET", "/api/events"): _ours(
        "The wallet's settled vouchers",
        "Settlements",
        query={"page": {"type": "integer", "minimum": 0, "maximum": 10**9}},
    ),
    ("GET", "/api/events/stream"): _ours(
        "The wallet's notices as they come: server-sent events",
        "",
        media="text/event-stream",
        query={"after": {"type": "string", "pattern": "^[0-9]{0,15}$"}},
    ),
    ("GET", "/operator"): _ours("The page for operators", "", media="text/html"),
    ("GET", "/api/operator/summary"): _ours(
        "How everything stands; for operators",
        "OperatorSummary",
        query={"hours": {"enum": ["24", "168"]}},
    ),
    ("GET", "/api/sessions"): _ours(
        "Open sessions of all wallets, by sandbox; for operators", "OpenSessions"
    ),
    ("GET", "/api/audit-log"): _ours(
        "What operators decided, newest first; for operators",
        "AuditLog",
        query={"cursor": {"type": "string", "pattern": "^[0-9]{1,9}$"}},
    ),
    ("POST", "/api/operator/pause"): _ordered("Let nothing new in", "Reason"),
    ("POST", "/api/operator/resume"): _ordered("Let in again"),
    ("POST", "/api/operator/drain"): _ordered(
        "Let nothing new in until what ran before is settled", "Reason"
    ),
    ("POST", "/api/operator/sandbox/{id}/stop"): _ordered(
        "Stop a sandbox, whoever's", "Reason", asks=True
    ),
    ("DELETE", f"{_ONE}/force"): _ordered("Delete a sandbox, whoever's", asks=True),
    ("DELETE", "/api/sandbox/force/{id}"): _ordered("The same, by its other path", asks=True),
    ("POST", "/api/archive-all"): _ordered("Stop and archive every sandbox that is metered here"),
    ("POST", "/api/snapshots"): _ordered(
        "Make a snapshot",
        "CreateSnapshot",
        example={"name": "ubuntu-small", "imageName": "ubuntu:24.04", "cpu": 1, "memory": 1},
    ),
    ("DELETE", "/api/snapshots/{snapshot}"): _ordered("Remove a snapshot, by id or name"),
    ("GET", "/api/operator/drain"): _ours("What is not settled yet; for operators", "Drain"),
    ("GET", "/api/operator/orders"): _ours(
        "What operators have ordered, newest first; for operators",
        "Orders",
        query={"cursor": {"type": "string", "pattern": "^[0-9]{1,9}$"}},
    ),
    ("GET", "/api/operator/orders/{order}"): _ours(
        "One order, and how far it is; for operators", "Order", may_refuse=_MISSING
    ),
    ("GET", "/api/receipts"): _ours(
        "What proves what was paid for, newest first",
        "ReceiptPage",
        query={
            "from": _UNIX,
            "to": _UNIX,
            "cursor": {"type": "string", "pattern": "^[0-9]{1,12}:[!-~]{1,400}$"},
        },
    ),
    ("GET", "/api/receipts/{receipt}"): _ours(
        "One of them, by its id", "Receipt", may_refuse=_MISSING
    ),
    ("POST", "/api/sandbox"): Described(
        summary="Create a sandbox",
        body="CreateSandbox",
        may_refuse=_PAID,
        example={"snapshot": "daytona-small", "labels": {"team": "red"}, "autoStopInterval": 30},
    ),
    ("GET", "/api/sandbox"): Described(
        summary="The wallet's own sandboxes, in the shape of the Daytona behind",
        reply="Sandboxes",
    ),
    ("GET", "/api/sandbox/paginated"): Described(
        summary="The same in pages by number", reply="SandboxPage"
    ),
    ("POST", _SESSION): _ours(
        "A session token, for a signed login",
        "NewSessionToken",
        body="Login",
        may_refuse=_UNPROVEN,
        example={"message": _SIWE, "signature": "0x" + "00" * 65},
    ),
    ("GET", _SESSION): _ours("The wallet's live tokens", "SessionTokens"),
    ("DELETE", _SESSION): _ours("End every token of the wallet", "Revoked"),
    ("DELETE", f"{_SESSION}/{{token}}"): _ours(
        "End one token, by its id", "Revoked", may_refuse=_MISSING
    ),
    ("GET", _HOOKS): _ours("The wallet's webhooks, and how far each one got", "Webhooks"),
    ("POST", _HOOKS): _ours(
        "Have notices sent somewhere",
        "NewWebhook",
        body="RegisterWebhook",
        status=201,
        may_refuse=frozenset({409, 502}),
        example={"url": "https://hooks.example/billing", "kinds": ["runs_dry", "blocked"]},
    ),
    ("DELETE", f"{_HOOKS}/{{webhook}}"): _ours(
        "Send nothing more there", "Deleted", may_refuse=_MISSING
    ),
    ("POST", f"{_HOOKS}/{{webhook}}/test"): _ours(
        "Send a ping there, now", "WebhookTest", may_refuse=_MISSING
    ),
    ("GET", _ONE): Described(summary="A sandbox"),
    ("DELETE", _ONE): Described(summary="Delete it; charged up to now", may_refuse=_MOVED),
    ("POST", f"{_ONE}/start"): Described(summary="Start it", may_refuse=_PAID),
    ("POST", f"{_ONE}/recover"): Described(
        summary="Mend it after an error, and start it", may_refuse=_PAID
    ),
    ("POST", f"{_ONE}/resize"): Described(
        summary="Change its size, where the provider offers that",
        body="Resize",
        may_refuse=_PAID,
        example={"cpu": 2},
    ),
    ("POST", f"{_ONE}/stop"): Described(summary="Stop it", may_refuse=_MOVED),
    ("POST", f"{_ONE}/archive"): Described(summary="Archive a stopped one", may_refuse=_MOVED),
    ("PUT", f"{_ONE}/labels"): Described(
        summary="Replace the user's labels",
        body="ReplaceLabels",
        may_refuse=_MOVED,
        example={"labels": {"team": "green"}},
    ),
    ("POST", f"{_ONE}/ensure-billing"): Described(
        summary="Compare it with its session now", reply="Done"
    ),
    ("POST", f"{_ONE}/ssh-access"): Described(
        summary="A token for ssh", reply="SshAccess", may_refuse=_MOVED
    ),
    ("DELETE", f"{_ONE}/ssh-access"): Described(
        summary="End one token for ssh, or all", may_refuse=_MOVED
    ),
    ("GET", _PREVIEW): Described(
        summary=f"A URL that opens one port, {_CLOSED}", reply="SignedPreview", may_refuse=_MOVED
    ),
    ("POST", f"{_PREVIEW}/{{token}}/expire"): Described(
        summary="End such a URL", reply="Nothing", may_refuse=_MOVED
    ),
    ("POST", f"{_ONE}/public/{{flag}}"): Described(
        summary="Open its ports to everybody, or close them", may_refuse=_MOVED
    ),
    ("POST", f"{_ONE}/network-settings"): Described(
        summary="What it may reach",
        body="NetworkSettings",
        may_refuse=_MOVED,
        example={"networkBlockAll": True},
    ),
    ("GET", f"{_SEEN}/logs"): Described(
        summary="What it reported", reply="Telemetry", required=_SPAN, query=_PASSED_ON
    ),
    ("GET", f"{_SEEN}/traces"): Described(
        summary="What it did", reply="Telemetry", required=_SPAN, query=_PASSED_ON
    ),
    ("GET", f"{_SEEN}/traces/{{trace}}"): Described(
        summary="One of these", reply="Telemetry", may_refuse=_MISSING
    ),
    ("GET", f"{_SEEN}/metrics"): Described(
        summary="What it used", reply="Telemetry", required=_SPAN
    ),
    ("GET", f"{_ONE}/toolbox-proxy-url"): Described(summary="This proxy's toolbox", reply="Url"),
    ("GET", f"{_ONE}/build-logs-url"): Described(
        summary="Where this proxy streams them", reply="Url"
    ),
    ("ANY", "/toolbox/{id}/**"): Described(summary="The sandbox's toolbox, streamed", reply=""),
    ("ANY", "/api/toolbox/{id}/toolbox/**"): Described(
        summary="The same, by its older path", reply=""
    ),
    ("GET", f"{_ONE}/build-logs"): Described(summary="How it was built, streamed", reply=""),
    ("GET", "/sandboxes/{id}/build-logs"): Described(
        summary="The same, where newer SDKs look for it", reply=""
    ),
}
