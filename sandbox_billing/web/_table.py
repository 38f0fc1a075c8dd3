"""
THE table: every request that is served, and nothing else (wire.md §5, daytona.md §3).

C{docs/http.rst} describes each line; C{tests.web.test_docs} holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from sandbox_billing.ledger.token import Scope
from sandbox_billing.web._denied import denied_routes
from sandbox_billing.web._routes import ANY, Handler, Policy, Route, Table, Who
from sandbox_billing.web.account import Account
from sandbox_billing.web.health import Health
from sandbox_billing.web.info import Info
from sandbox_billing.web.sandboxes import Sandboxes


_RANGES = ("Cpu", "MemoryGiB", "DiskGiB")
_FILTERS = frozenset(
    {"labels", "includeErroredDeleted", "id", "name", "states", "snapshots", "limit"}
    | {"lastEventAfter", "lastEventBefore", "sort", "order"}
    | {f"{end}{quantity}" for end in ("min", "max") for quantity in _RANGES}
)
LIST_QUERY = _FILTERS | {
    *("verbose", "cursor", "regionIds", "sandboxClasses", "isPublic", "isRecoverable"),
    *("createdAtAfter", "createdAtBefore"),
}
PAGINATED_QUERY = _FILTERS | {"verbose", "page", "regions"}

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
    takes_body: bool = False,
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
        takes_body=takes_body,
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


def _public_routes(info: Info, health: Health) -> tuple[Route, ...]:
    own, public, read = Policy.OURS, Policy.PUBLIC, Scope.READ
    pages = {"page", "limit"}
    return (
        _everybody("GET", "/healthz", own, read, health.alive),
        _everybody("GET", "/readyz", own, read, health.ready),
        _everybody("GET", "/info", own, read, info.info),
        _everybody("GET", "/api/providers", own, read, info.providers),
        _everybody("GET", "/api/snapshots", public, read, info.snapshots, query=pages),
    )


def _wallet_routes(sandboxes: Sandboxes, account: Account) -> tuple[Route, ...]:
    own, intercept = Policy.OURS, Policy.INTERCEPT
    read, manage = Scope.READ, Scope.MANAGE
    events = {"since", "page", "page_size"}
    create, pages = sandboxes.create, sandboxes.list_paginated
    return (
        _wallet("GET", "/api/events", own, read, account.events, "list", query=events),
        _wallet("POST", LISTS, intercept, manage, create, "create", takes_body=True),
        _list("GET", LISTS, intercept, read, sandboxes.list, "list", query=LIST_QUERY),
        _list("GET", f"{LISTS}/paginated", intercept, read, pages, "list", query=PAGINATED_QUERY),
    )


def _owner_routes(sandboxes: Sandboxes) -> tuple[Route, ...]:
    intercept, rewrite, own = Policy.INTERCEPT, Policy.REWRITE, Policy.OURS
    read, manage, inside = Scope.READ, Scope.MANAGE, Scope.TOOLBOX
    labels, ssh, billing = sandboxes.replace_labels, sandboxes.ssh_access, sandboxes.ensure_billing
    minutes = {"expiresInMinutes"}
    return (
        _owner("GET", ONE, rewrite, read, sandboxes.show, "list", query={"verbose"}),
        _owner("DELETE", ONE, intercept, manage, sandboxes.delete, "delete"),
        _owner("POST", f"{ONE}/start", intercept, manage, sandboxes.start, "start"),
        _owner("POST", f"{ONE}/stop", intercept, manage, sandboxes.stop, "stop", query={"force"}),
        _owner("POST", f"{ONE}/archive", intercept, manage, sandboxes.archive, "archive"),
        _owner("PUT", f"{ONE}/labels", intercept, manage, labels, "labels", takes_body=True),
        # It leads inside, as the toolbox does.
        _owner("POST", f"{ONE}/ssh-access", rewrite, inside, ssh, "ssh-access", query=minutes),
        _owner("POST", f"{ONE}/ensure-billing", own, manage, billing, "ensure-billing"),
    )


def _stream_routes() -> tuple[Route, ...]:
    return (
        _stream(ANY, "/toolbox/{id}/**", Scope.TOOLBOX, "toolbox"),
        _stream(ANY, "/api/toolbox/{id}/toolbox/**", Scope.TOOLBOX, "toolbox"),
        _stream("GET", f"{ONE}/build-logs", Scope.TOOLBOX, query={"follow"}),
        _stream("GET", "/sandboxes/{id}/build-logs", Scope.TOOLBOX, query={"follow"}),
    )


def build_table(*, sandboxes: Sandboxes, account: Account, info: Info, health: Health) -> Table:
    """Name every route there is."""
    return Table(
        (
            *_public_routes(info, health),
            *_wallet_routes(sandboxes, account),
            *_owner_routes(sandboxes),
            *_stream_routes(),
            *denied_routes(),
        )
    )
