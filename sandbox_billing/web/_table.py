"""
THE table: every request that is served, and nothing else (wire.md §5, daytona.md §3).

C{docs/http.rst} describes each line; C{tests.web.test_docs} holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandbox_billing.web._router import Handler, Route, Table, Who
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

INTERVALS = ("autostop", "autoarchive", "autodelete")


def build_table(*, sandboxes: Sandboxes, account: Account, info: Info, health: Health) -> Table:
    """Name every route there is."""
    everybody, wallet, owner, nobody = Who.PUBLIC, Who.WALLET, Who.OWNER, Who.NOBODY

    def route(
        method: str,
        pattern: str,
        who: Who,
        handler: Handler,
        verb: str | None = None,
        *,
        query: Iterable[str] = (),
        takes_body: bool = False,
    ) -> Route:
        return Route(
            method=method,
            pattern=pattern,
            who=who,
            handler=handler,
            verb=verb,
            query=frozenset(query),
            takes_body=takes_body,
        )

    root, one = "/api/sandbox", "/api/sandbox/{id}"
    pages, events = {"page", "limit"}, {"since", "page", "page_size"}
    return Table(
        (
            route("GET", "/healthz", everybody, health.alive),
            route("GET", "/readyz", everybody, health.ready),
            route("GET", "/info", everybody, info.info),
            route("GET", "/api/providers", everybody, info.providers),
            route("GET", "/api/snapshots", everybody, info.snapshots, query=pages),
            route("GET", "/api/events", wallet, account.events, "list", query=events),
            route("POST", root, wallet, sandboxes.create, "create", takes_body=True),
            route("GET", root, wallet, sandboxes.list, "list", query=LIST_QUERY),
            route(
                "GET",
                f"{root}/paginated",
                wallet,
                sandboxes.list_paginated,
                "list",
                query=PAGINATED_QUERY,
            ),
            route("GET", one, owner, sandboxes.show, "list", query={"verbose"}),
            route("DELETE", one, owner, sandboxes.delete, "delete"),
            route("POST", f"{one}/start", owner, sandboxes.start, "start"),
            route("POST", f"{one}/stop", owner, sandboxes.stop, "stop", query={"force"}),
            route("POST", f"{one}/archive", owner, sandboxes.archive, "archive"),
            route(
                "PUT", f"{one}/labels", owner, sandboxes.replace_labels, "labels", takes_body=True
            ),
            route(
                "POST",
                f"{one}/ssh-access",
                owner,
                sandboxes.ssh_access,
                "ssh-access",
                query={"expiresInMinutes"},
            ),
            route(
                "POST", f"{one}/ensure-billing", owner, sandboxes.ensure_billing, "ensure-billing"
            ),
            *(
                route("POST", f"{one}/{kind}{rest}", nobody, sandboxes.managed)
                for kind in INTERVALS
                for rest in ("", "/{interval}")
            ),
        )
    )
