"""
JSON-RPC 2.0: bytes in, bytes out, over any table of methods.

Tests: C{tests/devnet/test_chain_rpc.py}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger

from .errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    HungUp,
    RpcError,
)


#: More requests in one batch are refused (geth's limit).
MAX_BATCH: Final = 1000

#: Method and parameters -> result, or L{RpcError}.
Perform = Callable[[str, list[Any]], Any]

_log = Logger()


def answer(body: bytes, perform: Perform) -> bytes:
    """
    Answer a request or a batch of them.

    @return: JSON; empty when everything was a notification.
    @raise HungUp: Nothing is to be answered, not even that something went wrong.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return _encode(_error(None, RpcError("parse error", PARSE_ERROR)))
    if not isinstance(asked, list):
        reply = _answer_one(asked, perform)
        return b"" if reply is None else _encode(reply)
    if not asked:
        return _encode(_error(None, RpcError("empty batch", INVALID_REQUEST)))
    if len(asked) > MAX_BATCH:
        return _encode(_error(None, RpcError("batch too large", INVALID_REQUEST)))
    replies = [_answer_one(request, perform) for request in asked]
    wanted = [reply for reply in replies if reply is not None]
    return _encode(wanted) if wanted else b""


def _answer_one(asked: Any, perform: Perform) -> dict[str, Any] | None:
    """
    One request; None for a notification (it has no C{id}).
    """
    if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
        return _error(None, RpcError("invalid request", INVALID_REQUEST))
    ident = asked.get("id")
    if ident is not None and not isinstance(ident, (str, int, float)):
        return _error(None, RpcError("invalid request", INVALID_REQUEST))
    reply = _carry_out(ident, asked["method"], asked.get("params"), perform)
    return reply if "id" in asked else None


def _carry_out(ident: Any, method: str, values: Any, perform: Perform) -> dict[str, Any]:
    if values is None:
        values = []
    if not isinstance(values, list):
        return _error(ident, RpcError("non-array args", INVALID_PARAMS))
    try:
        return {"jsonrpc": "2.0", "id": ident, "result": perform(method, values)}
    except RpcError as e:
        return _error(ident, e)
    except HungUp:
        raise
    # This is the router of this little server: whatever else goes wrong in a
    # method is our defect, and the caller is told so instead of being hung up on.
    except Exception:
        _log.failure("devnet chain: {call} failed", call=method)
        return _error(ident, RpcError("internal error", INTERNAL_ERROR))


def _error(ident: Any, error: RpcError) -> dict[str, Any]:
    form: dict[str, Any] = {"code": error.code, "message": error.text}
    if error.data is not None:
        form["data"] = error.data
    return {"jsonrpc": "2.0", "id": ident, "error": form}


def _encode(reply: Any) -> bytes:
    return json.dumps(reply, separators=(",", ":")).encode()
