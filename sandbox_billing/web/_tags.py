"""
The groups of routes in our OpenAPI document, and with it of the page that lists them.

Tests: C{tests.web.test_openapi_tags}.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sandbox_billing.web._routes import Route, Who


@frozen
class Tag:
    """
    @ivar about: One sentence.
    @ivar beginnings: Of the patterns that belong to it, unless a longer one fits elsewhere.
    """

    name: str
    about: str
    beginnings: tuple[str, ...]


OPERATORS: Final = Tag(
    "Operators",
    "For the wallets of ADMIN_ADDRESSES alone.",
    ("/api/operator", "/api/sessions", "/api/audit-log"),
)

TAGS: Final = (
    Tag(
        "Sandboxes",
        "Their lives, labels, sizes and network: Daytona's routes, with an owner and a price.",
        ("/api/sandbox",),
    ),
    Tag(
        "Access",
        "Ways into a sandbox: SSH, previews, addresses and logs.",
        (
            "/api/sandbox/{id}/ssh-access",
            "/api/sandbox/{id}/ports",
            "/api/sandbox/{id}/public",
            "/api/sandbox/{id}/toolbox-proxy-url",
            "/api/sandbox/{id}/build-logs",
            "/sandboxes",
            "/api/sandbox/{id}/telemetry",
        ),
    ),
    Tag(
        "Toolbox",
        "What goes to the sandbox itself: files, processes, streams.",
        ("/toolbox", "/api/toolbox"),
    ),
    Tag(
        "Money",
        "What a wallet has, owes and has paid, and the limits it sets itself.",
        (
            "/api/account",
            "/api/usage",
            "/api/sandbox/{id}/usage",
            "/api/sandbox/{id}/ensure-billing",
            "/api/receipts",
            "/api/events",
        ),
    ),
    Tag(
        "Notices",
        "What a wallet is told: a stream of events, and webhooks.",
        ("/api/events/stream", "/api/webhooks"),
    ),
    Tag("Session tokens", "For programs that cannot sign each request.", ("/api/auth",)),
    OPERATORS,
    Tag(
        "Public",
        "What anybody may know.",
        (
            "/healthz",
            "/readyz",
            "/info",
            "/openapi.json",
            "/api/providers",
            "/api/snapshots",
            "/api/shared-regions",
            "/api/config",
        ),
    ),
    Tag("Pages", "For a browser.", ("/", "/page", "/operator")),
)


def tag_of(route: Route) -> Tag:
    """
    Where it belongs: to operators what is theirs, else where the longest beginning fits.

    @raise LookupError: Nowhere.
    """
    if route.who is Who.OPERATOR:
        return OPERATORS
    fitting = [
        (len(beginning), at)
        for at, tag in enumerate(TAGS)
        for beginning in tag.beginnings
        if route.pattern == beginning
        or (beginning != "/" and route.pattern.startswith(beginning + "/"))
    ]
    if not fitting:
        raise LookupError(f"no tag is for {route.pattern}")
    return TAGS[max(fitting)[1]]
