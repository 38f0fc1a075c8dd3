"""A validator for port-typed fields: collaborators in each other's place fail at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Attribute
from zope.interface import Interface


def provides(interface: type[Interface]) -> Callable[[Any, Attribute[Any], Any], None]:
    """
    @return: A validator that raises C{TypeError} for what does not provide C{interface}.
    """

    def validate(holder: Any, attribute: Attribute[Any], value: Any) -> None:
        if not interface.providedBy(value):
            raise TypeError(f"{attribute.name} must provide {interface.__name__}, not {value!r}")

    return validate
