"""
The three dialects of Daytona, and the one exception its routes raise.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

from attrs import frozen


@frozen(auto_exc=False, str=True)
class ApiError(Exception):
    """
    An answer that is not a success; the router turns it into Daytona's error body.

    @ivar status: The HTTP status.
    @ivar message: Daytona's prose.
    """

    status: int
    message: str

    @property
    def reason(self) -> str:
        """The standard phrase, which Daytona sends as C{error}."""
        return HTTPStatus(self.status).phrase


class Dialect(Enum):
    """
    What a deployment speaks: C{OLD} < v0.160, C{MIDDLE} < v0.180, C{NEW} from there.

    The value is the version that C{/config} and C{X-Daytona-Api-Version} show.
    """

    OLD = "0.149.0"
    MIDDLE = "0.170.0"
    NEW = "0.190.0"

    def knows(self, since: Dialect) -> bool:
        """@param since: The first one that has a route."""
        order = list(Dialect)
        return order.index(self) >= order.index(since)

    @property
    def lists_pages(self) -> bool:
        """C{GET /sandbox} answers C{{items, nextCursor}} instead of an array."""
        return self is Dialect.NEW

    def in_progress(self) -> ApiError:
        """A transition is under way."""
        if self is Dialect.OLD:
            return ApiError(400, "State change in progress")
        return ApiError(409, "Sandbox state change in progress")

    def not_stoppable(self) -> ApiError:
        """Stop of a sandbox that does not run."""
        if self is Dialect.OLD:
            return ApiError(400, "Sandbox is not started")
        return ApiError(400, "Sandbox is not in a stoppable state")

    def bad_labels(self) -> ApiError:
        """The C{labels} filter is not JSON."""
        if self is Dialect.NEW:
            return ApiError(400, "Invalid labels JSON")
        return ApiError(500, "An unexpected error occurred.")
