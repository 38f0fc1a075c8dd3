"""
What nobody is served, and why (daytona.md §3): rows of the table, before any key is read.

A path that no row names is 404 and does not reach Daytona either.  These are named so
that whoever tries learns the reason, and so that opening one is a decision that a test
sees.

Tests: C{tests.web.test_router}, C{tests.web.test_every_route}.
"""

from __future__ import annotations

from sandbox_billing.web._routes import ANY, Policy, Route, Who


MANAGED = "managed by billing proxy"
ADMIN_ONLY = "admin only"
INTERNAL = "between the parts of Daytona only"
OF_ALL = "it belongs to all users of this provider together"
CONTROL = "the provider's control plane"
SIGN_UP = "users are wallets here: there are no accounts, keys or organizations"
COPIES = "not offered: it would make a sandbox that nobody pays for"
KEEPS = "not offered: the memory that it keeps has no price"
STORES = "not offered: what it stores has no price"
OTHERS = "not offered: it could show sandboxes of others"
UNDECIDED = "not offered yet"
NO_EVENTS = "events are not offered: poll"
OLD_NAME = "this old name is not served: use /api/sandbox"
UNSIGNED = "it would open every port until the next start: ask for a signed-preview-url"
NO_PAGE = "there is no page here: this is an API"

_ONE = "/api/sandbox/{id}"

_DENIED: tuple[tuple[str, str, str], ...] = (
    (ANY, "/api/sandbox/for-runner/**", INTERNAL),
    (ANY, "/api/sandbox/ssh-access/**", INTERNAL),
    (ANY, f"{_ONE}/organization", INTERNAL),
    (ANY, f"{_ONE}/region-quota", INTERNAL),
    (ANY, f"{_ONE}/state", INTERNAL),
    (ANY, f"{_ONE}/autostop/**", MANAGED),
    (ANY, f"{_ONE}/autoarchive/**", MANAGED),
    (ANY, f"{_ONE}/autodelete/**", MANAGED),
    (ANY, f"{_ONE}/autopause/**", MANAGED),
    (ANY, f"{_ONE}/ttl/**", MANAGED),
    (ANY, f"{_ONE}/last-activity", MANAGED),
    (ANY, f"{_ONE}/pause", KEEPS),
    (ANY, f"{_ONE}/fork", COPIES),
    (ANY, f"{_ONE}/snapshot", STORES),
    (ANY, f"{_ONE}/backup", STORES),
    (ANY, f"{_ONE}/forks", OTHERS),
    (ANY, f"{_ONE}/parent", OTHERS),
    (ANY, f"{_ONE}/ancestors", OTHERS),
    (ANY, f"{_ONE}/ports/{{port}}/preview-url", UNSIGNED),
    (ANY, f"{_ONE}/secrets/**", UNDECIDED),
    (ANY, f"{_ONE}/signing-key/**", UNDECIDED),
    (ANY, "/api/workspace/**", OLD_NAME),
    (ANY, "/api/volumes/**", OF_ALL),
    (ANY, "/api/object-storage/**", OF_ALL),
    (ANY, "/api/docker-registry/**", CONTROL),
    (ANY, "/api/runners/**", CONTROL),
    (ANY, "/api/jobs/**", CONTROL),
    (ANY, "/api/preview/**", CONTROL),
    (ANY, "/api/webhooks/status", CONTROL),
    (ANY, "/api/webhooks/**", CONTROL),
    (ANY, "/api/audit/**", CONTROL),
    (ANY, "/api/users/**", CONTROL),
    (ANY, "/api/admin/**", CONTROL),
    (ANY, "/api/warm-pools/**", CONTROL),
    (ANY, "/api/secret/**", CONTROL),
    (ANY, "/api/regions/**", CONTROL),
    (ANY, "/api/health/**", CONTROL),
    (ANY, "/api/organizations/**", SIGN_UP),
    (ANY, "/api/api-keys/**", SIGN_UP),
    (ANY, "/api/socket.io/**", NO_EVENTS),
    (ANY, "/api", NO_PAGE),
    (ANY, "/api-json/**", NO_PAGE),
    (ANY, "/dashboard/**", NO_PAGE),
    (ANY, "/health/**", NO_PAGE),
)

_OPERATORS: tuple[tuple[str, str], ...] = (
    ("PATCH", "/api/snapshots/{snapshot}"),
    (ANY, "/api/snapshots/can-cleanup-image"),
    (ANY, "/api/snapshots/{snapshot}/**"),
    (ANY, "/api/sessions/**"),
    (ANY, "/api/audit-log/**"),
)
"""What is an operator's, and not offered here."""


def denied_routes() -> tuple[Route, ...]:
    """Rows for nobody."""
    closed = tuple(
        Route(method=method, pattern=pattern, who=Who.NOBODY, policy=Policy.DENY, denial=why)
        for method, pattern, why in _DENIED
    )
    operators = tuple(
        Route(
            method=method,
            pattern=pattern,
            who=Who.NOBODY,
            policy=Policy.OPERATOR,
            denial=ADMIN_ONLY,
        )
        for method, pattern in _OPERATORS
    )
    return closed + operators
