"""
Ways in which a node fails its caller, on demand: C{devnet_failNext}.

Tests: C{tests/devnet/test_chain_server.py}.
"""

from __future__ import annotations

from typing import Any, Final

from . import methods, params
from .devchain import DevChain
from .errors import INTERNAL_ERROR, HungUp, RpcError, invalid_params


#: The request never arrives: nothing is done and the connection is closed.
UNHEARD: Final = "unheard"
#: The request is carried out and its answer is lost: the connection is closed.
UNANSWERED: Final = "unanswered"
#: The request is carried out and answered with an internal error.
MISREPORTED: Final = "misreported"

_KINDS: Final = (UNHEARD, UNANSWERED, MISREPORTED)
_CONTROL: Final = "devnet_failNext"


class FaultyNode:
    """
    L{methods.perform}, which fails as often as it was told to.

    C{devnet_failNext(method, kind, times = 1)} adds to what is planned for a method;
    with C{times} 0 it forgets the plan.
    """

    def __init__(self, chain: DevChain) -> None:
        self._chain = chain
        self._planned: dict[str, list[str]] = {}

    def perform(self, method: str, values: list[Any]) -> Any:
        """
        As L{methods.perform}.

        @raise HungUp: The caller gets no answer.
        """
        if method == _CONTROL:
            return self._plan(params.Params(values))
        planned = self._planned.get(method)
        kind = planned.pop(0) if planned else None
        if kind == UNHEARD:
            raise HungUp(method)
        result = methods.perform(self._chain, method, values)
        if kind == UNANSWERED:
            raise HungUp(method)
        if kind == MISREPORTED:
            raise RpcError("internal error", INTERNAL_ERROR)
        return result

    def _plan(self, p: params.Params) -> bool:
        method, kind, times = p.get(0, str), p.get(1, str), p.get(2, params.number, 1)
        if kind not in _KINDS:
            raise invalid_params(f"kinds of failure: {', '.join(_KINDS)}")
        if times == 0:
            self._planned.pop(method, None)
        self._planned.setdefault(method, []).extend([kind] * min(times, 1000))
        return True
