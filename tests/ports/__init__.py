"""Tests of ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase


def at_home(names: Mapping[str, Any]) -> None:
    """
    Let the test cases of a module that were made elsewhere be found where they stand.

    Several workers of trial share the tests by name.

    @param names: The module's C{globals()}.
    """
    for name, case in names.items():
        if isinstance(case, type) and issubclass(case, SynchronousTestCase):
            case.__module__, case.__qualname__ = names["__name__"], name
