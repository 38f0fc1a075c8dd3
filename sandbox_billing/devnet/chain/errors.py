"""
What the devnet's node answers when it refuses, in geth's words and codes.

The words matter only to people and to clients that (wrongly) read them; the
codes are those of JSON-RPC 2.0, and 3 for a revert with data.

Tests: C{tests/devnet/test_chain_rpc.py}.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sandbox_billing.errors import BadInput, UnknownOutcome


PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000
REVERTED: Final = 3


@frozen(auto_exc=False)
class RpcError(BadInput):
    """
    The request is answered with a JSON-RPC error; nothing was changed.  Caught
    by the dispatcher, which makes the answer of it.

    @ivar text: The C{message} of the answer.
    @ivar code: The C{code} of the answer.
    @ivar data: The C{data} of the answer: of a revert, what was returned, in hex.
    """

    code: int = SERVER_ERROR
    data: str | None = None

    def __str__(self) -> str:
        return f"{self.text} ({self.code})"


@frozen(auto_exc=False)
class HungUp(UnknownOutcome):
    """
    The node was told to leave its caller without an answer (L{.faults}); caught by
    the HTTP resource, which closes the connection.
    """

    def __str__(self) -> str:
        return self.text


def invalid_params(text: str) -> RpcError:
    """
    The caller's parameters do not have the form of the method.
    """
    return RpcError(text, INVALID_PARAMS)
