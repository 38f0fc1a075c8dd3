"""
THE table: every request that is served, and nothing else (wire.md §5, daytona.md §3).

C{docs/http.rst} describes each line; C{tests.web.test_docs} holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from sandbox_billing.ledger.token import Scope
from sandbox_billing.web._denied import denied_routes
from sandbox_billing.web._routes import ANY, MOST_BYTES, Handler, Policy, Route, Table, Who
from sandbox_billing.web.access import Access
from sandbox_billing.web.account import Account
from sandbox_billing.web.catalogue import Catalogue
from sandbox_billing.web.controls import MoneyControls
from sandbox_billing.web.health import Health
from sandbox_billing.web.info import Info
from sandbox_billing.web.lifecycle import Lifecycle
from sandbox_billing.web.listing import Lists
from sandbox_billing.web.notices import Listeners
from sandbox_billing.web.openapi import with_document
from sandbox_billing.web.operator import OperatorDesk
from sandbox_billing.web.operator_orders import OperatorOrders
from sandbox_billing.web.page import Page
from sandbox_billing.web.receipts import Receipts
from sandbox_billing.web.sandboxes import Sandboxes
from sandbox_billing.web.sessions import Sessions
from sandbox_billing.web.usage import Usage
from sandbox_billing.web.webhooks import Webhooks


CREATE_BYTES = 256 * 1024
"""Environment, labels and Dockerfile at their bounds, with escapes."""
LOGIN_BYTES = 16 * 1024
"""The longest message, and the longest signature of a contract."""

_RANGES = ("Cpu", "MemoryGiB", "DiskGiB")
_FILTERS = frozenset(
    {"labels", "includeErroredDeleted", "id", "name", "limit"}
    | {"lastEventAfter", "lastEventBefore", "sort", "order"}
    | {f"{end}{quantity}" for end in ("min", "max") for quantity in _RANGES}
)
LIST_QUERY = _FILTERS | {
    *("verbose", "cursor", "isPublic", "isRecoverable", "createdAtAfter", "createdAtBefore")
}
LIST_SEVERAL = frozenset({"states", "snapshots", "regionIds", "sandboxClasses"})
PAGINATED_QUERY = _FILTERS | {"verbose", "page"}
PAGINATED_SEVERAL = frozenset({"states", "snapshots", "regions"})

LISTS = "/api/sandbox"
ONE = "/api/sandbox/{id}"


def _row(
    who: Who,
    method: str,
    pattern: str,
    policy: Policy,
    scope: Scope | None,
    handler: Handler,
    verb: str | None = None,
    *,
    query: Iterable[str] = (),
    several: Iterable[str] = (),
    takes_body: bool = False,
    most_bytes: int = MOST_BYTES,
    logs_in: bool = False,
    narrows: bool = False,
) -> Route:
    return Route(
        method=method,
        pattern=pattern,
        who=who,
        handler=handler,
        policy=policy,
        scope=scope,
        verb=verb,
        query=frozenset(query),
        several=frozenset(several),
        takes_body=takes_body,
        most_bytes=most_bytes,
        logs_in=logs_in,
        narrows=narrows,
    )


def _stream(
    method: str,
    pattern: str,
    scope: Scope,
    verb: str | None = None,
    *,
    query: Iterable[str] = (),
) -> Route:
    """A row that the streamer answers; below C{**} the sandbox knows which queries there are."""
    return Route(
        method=method,
        pattern=pattern,
        who=Who.OWNER,
        policy=Policy.OWN,
        scope=scope,
        verb=verb,
        query=frozenset(query),
        takes_body=True,
        stream=True,
    )


_everybody = partial(_row, Who.PUBLIC)
_wallet = partial(_row, Who.WALLET)
_list = partial(_row, Who.WALLET, narrows=True)
_owner = partial(_row, Who.OWNER)
_operator = partial(_row, Who.OPERATOR)


def _public_routes(info: Info, catalogue: Catalogue, health: Health) -> tuple[Route, ...]:
    own, public, read = Policy.OURS, Policy.PUBLIC, Scope.READ
    pages = {"page", "limit", "name", "sort", "order"}
    return (
        _everybody("GET", "/healthz", own, read, health.alive),
        _everybody("GET", "/readyz", own, read, health.ready),
        _everybody("GET", "/info", own, read, info.info),
        _everybody("GET", "/api/providers", own, read, info.providers),
        _everybody("GET", "/api/snapshots", public, read, catalogue.snapshots, query=pages),
        _everybody("GET", "/api/snapshots/{snapshot}", public, read, catalogue.snapshot),
        _everybody("GET", "/api/shared-regions", public, read, catalogue.regions),
        _everybody("GET", "/api/config", public, read, catalogue.config),
    )


def _page_routes(page: Page) -> tuple[Route, ...]:
    own, read = Policy.OURS, Scope.READ
    return (
        _everybody("GET", "/", own, read, page.index),
        _everybody("GET", "/operator", own, read, page.operator),
        _everybody("GET", "/page/{file}", own, read, page.file),
    )


def _wallet_routes(lifecycle: Lifecycle, lists: Lists, account: Account) -> tuple[Route, ...]:
    own, intercept = Policy.OURS, Policy.INTERCEPT
    read, manage = Scope.READ, Scope.MANAGE
    events = {"since", "page", "page_size"}
    create, listed, paged = lifecycle.create, lists.list, lists.list_paginated
    return (
        _wallet("GET", "/api/events", own, read, account.events, "list", query=events),
        _wallet(
            *("POST", LISTS, intercept, manage, create, "create"),
            takes_body=True,
            most_bytes=CREATE_BYTES,
        ),
        _list(
            *("GET", LISTS, intercept, read, listed, "list"),
            query=LIST_QUERY,
            several=LIST_SEVERAL,
        ),
        _list(
            *("GET", f"{LISTS}/paginated", intercept, read, paged, "list"),
            query=PAGINATED_QUERY,
            several=PAGINATED_SEVERAL,
        ),
    )


def _control_routes(controls: MoneyControls) -> tuple[Route, ...]:
    own, manage = Policy.OURS, Scope.MANAGE
    path = "/api/account/settings"
    return (
        _wallet("GET", path, own, Scope.READ, controls.show),
        _wallet("PUT", path, own, manage, controls.change, takes_body=True),
        _wallet("POST", "/api/account/resume", own, manage, controls.resume),
    )


def _receipt_routes(receipts: Receipts) -> tuple[Route, ...]:
    path, own, read = "/api/receipts", Policy.OURS, Scope.READ
    asked = {"from", "to", "sandbox", "cursor", "limit"}
    return (
        _list("GET", path, own, read, receipts.list, query=asked),
        _list("GET", f"{path}/{{receipt}}", own, read, receipts.show),
    )


def _account_routes(account: Account, usage: Usage) -> tuple[Route, ...]:
    own, read = Policy.OURS, Scope.READ
    span = {"from", "to"}
    return (
        _wallet("GET", "/api/account", own, read, account.show),
        _wallet(
            *("GET", "/api/usage", own, read, usage.show),
            query=span | {"group", "label", "format"},
        ),
        _owner("GET", f"{ONE}/usage", own, read, usage.show_sandbox, "list", query=span),
    )


def _notice_routes(listeners: Listeners) -> tuple[Route, ...]:
    own, read = Policy.OURS, Scope.READ
    return (_list("GET", "/api/events/stream", own, read, listeners.stream, query={"after"}),)


def _session_routes(sessions: Sessions) -> tuple[Route, ...]:
    """Any token may end itself; which others are seen or ended is theirs to say."""
    path, own, any_token = "/api/auth/session", Policy.OURS, None
    return (
        _everybody(
            *("POST", path, own, any_token, sessions.open),
            takes_body=True,
            most_bytes=LOGIN_BYTES,
            logs_in=True,
        ),
        _list("GET", path, own, Scope.READ, sessions.list),
        _list("DELETE", path, own, any_token, sessions.revoke_all),
        _list("DELETE", f"{path}/{{token}}", own, any_token, sessions.revoke),
    )


def _webhook_routes(webhooks: Webhooks) -> tuple[Route, ...]:
    path, own, read, manage = "/api/webhooks", Policy.OURS, Scope.READ, Scope.MANAGE
    one = f"{path}/{{webhook}}"
    return (
        _wallet("GET", path, own, read, webhooks.list),
        _wallet("POST", path, own, manage, webhooks.register, takes_body=True),
        _wallet("DELETE", one, own, manage, webhooks.delete),
        _wallet("POST", f"{one}/test", own, manage, webhooks.test),
    )


def _operator_routes(desk: OperatorDesk) -> tuple[Route, ...]:
    own, read = Policy.OURS, Scope.READ
    pages = {"cursor", "limit"}
    return (
        _operator("GET", "/api/operator/summary", own, read, desk.summary, query={"hours"}),
        _operator("GET", "/api/sessions", own, read, desk.sessions, "list", query=pages),
        _operator("GET", "/api/audit-log", own, read, desk.audit, "list", query=pages),
    )


def _order_routes(orders: OperatorOrders) -> tuple[Route, ...]:
    theirs, own, manage, read = Policy.OPERATOR, Policy.OURS, Scope.MANAGE, Scope.READ
    path, snapshots, force = "/api/operator", "/api/snapshots", "force-delete"
    ordered = partial(_operator, policy=theirs, scope=manage, takes_body=True)
    return (
        ordered(method="POST", pattern=f"{path}/pause", handler=orders.pause),
        ordered(method="POST", pattern=f"{path}/resume", handler=orders.resume),
        ordered(method="POST", pattern=f"{path}/drain", handler=orders.drain),
        ordered(method="POST", pattern=f"{path}/sandbox/{{id}}/stop", handler=orders.stop),
        ordered(
            method="POST",
            pattern="/api/archive-all",
            handler=orders.archive_all,
            verb="archive-all",
        ),
        ordered(method="DELETE", pattern=f"{ONE}/force", handler=orders.force_delete, verb=force),
        ordered(
            method="DELETE",
            pattern=f"{LISTS}/force/{{id}}",
            handler=orders.force_delete,
            verb=force,
        ),
        ordered(
            method="POST",
            pattern=snapshots,
            handler=orders.snapshot,
            verb="snapshot",
            most_bytes=CREATE_BYTES,
        ),
        ordered(
            method="DELETE",
            pattern=f"{snapshots}/{{snapshot}}",
            handler=orders.delete_snapshot,
            verb="delete-snapshot",
        ),
        _operator("GET", f"{path}/drain", own, read, orders.standing),
        _operator("GET", f"{path}/orders", own, read, orders.list, query={"cursor", "limit"}),
        _operator("GET", f"{path}/orders/{{order}}", own, read, orders.show),
    )


def _owner_routes(sandboxes: Sandboxes, lifecycle: Lifecycle) -> tuple[Route, ...]:
    intercept, rewrite, own = Policy.INTERCEPT, Policy.REWRITE, Policy.OURS
    read, manage = Scope.READ, Scope.MANAGE
    labels, billing = sandboxes.replace_labels, sandboxes.ensure_billing
    return (
        _owner("GET", ONE, rewrite, read, sandboxes.show, "list", query={"verbose"}),
        _owner("DELETE", ONE, intercept, manage, lifecycle.delete, "delete"),
        _owner("POST", f"{ONE}/start", intercept, manage, lifecycle.start, "start"),
        _owner(
            *("POST", f"{ONE}/recover", intercept, manage, lifecycle.recover),
            query={"skipStart"},
        ),
        _owner("POST", f"{ONE}/resize", intercept, manage, sandboxes.resize, takes_body=True),
        _owner("POST", f"{ONE}/stop", intercept, manage, lifecycle.stop, "stop", query={"force"}),
        _owner("POST", f"{ONE}/archive", intercept, manage, lifecycle.archive, "archive"),
        _owner("PUT", f"{ONE}/labels", intercept, manage, labels, "labels", takes_body=True),
        _owner("POST", f"{ONE}/ensure-billing", own, manage, billing, "ensure-billing"),
    )


def _access_routes(access: Access) -> tuple[Route, ...]:
    """What leads inside past us asks for what the toolbox asks for."""
    own, rewrite = Policy.OWN, Policy.REWRITE
    read, manage, inside = Scope.READ, Scope.MANAGE, Scope.TOOLBOX
    ssh, signed = f"{ONE}/ssh-access", f"{ONE}/ports/{{port}}/signed-preview-url"
    preview, expire = access.signed_preview_url, access.expire_preview
    minutes, seconds = {"expiresInMinutes"}, {"expiresInSeconds"}
    network = access.set_network
    span, pages = {"from", "to"}, {"page", "limit"}
    words, names = {"severities"}, {"metricNames"}
    seen = f"{ONE}/telemetry"
    return (
        _owner("POST", ssh, rewrite, inside, access.ssh_access, "ssh-access", query=minutes),
        _owner("DELETE", ssh, own, inside, access.revoke_ssh, query={"token"}),
        _owner("GET", signed, rewrite, inside, preview, query=seconds),
        _owner("POST", f"{signed}/{{token}}/expire", own, inside, expire),
        _owner("POST", f"{ONE}/public/{{flag}}", own, manage, access.set_public),
        _owner("POST", f"{ONE}/network-settings", own, manage, network, takes_body=True),
        _owner(
            *("GET", f"{seen}/logs", own, read, access.logs),
            query=span | pages | {"search"},
            several=words,
        ),
        _owner("GET", f"{seen}/traces", own, read, access.traces, query=span | pages),
        _owner("GET", f"{seen}/traces/{{trace}}", own, read, access.trace),
        _owner("GET", f"{seen}/metrics", own, read, access.metrics, query=span, several=names),
        _owner("GET", f"{ONE}/toolbox-proxy-url", rewrite, read, access.toolbox_proxy_url),
        _owner("GET", f"{ONE}/build-logs-url", rewrite, read, access.build_logs_url),
    )


def _stream_routes() -> tuple[Route, ...]:
    return (
        _stream(ANY, "/toolbox/{id}/**", Scope.TOOLBOX, "toolbox"),
        _stream(ANY, "/api/toolbox/{id}/toolbox/**", Scope.TOOLBOX, "toolbox"),
        _stream("GET", f"{ONE}/build-logs", Scope.TOOLBOX, query={"follow"}),
        _stream("GET", "/sandboxes/{id}/build-logs", Scope.TOOLBOX, query={"follow"}),
    )


def build_table(
    *,
    sandboxes: Sandboxes,
    lifecycle: Lifecycle,
    lists: Lists,
    access: Access,
    account: Account,
    usage: Usage,
    controls: MoneyControls,
    receipts: Receipts,
    info: Info,
    catalogue: Catalogue,
    health: Health,
    sessions: Sessions,
    webhooks: Webhooks,
    page: Page,
    operator: OperatorDesk,
    orders: OperatorOrders,
    listeners: Listeners,
    public_url: str,
) -> Table:
    """Name every route there is."""
    rows = (
        *_public_routes(info, catalogue, health),
        *_page_routes(page),
        *_wallet_routes(lifecycle, lists, account),
        *_account_routes(account, usage),
        *_control_routes(controls),
        *_receipt_routes(receipts),
        *_notice_routes(listeners),
        *_session_routes(sessions),
        *_webhook_routes(webhooks),
        *_operator_routes(operator),
        *_order_routes(orders),
        *_owner_routes(sandboxes, lifecycle),
        *_access_routes(access),
        *_stream_routes(),
    )
    return Table((*with_document(rows, public_url), *denied_routes()))
