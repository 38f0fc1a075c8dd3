"""
The import of eth_account and web3, without a curve that nobody here needs.

Both import eth_keyfile, which can read validators' keystores (EIP-2335), too; and py_ecc, which
knows their curve, computes with its points while it is imported: a third of the time before a
command's first question to the chain, and of what a start of the daemon computes.  Here that is
put off until somebody opens such a keystore.

Tests: L{tests.signing.test_pairings}.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any


CURVE_ORDER = 52435875175126190479447740508185965837690552500527637822603658699938581184513
"""Of BLS12-381: eth_keyfile reckons with it at once."""

_SCHEME, _CURVE = "py_ecc.bls", "py_ecc.bls12_381"


class _Later:
    """What a module has under a name; imported when something is wanted of it."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __getattr__(self, wanted: str) -> Any:
        return getattr(getattr(import_module(self._module), self._name), wanted)


def spare_pairings() -> None:
    """
    Import eth_keyfile, and of py_ecc what that takes alone; before the first import of
    eth_account or web3, and harmless after it.

    Whoever imports py_ecc afterwards has all of it.
    """
    if any(name in sys.modules for name in ("eth_keyfile", _SCHEME, _CURVE)):
        return
    scheme: Any = ModuleType(_SCHEME)
    scheme.G2ProofOfPossession = _Later(_SCHEME, "G2ProofOfPossession")
    curve: Any = ModuleType(_CURVE)
    curve.curve_order = CURVE_ORDER
    sys.modules.update({_SCHEME: scheme, _CURVE: curve})
    try:
        # Another release may want more of it: then it is imported as its makers meant it.
        with suppress(ImportError):
            import_module("eth_keyfile")
    finally:
        for name in (_SCHEME, _CURVE):
            sys.modules.pop(name, None)
