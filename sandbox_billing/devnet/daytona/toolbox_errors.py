"""
How the toolbox refuses: the body that Daytona's proxy, runner and daemon share.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from attrs import frozen

from sandbox_billing.devnet.daytona.records import iso


@frozen(auto_exc=False, str=True)
class ToolboxError(Exception):
    """
    An answer that is not a success.

    @ivar status: The HTTP status.
    @ivar message: Prose, which the SDKs show.
    """

    status: int
    message: str

    def document(self, *, method: str, path: str, at: float) -> dict[str, Any]:
        """
        The error body.

        @param at: Wall seconds.
        """
        phrase = HTTPStatus(self.status).phrase
        return {
            "statusCode": self.status,
            "message": f"{phrase.lower()}: {self.message}",
            "code": phrase.upper().replace(" ", "_"),
            "timestamp": iso(at),
            "path": path,
            "method": method,
        }


def bad(message: str) -> ToolboxError:
    """What the caller must change."""
    return ToolboxError(400, message)


def missing(what: str) -> ToolboxError:
    """Nothing there."""
    return ToolboxError(404, f"{what} not found")
