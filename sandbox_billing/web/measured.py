"""
Requests as they are measured: by the route's pattern, never by what a client spelt.

Tests: C{tests.web.test_measured}.
"""

from __future__ import annotations

from sandbox_billing.interfaces import IMeasures
from sandbox_billing.measures import REQUEST_SECONDS
from sandbox_billing.web._routes import METHODS


NO_PATTERN = "none"
"""Of what no route answers: refused before a route was found, or there is none."""

OTHER_METHOD = "other"


def note_request(
    measures: IMeasures,
    *,
    route: str,
    method: str,
    status: int,
    seconds: float,
    passed_on: bool = False,
) -> None:
    """
    @param route: A pattern of the table, or L{NO_PATTERN}.
    @param method: As sent.
    @param passed_on: That a sandbox answered, which may answer with each status that there is:
        told by its class, C{2xx}, or its owner could make so many series that no more fit.
    """
    measures.observe(
        REQUEST_SECONDS,
        seconds,
        route=route,
        method=method if method in METHODS else OTHER_METHOD,
        status=f"{status // 100}xx" if passed_on else str(status),
    )
