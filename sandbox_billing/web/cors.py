"""
Pages of other origins: none, but for those that the operator lists; never with credentials.

Tests: C{tests.web.test_cors}.
"""

from __future__ import annotations

from attrs import frozen
from twisted.web.http_headers import Headers


METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"

REQUEST_HEADERS = ", ".join(
    (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "Last-Event-ID",
        # Daytona's own SDKs say these with every call.
        "X-Daytona-SDK-Version",
        "X-Daytona-Source",
        "X-Signed-Message",
        "X-Wallet-Address",
        "X-Wallet-Signature",
    )
)

EXPOSED = ", ".join(
    (
        # What a file is called, what was made, and which Daytona answered: of toolbox replies.
        "Content-Disposition",
        "Idempotency-Replayed",
        "Location",
        "Retry-After",
        "X-Balance-Runs-Dry-At",
        "X-Billing-Ignored",
        "X-Daytona-Api-Version",
        "X-Request-Id",
    )
)
"""What a page may read beside the few that it always may."""

MAX_AGE_SECONDS = 600


@frozen
class Cors:
    """
    @ivar origins: CORS_ORIGINS, as browsers spell them; without any, nobody is told a thing.
    """

    origins: frozenset[str] = frozenset()

    def answer_headers(self, headers: Headers) -> dict[str, str]:
        """
        For every reply.

        @param headers: Of the request.
        """
        if not self.origins:
            return {}
        # What is kept for one origin must not be shown to another.
        told = {"Vary": "Origin"}
        origin = self._listed(headers)
        if origin is not None:
            told["Access-Control-Allow-Origin"] = origin
            told["Access-Control-Expose-Headers"] = EXPOSED
        return told

    def preflight(self, method: str, headers: Headers) -> dict[str, str] | None:
        """
        What a browser asks before it sends a page's request.

        @return: Headers beside L{answer_headers}; None when this is no such question or
            not from a listed origin: it then goes the way of every request.
        """
        if method != "OPTIONS" or self._listed(headers) is None:
            return None
        if not headers.hasHeader(b"Access-Control-Request-Method"):
            return None
        return {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
        }

    def _listed(self, headers: Headers) -> str | None:
        origins = headers.getRawHeaders(b"Origin", [])
        origin = origins[0].decode("latin-1") if len(origins) == 1 else None
        return origin if origin in self.origins else None
